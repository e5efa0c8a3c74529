"""`make demo` does the main job, from the download to five right answers."""

import re
import time

import pytest

from examples.demo import FOLDER, fetch
from tests.programs import run


@pytest.mark.acceptance
@pytest.mark.timeout(1200)
def test_demo(measured):
    FOLDER.mkdir(exist_ok=True)
    fetch(FOLDER)
    start = time.monotonic()
    printed = run("examples/demo.py", timeout=600)
    measured(
        "seconds of make demo after the download",
        round(time.monotonic() - start),
        at_most=180,
    )
    answers = re.findall(r"^ *(\w+) (\d\.\d\d)  \w", printed, re.M)
    assert [label for label, _ in answers] == [
        "sport",
        "cooking",
        "astronomy",
        "gardening",
        "computing",
    ]
    measured(
        "five new sentences, least sure",
        min(float(p) for _, p in answers),
        at_least=0.5,
    )
