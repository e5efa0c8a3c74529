"""The files that an evaluation and a prediction leave in the output folder."""

import csv
import io
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from bert_tf.files import write_file
from bert_tf.tasks.classification import ClassificationTask, InputExample
from bert_tf.tasks.label_kind import LabelKind

# More labels than this make a table that is better read in its file.
_LABELS_TO_LOG = 20


def write_results(folder: str, results: Mapping[str, Any]) -> None:
    """Writes and logs `eval_results.txt`: a line for each metric, by name."""
    # !s gives the shortest form of a float32, as in the release.
    lines = [f"{key} = {results[key]!s}" for key in sorted(results)]
    for line in lines:
        logging.info("%s", line)
    write_file(os.path.join(folder, "eval_results.txt"), "\n".join([*lines, ""]))


def write_evaluation(
    folder: str,
    task: ClassificationTask,
    rows: Mapping[str, np.ndarray],
    results: Mapping[str, Any],
) -> None:
    """Writes metrics, report and figure, and logs the first two.

    Args:
      folder: The output folder.
      task: What was evaluated.
      rows: `per_example` of all rows.
      results: What to write into `eval_results.txt`.
    """
    write_results(folder, results)
    kind, label_ids = task.kind, rows["label_ids"]
    predictions = kind.predict(rows["logits"])
    text = kind.report(predictions, label_ids)
    if text is not None:
        path = os.path.join(folder, "eval_report.txt")
        write_file(path, text)
        if len(kind.labels) <= _LABELS_TO_LOG:
            logging.info("\n%s", text)
        else:
            logging.info("precision and recall of each label: %s", path)
    _write_figure(folder, kind, predictions, label_ids)


def _write_figure(
    folder: str, kind: LabelKind, predictions: np.ndarray, label_ids: np.ndarray
) -> None:
    try:
        made = kind.figure(predictions, label_ids)
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        logging.info(
            "no figure of this evaluation without matplotlib: pip install matplotlib, "
            "and evaluate again"
        )
        return
    if made is None:
        return
    name, figure = made
    image = io.BytesIO()
    with warnings.catch_warnings():
        # A character that the font lacks is a box; the name stands in the report.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(image, format="png")
    write_file(os.path.join(folder, name), image.getvalue())


def write_predictions(
    folder: str,
    task: ClassificationTask,
    examples: Sequence[InputExample],
    rows: Mapping[str, np.ndarray],
) -> None:
    """Writes `test_results.tsv`, as the release does, and `predictions.tsv`.

    Args:
      folder: The output folder.
      task: What predicted.
      examples: What was predicted.
      rows: `per_example` of these, in order.
    """
    predictions = task.kind.predict(rows["logits"])
    numbers = [[str(x) for x in row] for row in predictions]
    lines = ["\t".join(row) for row in numbers]
    path = os.path.join(folder, "test_results.tsv")
    write_file(path, "\n".join([*lines, ""]))
    logging.info("predicted %d examples: %s", len(lines), path)

    columns: dict[str, Sequence[str]] = {
        "id": [example.guid for example in examples],
        "text_a": [_text(example.text_a) for example in examples],
    }
    if task.is_pair:
        columns["text_b"] = [_text(example.text_b) for example in examples]
    names = task.kind.names(predictions)
    if names is not None:
        columns["label"] = names
    header = [*columns, *task.kind.columns]
    table = [
        [*row, *values]
        for row, values in zip(
            zip(*columns.values(), strict=True), numbers, strict=True
        )
    ]
    path = os.path.join(folder, "predictions.tsv")
    # A lone surrogate, which UTF-8 cannot hold, is dropped, as the tokenizer does.
    write_file(path, _tsv([header, *table]).encode("utf-8", "ignore"))
    logging.info("with texts and names: %s", path)


def _tsv(rows: Sequence[Sequence[str]]) -> str:
    """Returns a table whose fields may hold tabs, quotes and any line end."""
    text = io.StringIO(newline="")
    for row in rows:
        line = io.StringIO(newline="")
        # What ends a row is what gets a field quoted: both characters, therefore.
        csv.writer(line, delimiter="\t", lineterminator="\r\n").writerow(row)
        text.write(line.getvalue().removesuffix("\r\n") + "\n")
    return text.getvalue()


def _text(text: str | bytes | None) -> str:
    if isinstance(text, bytes):
        return text.decode("utf-8", "ignore")
    return text or ""
