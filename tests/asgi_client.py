"""Calls an ASGI application without sockets."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any


async def request(
    app: Any, method: str, path: str, body: bytes | Sequence[bytes] = b""
) -> tuple[int, Any]:
    """Returns the status and the content of an answer.

    Args:
      app: The application.
      method: Such as `GET`.
      path: From the first slash on.
      body: The request's, or its pieces. What is no bytes is sent as JSON.
    """
    if not isinstance(body, (bytes, list)):
        body = json.dumps(body).encode()
    pieces = [body] if isinstance(body, bytes) else list(body)
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode("utf-8", "replace"),
        "query_string": b"",
        "headers": [(b"host", b"testserver")],
    }

    async def receive() -> dict[str, Any]:
        piece = pieces.pop(0) if pieces else b""
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    sent = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in sent)
    is_json = (b"content-type", b"application/json") in sent[0]["headers"]
    return sent[0]["status"], json.loads(content) if is_json else content


def call(app: Any, method: str, path: str, body: Any = b"") -> tuple[int, Any]:
    """Does the same where no event loop runs."""
    return asyncio.run(request(app, method, path, body))
