"""SIGTERM, which schedulers send before they take a machine away."""

import signal
import threading
from types import FrameType
from typing import Any, Self


class Termination:
    """Takes note of SIGTERM while it is entered, instead of dying of it.

    Attributes:
      requested: Whether it came.
    """

    def __init__(self) -> None:
        self.requested = False
        self._former: Any = None

    def __enter__(self) -> Self:
        # Only a main thread may handle signals; elsewhere they are the program's.
        if threading.current_thread() is threading.main_thread():
            self._former = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *details: object) -> None:
        if self._former is not None:
            signal.signal(signal.SIGTERM, self._former)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
