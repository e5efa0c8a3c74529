"""Signals that ask a run to end: Ctrl-C, and SIGTERM, which schedulers send."""

import signal
import threading
from types import FrameType
from typing import Any, Self


class Termination:
    """Takes note of signals while it is entered, instead of dying of them.

    Args:
      *signals: SIGTERM alone if none is named. A second SIGINT interrupts at once.

    Attributes:
      requested: Whether one came.
    """

    def __init__(self, *signals: int) -> None:
        self.requested = False
        self._signals = signals or (signal.SIGTERM,)
        self._former: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # Only a main thread may handle signals; elsewhere they are the program's.
        if threading.current_thread() is threading.main_thread():
            for number in self._signals:
                self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *details: object) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
