"""`bert-tf serve` in a process of its own."""

import http.client
import re
import time
from pathlib import Path
from typing import Any

from tests.tool_processes import ToolProcess

SECONDS = 60


class Server:
    """A server that is up.

    Args:
      export_dir: What it serves, as the model `words`.
      log: The file that takes what it prints.
      **flags: Others of its flags.
    """

    def __init__(self, export_dir: str, log: Path, **flags: Any):
        flags = {"model_dir": export_dir, "model_name": "words", "port": 0, **flags}
        self.process = ToolProcess("serve", flags, log)
        end = time.monotonic() + SECONDS
        pattern = r"serving words version 1 at http://127\.0\.0\.1:(\d+)\n"
        while not (log.exists() and (found := re.search(pattern, log.read_text()))):
            assert self.process.is_running and time.monotonic() < end, log.read_text()
            time.sleep(0.02)
        self.port = int(found[1])

    def connection(self) -> http.client.HTTPConnection:
        """Returns a connection to it, not yet open."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
