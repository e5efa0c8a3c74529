"""What memory this machine has, and this process of it."""

import contextlib
from pathlib import Path

import psutil


def held_by_process() -> int:
    """Returns the bytes of memory that this process holds now."""
    return psutil.Process().memory_info().rss


def available(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Returns the bytes that this process can still get.

    Args:
      cgroup: Where Linux says what a container may use.
    """
    free = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):  # `max`, or no such file
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        stat = dict(map(str.split, (cgroup / "memory.stat").read_text().splitlines()))
        # Pages of files that were read, which give way.
        free = min(free, max(0, limit - used + int(stat.get("inactive_file", 0))))
    return free


def in_gb(number: float) -> str:
    """Returns bytes in GB, as in `1.3 GB`."""
    return f"{number / 10**9:.1f} GB"
