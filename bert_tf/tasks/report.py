"""What a person reads of an evaluation: tables as text, and figures.

matplotlib is imported when a figure is asked for; it is an extra of the package.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# More labels than this are more than a matrix of all pairs can show anybody.
MOST_PAIRED_LABELS = 100
# Up to here a cell of the confusion matrix has room for its count.
_CELLS_WITH_COUNTS = 40
_NAME_LENGTH = 30
_LARGEST_SIDE = 40.0  # in inches
_DPI = 120


def class_table(
    label_ids: np.ndarray, predicted: np.ndarray, labels: Sequence[str]
) -> str:
    """Returns precision, recall, F1 and support of every label, as lines of text.

    Args:
      label_ids: `[n]`, or where a row may have several labels 0 or 1, `[n, L]`.
      predicted: The same.
      labels: L names.
    """
    from sklearn import metrics

    return metrics.classification_report(
        label_ids,
        predicted,
        labels=range(len(labels)),
        target_names=[_one_line(label) for label in labels],
        digits=4,
        zero_division=0.0,
    )


def confusion_table(
    label_ids: np.ndarray, predicted: np.ndarray, labels: Sequence[str]
) -> str:
    """Returns the confusion matrix as lines of text; arguments are ids `[n]`."""
    counts = _confusion(label_ids, predicted, len(labels))
    names = [_one_line(label) for label in labels]
    columns = [["", *names]]
    columns += [
        [name, *map(str, column)] for name, column in zip(names, counts.T, strict=True)
    ]
    widths = [max(map(_width, column)) for column in columns]
    rows = [
        "  ".join(map(_right, cells, widths)) for cells in zip(*columns, strict=True)
    ]
    title = "confusion matrix: a row per label, a column per prediction"
    return "\n".join([title, "", *rows, ""])


def confusion_figure(
    label_ids: np.ndarray, predicted: np.ndarray, labels: Sequence[str]
) -> Any:
    """Returns the confusion matrix as a figure, coloured by the share of a row."""
    from matplotlib.figure import Figure

    counts = _confusion(label_ids, predicted, len(labels))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [_short(label) for label in labels]
    # Room for the names, and for each cell more where it shows a count.
    side = 2.5 + 0.08 * max(map(len, names))
    side += len(names) * (0.42 if len(names) <= _CELLS_WITH_COUNTS else 0.18)
    side = min(side, _LARGEST_SIDE)
    figure = Figure(figsize=(side + 1.0, side), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    figure.colorbar(image, ax=axes, label="share of the label's examples", shrink=0.8)
    places = range(len(names))
    # A $ in a label is no formula.
    axes.set_xticks(places, names, rotation=90, parse_math=False)
    axes.set_yticks(places, names, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("label")
    if len(names) <= _CELLS_WITH_COUNTS:
        for row, column in np.ndindex(counts.shape):
            if counts[row, column]:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(
                    column,
                    row,
                    str(counts[row, column]),
                    ha="center",
                    va="center",
                    color=colour,
                    fontsize=8,
                )
    return figure


def scatter_figure(
    values: np.ndarray, scores: np.ndarray, found: Mapping[str, Any]
) -> Any:
    """Returns a figure of labels against predictions, each `[n]`.

    Args:
      values: The labels.
      scores: What was predicted.
      found: `eval_pearson` and `eval_spearman` of the two.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 6.0), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    ends = [
        min(values.min(), scores.min()),
        max(values.max(), scores.max()),
    ]
    axes.plot(ends, ends, color="0.6", linewidth=1, label="prediction = label")
    axes.scatter(values, scores, s=12, alpha=0.5, linewidths=0)
    axes.set_xlabel("label")
    axes.set_ylabel("prediction")
    axes.legend(loc="upper left")
    axes.set_title(
        f"Pearson {found['eval_pearson']:.4f}, Spearman {found['eval_spearman']:.4f}"
    )
    return figure


def _confusion(
    label_ids: np.ndarray, predicted: np.ndarray, num_labels: int
) -> np.ndarray:
    """Returns how often label i (row) was predicted as label j (column)."""
    from sklearn import metrics

    return metrics.confusion_matrix(label_ids, predicted, labels=range(num_labels))


def _one_line(label: str) -> str:
    return " ".join(label.split())


def _short(label: str) -> str:
    name = _one_line(label)
    return name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…"


def _width(text: str) -> int:
    """Returns how many columns a text takes; East Asian characters take two."""
    return sum(1 + (unicodedata.east_asian_width(char) in "WF") for char in text)


def _right(text: str, width: int) -> str:
    return " " * (width - _width(text)) + text
