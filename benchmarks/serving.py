"""Requests that `bert-tf serve` answers a second, and how long each waits.

    python -m benchmarks.serving EXPORT_DIR TEXT [--seconds=60]

Each client asks for one line of TEXT after the other, over a connection that it keeps.
First 64 clients, then 64 with batches of one row, then one client alone; the last row
ends under load: SIGTERM comes half-way, and what was sent has to be answered still. The
server and the clients are a process each, which share the machine's cores.
"""

import argparse
import asyncio
import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.fresh_process import measure

_CLIENTS = 64
_WARM_UP_SECONDS = 2.0
# Of the text, and of a line.
_CHARACTERS = 10**6
_LONGEST = 2000


def ask(job: dict) -> dict[str, float]:
    """Asks a server for a while.

    Args:
      job: `port`, `path`, `input` (the name of the signature's input), `text`,
        `clients`, `seconds`, and `pid` of a server to end half-way, or None.

    Returns:
      `requests`, answered; `failed`, sent and not answered or with an error; `rate`,
      requests answered a second; `p50` and `p99`, milliseconds.
    """
    return asyncio.run(_ask(**job))


async def _ask(
    port: int,
    path: str,
    names: list[str],
    text: str,
    clients: int,
    seconds: float,
    pid: int | None,
) -> dict[str, float]:
    with Path(text).open(encoding="utf-8", errors="ignore") as file:
        lines = file.read(_CHARACTERS).split("\n")
    lines = [line[:_LONGEST] for line in lines if line.strip()]
    waits: list[float] = []
    failed = 0
    start = time.perf_counter()
    begin, end = start + _WARM_UP_SECONDS, start + _WARM_UP_SECONDS + seconds

    async def client(number: int) -> None:
        nonlocal failed
        draw = random.Random(number)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        closing = False
        while not closing and time.perf_counter() < end:
            row = {name: draw.choice(lines) for name in names}
            body = json.dumps({"instances": [row]}).encode()
            sent = time.perf_counter()
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n"
            head += f"Content-Length: {len(body)}\r\n\r\n"
            try:
                writer.write(head.encode() + body)
                answer = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = answer.partition(b"content-length: ")[2].split()[0]
                await reader.readexactly(int(length))
            except (OSError, asyncio.IncompleteReadError):
                failed += 1
                return
            closing = b"connection: close" in answer
            if b" 200 " not in answer[:20]:
                failed += 1
            elif sent >= begin:
                waits.append(time.perf_counter() - sent)
        writer.close()

    async def end_the_server() -> None:
        await asyncio.sleep((begin + end) / 2 - time.perf_counter())
        await asyncio.to_thread(subprocess.run, ["kill", str(pid)], check=True)

    jobs = [client(number) for number in range(clients)]
    if pid is not None:
        jobs.append(end_the_server())
    await asyncio.gather(*jobs)
    p50, p99 = np.percentile(waits, [50, 99]) * 1e3
    rate = len(waits) / (time.perf_counter() - begin)
    return {
        "requests": len(waits),
        "failed": failed,
        "rate": rate,
        "p50": p50,
        "p99": p99,
    }


class _Server:
    """A server at work on a free port."""

    def __init__(self, export_dir: str, max_batch_size: int):
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "bert_tf.tools.main", "serve", "--port=0"),
                f"--model_dir={export_dir}",
                "--model_name=measured",
                f"--max_batch_size={max_batch_size}",
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        found = re.search(r" at http://127\.0\.0\.1:(\d+)$", line)
        if not found:
            raise SystemExit(line + self._process.stderr.read())
        self.port = int(found[1])

    def end(self) -> None:
        """Tells it to end."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Returns its exit code once it has ended."""
        return self._process.wait()


def main(arguments: list[str]) -> None:
    """Measures all rows and prints a table."""
    if arguments[0] == "--one":
        print(json.dumps(ask(json.loads(arguments[1]))))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("export_dir")
    parser.add_argument("text")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--max_batch_size", type=int, default=32)
    given = parser.parse_args(arguments)

    def row(name: str, batch: int, clients: int, is_ended: bool = False) -> float:
        server = _Server(given.export_dir, batch)
        try:
            job = {
                "port": server.port,
                "path": "/v1/models/measured:predict",
                "names": _inputs(server.port),
                "text": given.text,
                "clients": clients,
                "seconds": given.seconds,
                "pid": server.pid if is_ended else None,
            }
            found = measure("benchmarks.serving", job)
        finally:
            if not is_ended:
                server.end()
        print(
            f"{name:<28}{found['rate']:>11.1f}{found['p50']:>9.1f}{found['p99']:>9.1f}"
            f"{found['requests']:>10}{found['failed']:>8}{server.wait():>6}",
            flush=True,
        )
        return found["rate"]

    print(f"{'':<28}{'requests/s':>11}{'p50 ms':>9}{'p99 ms':>9}", end="")
    print(f"{'answered':>10}{'failed':>8}{'exit':>6}")
    together = row(f"{_CLIENTS} clients", given.max_batch_size, _CLIENTS)
    apart = row(f"{_CLIENTS} clients, batches of 1", 1, _CLIENTS)
    alone = row("1 client", given.max_batch_size, 1)
    row(f"{_CLIENTS} clients, SIGTERM", given.max_batch_size, _CLIENTS, True)
    print(f"in batches, times as many as in batches of 1: {together / apart:.2f}")
    print(f"with {_CLIENTS} clients, times as many as with one: {together / alone:.2f}")


def _inputs(port: int) -> list[str]:
    """Returns the names of the default signature's inputs."""
    import urllib.request

    url = f"http://127.0.0.1:{port}/v1/models/measured/metadata"
    with urllib.request.urlopen(url) as answer:
        metadata = json.load(answer)["metadata"]["signature_def"]["signature_def"]
    return sorted(metadata["serving_default"]["inputs"])


if __name__ == "__main__":
    main(sys.argv[1:])
