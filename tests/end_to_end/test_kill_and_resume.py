"""A run that is killed and started again ends with the same bytes."""

import json
import random
import signal
import time

import pytest

from tests.programs import run, start
from tests.small_task import as_arguments, write_small_task

STEPS, SAVE_EVERY = 100, 10


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
    last = f"model.ckpt-{STEPS}"
    # From the first batch to the last checkpoint, tracing the step included.
    begun = (undisturbed / "train.tf_record").stat().st_mtime
    duration = (undisturbed / f"{last}.index").stat().st_mtime - begun

    flags["output_dir"] = str(tmp_path / "killed")
    killed = tmp_path / "killed"
    seed = time.time_ns()
    draw = random.Random(seed)
    reached = []
    for _ in range(2):
        process = start("run_classifier.py", *as_arguments(flags))
        records = killed / "train.tf_record"
        before = records.stat().st_mtime if records.exists() else 0
        deadline = time.monotonic() + 200
        while not (records.exists() and records.stat().st_mtime > before):
            assert process.poll() is None, process.communicate()[1][-2000:]
            assert time.monotonic() < deadline, "training did not begin"
            time.sleep(0.02)
        # Two kills cannot reach the end: each pays for tracing anew.
        time.sleep(draw.uniform(0.1, 0.6) * duration)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, f"seed {seed}: it ended first"
        steps = [int(p.stem.split("-")[1]) for p in killed.glob("model.ckpt-*.index")]
        reached.append(max(steps, default=0))
    assert reached[-1] < STEPS, f"seed {seed}"
    run("run_classifier.py", *as_arguments(flags))

    differing = 0
    for suffix in ("index", "data-00000-of-00001"):
        one = (undisturbed / f"{last}.{suffix}").read_bytes()
        other = (killed / f"{last}.{suffix}").read_bytes()
        differing += sum(a != b for a, b in zip(one, other, strict=True))
    measured(
        f"bytes that differ after SIGKILLs behind steps {reached[0]} and {reached[1]}",
        differing,
        at_most=0,
    )
