"""`make demo` does the main job, from the download to five right answers."""

import re
import shutil
import time

import pytest

from examples.pretrained import FOLDER, INSIDE, fetch
from tests.programs import run

TOPICS = ["sport", "cooking", "astronomy", "gardening", "computing"]


@pytest.mark.acceptance
@pytest.mark.timeout(1200)
def test_demo(measured):
    fetch()
    start = time.monotonic()
    printed = run("examples/demo.py", timeout=600)
    measured(
        "seconds of make demo after the download",
        round(time.monotonic() - start),
        at_most=180,
    )
    answers = re.findall(r"^ *(\w+) (\d\.\d\d)  \w", printed, re.M)
    assert [label for label, _ in answers] == TOPICS
    measured(
        "five new sentences, least sure",
        min(float(p) for _, p in answers),
        at_least=0.5,
    )


@pytest.mark.acceptance
@pytest.mark.timeout(1200)
def test_demo_without_a_network(tmp_path, measured):
    """The small model of examples/tiny takes the place of the fetched one."""
    fetched, aside = FOLDER / INSIDE, tmp_path / "model"
    if fetched.exists():
        shutil.move(fetched, aside)
    try:
        printed = run("examples/demo.py", timeout=600, PIP_NO_INDEX="1")
    finally:
        if aside.exists():
            shutil.move(aside, fetched)
    assert "going on with examples/tiny" in printed
    answers = re.findall(r"^ *(\w+) \d\.\d\d  \w", printed, re.M)
    right = sum(map(str.__eq__, answers, TOPICS))
    measured("right of five, by examples/tiny in the demo", right, at_least=3)
