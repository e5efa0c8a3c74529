"""Two processes that train together: one is killed, and both go on as if none was."""

import re
import signal
import time
from pathlib import Path

import pytest

from tests.end_to_end.test_kill_and_resume import newest_step
from tests.programs import free_addresses
from tests.small_task import write_small_task
from tests.tool_processes import ToolProcess

STEPS, SAVE_EVERY = 60, 5


def start_pair(flags: dict[str, str], logs: Path) -> list[ToolProcess]:
    """Starts two workers."""
    workers = ",".join(free_addresses(2))
    logs.mkdir(exist_ok=True)
    return [
        ToolProcess(
            "run_classifier",
            {**flags, "workers": workers, "worker_index": str(index)},
            logs / f"{index}.log",
        )
        for index in range(2)
    ]


@pytest.fixture
def flags(tmp_path, testdata):
    return {
        **write_small_task(tmp_path, testdata, rows=80),
        "do_train": "true",
        "do_eval": "true",
        "dev_fraction": "0.2",
        "best_metric": "eval_loss",
        "train_batch_size": "8",
        "num_train_epochs": str(STEPS / 8),
        "save_checkpoints_steps": str(SAVE_EVERY),
        "iterations_per_loop": "1",
        "distribution_strategy": "multi_worker_mirrored",
    }


@pytest.mark.acceptance
def test_a_killed_worker_leaves_no_trace(flags, tmp_path, measured):
    undisturbed, disturbed = tmp_path / "output", tmp_path / "disturbed"
    for process in start_pair(flags, tmp_path / "first"):
        assert process.wait() == 0, process.output()

    flags["output_dir"] = str(disturbed)
    pair = start_pair(flags, tmp_path / "second")
    while not 0 < newest_step(disturbed) < STEPS - 2 * SAVE_EVERY:
        assert all(p.is_running for p in pair), pair[0].output()
        time.sleep(0.01)
    chief, killed = pair
    killed.send(signal.SIGKILL)
    start = time.monotonic()
    assert chief.wait() == 1, chief.output()
    measured(
        "seconds until a worker misses another", time.monotonic() - start, at_most=60
    )
    assert re.search(
        r"run_classifier: Expected all 2 workers .* worker 1 \(127.0.0.1:\d+\) "
        r"stopped answering worker 0; start all workers again .*disturbed\.$",
        chief.output().strip(),
    )
    assert newest_step(disturbed) < STEPS
    for process in start_pair(flags, tmp_path / "third"):
        assert process.wait() == 0, process.output()

    for suffix in (".index", ".data-00000-of-00001"):
        name = f"model.ckpt-{STEPS}{suffix}"
        assert (disturbed / name).read_bytes() == (undisturbed / name).read_bytes()
    results = (undisturbed / "eval_results.txt").read_text()
    assert (disturbed / "eval_results.txt").read_text() == results
    # One worker speaks and writes.
    assert "loss" not in (tmp_path / "first/1.log").read_text()
    assert len(list(undisturbed.glob("events*"))) == 1


def test_workers_of_other_flags_are_refused(flags, tmp_path):
    workers = ",".join(free_addresses(2))
    pair = [
        ToolProcess(
            "run_classifier",
            {**flags, "workers": workers, "worker_index": str(index), **more},
            tmp_path / f"{index}.log",
        )
        for index, more in enumerate([{}, {"learning_rate": "2e-3"}])
    ]
    for process in pair:
        assert process.wait() == 1, process.output()
        assert "Expected the same flags and files" in process.output().splitlines()[-1]
    assert not (tmp_path / "output").exists()
