"""Texts longer than a row through the whole script, held against plain Python."""

import contextlib
import dataclasses
import io
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  the ops of an export

from bert_tf import BertClassifier, BertConfig, load_checkpoint, save_checkpoint
from bert_tf.tasks.classification import ClassificationTask, InputExample
from bert_tf.tokenization import FullTokenizer, GraphTokenizer
from bert_tf.tools.run_classifier import main
from tests import plain_packing
from tests.small_task import as_arguments, write_small_task

LENGTH = 16
WORDS = ["the", "a", "of", "and", "in", "one", "light", "house", "letter", "story"]
TO_PREDICT = [
    "the sun",
    "",
    "snow " * 10_000,
    "a story of the house in the light and of one letter " * 3,
]


def write(path: Path, rows: list[tuple[str, str, str]]) -> None:
    lines = [json.dumps(dict(zip("abl", row, strict=True))) for row in rows]
    path.write_text("\n".join(lines) + "\n")


def read(path: Path) -> list[tuple[str, str, str]]:
    return [tuple(json.loads(x).values()) for x in path.read_text().splitlines()]


def write_task(folder: Path, testdata: Path, dev_size: int = 20) -> dict:
    """Writes texts of up to 60 words that end in the one that tells their class."""
    flags = write_small_task(folder, testdata)
    (folder / "train.tsv").unlink()
    draw = random.Random(3)

    def text(least: int, last: list[str]) -> str:
        return " ".join(draw.choices(WORDS, k=draw.randrange(least, 60)) + last)

    for name, count in (("train", 60), ("dev", dev_size)):
        labels = ["cold", "warm"] * (count // 2)
        words = {"cold": ["ice"], "warm": ["sun"]}
        rows = [(text(0, words[x]), text(0, []), x) for x in labels]
        write(folder / f"{name}.jsonl", rows)
    pairs = zip(TO_PREDICT, TO_PREDICT[::-1], strict=True)
    write(folder / "test.jsonl", [(*pair, "") for pair in pairs])
    return flags | {
        "text_a": "a",
        "label": "l",
        "max_seq_length": str(LENGTH),
        "train_batch_size": "8",
        "learning_rate": "1e-3",
    }


def write_weights(folder: Path) -> str:
    """Writes weights that are so large that logits of texts differ; returns where."""
    tf.keras.utils.set_random_seed(2)
    config = BertConfig.from_json_file(folder / "bert_config.json")
    model = BertClassifier(dataclasses.replace(config, initializer_range=0.5), 2)
    model.output_weights.assign(model.output_weights * 20)
    save_checkpoint(model, folder / "init.ckpt")
    return str(folder / "init.ckpt")


def run(flags: dict, **changes) -> tuple[int, str]:
    """Runs the script; returns its exit code and what it wrote on stderr."""
    log = io.StringIO()
    with contextlib.redirect_stderr(log):
        code = main(as_arguments({**flags, **changes}))
    return code, log.getvalue()


def rows_of(folder: Path, texts: list, is_pair: bool, doc_stride: int | None) -> list:
    """Returns for each text or pair what each of its windows holds."""
    full = FullTokenizer(str(folder / "vocab.txt"))
    return [
        plain_packing.windows(
            full.tokenize(a), full.tokenize(b) if is_pair else [], LENGTH, doc_stride
        )
        for a, b, _ in texts
    ]


def mean_logits(folder: Path, texts: list) -> np.ndarray:
    """Computes logits from the last checkpoint, without the scripts."""
    model = BertClassifier(BertConfig.from_json_file(folder / "bert_config.json"), 2)
    load_checkpoint(model, folder / "output")
    full = FullTokenizer(str(folder / "vocab.txt"))
    means = []
    for parts in texts:
        features = plain_packing.features(full, parts)
        features = {name: np.array(x, np.int32) for name, x in features.items()}
        means.append(model(features).numpy().astype(np.float64).mean(axis=0))
    return np.array(means)


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)


def predictions(output: Path) -> np.ndarray:
    return np.loadtxt(output / "test_results.tsv", delimiter="\t")


def results(output: Path) -> dict[str, float]:
    lines = (output / "eval_results.txt").read_text().splitlines()
    return {k: float(v) for k, v in (line.split(" = ") for line in lines)}


CASES = [(False, 5, None), (True, None, "6,12")]
EVERYTHING = {"do_train": "true", "do_eval": "true", "do_predict": "true"}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(CASES[0], id="single"),
        pytest.param(CASES[1], id="pair-and-buckets", marks=pytest.mark.acceptance),
    ],
)
def trained(request, tmp_path_factory, testdata):
    """A run that did everything; returns its case, flags, folder and log."""
    is_pair, doc_stride, buckets = request.param
    folder = tmp_path_factory.mktemp("windows")
    flags = write_task(folder, testdata) | EVERYTHING
    flags |= {
        "text_b": "b" if is_pair else None,
        "num_train_epochs": "1.5",
        "long_text": "windows",
        "doc_stride": str(doc_stride) if doc_stride else None,
        "length_buckets": buckets,
        "learning_rate": "1e-4",
        "export_dir": str(folder / "export"),
        "init_checkpoint": write_weights(folder),
    }
    code, log = run(flags)
    assert code == 0, log
    return (is_pair, doc_stride), flags, folder, log


def test_steps_and_epochs_count_windows(trained):
    case, _, folder, log = trained
    parts = rows_of(folder, read(folder / "train.jsonl"), *case)
    count = sum(map(len, parts))
    assert count > 120
    assert f"train: 60 texts in {count} windows" in log
    steps = int(count / 8 * 1.5)
    assert results(folder / "output")["global_step"] == steps
    evaluated = [
        event.step
        for path in (folder / "output" / "eval").glob("events.out.tfevents.*")
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.tag == "eval_loss"
    ]
    assert evaluated == [int(count / 8), steps]


def test_each_window_is_a_row_with_its_texts_label(trained):
    case, _, folder, _ = trained
    texts = read(folder / "train.jsonl")
    parts = rows_of(folder, texts, *case)
    full = FullTokenizer(str(folder / "vocab.txt"))
    flat = [part for each in parts for part in each]
    expected = plain_packing.features(full, flat, LENGTH)
    expected["label_ids"] = [
        [["cold", "warm"].index(label)]
        for (_, _, label), each in zip(texts, parts, strict=True)
        for _ in each
    ]
    records = tf.data.TFRecordDataset(str(folder / "output" / "train.tf_record"))
    found: dict[str, list] = {name: [] for name in expected}
    for record in records.as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        for name, rows in found.items():
            rows.append(list(feature[name].int64_list.value))
    assert found == expected


def test_predictions_are_of_mean_logits(trained, measured):
    case, _, folder, _ = trained
    parts = rows_of(folder, read(folder / "test.jsonl"), *case)
    assert max(map(len, parts)) > 1000
    expected = softmax(mean_logits(folder, parts))
    found = predictions(folder / "output")
    worst = float(np.abs(found - expected).max())
    measured("predictions of long texts against numpy", worst, at_most=1e-5)


def test_metrics_are_of_texts(trained):
    case, _, folder, _ = trained
    texts = read(folder / "dev.jsonl")
    logits = mean_logits(folder, rows_of(folder, texts, *case))
    marks = np.array([[label == x for x in ("cold", "warm")] for _, _, label in texts])
    losses = -np.log(softmax(logits)[marks])
    batches = [losses[start : start + 8].mean() for start in range(0, 20, 8)]
    found = results(folder / "output")
    right = (logits.argmax(axis=1) == marks.argmax(axis=1)).mean()
    assert found["eval_accuracy"] == pytest.approx(right, abs=1e-6)
    assert found["eval_loss"] == pytest.approx(losses.mean(), abs=1e-5)
    assert found["loss"] == pytest.approx(np.mean(batches), abs=1e-5)


def test_the_export_answers_as_the_script_predicted(trained, measured):
    (is_pair, _), _, folder, _ = trained
    signature = tf.saved_model.load(str(folder / "export" / "1")).signatures
    feeds = {"text_a": tf.constant(TO_PREDICT)}
    if is_pair:
        feeds["text_b"] = tf.constant(TO_PREDICT[::-1])
    found = signature["serving_default"](**feeds)["probabilities"].numpy()
    worst = float(np.abs(found - predictions(folder / "output")).max())
    measured("export with windows against --do_predict", worst, at_most=1e-5)


def test_what_a_model_was_trained_with_is_its_default(trained, tmp_path):
    """In its folder, and where it is the initial checkpoint of another."""
    _, flags, folder, _ = trained
    rows = ("max_seq_length", "long_text", "doc_stride")
    again = {k: v for k, v in flags.items() if k not in (*rows, "do_train")}
    again |= {"do_eval": None, "export_dir": None, "output_dir": str(tmp_path / "out")}
    before = predictions(folder / "output")
    (newest,) = (folder / "output").glob("model.ckpt-*.index")
    code, log = run(again, init_checkpoint=str(newest.with_suffix("")))
    assert code == 0 and "--long_text=windows, as the model was trained" in log
    np.testing.assert_array_equal(predictions(tmp_path / "out"), before)
    shutil.copytree(folder / "output", tmp_path / "output")
    again["output_dir"] = str(tmp_path / "output")
    assert run(again)[0] == 0
    np.testing.assert_array_equal(predictions(tmp_path / "output"), before)
    # What is said goes before it, and takes the noted stride along.
    assert run(again, long_text="truncate")[0] == 0
    cut = predictions(tmp_path / "output")
    assert np.abs(cut - before).max() > 0.01
    code, log = run(again, long_text="truncate", doc_stride="4")
    assert code == 1 and "--doc_stride only with" in log.splitlines()[-1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"long_text": None, "doc_stride": None}, "doc_stride=None"),
        ({"long_text": "head_tail", "doc_stride": None}, "doc_stride=None"),
        ({"doc_stride": "4"}, "doc_stride=4"),
    ],
    ids=str,
)
def test_training_does_not_go_on_in_another_way(trained, change, says):
    _, flags, folder, _ = trained
    before = {p: p.stat().st_mtime_ns for p in (folder / "output").rglob("*")}
    code, log = run(flags, **{"num_train_epochs": "2", **change})
    last = log.splitlines()[-1]
    assert code == 1 and "--output_dir" in last
    assert says in last or "long_text=" in last
    assert before == {p: p.stat().st_mtime_ns for p in (folder / "output").rglob("*")}


def test_a_note_that_says_nothing_is_of_texts_that_were_cut(tmp_path, testdata):
    """As folders of an earlier version, and of runs without the flags."""
    flags = write_task(tmp_path, testdata) | {"do_train": "true"}
    assert run(flags, num_train_epochs="1")[0] == 0
    path = tmp_path / "output" / "run_config.json"
    note = json.loads(path.read_text())
    assert (note.pop("long_text"), note.pop("doc_stride")) == ("truncate", None)
    path.write_text(json.dumps(note))
    code, log = run(flags, long_text="windows")
    assert code == 1 and "long_text=windows" in log.splitlines()[-1]
    code, log = run(flags, num_train_epochs="2", do_predict="true")
    assert code == 0 and "continuing from step 7" in log and "WARNING" not in log


def test_head_tail_rows_are_the_tokenizers(tmp_path, testdata):
    flags = write_task(tmp_path, testdata) | {"text_b": "b", "long_text": "head_tail"}
    code, log = run(flags, do_train="true", num_train_epochs="1")
    assert code == 0 and "train: 60 examples in batches of 8" in log
    full = FullTokenizer(str(tmp_path / "vocab.txt"))
    parts = [
        part
        for a, b, _ in read(tmp_path / "train.jsonl")
        for part in plain_packing.head_tail(full.tokenize(a), full.tokenize(b), LENGTH)
    ]
    records = tf.data.TFRecordDataset(str(tmp_path / "output" / "train.tf_record"))
    found = [
        list(feature["input_ids"].int64_list.value)
        for feature in (
            tf.train.Example.FromString(record).features.feature
            for record in records.as_numpy_iterator()
        )
    ]
    assert found == plain_packing.features(full, parts, LENGTH)["input_ids"]


def test_labels_are_balanced_by_windows(testdata):
    task = ClassificationTask(
        "test",
        BertConfig.from_json_file(testdata / "bert_config.json"),
        GraphTokenizer(str(testdata / "vocab_uncased.txt")),
        ["cold", "warm"],
        LENGTH,
        is_pair=False,
        long_text="windows",
        doc_stride=7,
    )
    texts = {"cold": "the " * 35, "warm": "the"}
    examples = [InputExample(x, text, label=x) for x, text in texts.items()]
    assert task.count_rows(examples).tolist() == [4, 1]
    task.balance(examples)
    np.testing.assert_allclose(task.kind.class_weights, [5 / (2 * 4), 5 / 2])


@pytest.mark.parametrize("long_text", ["truncate", "head_tail", "windows"])
def test_a_class_that_is_told_at_the_end(tmp_path, testdata, long_text):
    """What is cut off cannot be learned; this is what the other ways are for."""
    flags = write_task(tmp_path, testdata)
    for name in ("train", "dev"):
        rows = [
            ("the " * 16 + a.split()[-1], b, label)
            for a, b, label in read(tmp_path / f"{name}.jsonl")
        ]
        write(tmp_path / f"{name}.jsonl", rows)
    code, _ = run(
        flags,
        do_train="true",
        do_eval="true",
        eval_steps="1000",
        long_text=long_text,
        num_train_epochs="12",
    )
    assert code == 0
    accuracy = results(tmp_path / "output")["eval_accuracy"]
    if long_text == "truncate":
        assert accuracy == 0.5  # all rows are the same
    else:
        assert accuracy == 1.0
