"""Making pretraining data, killed and started again: the same bytes, nothing twice."""

import random
import signal
import time
from pathlib import Path

import pytest

from bert_tf.data.pretraining_config import PretrainingDataConfig
from bert_tf.data.pretraining_data import create_pretraining_data
from tests.tool_processes import ToolProcess, run_tool

SHARDS = 6
TOOL = "create_pretraining_data"


def shards(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of each shard that is whole."""
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.glob("records-*-of-*")
    }


@pytest.mark.parametrize(
    ("mode", "kills"),
    [("stream", 2), ("reference", 1)],
)
@pytest.mark.acceptance
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, testdata, mode, kills):
    values = {
        "input_file": str(testdata / "corpus.txt"),
        "vocab_file": str(testdata / "vocab_uncased.txt"),
        "max_seq_length": 64,
        "max_predictions_per_seq": 10,
        "dupe_factor": 400,  # seconds of writing, so that a kill comes in time
        "num_shards": SHARDS,
        "mode": mode,
    }
    undisturbed = tmp_path / "undisturbed" / "records"
    create_pretraining_data(
        PretrainingDataConfig(output_file=str(undisturbed), num_workers=2, **values)
    )
    expected = shards(undisturbed.parent)
    assert len(expected) == SHARDS

    folder = tmp_path / "disturbed"
    flags = {name: str(value) for name, value in values.items()}
    flags |= {"output_file": str(folder / "records"), "num_workers": "1"}
    log = tmp_path / "log.txt"
    seed = time.time_ns()
    draw = random.Random(seed)
    # While texts are tokenized or pairs drawn, and while records are written.
    for wanted in (draw.randint(1, SHARDS - 2), 0)[:kills][::-1]:
        whole = shards(folder)
        process = ToolProcess(TOOL, flags, log)
        while len(list(folder.glob("records-*-of-*"))) < wanted or not folder.exists():
            assert process.is_running, process.output()
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.05))
        process.send(signal.SIGKILL)
        process.wait()
        now = shards(folder)
        assert now.items() >= whole.items()  # what was whole is as it was
        assert len(now) < SHARDS, f"seed {seed}: it ended first"
    before = shards(folder)
    run_tool(TOOL, flags, log)
    after = shards(folder)
    assert after.items() >= before.items()
    assert {name: content for name, (content, _) in after.items()} == {
        name: content for name, (content, _) in expected.items()
    }
    assert {path.name for path in folder.iterdir()} == {"metadata.json", *expected}
