"""A run that is killed and started again ends with the same bytes."""

import json
import random
import re
import signal
import time
from pathlib import Path

import pytest

from tests.programs import run, start
from tests.small_pretraining import write_small_pretraining
from tests.small_task import as_arguments, write_small_task

SAVE_EVERY = 3


def newest_step(folder) -> int:
    """Returns the step of the newest checkpoint; 0 if there is none."""
    state = folder / "checkpoint"
    if not state.exists():
        return 0
    return int(re.search(r'"model.ckpt-(\d+)"', state.read_text())[1])


def classification(tmp_path, testdata, steps: int) -> tuple[str, dict[str, str]]:
    """Returns a script and the flags with which it trains so many steps."""
    flags = write_small_task(tmp_path, testdata, rows=96, vocab_size=30522)
    return "run_classifier.py", {
        **flags,
        "train_batch_size": "8",
        "num_train_epochs": str(steps * 8 / 96),
    }


def pretraining(tmp_path, testdata, steps: int) -> tuple[str, dict[str, str]]:
    """The same of pretraining, with masks that are drawn afresh."""
    flags = write_small_pretraining(
        tmp_path, testdata, vocab_size=30522, num_hidden_layers=2
    )
    return "run_pretraining.py", {
        **flags,
        "vocab_file": str(tmp_path / "vocab.txt"),
        "dynamic_masking": "true",
        "num_train_steps": str(steps),
    }


def bytes_that_differ(
    script: str, flags: dict[str, str], steps: int, signals: list[int]
) -> int:
    """Trains twice, once sent signals at random moments; compares the checkpoints.

    Args:
      script: What trains.
      flags: Its flags.
      steps: How many steps these train.
      signals: What to send; after each the same command goes on.

    Returns:
      How many bytes of the last checkpoints' files differ.
    """
    flags |= {"do_train": "true", "save_checkpoints_steps": str(SAVE_EVERY)}
    config = json.loads(Path(flags["bert_config_file"]).read_text())
    assert config["hidden_dropout_prob"]
    run(script, *as_arguments(flags))
    undisturbed = Path(flags["output_dir"])
    disturbed = undisturbed.with_name("disturbed")

    flags["output_dir"] = str(disturbed)
    seed = time.time_ns()
    draw = random.Random(seed)
    moments = sorted(draw.sample(range(steps - 10), len(signals)))
    for wanted, signal_number in zip(moments, signals, strict=True):
        process = start(script, *as_arguments(flags))
        deadline = time.monotonic() + 200
        while newest_step(disturbed) < wanted - SAVE_EVERY:
            assert process.poll() is None, process.communicate()[1][-2000:]
            assert time.monotonic() < deadline, f"seed {seed}: no step {wanted}"
            time.sleep(0.002)
        # Anywhere between two checkpoints, or inside the writing of one; SIGTERM is
        # only noted once training has begun.
        if signal_number == signal.SIGTERM:
            before = newest_step(disturbed)
            while newest_step(disturbed) == before:
                assert process.poll() is None, process.communicate()[1][-2000:]
                time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.15))
        process.send_signal(signal_number)
        log = process.communicate()[1]
        ended = 0 if signal_number == signal.SIGTERM else -signal.SIGKILL
        assert process.returncode == ended, f"seed {seed}: {log[-2000:]}"
        assert newest_step(disturbed) < steps, f"seed {seed}: it ended first"
    run(script, *as_arguments(flags))

    differing = 0
    for suffix in ("index", "data-00000-of-00001"):
        name = f"model.ckpt-{steps}.{suffix}"
        one, other = (undisturbed / name).read_bytes(), (disturbed / name).read_bytes()
        differing += sum(a != b for a, b in zip(one, other, strict=True))
    return differing


@pytest.mark.acceptance
def test_two_kills_and_a_sigterm_leave_no_trace(tmp_path, testdata, measured):
    signals = [signal.SIGKILL, signal.SIGTERM, signal.SIGKILL]
    differing = bytes_that_differ(*pretraining(tmp_path, testdata, 50), 50, signals)
    what = "bytes changed by 2 SIGKILLs and a SIGTERM, pretraining with dynamic masks"
    measured(what, differing, at_most=0)


@pytest.mark.acceptance
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("kind", [pretraining, classification])
@pytest.mark.parametrize(
    ("count", "number"), [(20, signal.SIGKILL), (5, signal.SIGTERM)], ids=str
)
def test_many_signals_leave_no_trace(tmp_path, testdata, measured, kind, count, number):
    script, flags = kind(tmp_path, testdata, 200)
    differing = bytes_that_differ(script, flags, 200, [number] * count)
    name = signal.Signals(number).name
    what = f"bytes changed by {count} {name}s in 200 steps of {kind.__name__}"
    measured(what, differing, at_most=0)
