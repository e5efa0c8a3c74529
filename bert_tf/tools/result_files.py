"""The files that an evaluation and a prediction leave in the output folder."""

import io
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging

from bert_tf.files import write_file
from bert_tf.tasks.task import FineTuningTask

# A longer table is better read in its file.
_LINES_TO_LOG = 40


def write_results(
    folder: str, results: Mapping[str, Any], name: str = "eval_results.txt"
) -> None:
    """Writes and logs a file of metrics: a line for each, by name."""
    # !s gives the shortest form of a float32, as in the release.
    lines = [f"{key} = {results[key]!s}" for key in sorted(results)]
    for line in lines:
        logging.info("%s", line)
    write_file(os.path.join(folder, name), "\n".join([*lines, ""]))


def write_evaluation(
    folder: str, task: FineTuningTask, outcome: Any, results: Mapping[str, Any]
) -> None:
    """Writes metrics, report and figure, and logs the first two.

    Args:
      folder: The output folder.
      task: What was evaluated.
      outcome: What `task.join` made of all rows.
      results: What to write into `eval_results.txt`.
    """
    write_results(folder, results)
    text = task.report(outcome)
    if text is not None:
        path = os.path.join(folder, "eval_report.txt")
        write_file(path, text)
        if text.count("\n") <= _LINES_TO_LOG:
            logging.info("\n%s", text)
        else:
            logging.info("more than the metrics: %s", path)
    _write_figure(folder, task, outcome)


def _write_figure(folder: str, task: FineTuningTask, outcome: Any) -> None:
    try:
        made = task.figure(outcome)
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
    folder: str, task: FineTuningTask, examples: Sequence[Any], outcome: Any
) -> None:
    """Writes the task's files of predictions.

    Args:
      folder: The output folder.
      task: What predicted.
      examples: What was predicted.
      outcome: What `task.join` made of their rows.
    """
    files = task.prediction_files(examples, outcome)
    for name, text in files.items():
        # A lone surrogate, which UTF-8 cannot hold, is dropped, as the tokenizer does.
        write_file(os.path.join(folder, name), text.encode("utf-8", "ignore"))
    logging.info(
        "predicted %d examples: %s in %s", len(examples), ", ".join(files), folder
    )
