"""A run that is killed and started again ends with the same bytes."""

import json
import random
import re
import signal
import time

import pytest

from tests.programs import run, start
from tests.small_task import as_arguments, write_small_task

STEPS, SAVE_EVERY = 60, 3


def newest_step(folder) -> int:
    """Returns the step of the newest checkpoint; 0 if there is none."""
    state = folder / "checkpoint"
    if not state.exists():
        return 0
    return int(re.search(r'"model.ckpt-(\d+)"', state.read_text())[1])


@pytest.mark.slow
def test_two_kills_leave_no_trace(tmp_path, testdata, measured):
    flags = write_small_task(tmp_path, testdata, rows=96, vocab_size=30522)
    flags |= {
        "do_train": "true",
        "train_batch_size": "8",
        "num_train_epochs": str(STEPS * 8 / 96),
        "save_checkpoints_steps": str(SAVE_EVERY),
    }
    assert json.loads((tmp_path / "bert_config.json").read_text())[
        "hidden_dropout_prob"
    ]
    run("run_classifier.py", *as_arguments(flags))
    undisturbed, killed = tmp_path / "output", tmp_path / "killed"

    flags["output_dir"] = str(killed)
    seed = time.time_ns()
    draw = random.Random(seed)
    for wanted in sorted(draw.sample(range(STEPS - 10), 2)):
        process = start("run_classifier.py", *as_arguments(flags))
        deadline = time.monotonic() + 200
        while newest_step(killed) < wanted - SAVE_EVERY:
            assert process.poll() is None, process.communicate()[1][-2000:]
            assert time.monotonic() < deadline, f"seed {seed}: no step {wanted}"
            time.sleep(0.002)
        # Anywhere between two checkpoints, or inside the writing of one.
        time.sleep(draw.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, f"seed {seed}: it ended first"
        reached = newest_step(killed)
        assert reached < STEPS, f"seed {seed}"
        measured("a SIGKILL after the checkpoint of step", reached, at_least=0)
    run("run_classifier.py", *as_arguments(flags))

    differing = 0
    for suffix in ("index", "data-00000-of-00001"):
        name = f"model.ckpt-{STEPS}.{suffix}"
        one, other = (undisturbed / name).read_bytes(), (killed / name).read_bytes()
        differing += sum(a != b for a, b in zip(one, other, strict=True))
    measured("bytes that differ after these SIGKILLs", differing, at_most=0)
