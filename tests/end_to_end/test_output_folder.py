"""What a second command may do in the folder that a first one left."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from bert_tf import BertClassifier, BertConfig, create_optimizer, save_checkpoint
from bert_tf.checkpoint import CheckpointReader
from bert_tf.tools.run_classifier import main
from bert_tf.training.trainer import Trainer
from tests.small_task import as_arguments, write_small_task

TRAIN = {
    "do_train": "true",
    "do_eval": "true",
    "dev_fraction": "0.2",
    "train_batch_size": "8",
    "num_train_epochs": "2",
}
EVALUATE = {"do_eval": "true", "dev_fraction": "0.2"}


@pytest.fixture(scope="module")
def first(tmp_path_factory, testdata):
    """A folder after a first run; returns the flags that say where everything is."""
    folder = tmp_path_factory.mktemp("first")
    flags = write_small_task(folder, testdata, rows=60)
    assert main(as_arguments({**flags, **TRAIN})) == 0
    (folder / "test.tsv").write_text("text\nthe sun\n")
    return flags


@pytest.fixture
def left(first, tmp_path):
    """A copy of that folder, to do something in."""
    shutil.copytree(first["output_dir"], tmp_path / "output")
    return {**first, "output_dir": str(tmp_path / "output")}


def run(capsys, flags, changes) -> tuple[int, str]:
    """Runs the script; returns its exit code and what it wrote on stderr."""
    code = main(as_arguments({**flags, **changes}))
    return code, capsys.readouterr().err


def files(flags) -> dict:
    folder = tf.io.gfile.walk(flags["output_dir"])
    paths = [f"{where}/{name}" for where, _, names in folder for name in names]
    return {path: tf.io.gfile.GFile(path, "rb").read() for path in paths}


@pytest.mark.parametrize(
    ("changes", "culprit"),
    [
        ({**TRAIN, "dev_fraction": None, "do_eval": None}, "held_out.dev_fraction"),
        ({**TRAIN, "dev_fraction": "0.5"}, "held_out.dev_fraction"),
        ({**TRAIN, "random_seed": "7"}, "held_out.random_seed"),
        ({**TRAIN, "max_seq_length": "16"}, "max_seq_length=16"),
        ({**EVALUATE, "random_seed": "7"}, "held_out.random_seed"),
        ({"do_predict": "true", "text_b": "text"}, "is_pair"),
        ({"do_predict": "true", "do_lower_case": "false"}, "do_lower_case"),
    ],
    ids=str,
)
def test_another_run_is_refused(left, capsys, changes, culprit):
    before = files(left)
    if "do_lower_case" in changes:
        changes = {**changes, "check_casing": "false"}
    code, log = run(capsys, left, {**changes, "num_train_epochs": "3"})
    assert code == 1
    assert culprit in log.splitlines()[-1]
    assert files(left) == before


def test_more_epochs_continue(left, capsys):
    code, log = run(capsys, left, {**TRAIN, "num_train_epochs": "3"})
    assert code == 0
    assert "continuing from step 12" in log and "WARNING" not in log
    assert CheckpointReader(left["output_dir"]).step() == 18


def test_another_order_continues_with_a_warning(left, capsys):
    code, log = run(
        capsys, left, {**TRAIN, "num_train_epochs": "4", "train_batch_size": "16"}
    )
    assert code == 0
    assert "WARNING: train_batch_size was 8" in log


def test_the_trained_length_is_the_default_length(left, capsys):
    changes = {"max_seq_length": None, "do_predict": "true"}
    assert run(capsys, left, changes)[0] == 0
    (record, *_) = tf.data.TFRecordDataset(f"{left['output_dir']}/predict.tf_record")
    feature = tf.train.Example.FromString(record.numpy()).features.feature
    assert len(feature["input_ids"].int64_list.value) == 24
    # A length that is given is taken.
    assert run(capsys, left, {**changes, "max_seq_length": "40"})[0] == 0
    (record, *_) = tf.data.TFRecordDataset(f"{left['output_dir']}/predict.tf_record")
    feature = tf.train.Example.FromString(record.numpy()).features.feature
    assert len(feature["input_ids"].int64_list.value) == 40


def test_a_note_without_a_checkpoint_binds_nobody(left, capsys):
    for path in files(left):
        if "model.ckpt" in path or path.endswith("/checkpoint"):
            tf.io.gfile.remove(path)
    changes = {**TRAIN, "dev_fraction": None, "do_eval": None, "max_seq_length": "16"}
    assert run(capsys, left, changes)[0] == 0
    code, log = run(capsys, left, {**EVALUATE, "max_seq_length": "16"})
    assert code == 1 and "held_out" in log.splitlines()[-1]


def test_a_folder_of_the_release_can_be_evaluated_and_then_trained_on(
    first, tmp_path, capsys
):
    """It holds checkpoints and events, and no note."""
    output = tmp_path / "release"
    config = BertConfig.from_json_file(first["bert_config_file"])
    model = BertClassifier(config, 2)
    optimizer = create_optimizer(1e-4, 12, 2)
    optimizer.build(model.trainable_variables)
    optimizer.iterations.assign(5)
    save_checkpoint(model, output / "model.ckpt-5", optimizer)
    (output / "labels.json").write_text('["cold", "warm"]')
    flags = {**first, "output_dir": str(output)}
    assert run(capsys, flags, EVALUATE)[0] == 0
    code, log = run(capsys, flags, TRAIN)
    assert code == 0 and "continuing from step 5" in log
    assert CheckpointReader(output).step() == 12


def test_labels_come_from_beside_the_weights(left, first, tmp_path, capsys):
    """An output folder without weights says nothing of the labels of others."""
    other = tmp_path / "other"
    shutil.copytree(first["output_dir"], other)
    (other / "labels.json").write_text('["no", "yes"]')
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "labels.json").write_text('["cold", "warm"]')
    changes = {
        "init_checkpoint": str(other / "model.ckpt-12"),
        "output_dir": str(tmp_path / "empty"),
        "export_dir": str(tmp_path / "export"),
    }
    assert run(capsys, left, changes)[0] == 0
    signature = tf.saved_model.load(str(tmp_path / "export" / "1")).signatures
    answer = signature["serving_default"](text_a=tf.constant(["snow"]))
    assert answer["labels"].numpy().tolist() == [[b"no", b"yes"]]
    # And a folder with weights does not need what they were once made from.
    changes = {"init_checkpoint": str(tmp_path / "gone"), "do_predict": "true"}
    assert run(capsys, left, changes)[0] == 0


@pytest.mark.parametrize("labels", [[], ["one"], ["same", "same"]], ids=str)
def test_labels_that_cannot_be(left, capsys, labels):
    (tf.io.gfile.GFile(f"{left['output_dir']}/labels.json", "w")).write(
        json.dumps(labels)
    )
    code, log = run(capsys, left, {"do_predict": "true"})
    assert code == 1
    assert "labels.json" in log.splitlines()[-1] and "Traceback" not in log


def test_an_unused_batch_size_does_not_matter(left, capsys, monkeypatch):
    """On several devices, that is; the check is asked with what is used."""
    import bert_tf.tools.model_run as model_run

    asked = []
    monkeypatch.setattr(
        model_run,
        "check_batch_size",
        lambda size, strategy, name: asked.append(name),
    )
    assert run(capsys, left, {"do_predict": "true"})[0] == 0
    assert asked == ["--predict_batch_size"]


def test_the_dev_set_is_evaluated_once_per_epoch(left, capsys, monkeypatch):
    """The end of the last epoch serves `eval_results.txt` too."""
    predict, evaluated = Trainer.predict, []

    def counted(self, *arguments):
        evaluated.append(self.step)
        return predict(self, *arguments)

    monkeypatch.setattr(Trainer, "predict", counted)
    code, log = run(capsys, left, {**TRAIN, "num_train_epochs": "4"})
    assert code == 0
    assert evaluated == [18, 24]
    (last,) = [line for line in log.splitlines() if line.startswith("epoch 4/4")]
    (written,) = [line for line in log.splitlines() if line.startswith("eval_loss")]
    assert f"validation loss {float(written.split(' = ')[1]):.4f}" in last


def test_weights_that_overflow_are_not_written(first, tmp_path, capsys):
    """A finite loss with a gradient that is not: the update would spoil all weights."""
    config = BertConfig.from_json_file(first["bert_config_file"])
    model = BertClassifier(config, 2)
    ones = np.ones([1, config.hidden_size], np.float32)
    model.output_weights.assign(np.concatenate([1e38 * ones, -1e38 * ones]))
    model.bert.pooler.kernel.assign(model.bert.pooler.kernel * 0)
    save_checkpoint(model, tmp_path / "start" / "bert_model.ckpt")
    flags = {
        **first,
        "output_dir": str(tmp_path / "output"),
        "init_checkpoint": str(tmp_path / "start" / "bert_model.ckpt"),
        "save_checkpoints_steps": "1",
        "learning_rate": "1e-3",
    }
    code, log = run(capsys, flags, TRAIN)
    assert code == 1
    assert "Expected a finite" in log.splitlines()[-1]
    assert not list((tmp_path / "output").glob("model.ckpt*"))
