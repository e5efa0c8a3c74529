"""What goes on while a run trains: evaluation, the best model, stopping, memory."""

import json
import re
import shutil
import signal
import time

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.checkpoint import CheckpointReader
from bert_tf.tools.run_classifier import main
from bert_tf.training.trainer import Trainer
from tests.small_task import as_arguments, write_small_task
from tests.tool_processes import ToolProcess

TRAIN = {
    "do_train": "true",
    "do_eval": "true",
    "dev_fraction": "0.2",
    "train_batch_size": "8",
    "num_train_epochs": "4",
    "learning_rate": "1e-3",
}


@pytest.fixture
def flags(tmp_path, testdata):
    return {**write_small_task(tmp_path, testdata, rows=100), **TRAIN}


def run(capsys, flags, **changes) -> tuple[int, str]:
    """Runs the script; returns its exit code and what it wrote on stderr."""
    code = main(as_arguments({**flags, **changes}))
    return code, capsys.readouterr().err


def results(folder) -> dict[str, float]:
    lines = (folder / "output" / "eval_results.txt").read_text().splitlines()
    return {name: float(x) for name, x in (line.split(" = ") for line in lines)}


def checkpoints(folder) -> list[int]:
    return sorted(int(p.stem[11:]) for p in folder.glob("model.ckpt-*.index"))


def test_the_best_model_is_kept_and_used(flags, tmp_path, capsys):
    assert run(capsys, flags, eval_steps="6", best_metric="eval_loss")[0] == 0
    output = tmp_path / "output"
    kept = json.loads((output / "evaluations.json").read_text())
    found = {int(step): metrics for step, metrics in kept.items()}
    assert sorted(found) == [6, 12, 18, 24, 30, 36, 40]
    best = min(found, key=lambda step: found[step]["eval_loss"])
    assert checkpoints(output / "best") == [best]
    assert CheckpointReader(output / "best").step() == best
    assert results(tmp_path)["global_step"] == best
    assert results(tmp_path)["eval_loss"] == pytest.approx(found[best]["eval_loss"])
    # The folder is a complete one: it can be used by itself, and by the flag.
    for change in (
        {"output_dir": str(output / "best"), "best_metric": None},
        {"best_metric": "eval_loss"},
    ):
        (output / "eval_results.txt").unlink(missing_ok=True)
        assert run(capsys, flags, do_train=None, **change)[0] == 0
    assert results(tmp_path)["eval_loss"] == pytest.approx(found[best]["eval_loss"])
    # The run itself ended at the last step, with its optimizer.
    assert checkpoints(output) == [40]
    assert "output_weights/adam_m" in CheckpointReader(output).shapes


def test_training_ends_early_and_stays_ended(flags, tmp_path, capsys, monkeypatch):
    """The loss of the dev set is made to rise from the third evaluation on."""
    import bert_tf.tools.fine_tuning as fine_tuning

    validate = fine_tuning.FineTuningRun._validate

    def spoiled(self, step, *arguments):
        metrics = validate(self, step, *arguments)
        return {**metrics, "eval_loss": np.float32(abs(step - 8))}

    monkeypatch.setattr(fine_tuning.FineTuningRun, "_validate", spoiled)
    changes = {
        "eval_steps": "4",
        "best_metric": "eval_loss",
        "early_stopping_patience": "3",
    }
    code, log = run(capsys, flags, **changes)
    assert code == 0
    assert (
        "ended early, at step 20 of 40: 3 evaluations were no better than step 8"
        in (log)
    )
    assert checkpoints(tmp_path / "output") == [20]
    assert checkpoints(tmp_path / "output" / "best") == [8]

    def not_again(*arguments, **named):
        raise AssertionError("it was trained again")

    monkeypatch.setattr(Trainer, "train", not_again)
    code, log = run(capsys, flags, **changes)
    assert code == 0 and "ended early, at step 20" in log
    monkeypatch.undo()
    monkeypatch.setattr(fine_tuning.FineTuningRun, "_validate", spoiled)
    code, log = run(capsys, flags, **{**changes, "early_stopping_patience": "5"})
    assert code == 0 and "ended early, at step 28" in log


@pytest.mark.acceptance
def test_evaluations_behind_the_checkpoint_are_made_again(flags, tmp_path, capsys):
    """As after a kill between an evaluation and the next checkpoint."""
    changes = {"eval_steps": "10", "best_metric": "eval_loss"}
    assert run(capsys, flags, **changes, save_checkpoints_steps="15")[0] == 0
    output = tmp_path / "output"
    whole = (output / "evaluations.json").read_text()
    state = output / "checkpoint"
    state.write_text('model_checkpoint_path: "model.ckpt-15"\n')
    shutil.rmtree(output / "best")
    assert run(capsys, flags, **changes, save_checkpoints_steps="15")[0] == 0
    again = (output / "evaluations.json").read_text()
    assert json.loads(again) == json.loads(whole)
    assert checkpoints(output / "best")


@pytest.mark.parametrize(
    ("kept", "expected"), [("2", [30, 40]), ("0", [10, 20, 30, 40])]
)
def test_so_many_checkpoints_are_kept(flags, tmp_path, capsys, kept, expected):
    changes = {"save_checkpoints_steps": "10", "keep_checkpoint_max": kept}
    assert run(capsys, flags, **changes)[0] == 0
    assert checkpoints(tmp_path / "output") == expected


@pytest.mark.slow
def test_sigterm_saves_and_exits_with_zero(flags, tmp_path):
    flags = {**flags, "num_train_epochs": "2000", "best_metric": "eval_accuracy"}
    process = ToolProcess("run_classifier", flags, tmp_path / "log.txt")
    deadline = time.monotonic() + 200
    events = tmp_path / "output" / "evaluations.json"
    while not events.exists():
        assert process.is_running, process.output()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send(signal.SIGTERM)
    assert process.wait() == 0, process.output()
    last = process.output().splitlines()[-1]
    step = int(re.match(r"ended by SIGTERM at step (\d+) of 20000, saved", last)[1])
    assert checkpoints(tmp_path / "output")[-1] == step
    assert CheckpointReader(tmp_path / "output").step() == step
    assert not (tmp_path / "output" / "eval_results.txt").exists()
    # What the line promises.
    flags["num_train_epochs"] = str((step + 10) * 8 / 80)
    assert main(as_arguments(flags)) == 0
    assert CheckpointReader(tmp_path / "output").step() == step + 10


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.acceptance
def test_other_precisions_learn_the_same(flags, tmp_path, capsys, precision):
    assert run(capsys, flags, precision=precision)[0] == 0
    assert results(tmp_path)["eval_accuracy"] >= 0.9
    reader = CheckpointReader(tmp_path / "output")
    names = {
        name for name in reader.shapes if not name.endswith(("/adam_m", "/adam_v"))
    }
    scaled = {"current_loss_scale", "good_steps"}
    assert (scaled <= names) == (precision == "float16")
    assert reader.read("output_weights").dtype == np.float32
    # A run goes on in another precision, with a warning.
    changes = {"precision": "float32", "num_train_epochs": "5"}
    code, log = run(capsys, flags, **changes)
    assert code == 0 and f"precision was {precision}" in log
    code, log = run(capsys, flags, precision="float16", num_train_epochs="6")
    assert code == 0 and "precision was float32" in log


@pytest.mark.acceptance
def test_levers_against_memory_go_together(flags, tmp_path, capsys):
    """And end where a plain run does, but for dropout's draws."""
    levers = {
        "micro_batch_size": "2",
        "recompute": "true",
        "length_buckets": "6,12",
        "reduction": "global",
        "precision": "bfloat16",
    }
    assert run(capsys, flags, **levers)[0] == 0
    assert results(tmp_path)["eval_accuracy"] >= 0.9


@pytest.mark.acceptance
def test_buckets_change_no_answer(flags, tmp_path, capsys):
    (tmp_path / "test.tsv").write_text((tmp_path / "train.tsv").read_text())
    assert run(capsys, flags)[0] == 0
    found = []
    for buckets in (None, "4,8,16"):
        answer = {"do_train": None, "do_predict": "true", "length_buckets": buckets}
        assert run(capsys, flags, **answer)[0] == 0
        rows = np.loadtxt(tmp_path / "output" / "test_results.tsv", delimiter="\t")
        found.append((rows, results(tmp_path)))
    (rows, metrics), (bucketed_rows, bucketed_metrics) = found
    np.testing.assert_allclose(rows, bucketed_rows, atol=1e-5)
    for name, value in metrics.items():
        assert bucketed_metrics[name] == pytest.approx(value, abs=1e-5), name


def test_tensorboard_shows_evaluations_at_their_steps(flags, tmp_path, capsys):
    assert run(capsys, flags, eval_steps="15")[0] == 0
    steps = [
        event.step
        for path in (tmp_path / "output" / "eval").glob("events.out.tfevents.*")
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.tag == "eval_accuracy"
    ]
    assert steps == [15, 30, 40]
