"""Times this package and its peers in turn, each in a process of its own.

All are started one after the other and stay; then each row is timed in rounds, in which
everyone works for about a second while the others sleep. What slows the machine down
for a while thus slows down all, and the ratio of a round's two times holds.
"""

import contextlib
import dataclasses
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contender import Contender

OURS = "bert_tf"
_ROOT = Path(__file__).resolve().parents[1]
_ROUND_SECONDS = 0.7
_MOST_RUNS = 2000


@dataclasses.dataclass(frozen=True)
class Case:
    """What is compared at a time.

    Attributes:
      area: The module, by its full name, whose `CONTENDERS` these are.
      title: What it is called in tables.
      settings: What contenders are given; anything that JSON can hold.
      contenders: Names, ours first.
      rows: What is timed, by name -> how many units (`unit`) one run of it is.
      unit: What is counted in tables of rates.
    """

    area: str
    title: str
    settings: Any
    contenders: Sequence[str]
    rows: Mapping[str, float]
    unit: str = "rows"


@dataclasses.dataclass
class Result:
    """What was measured of one case.

    Attributes:
      title: The case's.
      unit: The case's.
      units: Row -> units in one run.
      seconds: Contender -> row -> seconds of one run, in each round.
      start: Contender -> seconds from its start until it was ready.
      peak: Contender -> the most bytes that its process held.
      apart: Contender -> how far its answers were from the first one's.
      skipped: Contender -> why it is not there.
    """

    title: str
    unit: str
    units: dict[str, float]
    seconds: dict[str, dict[str, list[float]]] = dataclasses.field(default_factory=dict)
    start: dict[str, float] = dataclasses.field(default_factory=dict)
    peak: dict[str, int] = dataclasses.field(default_factory=dict)
    apart: dict[str, float] = dataclasses.field(default_factory=dict)
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)

    def median(self, contender: str, row: str) -> float:
        """Returns the median of a run's seconds."""
        return statistics.median(self.seconds[contender][row])

    def ratio(self, contender: str, row: str, ours: str = OURS) -> float:
        """Returns how many times as long as ours a contender takes, round by round."""
        pairs = zip(self.seconds[contender][row], self.seconds[ours][row], strict=True)
        return statistics.median(theirs / mine for theirs, mine in pairs)


class _Process:
    """A contender at work."""

    def __init__(self, command: list[str]):
        self._process = subprocess.Popen(
            command,
            cwd=_ROOT,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # Read while it works, lest it waits for room to write.
        self._errors: list[str] = []
        import threading

        def read() -> None:
            assert self._process.stderr is not None
            for line in self._process.stderr:
                self._errors.append(line)
                del self._errors[:-40]

        self._reader = threading.Thread(target=read, daemon=True)
        self._reader.start()

    def answer(self) -> dict[str, Any]:
        """Returns its next line; raises RuntimeError if it ended instead."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._reader.join(5)
            last = [x.strip() for x in self._errors if x.strip()][-1:]
            raise RuntimeError(*(last or [f"exit code {self._process.returncode}"]))
        return json.loads(line)

    def ask(self, row: str, count: int) -> dict[str, Any]:
        """Returns the seconds of `count` runs, and the peak of memory."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # then there is no answer
            self._process.stdin.write(json.dumps([row, count]) + "\n")
            self._process.stdin.flush()
        return self.answer()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def _environment() -> dict[str, str]:
    """Returns this process's, with libraries silent and offline."""
    return {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "HF_HUB_OFFLINE": "1",
        "KERAS_BACKEND": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "TOKENIZERS_PARALLELISM": "true",
    }


def _command(case: Case, name: str, folder: Path, *more: str) -> list[str]:
    settings = json.dumps(case.settings)
    return [
        *(sys.executable, "-m", "benchmarks.contender"),
        *(case.area, name, str(folder), settings, *more),
    ]


def missing(contender: Contender) -> list[str]:
    """Returns the packages that a contender needs and that are not installed."""
    return [name for name in contender.needs if not importlib.util.find_spec(name)]


def compare(
    case: Case,
    contenders: Mapping[str, Contender],
    folder: Path,
    rounds: int,
    say: Callable[[str], None],
) -> Result:
    """Times all rows of a case.

    Args:
      case: What is compared.
      contenders: The area's.
      folder: For what contenders prepare, which other cases may find there.
      rounds: How often everyone's turn comes.
      say: Told what happens.
    """
    result = Result(case.title, case.unit, dict(case.rows))
    processes: dict[str, _Process] = {}
    first_answers: dict[str, Any] = {}
    try:
        for name in case.contenders:
            try:
                ready = _start(case, name, contenders[name], folder, processes)
            except RuntimeError as error:
                result.skipped[name] = str(error)
                say(f"  {name} is skipped: {error}")
                continue
            result.start[name] = ready["seconds"]
            if ready["answers"]:
                first_answers = first_answers or ready["answers"]
                apart = _apart(first_answers, ready["answers"])
                result.apart[name] = apart
                if apart > ready["within"]:
                    raise SystemExit(
                        f"Expected {name} to compute the same within "
                        f"{ready['within']}, found it {apart:.2g} apart in "
                        f"{case.title}; what differs cannot be compared."
                    )
        for row in case.rows:
            _time_row(row, processes, rounds, result, say)
    finally:
        for process in processes.values():
            process.end()
    return result


def _start(
    case: Case,
    name: str,
    contender: Contender,
    folder: Path,
    processes: dict[str, _Process],
) -> dict[str, Any]:
    lacking = missing(contender)
    if lacking:
        raise RuntimeError(f"{', '.join(lacking)} is not installed")
    if contender.prepare:
        done = subprocess.run(
            _command(case, name, folder, "--prepare"),
            cwd=_ROOT,
            env=_environment(),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            raise RuntimeError(lines[-1] if lines else f"exit code {done.returncode}")
    process = _Process(_command(case, name, folder))
    try:
        ready = process.answer()
    except RuntimeError:
        process.end()
        raise
    processes[name] = process
    return ready


def _time_row(
    row: str,
    processes: dict[str, _Process],
    rounds: int,
    result: Result,
    say: Callable[[str], None],
) -> None:
    """Times a row; whoever dies is out of it, and of those that follow."""
    counts: dict[str, int] = {}

    def warm(name: str) -> None:
        processes[name].ask(row, 1)  # traces, compiles
        processes[name].ask(row, 1)
        pace = processes[name].ask(row, 1)["seconds"]
        counts[name] = min(max(round(_ROUND_SECONDS / pace), 1), _MOST_RUNS)
        result.seconds.setdefault(name, {})[row] = []

    def work(name: str) -> None:
        time.sleep(0.05)  # threads of the one before stop spinning
        done = processes[name].ask(row, counts[name])
        result.seconds[name][row].append(done["seconds"] / counts[name])
        result.peak[name] = done["peak"]

    for turn in [warm, *[work] * rounds]:
        for name in list(processes):
            try:
                turn(name)
            except RuntimeError as error:
                processes.pop(name).end()
                result.seconds.get(name, {}).pop(row, None)
                result.skipped[name] = f"{row}: {error}"
                say(f"  {name} is skipped from {row} on: {error}")


def _apart(expected: Mapping[str, Any], found: Mapping[str, Any]) -> float:
    return max(
        float(np.abs(np.subtract(expected[name], found[name])).max())
        for name in expected
    )
