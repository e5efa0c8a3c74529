"""Runs a tool as its user would: in a process of its own."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def start(*arguments: str | Path, **environment: str) -> subprocess.Popen:
    """Starts `python ARGUMENTS` in the project's root."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments: str | Path, timeout: float = 280, **environment: str) -> str:
    """Runs `python ARGUMENTS` to its end and returns what it printed.

    Args:
      *arguments: Of the interpreter.
      timeout: Seconds to wait.
      **environment: Variables to set for the process.

    Raises:
      AssertionError: It failed; the message holds its last lines.
    """
    process = start(*arguments, **environment)
    output, errors = process.communicate(timeout=timeout)
    assert process.returncode == 0, f"exit code {process.returncode}: {errors[-3000:]}"
    return output


def free_addresses(count: int) -> list[str]:
    """Addresses of this host that nothing listens at."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return addresses
