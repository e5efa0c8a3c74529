"""Measures in a process of its own, which nothing before has filled or warmed."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any


def measure(module: str, job: Any) -> Any:
    """Runs `python -m MODULE --one JOB` and returns what it prints last.

    Args:
      module: A module of this package.
      job: What to measure; anything that JSON can hold.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, "--one", json.dumps(job)],
        cwd=Path(__file__).resolve().parents[1],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def peak() -> int:
    """Returns the most bytes that this process has held."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts in what the parent held
        line = next(x for x in status.read_text().splitlines() if "VmHWM" in x)
        return int(line.split()[1]) * 1024
    return _most(resource.RUSAGE_SELF)


def peak_of_children() -> int:
    """Returns the most bytes that a process which this one started has held."""
    return _most(resource.RUSAGE_CHILDREN)


def _most(who: int) -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(who).ru_maxrss * unit
