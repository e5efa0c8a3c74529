"""A student learns of a teacher what the teacher says, and how it is asked once."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from bert_tf import interchange
from bert_tf.checkpoint import CheckpointReader
from bert_tf.data.records import parse_records
from bert_tf.errors import DataError
from bert_tf.run_folder import read_note
from bert_tf.tasks.classification import InputExample
from bert_tf.tasks.distillation import DistillationTask, varied
from bert_tf.tasks.label_kinds import SingleLabel
from bert_tf.tools import distill, run_classifier, teacher
from tests.small_task import as_arguments, write_small_task

COMMON = {"max_seq_length": "16", "learning_rate": "3e-3", "train_batch_size": "8"}


@pytest.fixture(scope="module")
def taught(tmp_path_factory, testdata) -> tuple[Path, dict[str, str]]:
    """A teacher of two layers on a small task, and the flags of that task."""
    folder = tmp_path_factory.mktemp("teacher")
    flags = write_small_task(folder, testdata)
    config = json.loads((folder / "bert_config.json").read_text())
    deep = folder / "deep.json"
    deep.write_text(json.dumps({**config, "num_hidden_layers": 3}))
    run = {**flags, **COMMON, "do_train": "true", "bert_config_file": str(deep)}
    run |= {"output_dir": str(folder / "teacher"), "num_train_epochs": "4"}
    assert run_classifier.main(as_arguments(run)) == 0
    return folder / "teacher", flags


def student(taught, tmp_path: Path, **more: str | None) -> dict[str, str | None]:
    folder, flags = taught
    return {
        **flags,
        **COMMON,
        "vocab_file": None,
        "bert_config_file": None,
        "teacher_dir": str(folder),
        "output_dir": str(tmp_path / "student"),
        "do_train": "true",
        **more,
    }


def distilled(flags: dict[str, str | None]) -> Path:
    assert distill.main(as_arguments(flags)) == 0
    return Path(str(flags["output_dir"]))


def records(folder: Path) -> dict[str, np.ndarray]:
    spec = {
        "teacher_logits": tf.io.FixedLenFeature([2], tf.float32),
        "is_labelled": tf.io.FixedLenFeature([], tf.int64),
        "label_ids": tf.io.FixedLenFeature([], tf.int64),
    }
    rows = tf.data.TFRecordDataset(str(folder / "train.tf_record")).batch(1000)
    return {k: x.numpy() for k, x in parse_records(next(iter(rows)), spec).items()}


def test_the_teachers_layers_its_logits_and_texts_without_labels(taught, tmp_path):
    """`--keep_layers`: what the student starts from, and what is written of it."""
    texts = tmp_path / "more.txt"
    texts.write_text("the sun\n\nsnow of winter\n")
    flags = student(taught, tmp_path, keep_layers="0,2", unlabelled_file=str(texts))
    flags |= {"num_train_epochs": "0.2", "learning_rate": "0", "do_eval": "true"}
    folder = distilled({**flags, "dev_fraction": "0.2"})
    first = CheckpointReader(str(folder))
    teacher = CheckpointReader(str(taught[0]))
    for name in first.shapes:
        if name.startswith("bert/encoder/layer_1/") and "adam" not in name:
            source = name.replace("layer_1", "layer_2")
        elif name.startswith(("bert/", "output_")) and "adam" not in name:
            source = name
        else:
            continue
        assert first.read(name).tobytes() == teacher.read(source).tobytes(), name
    note = read_note(str(folder))
    assert note["bert_config"]["num_hidden_layers"] == 2
    assert (note["temperature"], note["hard_label_weight"]) == (2.0, 0.0)
    held = records(folder)
    assert held["is_labelled"].tolist() == [1] * 48 + [0] * 2
    # What the teacher itself predicts of the same texts, by the other tool.
    predict = tmp_path / "predict.tsv"
    train = (Path(taught[1]["data_dir"]) / "train.tsv").read_text().split("\n")[1:61]
    predict.write_text(
        "text\tlabel\n" + "\n".join([*train, "the sun\twarm", "snow of winter\twarm"])
    )
    run = {**taught[1], **COMMON, "output_dir": str(taught[0]), "do_predict": "true"}
    run |= {
        "test_file": str(predict),
        "bert_config_file": f"{taught[0]}/bert_config.json",
    }
    assert run_classifier.main(as_arguments(run)) == 0
    said = np.loadtxt(taught[0] / "test_results.tsv", delimiter="\t")
    logits = held["teacher_logits"].astype(np.float64)
    odds = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    for row in odds:  # 12 of the 60 are the dev set
        assert np.abs(said - row).max(axis=1).min() < 1e-5
    np.testing.assert_allclose(odds[-2:], said[-2:], atol=1e-5)


@pytest.mark.acceptance
def test_a_student_agrees_with_its_teacher_and_goes_on(taught, tmp_path, capsys):
    """Of another width, in the words of its teacher; the second run asks nobody."""
    config = json.loads((Path(taught[1]["bert_config_file"])).read_text())
    small = tmp_path / "small.json"
    small.write_text(json.dumps({**config, "hidden_size": 24}))
    flags = student(taught, tmp_path, bert_config_file=str(small))
    flags |= {"num_train_epochs": "12", "cache_dir": str(tmp_path / "cache")}
    flags |= {"do_eval": "true", "dev_fraction": "0.2"}
    folder = distilled(flags)
    capsys.readouterr()
    results = dict(
        line.split(" = ") for line in (folder / "eval_results.txt").open() if line
    )
    assert float(results["eval_accuracy"]) > 0.9
    (kept,) = (tmp_path / "cache").iterdir()
    # Again: over already, and nothing is computed. From scratch: out of the cache.
    before = kept.stat().st_mtime_ns
    distilled(flags)
    shutil.rmtree(folder)
    distilled({**flags, "num_train_epochs": "1", "random_seed": "3"})
    said = capsys.readouterr().err
    assert f"from {kept}" in said or kept.stat().st_mtime_ns == before
    # The folder is a classifier's like any other.
    export = tmp_path / "export"
    run = {**flags, "export_dir": str(export), "do_train": None, "do_eval": None}
    for name in ("teacher_dir", "cache_dir"):
        del run[name]
    run |= {"vocab_file": f"{folder}/vocab.txt"}
    assert run_classifier.main(as_arguments(run)) == 0
    assert (export / "1" / "saved_model.pb").exists()


def test_a_hugging_face_teacher_with_other_names_of_labels(taught, tmp_path):
    """Its order is another, and its vocabulary its own."""
    theirs = tmp_path / "theirs"
    weights, _ = interchange.read_folder(str(taught[0]), "google")
    turned = {
        name: x[::-1].copy() if name.startswith("output_") else x
        for name, x in weights.tensors.items()
    }
    weights = dataclasses.replace(weights, tensors=turned, labels=("hot", "ice"))
    interchange.write_folder(weights, str(theirs), "huggingface")
    flags = student(taught, tmp_path, student="BERT-Tiny", num_train_epochs="0.2")
    one = distilled({**flags, "output_dir": str(tmp_path / "one")})
    flags |= {"teacher_dir": str(theirs), "teacher_labels": "warm,cold"}
    other = distilled({**flags, "output_dir": str(tmp_path / "other")})
    np.testing.assert_allclose(
        records(one)["teacher_logits"], records(other)["teacher_logits"], atol=1e-5
    )
    config = json.loads((one / "bert_config.json").read_text())
    assert config["hidden_size"] == 128
    vocab = (taught[0] / "vocab.txt").read_bytes()
    assert config["vocab_size"] == vocab.count(b"\n")
    assert (one / "vocab.txt").read_bytes() == vocab


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_loss(weight):
    """Of both parts, each over its own rows, against numpy."""
    task = DistillationTask.__new__(DistillationTask)
    task.kind = SingleLabel(["a", "b", "c"])
    task.train_metric_names = ("accuracy",)
    task.temperature, task.hard_label_weight = 3.0, weight
    random = np.random.default_rng(1)
    logits, theirs = random.normal(0, 2, (2, 4, 3)).astype(np.float32)
    batch = {
        "input_ids": np.zeros((4, 5), np.int32),
        "teacher_logits": theirs,
        "label_ids": np.array([0, 2, 1, 1], np.int32),
        "is_labelled": np.array([1, 0, 1, 0], np.int32),
    }
    means = task.means(task.sums(tf.constant(logits), batch), task.weights(batch))

    def log_softmax(x):
        return x - np.log(np.exp(x).sum(-1, keepdims=True))

    p, q = (log_softmax(x.astype(np.float64) / 3.0) for x in (theirs, logits))
    soft = 9.0 * (np.exp(p) * (p - q)).sum(-1).mean()
    hard = -log_softmax(logits.astype(np.float64))[[0, 2], [0, 1]].mean()
    assert float(means["loss"]) == pytest.approx(
        (1 - weight) * soft + weight * hard, rel=1e-5
    )
    hits = logits.argmax(-1)[[0, 2]] == [0, 1]
    assert float(means["accuracy"]) == pytest.approx(hits.mean())
    # Without a labelled row in a batch, nothing is divided by zero.
    batch["is_labelled"][:] = 0
    means = task.means(task.sums(tf.constant(logits), batch), task.weights(batch))
    assert float(means["loss"]) == pytest.approx((1 - weight) * soft, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "Expected one of --bert_config_file, --student, --keep_layers, got none"),
        ({"student": "BERT-Tiny", "keep_layers": "0"}, "--student and --keep_layers"),
        ({"student": "BERT-Huge"}, "BERT-Huge"),
        ({"keep_layers": "0,x"}, "--keep_layers such as 0,2,4"),
        ({"keep_layers": "1,0"}, "that ascend"),
        ({"keep_layers": "0,3"}, "from 0 to 2"),
        ({"student": "BERT-Tiny", "do_train": None, "do_eval": "true"}, "--do_train"),
        ({"student": "BERT-Tiny", "temperature": "0"}, "--temperature over 0"),
        ({"student": "BERT-Tiny", "hard_label_weight": "1.5"}, "from 0 to 1"),
        ({"student": "BERT-Tiny", "class_weights": "balanced"}, "--class_weights"),
        ({"student": "BERT-Tiny", "teacher_dir": "/none"}, "--teacher_dir=/none"),
        ({"student": "BERT-Tiny", "teacher_dir": None}, "--teacher_dir"),
        ({"student": "BERT-Tiny", "teacher_labels": "a"}, "Expected 2 names"),
        ({"student": "BERT-Tiny", "teacher_labels": "a,b"}, "with the labels cold"),
        ({"keep_layers": "0", "init_checkpoint": "x"}, "no --init_checkpoint"),
        ({"student": "BERT-Tiny", "unlabelled_file": "/none.txt"}, "/none.txt"),
    ],
)
def test_bad_input(taught, tmp_path, capsys, changes, says):
    flags = student(taught, tmp_path, **changes)
    assert distill.main(as_arguments(flags)) == 1
    error = capsys.readouterr().err
    assert says in error.strip().split("\n")[-1] and "Traceback" not in error
    assert not (tmp_path / "student").exists()


def test_a_teacher_that_is_none_and_a_pair_among_texts(taught, tmp_path, capsys):
    texts = tmp_path / "more.txt"
    texts.write_text("one\nthe sun\tthe ice\n")
    flags = student(taught, tmp_path, student="BERT-Tiny", unlabelled_file=str(texts))
    assert distill.main(as_arguments(flags)) == 1
    assert "Expected one text in" in capsys.readouterr().err
    shutil.copytree(taught[0], tmp_path / "teacher")
    for path in (tmp_path / "teacher").glob("model.ckpt*"):
        path.unlink()
    (tmp_path / "teacher" / "checkpoint").unlink()
    flags = student(taught, tmp_path, student="BERT-Tiny")
    flags["teacher_dir"] = str(tmp_path / "teacher")
    assert distill.main(as_arguments(flags)) == 1
    assert "Expected a TensorFlow checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["tokens", "answers", "pretraining"])
def test_a_teacher_of_another_kind(taught, tmp_path, testdata, capsys, name):
    flags = student(taught, tmp_path, student="BERT-Tiny")
    flags["teacher_dir"] = str(testdata / "interchange" / name)
    assert distill.main(as_arguments(flags)) == 1
    last = capsys.readouterr().err.strip().split("\n")[-1]
    assert "Expected a fine-tuned classifier in" in last
    assert not (tmp_path / "student").exists()


def test_a_damaged_cache_is_not_used(tmp_path):
    path = tmp_path / "teacher_logits-1.npy"
    np.save(path, np.ones((5, 2), np.float32))
    content = path.read_bytes()
    assert teacher._load(str(path), (5, 2)).tolist() == [[1.0, 1.0]] * 5
    pickled = np.array([{}, {}], object)
    for damage in (content[:-8], content[:9], b"", b"no array", pickled):
        if isinstance(damage, bytes):
            path.write_bytes(damage)
        else:
            np.save(path, damage, allow_pickle=True)
        with pytest.raises(DataError, match="delete the file"):
            teacher._load(str(path), (5, 2))
    np.save(path, np.ones((4, 2), np.float32))
    with pytest.raises(DataError, match=r"found float32 \[4, 2\]"):
        teacher._load(str(path), (5, 2))


def test_variants_of_texts():
    """The same ones every time, of every text, of its words and others'."""
    rows = [InputExample(str(i), f"a{i} b{i} c{i} d{i}", label="x") for i in range(50)]
    made = list(varied(rows, 3))
    assert [x.text_a for x in made] == [x.text_a for x in varied(rows, 3)]
    assert len(made) == 150 and not any(x.is_labelled for x in made)
    vocabulary = {word for row in rows for word in row.text_a.split()}
    for copy in (0, 2):
        kept = 0
        for row, variant in zip(rows, made[50 * copy :], strict=False):
            words = variant.text_a.split()
            assert len(words) == 4 and vocabulary.issuperset(words)
            kept += sum(x == y for x, y in zip(words, row.text_a.split(), strict=True))
        assert 0.7 < kept / 200 < 0.9
    for row, variant in zip(rows, made[50:100], strict=True):
        assert variant.text_a.startswith(row.text_a) and len(variant.text_a) > 20
    pairs = [InputExample("0", "a b", "c d", label="x")] * 2
    assert all(x.text_b for x in varied(pairs, 2))


def test_variants_are_asked_about(taught, tmp_path):
    flags = student(taught, tmp_path, student="BERT-Tiny", num_train_epochs="0.1")
    folder = distilled({**flags, "varied_copies": "2"})
    assert records(folder)["is_labelled"].tolist() == [1] * 60 + [0] * 120
