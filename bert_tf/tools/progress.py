"""How far a tool has come, and whether it was asked to end."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from bert_tf.tools.termination import Termination

_SECONDS_BETWEEN_LINES = 30


@contextlib.contextmanager
def progress_bar(
    termination: Termination, what: str, total: int, unit: str
) -> Iterator[Callable[[int], None]]:
    """Shows progress with rate and time left: a bar, or now and then a line.

    Args:
      termination: Once it is requested, the next advance raises KeyboardInterrupt.
      what: What is gone through.
      total: How much there is of it.
      unit: In what: `B` for bytes, or a noun in the singular.

    Yields:
      What to call with how much more was done.
    """
    from tqdm import tqdm

    is_terminal = sys.stderr.isatty()
    with tqdm(
        desc=what,
        total=total,
        unit=unit if unit == "B" else f" {unit}s",
        unit_scale=True,
        disable=not is_terminal,
        dynamic_ncols=True,
    ) as shown:
        begun = last = time.monotonic()
        done = 0

        def advance(count: int) -> None:
            nonlocal done, last
            # A KeyboardInterrupt that came at any place could be lost in one that
            # Python ignores.
            if termination.requested:
                raise KeyboardInterrupt
            done += count
            shown.update(count)
            now = time.monotonic()
            if not is_terminal and now - last > _SECONDS_BETWEEN_LINES:
                last = now
                rate = max(1.0, done / (now - begun))
                _log(what, done, total, unit, rate)

        yield advance
        if not is_terminal and done:
            _log(what, done, total, unit, done / (time.monotonic() - begun))


def _log(what: str, done: int, total: int, unit: str, rate: float) -> None:
    from absl import logging

    scale, name = (1e6, "MB") if unit == "B" else (1, f"{unit}s")
    logging.info(
        "%s: %s of %s %s, %s a second, %.0f s left",
        what,
        f"{done / scale:,.0f}",
        f"{total / scale:,.0f}",
        name,
        f"{rate / scale:,.1f}" if unit == "B" else f"{rate:,.0f}",
        max(0, total - done) / rate,
    )
