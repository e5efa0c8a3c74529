"""A run that is killed and started again ends with the same bytes."""

import json
import random
import signal
import time

import pytest

from tests.programs import run, start
from tests.small_task import as_arguments, write_small_task

STEPS, SAVE_EVERY = 60, 10


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
    undisturbed = tmp_path / "output"

    flags["output_dir"] = str(tmp_path / "killed")
    state = tmp_path / "killed" / "checkpoint"
    draw = random.Random()
    for kill in range(2):
        process = start("run_classifier.py", *as_arguments(flags))
        wanted = f"-{SAVE_EVERY * (1 + 2 * kill)}"
        deadline = time.monotonic() + 200
        while not (state.exists() and wanted in state.read_text()):
            assert process.poll() is None, process.communicate()[1][-2000:]
            assert time.monotonic() < deadline, "no checkpoint appeared"
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
        assert f"-{STEPS}" not in state.read_text()
    process = start("run_classifier.py", *as_arguments(flags))
    _, log = process.communicate(timeout=250)
    assert process.returncode == 0 and "continuing from step" in log, log[-2000:]

    differing = 0
    for suffix in ("index", "data-00000-of-00001"):
        name = f"model.ckpt-{STEPS}.{suffix}"
        one = (undisturbed / name).read_bytes()
        other = (tmp_path / "killed" / name).read_bytes()
        differing += sum(a != b for a, b in zip(one, other, strict=True))
    measured("bytes that differ after two SIGKILLs", differing, at_most=0)
