"""Runs tools in processes of their own that need not import TensorFlow anew.

They are forked from a process that has imported it and done nothing else, so that each
is as fresh as one that a user starts, and is there at once.
"""

import importlib
import multiprocessing
import os
import signal
from collections.abc import Mapping
from pathlib import Path

_SECONDS = 200


class ToolProcess:
    """A tool at work.

    Args:
      tool: Its module's name, as `bert-tf` has it.
      flags: Its flags.
      log: The file that takes what it prints.
    """

    def __init__(self, tool: str, flags: Mapping[str, str], log: Path):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tensorflow", "keras", "tensorflow_text"])
        arguments = [f"--{name}={value}" for name, value in flags.items()]
        self.log = log
        self._process = context.Process(target=_run, args=(tool, arguments, str(log)))
        self._process.start()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        os.kill(self._process.pid, number)

    def wait(self) -> int:
        """Returns its exit code once it has ended, negative for a signal's."""
        self._process.join(_SECONDS)
        assert not self.is_running, f"it runs after {_SECONDS} s: {self.output()}"
        return self._process.exitcode

    def output(self) -> str:
        """Returns the last of what it printed."""
        return self.log.read_text()[-3000:]


def run_tool(tool: str, flags: Mapping[str, str], log: Path) -> None:
    """Runs a tool to its end.

    Raises:
      AssertionError: It failed; the message holds its last lines.
    """
    process = ToolProcess(tool, flags, log)
    code = process.wait()
    assert code == 0, f"exit code {code}: {process.output()}"


def _run(tool: str, arguments: list[str], log: str) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    code = importlib.import_module(f"bert_tf.tools.{tool}").main(arguments)
    os._exit(code)
