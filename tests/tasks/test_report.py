"""Tables and figures of an evaluation, also with awkward labels."""

import io
import warnings

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.tasks import report
from bert_tf.tasks.label_kinds import SingleLabel

IDS = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 1, 0])


def test_the_confusion_matrix_as_text():
    names = ["cold", "雪 and ice", "two\nlines"]
    lines = report.confusion_table(IDS, PREDICTED, names).splitlines()
    assert lines[0].startswith("confusion matrix")
    # A column is as wide as its name; the character takes two places.
    assert lines[2:] == [
        "            cold  雪 and ice  two lines",
        "      cold     2           1          0",
        "雪 and ice     0           2          0",
        " two lines     1           0          0",
    ]


def test_more_labels_than_anybody_reads_make_no_matrix():
    count = report.MOST_PAIRED_LABELS + 1
    kind = SingleLabel([f"label {index}" for index in range(count)])
    predictions = np.eye(count, dtype=np.float32)
    text = kind.report(predictions, np.arange(count))
    assert "label 100" in text and "confusion" not in text
    assert kind.figure(predictions, np.arange(count)) is None


def test_the_table_has_a_row_for_labels_that_do_not_occur():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = report.class_table(IDS, PREDICTED, ["a", "b", "c", "never"])
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines() if line}
    assert rows["a"] == ["0.6667", "0.6667", "0.6667", "3"]
    assert rows["b"] == ["0.6667", "1.0000", "0.8000", "2"]
    assert rows["c"] == ["0.0000", "0.0000", "0.0000", "1"]
    assert rows["never"] == ["0.0000", "0.0000", "0.0000", "0"]
    assert rows["accuracy"] == ["0.6667", "6"]


def pixels(figure) -> np.ndarray:
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return tf.io.decode_png(image.getvalue(), channels=3).numpy()


def test_the_confusion_matrix_as_figure():
    names = ["cold", "$5 and $6_", "of a length that no axis has room for at all"]
    figure = report.confusion_figure(IDS, PREDICTED, names)
    axes = figure.axes[0]
    shown = [text.get_text() for text in axes.get_yticklabels()]
    assert shown == ["cold", "$5 and $6_", "of a length that no axis has …"]
    assert shown == [text.get_text() for text in axes.get_xticklabels()]
    counts = {text.get_position(): text.get_text() for text in axes.texts}
    assert counts == {(0, 0): "2", (1, 0): "1", (1, 1): "2", (0, 2): "1"}
    np.testing.assert_allclose(
        axes.images[0].get_array(), [[2 / 3, 1 / 3, 0], [0, 1, 0], [1, 0, 0]]
    )
    assert pixels(figure).min() < 100


@pytest.mark.parametrize(("labels", "side"), [(30, 2600), (400, 5000)])
def test_many_labels_are_drawn_large_but_not_too_large(labels, side):
    ids = np.arange(labels)
    figure = report.confusion_figure(ids, ids, [f"label {x}" for x in ids])
    width, height = figure.get_size_inches() * figure.dpi
    assert 1500 < height < width < side
    assert len(figure.axes[0].texts) == (labels if labels == 30 else 0)


def test_labels_against_predictions():
    values = np.array([0, 1, 2.5], np.float32)
    found = {"eval_pearson": np.float32(0.98766), "eval_spearman": 1.0}
    figure = report.scatter_figure(values, values + 0.5, found)
    (axes,) = figure.axes
    assert axes.get_title() == "Pearson 0.9877, Spearman 1.0000"
    points = np.asarray(axes.collections[0].get_offsets())
    np.testing.assert_allclose(points, np.stack([values, values + 0.5], axis=1))
    assert pixels(figure).min() < 100
