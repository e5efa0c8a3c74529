"""The files of an evaluation and a prediction."""

import csv
import logging
import sys

import numpy as np
import pandas
import pytest

from bert_tf.config import BertConfig
from bert_tf.tasks.classification import ClassificationTask, InputExample
from bert_tf.tools.result_files import write_evaluation, write_predictions

CONFIG = BertConfig(vocab_size=40)
TEXTS = [
    "tab\there",
    'a "quoted" word',
    '"all quoted"',
    "two\nlines",
    "carriage\rreturn",
    "both\r\n",
    "",
    "NA",
    "'single', and, commas",
    "雪 👩‍👩‍👧 \u2028 line separator",
    "# no comment",
]


def make_task(kind: str, labels: list[str], is_pair: bool = False):
    return ClassificationTask("test", CONFIG, None, labels, 8, is_pair, kind, ";")


@pytest.mark.parametrize("kind", ["single", "multi", "regression"])
def test_predictions_can_be_read_by_others(tmp_path, kind):
    labels = [] if kind == "regression" else ["no", "tab\tinside"]
    task = make_task(kind, labels, is_pair=True)
    logits = np.random.default_rng(1).normal(size=[len(TEXTS), len(labels) or 1])
    pairs = zip(TEXTS, [*reversed(TEXTS[1:]), None], strict=True)
    examples = [InputExample(f"test-{i}", *pair) for i, pair in enumerate(pairs)]
    write_predictions(str(tmp_path), task, examples, {"logits": logits})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "predictions.tsv",
        "test_results.tsv",
    ]
    googles = (tmp_path / "test_results.tsv").read_text().splitlines()
    with (tmp_path / "predictions.tsv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file, delimiter="\t")
    assert header == ["id", "text_a", "text_b"] + (
        ["label", "probability_no", "probability_tab\tinside"] if labels else ["score"]
    )
    assert [row[1] for row in rows] == TEXTS
    assert [row[2] for row in rows] == [*reversed(TEXTS[1:]), ""]
    assert ["\t".join(row[4 if labels else 3 :]) for row in rows] == googles
    frame = pandas.read_csv(
        tmp_path / "predictions.tsv", sep="\t", keep_default_na=False
    )
    assert list(frame.columns) == header
    assert frame["text_a"].tolist() == TEXTS
    assert frame["id"].tolist() == [row[0] for row in rows]
    plain = (tmp_path / "predictions.tsv").read_bytes().split(b"\n")[-2]
    assert plain.startswith(b"test-10\t# no comment\t\t") and b"\r" not in plain


def test_what_no_table_can_hold(tmp_path):
    """Bytes and half characters, from processors of one's own."""
    task = make_task("single", ["no", "yes"])
    examples = [InputExample("1", b"caf\xe9s"), InputExample("2", "half \ud83d")]
    rows = {"logits": np.zeros([2, 2], np.float32)}
    write_predictions(str(tmp_path), task, examples, rows)
    frame = pandas.read_csv(tmp_path / "predictions.tsv", sep="\t")
    assert frame["text_a"].tolist() == ["cafs", "half "]
    assert frame["label"].tolist() == ["no", "no"]


def test_several_labels_are_joined(tmp_path):
    task = make_task("multi", ["a", "b", "c"])
    logits = np.array([[1, -1, 2], [-1, -1, -1], [0, 3, 0]], np.float32)
    examples = [InputExample(str(x), "text") for x in range(3)]
    write_predictions(str(tmp_path), task, examples, {"logits": logits})
    frame = pandas.read_csv(
        tmp_path / "predictions.tsv", sep="\t", keep_default_na=False
    )
    assert frame["label"].tolist() == ["a;c", "", "b"]
    np.testing.assert_allclose(
        frame[["probability_a", "probability_b", "probability_c"]],
        1 / (1 + np.exp(-logits)),
        rtol=1e-6,
    )


def evaluate(folder, labels: list[str]) -> dict:
    task = make_task("single", labels)
    ids = np.arange(10) % len(labels)
    logits = np.eye(len(labels), dtype=np.float32)[ids]
    rows = {"logits": logits, "label_ids": ids}
    results = {**task.metrics(rows, 4), "global_step": 3}
    write_evaluation(str(folder), task, rows, results)
    return results


def test_a_long_table_is_not_logged(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="absl"):
        evaluate(tmp_path, [f"label {x}" for x in range(21)])
    assert "precision    recall" not in caplog.text
    assert "eval_report.txt" in caplog.text
    assert "label 20" in (tmp_path / "eval_report.txt").read_text()


def test_results_are_googles_lines(tmp_path):
    results = evaluate(tmp_path, ["a", "b"])
    lines = (tmp_path / "eval_results.txt").read_text().splitlines()
    assert lines == [f"{name} = {results[name]!s}" for name in sorted(results)]
    assert lines[0] == "eval_accuracy = 1.0" and "global_step = 3" in lines
    assert all(type(results[n]) is np.float32 for n in results if n != "global_step")


def test_without_matplotlib_all_but_the_figure_is_there(tmp_path, monkeypatch, caplog):
    class Absent:
        def find_spec(self, name, path=None, target=None):
            if name == "matplotlib":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    for name in list(sys.modules):
        if name.split(".")[0] == "matplotlib":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    with caplog.at_level(logging.INFO, logger="absl"):
        evaluate(tmp_path, ["a", "b"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "eval_report.txt",
        "eval_results.txt",
    ]
    (line,) = [x for x in caplog.messages if "matplotlib" in x]
    assert "pip install matplotlib" in line


def test_a_character_that_the_font_lacks_is_no_news(tmp_path, recwarn):
    evaluate(tmp_path, ["雪", "$\\frac"])
    assert (tmp_path / "confusion_matrix.png").stat().st_size > 5000
    assert not [w for w in recwarn if "Glyph" in str(w.message)]
