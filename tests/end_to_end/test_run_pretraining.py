"""run_pretraining: what Google's code computes, from its flags to its files."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.checkpoint import CheckpointReader
from bert_tf.data.dynamic_masking import DynamicMasking
from bert_tf.data.input_pipeline import ALL_ROWS
from bert_tf.tokenization import load_vocab
from bert_tf.tools import pretraining, run_pretraining
from bert_tf.tools.pretraining_flags import PretrainingConfig
from bert_tf.training import curves
from tests.small_pretraining import DATA, golden_records, write_small_pretraining
from tests.small_task import as_arguments

KEYS = {
    "global_step",
    "loss",
    "masked_lm_accuracy",
    "masked_lm_loss",
    "next_sentence_accuracy",
    "next_sentence_loss",
}


@pytest.fixture
def flags(tmp_path, testdata):
    """As golden/training.json was made: without dropout."""
    dropout = dict.fromkeys(
        ("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0
    )
    return write_small_pretraining(tmp_path, testdata, **dropout)


def run(flags, **changes) -> None:
    assert run_pretraining.main(as_arguments({**flags, **changes})) == 0


def results(folder: Path) -> dict[str, float]:
    lines = (folder / "output" / "eval_results.txt").read_text().splitlines()
    assert lines == sorted(lines)
    return {name: float(x) for name, x in (line.split(" = ") for line in lines)}


def tensors(prefix: Path) -> dict[str, np.ndarray]:
    reader = CheckpointReader(str(prefix))
    return {name: reader.read(name) for name in reader.shapes}


def apart(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


@pytest.fixture
def golden_order(monkeypatch):
    from bert_tf.data import pretraining_input
    from bert_tf.data.input_pipeline import finish
    from bert_tf.data.records import parse_records

    def ordered(index, spec, *, batch_size, start_step=0, **_):
        serialized = tf.data.TFRecordDataset(list(index.paths))
        batches = serialized.batch(batch_size, drop_remainder=True).skip(start_step)
        return finish(batches.map(lambda rows: parse_records(rows, spec)))

    assert pretraining.training_batches is pretraining_input.training_batches
    monkeypatch.setattr(pretraining, "training_batches", ordered)


def test_the_steps_are_those_of_googles_code(
    flags, tmp_path, testdata, golden_order, measured
):
    run(flags, do_train="true", init_checkpoint=str(tmp_path / "bert_model.ckpt"))
    found = tensors(tmp_path / "output" / "model.ckpt-8")
    golden = tensors(testdata / "trained.ckpt")
    assert found.pop("global_step") == golden.pop("global_step") == 8
    measured(
        "run_pretraining: weights and Adam slots after Google's 8 steps",
        apart(found, golden),
        at_most=2e-5,
    )
    steps = json.loads((testdata / "training.json").read_text())["steps"]
    logged = curves.read_run(str(tmp_path / "output")).training
    for ours, theirs in (
        ("loss", "total_loss"),
        ("masked_lm_loss", "masked_lm_loss"),
        ("next_sentence_loss", "next_sentence_loss"),
        ("gradient_norm", "global_norm"),
    ):
        mean = np.mean([step[theirs] for step in steps])
        # One point: the mean since the last one.
        assert logged[ours].values == pytest.approx([mean], rel=1e-5), ours
    assert logged["learning_rate"].values == pytest.approx([steps[-1]["learning_rate"]])
    assert logged.keys() >= {
        "masked_lm_accuracy",
        "next_sentence_accuracy",
        "sequences_per_second",
        "tokens_per_second",
    }
    per_sequence = logged["tokens_per_second"].values / (
        logged["sequences_per_second"].values
    )
    assert per_sequence == pytest.approx([64])


@pytest.mark.parametrize("way", ["output_dir", "init_optimizer"])
def test_a_training_checkpoint_of_googles_goes_on(
    flags, tmp_path, testdata, golden_order, way
):
    """With its slots, at its step and at the rate of that step."""
    golden = tensors(testdata / "trained.ckpt")
    folder = tmp_path / ("output" if way == "output_dir" else "elsewhere")
    folder.mkdir()
    for suffix in (".index", DATA):
        shutil.copyfile(testdata / f"trained.ckpt{suffix}", folder / f"t.ckpt{suffix}")
    flags |= {"num_train_steps": "20"}
    if way == "output_dir":
        (folder / "checkpoint").write_text('model_checkpoint_path: "t.ckpt"\n')
    else:
        flags |= {"init_checkpoint": str(folder / "t.ckpt"), "init_optimizer": "true"}
    known = {
        "max_seq_length": 64,
        "max_predictions_per_seq": 10,
        "train_batch_size": 4,
        "num_train_steps": 20,
        "num_warmup_steps": 3,
        "learning_rate": 1e-3,
        "init_optimizer": way == "init_optimizer",
    }
    config = PretrainingConfig(**{**flags, **known}, do_train=True)
    begun = pretraining.PretrainingRun(config)
    assert begun.step == begun.trainer.step == 8
    slots = {name: v.numpy() for name, v in begun.optimizer.slots().items()}
    assert apart(slots, {n: x for n, x in golden.items() if "/adam_" in n}) == 0
    # Decayed from the initial rate, over 20 steps now.
    assert begun.optimizer.learning_rate_at(8).numpy() == pytest.approx(1e-3 * 12 / 20)
    run(flags, do_train="true", num_train_steps="9")
    logged = curves.read_run(str(tmp_path / "output")).training["learning_rate"]
    assert logged.steps.tolist() == [9]
    assert logged.values == pytest.approx([1e-3 * 1 / 9], rel=1e-5)
    after = tensors(tmp_path / "output" / "model.ckpt-9")
    assert after["global_step"] == 9
    # What the ninth step makes of the eighth's slots, by hand: only the gradient is
    # not known, and it is the same in both moments.
    name = "cls/seq_relationship/output_bias"
    gradient = (after[f"{name}/adam_m"] - 0.9 * golden[f"{name}/adam_m"]) / 0.1
    second = 0.999 * golden[f"{name}/adam_v"] + 0.001 * gradient**2
    np.testing.assert_allclose(after[f"{name}/adam_v"], second, rtol=1e-4)
    update = after[f"{name}/adam_m"] / (np.sqrt(second) + 1e-6)
    np.testing.assert_allclose(
        after[name], golden[name] - 1e-3 / 9 * update, rtol=1e-5, atol=1e-8
    )


def test_weights_alone_start_at_step_0(flags, tmp_path, testdata):
    changes = {
        "init_checkpoint": str(testdata / "trained.ckpt"),
        "num_train_steps": "1",
    }
    run(flags, do_train="true", num_warmup_steps="0", **changes)
    after = tensors(tmp_path / "output" / "model.ckpt-1")
    slots = [np.abs(x).max() for name, x in after.items() if name.endswith("/adam_m")]
    golden = tensors(testdata / "trained.ckpt")
    assert max(slots) <= 0.1  # a tenth of a clipped gradient, nothing of before
    moved = {
        name: np.abs(x - golden[name]).max()
        for name, x in after.items()
        if "/adam_" not in name and name != "global_step"
    }
    assert 0 < max(moved.values()) <= 3.3e-3  # rate 1e-3, over sqrt(0.001) / 0.1


def test_evaluation_is_googles(flags, tmp_path, testdata):
    """Of the six records whose losses Google's code computed."""
    outputs = np.load(testdata / "model_outputs.npz")
    with np.load(testdata / "model_inputs.npz") as inputs:
        weights = inputs["masked_lm_weights"]
        ids, labels = inputs["masked_lm_ids"], inputs["next_sentence_labels"][:, 0]
    log_probs = outputs["masked_lm_log_probs"].reshape(*ids.shape, -1)
    picked = np.take_along_axis(log_probs, ids[..., None], axis=-1)[..., 0]
    hits = log_probs.argmax(axis=-1) == ids
    next_log_probs = outputs["next_sentence_log_probs"]
    next_picked = next_log_probs[np.arange(6), labels]
    initial = {"do_eval": "true", "init_checkpoint": str(tmp_path / "bert_model.ckpt")}
    run(flags, **initial, eval_batch_size="3", max_eval_steps="2")
    found = results(tmp_path)
    assert found.keys() == KEYS and found["global_step"] == 0
    total = weights.sum()
    expected = {
        "masked_lm_loss": -(picked * weights).sum() / total,
        "masked_lm_accuracy": (hits * weights).sum() / total,
        "next_sentence_loss": -next_picked.mean(),
        "next_sentence_accuracy": (next_log_probs.argmax(axis=1) == labels).mean(),
        # The mean over batches of what training minimises.
        "loss": np.mean(
            [
                -(picked[rows] * weights[rows]).sum() / (weights[rows].sum() + 1e-5)
                - next_picked[rows].mean()
                for rows in (slice(0, 3), slice(3, 6))
            ]
        ),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-5), name


@pytest.mark.acceptance
def test_records_are_repeated_up_to_max_eval_steps(flags, tmp_path):
    """As in the release; 0 takes each once, in a last batch that is filled up."""
    initial = {"do_eval": "true", "init_checkpoint": str(tmp_path / "bert_model.ckpt")}
    found = {}
    for steps in ("22", "44", "0"):  # 110 records
        run(flags, **initial, eval_batch_size="5", max_eval_steps=steps)
        found[steps] = results(tmp_path)
    assert found["22"] == pytest.approx(found["44"], rel=1e-5)
    assert found["22"] == pytest.approx(found["0"], rel=1e-6)
    run(flags, **initial, eval_batch_size="8", max_eval_steps="0")
    whole = results(tmp_path)
    del whole["loss"], found["0"]["loss"]  # a mean over batches
    assert whole == pytest.approx(found["0"], rel=1e-5)


@pytest.mark.acceptance
def test_without_next_sentences(flags, tmp_path):
    """Their loss is left out; their variables stay as they are."""
    initial = {"init_checkpoint": str(tmp_path / "bert_model.ckpt")}
    run(flags, do_train="true", do_eval="true", nsp="false", **initial)
    before = tensors(tmp_path / "bert_model.ckpt")
    after = tensors(tmp_path / "output" / "model.ckpt-8")
    for name, value in before.items():
        same = np.array_equal(value, after[name])
        assert same == (name.startswith(("cls/seq_", "bert/pooler"))), name
    found = results(tmp_path)
    assert found.keys() == KEYS - {"next_sentence_accuracy", "next_sentence_loss"}
    assert found["loss"] == pytest.approx(found["masked_lm_loss"], rel=1e-2)


def test_masks_are_drawn_by_seed_and_step(flags, tmp_path, testdata):
    """What the step sees is what the records' own masks, taken off, make."""
    vocab_file = str(tmp_path / "vocab.txt")
    known = {
        "max_seq_length": 64,
        "max_predictions_per_seq": 7,
        "train_batch_size": 4,
        "num_train_steps": 8,
        "num_warmup_steps": 3,
        "learning_rate": 1e-3,
    }
    config = PretrainingConfig(
        **{**flags, **known, "vocab_file": vocab_file},
        dynamic_masking=True,
        do_train=True,
        do_eval=True,
    )
    begun = pretraining.PretrainingRun(config)
    records = golden_records(testdata)
    whole = records["input_ids"].copy()
    rows, places = np.nonzero(records["masked_lm_weights"])
    whole[rows, records["masked_lm_positions"][rows, places]] = records[
        "masked_lm_ids"
    ][rows, places]
    by_pieces = {tuple(row) for row in whole}
    masking = DynamicMasking(load_vocab(vocab_file), 7)
    for step, batch in enumerate(begun._training_batches()(ALL_ROWS).take(30)):
        shown = batch["input_ids"].numpy().copy()
        row, place = np.nonzero(batch["masked_lm_weights"].numpy())
        position = batch["masked_lm_positions"].numpy()[row, place]
        shown[row, position] = batch["masked_lm_ids"].numpy()[row, place]
        assert {tuple(x) for x in shown} <= by_pieces
        # Masked once, and by the share of a row's own pieces.
        lengths = batch["input_mask"].numpy().sum(axis=1)
        wanted = np.clip(np.rint(lengths * 0.15), 1, 7)
        assert (batch["masked_lm_weights"].numpy().sum(axis=1) == wanted).all()
        again = masking(
            {**{k: batch[k] for k in ("input_mask",)}, "input_ids": tf.constant(shown)},
            tf.constant([12345, step], tf.int64),
        )
        np.testing.assert_array_equal(again["input_ids"], batch["input_ids"])
        np.testing.assert_array_equal(again["masked_lm_ids"], batch["masked_lm_ids"])


def test_lamb_trains(flags, tmp_path, testdata):
    initial = {"init_checkpoint": str(tmp_path / "bert_model.ckpt")}
    run(flags, do_train="true", optimizer="lamb", **initial)
    kernel = "bert/encoder/layer_0/intermediate/dense/kernel"
    before = tensors(tmp_path / "bert_model.ckpt")[kernel]
    after = tensors(tmp_path / "output" / "model.ckpt-8")[kernel]
    # A step moves a matrix by the rate's share of its norm; Adam's first steps, which
    # correct no bias, move it many times as far.
    steps = json.loads((testdata / "training.json").read_text())["steps"]
    rates = sum(step["learning_rate"] for step in steps)
    moved = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert 0.3 * rates < moved <= 1.01 * rates


@pytest.mark.acceptance
def test_the_best_of_the_evaluations_is_kept(flags, tmp_path, capsys):
    """And it is what the evaluation at the end is of."""
    changes = {"do_train": "true", "do_eval": "true", "eval_steps": "2"}
    changes |= {"best_metric": "masked_lm_loss", "max_eval_steps": "3"}
    run(flags, **changes, learning_rate="3e-3", num_train_steps="6")
    output = tmp_path / "output"
    found = json.loads((output / "evaluations.json").read_text())
    assert list(found) == ["2", "4", "6"]
    best = min(found, key=lambda step: found[step]["masked_lm_loss"])
    assert [path.name for path in (output / "best").glob("*.index")] == [
        f"model.ckpt-{best}.index"
    ]
    final = results(tmp_path)
    assert final["global_step"] == int(best)
    assert final["loss"] == pytest.approx(found[best]["loss"], rel=1e-6)
    validation = curves.read_run(str(output)).validation
    assert validation["masked_lm_loss"].steps.tolist() == [2, 4, 6]
    log = capsys.readouterr().err
    assert "step 2: validation loss" in log
    assert "--eval_input_file names others" in log


def test_the_folder_is_complete(flags, tmp_path, capsys):
    """Its checkpoints can be used without knowing the run's flags."""
    vocab_file = str(tmp_path / "vocab.txt")
    run(flags, do_train="true", vocab_file=vocab_file, num_train_steps="2")
    output = tmp_path / "output"
    assert (output / "vocab.txt").read_bytes() == Path(vocab_file).read_bytes()
    assert json.loads((output / "bert_config.json").read_text())["vocab_size"] == 1600
    note = json.loads((output / "run_config.json").read_text())
    assert note["task_name"] == "pretraining" and note["optimizer"]
    capsys.readouterr()
    run(flags, do_train="true", num_train_steps="2")
    assert "training is complete: step 2 of 2" in capsys.readouterr().err
    run(flags, do_train="true", num_train_steps="4", train_batch_size="8")
    log = capsys.readouterr().err
    assert "continuing from step 2" in log
    assert "train_batch_size was 4 when this run began and is 8 now" in log
