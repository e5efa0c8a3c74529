"""One of those that are compared, in a process of its own.

    python -m benchmarks.contender AREA NAME FOLDER JSON [--prepare]

Started by `side_by_side`, which tells it when to work: one at a time has the machine.
It answers on stdout in lines of JSON.
"""

import contextlib
import dataclasses
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.fresh_process import peak, peak_of_children

# Does what is measured so many times.
Run = Callable[[int], Any]


@dataclasses.dataclass(frozen=True)
class Ready:
    """What a contender can do.

    Attributes:
      runs: Name of a row -> what is timed.
      answers: What was computed, arrays that all contenders' have to be close to; as
        nested lists.
      within: How far these may be apart.
    """

    runs: dict[str, Run]
    answers: dict[str, Any] = dataclasses.field(default_factory=dict)
    within: float = 1e-4


@dataclasses.dataclass(frozen=True)
class Contender:
    """Someone who can be compared.

    Attributes:
      make: Given the case's settings and its folder, returns what can be timed.
      prepare: The same, but once and before, in a process of its own: writes what
        `make` finds in the folder.
      needs: Packages without which it is skipped.
    """

    make: Callable[[Any, Path], Ready]
    prepare: Callable[[Any, Path], Any] | None = None
    needs: tuple[str, ...] = ()


def repeated(function: Callable[[], Any]) -> Run:
    """Returns what calls a function so many times."""

    def run(count: int) -> None:
        for _ in range(count):
            function()

    return run


def _since_start() -> float:
    """Returns the seconds since this process was started."""
    import psutil

    return time.time() - psutil.Process().create_time()


def main(arguments: list[str]) -> None:
    """Gets ready, says so, and works whenever it is told to."""
    area, name, folder, settings = arguments[:4]
    # What libraries print is no answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    contender = importlib.import_module(area).CONTENDERS[name]
    given = json.loads(settings)
    if "--prepare" in arguments:
        contender.prepare(given, Path(folder))
        return
    ready = contender.make(given, Path(folder))
    say(
        rows=list(ready.runs),
        answers=ready.answers,
        within=ready.within,
        seconds=_since_start(),
    )
    with contextlib.suppress(KeyboardInterrupt):
        for line in sys.stdin:
            row, count = json.loads(line)
            start = time.perf_counter()
            ready.runs[row](count)
            seconds = time.perf_counter() - start
            say(seconds=seconds, peak=max(peak(), peak_of_children()))
    os._exit(0)  # some libraries take seconds to end


if __name__ == "__main__":
    main(sys.argv[1:])
