"""A fake of Google Cloud Storage, for TensorFlow's own client of gs:// paths.

The client asks for Google's hosts through a proxy, which is this server, and trusts its
certificate; both by the environment, which has to be set before TensorFlow looks. The
server has to be in another process, as some calls of the client hold Python's lock.
"""

import json
import os
import re
import ssl
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

import trustme

_HOSTS = ("www.googleapis.com", "storage.googleapis.com")


class FakeStore:
    """Buckets in memory, behind a port of this machine.

    Args:
      folder: Where its certificate is put.

    Attributes:
      objects: What each holds, by `bucket/name`.
      changes: What changed them or tried to, in order: method and name.
      buckets: Those that exist.
      forbidden: Those that the client may not touch.
    """

    def __init__(self, folder: Path):
        self.objects: dict[str, bytes] = {}
        self.changes: list[tuple[str, str]] = []
        self.buckets = {"bucket"}
        self.forbidden: set[str] = set()
        self._fails = range(0)
        authority = trustme.CA()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*_HOSTS).configure_cert(self._context)
        self._certificate = folder / "authority.pem"
        authority.cert_pem.write_to_path(self._certificate)
        handler = type("Handler", (_Handler,), {"store": self, "tls": self._context})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs for its gs:// paths to be here."""
        return {
            "https_proxy": f"http://127.0.0.1:{self._server.server_port}",
            "no_proxy": "127.0.0.1,localhost",
            "CURL_CA_BUNDLE": str(self._certificate),
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token",
            "GCS_RETRY_CONFIG_MAX_RETRIES": "0",
        }

    def fail(self, first: int, count: int) -> None:
        """Refuses so many changes from the first-th on, counted from now."""
        start = len(self.changes) + first
        self._fails = range(start, start + count)

    def change(self, method: str, name: str) -> bool:
        """Notes a change; returns whether it may be made."""
        self.changes.append((method, name))
        return len(self.changes) - 1 not in self._fails

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def fail(first: int = 0, count: int = 0) -> int:
    """Has the store refuse changes; returns how many there were. For its clients.

    Args:
      first: The first to refuse, counted from now.
      count: How many to refuse.
    """
    address = os.environ["https_proxy"]
    request = f"{address}/fail?first={first}&count={count}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, data=b"") as answer:
        return int(answer.read())


class _Handler(BaseHTTPRequestHandler):
    """One connection: a tunnel's beginning, and then requests to Google's hosts."""

    protocol_version = "HTTP/1.1"
    # Else each answer waits for 40 ms.
    disable_nagle_algorithm = True
    wbufsize = -1
    store: FakeStore
    tls: ssl.SSLContext

    def log_message(self, *arguments: object) -> None:
        """Nothing."""

    def do_CONNECT(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.flush()
        self.connection = self.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb")
        self.close_connection = False

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        match = re.fullmatch(r"/storage/v1/b/([^/]+)(?:/o(?:/(.+))?)?", url.path)
        if match is None:  # a download
            self._download(unquote(url.path[1:]))
        elif self._is_allowed(match[1]):
            if match[2]:
                self._stat(match[1], unquote(match[2]))
            elif url.path.endswith("/o"):
                self._list(match[1], parse_qs(url.query))
            else:
                self._answer(200, {"name": match[1]})

    def do_POST(self) -> None:
        url, body = urlsplit(self.path), self._body()
        query = parse_qs(url.query)
        if url.path == "/fail":
            self.store.fail(*(int(query[name][0]) for name in ("first", "count")))
            self._answer(200, len(self.store.changes))
            return
        rewrite = re.fullmatch(
            r"/storage/v1/b/([^/]+)/o/(.+)/rewriteTo/b/([^/]+)/o/(.+)", url.path
        )
        if rewrite:
            source = f"{rewrite[1]}/{unquote(rewrite[2])}"
            target = f"{rewrite[3]}/{unquote(rewrite[4])}"
            if self._may_change(rewrite[3], target):
                if source not in self.store.objects:
                    self._answer(404, {})
                    return
                self.store.objects[target] = self.store.objects[source]
                self._answer(200, {"done": True})
            return
        bucket = re.fullmatch(r"/upload/storage/v1/b/([^/]+)/o", url.path)[1]
        name = f"{bucket}/{query['name'][0]}"
        if query["uploadType"] == ["resumable"]:
            if self._is_allowed(bucket):  # nothing has changed yet
                place = f"https://{_HOSTS[0]}/session?name={quote(name, safe='')}"
                self._answer(200, {}, Location=place)
        elif self._may_change(bucket, name):
            self.store.objects[name] = body
            self._answer(200, {})

    def do_PUT(self) -> None:
        name, body = parse_qs(urlsplit(self.path).query)["name"][0], self._body()
        if self._may_change(name.split("/")[0], name):
            self.store.objects[name] = body
            self._answer(200, {})

    def do_DELETE(self) -> None:
        match = re.fullmatch(r"/storage/v1/b/([^/]+)/o/(.+)", urlsplit(self.path).path)
        name = f"{match[1]}/{unquote(match[2])}"
        if self._may_change(match[1], name):
            held = self.store.objects.pop(name, None)
            self._answer(404 if held is None else 204)

    def _is_allowed(self, bucket: str) -> bool:
        code = 403 if bucket in self.store.forbidden else 404
        if code == 404 and bucket in self.store.buckets:
            return True
        self._answer(code, {"error": {"code": code}})
        return False

    def _may_change(self, bucket: str, name: str) -> bool:
        if not self._is_allowed(bucket):
            return False
        allowed = self.store.change(self.command, name)
        if not allowed:
            self._answer(403, {"error": {"code": 403, "message": "refused"}})
        return allowed

    def _stat(self, bucket: str, name: str) -> None:
        held = self.store.objects.get(f"{bucket}/{name}")
        if held is None:
            self._answer(404, {})
            return
        now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(0))
        self._answer(200, {"size": str(len(held)), "generation": "1", "updated": now})

    def _list(self, bucket: str, query: dict[str, list[str]]) -> None:
        prefix = query.get("prefix", [""])[0]
        delimiter = query.get("delimiter", [""])[0]
        items, prefixes = [], set()
        for name in sorted(self.store.objects):
            name = name.removeprefix(f"{bucket}/")
            if not name.startswith(prefix):
                continue
            head, found, _ = name[len(prefix) :].partition(delimiter or "\0")
            if delimiter and found:
                prefixes.add(prefix + head + delimiter)
            else:
                items.append({"name": name})
        most = int(query.get("maxResults", ["1000"])[0])
        self._answer(200, {"items": items[:most], "prefixes": sorted(prefixes)})

    def _download(self, name: str) -> None:
        held = self.store.objects.get(name)
        if held is None:
            self._answer(404, {})
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, last = map(int, wanted.groups()) if wanted else (0, len(held))
        if wanted and first >= len(held):
            self._answer(416)
            return
        self._send(206 if wanted else 200, held[first : last + 1])

    def _body(self) -> bytes:
        if self.headers.get("Expect") == "100-continue":
            self.send_response_only(100)
            self.end_headers()
            self.wfile.flush()
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, code: int, value: object = None, **headers: str) -> None:
        self._send(code, b"" if value is None else json.dumps(value).encode(), headers)

    def _send(self, code: int, body: bytes, headers: dict[str, str] | None = None):
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
