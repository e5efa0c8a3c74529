"""What all tests share: quiet TensorFlow logs, and where the data is."""

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

# TensorFlow reads this when it is first imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# A shell that starts the tests in the background has Ctrl-C ignored, and what is
# ignored here would be in the programs that tests start.
with contextlib.suppress(ValueError):
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Marks every test that uses `real_data` or `measured` with that marker.

    The longest files come first, so that no core waits for them in the end.
    """
    longest = ("training", "end_to_end")
    items.sort(key=lambda item: item.path.parent.name not in longest)
    for item in items:
        for name in ("real_data", "measured"):
            if name in getattr(item, "fixturenames", ()):
                item.add_marker(name)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data that BERT_TF_DATA names; without one, skips."""
    folder = os.environ.get("BERT_TF_DATA")
    if not folder:
        pytest.skip("needs real data: set BERT_TF_DATA to its folder")
    path = Path(folder)
    if not path.is_dir():
        pytest.skip(f"needs real data: BERT_TF_DATA names {folder}, not a folder")
    return path


@pytest.fixture(scope="session")
def testdata() -> Path:
    """The small files kept with the tests, tests/testdata."""
    return Path(__file__).resolve().parent / "testdata"


@pytest.fixture
def measured(record_property) -> Callable[..., None]:
    """Checks a figure against its bound, and notes both for `make acceptance`."""

    def check(what: str, value, *, at_most=None, at_least=None) -> None:
        bound = "none"
        if at_most is not None or at_least is not None:
            bound = f"<= {at_most}" if at_most is not None else f">= {at_least}"
        record_property("measured", (what, value, bound))
        assert at_most is None or value <= at_most, f"{what}: {value}, not {bound}"
        assert at_least is None or value >= at_least, f"{what}: {value}, not {bound}"

    return check
