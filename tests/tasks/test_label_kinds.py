"""Kinds of labels: features, losses and their gradients, weights, what auto finds."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight

from bert_tf.errors import ConfigError, DataError
from bert_tf.tasks.label_kinds import KINDS, MultiLabel, SingleLabel, find_kind

NAMES = ["a", "b", "c"]
SINGLE = ["a", "a", "b", "a", "c", "b", "a", "a"]
MULTI = [["a"], ["a", "b"], [], ["c"], ["b", "c"], ["a", "a"], ["b"], ["a"]]
NUMBERS = ["3.8", "-1", 0.25, "1e2", 7, " 2.5 ", "+0.5", ".5"]
LABELS = {"single": SINGLE, "multi": MULTI, "regression": NUMBERS}


def make(name: str, balanced: bool = False):
    kind = KINDS[name](NAMES if KINDS[name].has_labels else [])
    return kind.balanced(LABELS[name]) if balanced else kind


def encoded(kind) -> np.ndarray:
    return np.array([kind.encode(x) for x in LABELS[kind.name]])


def test_features():
    np.testing.assert_array_equal(encoded(make("single")), [0, 0, 1, 0, 2, 1, 0, 0])
    marks = [[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1]]
    np.testing.assert_array_equal(encoded(make("multi"))[:4], marks)
    numbers = encoded(make("regression"))
    assert numbers.dtype == np.float32
    np.testing.assert_allclose(numbers, [3.8, -1, 0.25, 100, 7, 2.5, 0.5, 0.5])


def expected_loss(name, logits, label_ids, weights) -> tuple[float, np.ndarray]:
    """Loss and gradient in float64, by the textbook."""
    logits = logits.astype(np.float64)
    if name == "single":
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        marks = np.eye(len(NAMES))[label_ids]
        losses = -np.log((probabilities * marks).sum(axis=1))
        each = np.ones(len(logits)) if weights is None else weights[label_ids]
        gradient = each[:, None] * (probabilities - marks)
    elif name == "multi":
        probabilities = 1 / (1 + np.exp(-logits))
        losses = -np.where(
            label_ids == 1, np.log(probabilities), np.log(1 - probabilities)
        )
        each = np.ones_like(logits)
        if weights is not None:
            each = np.where(label_ids == 1, weights, 1.0)
        gradient = each * (probabilities - label_ids)
    else:
        losses = (logits[:, 0] - label_ids) ** 2
        each = np.ones(len(logits))
        gradient = 2 * (logits[:, 0] - label_ids)[:, None]
    return (each * losses).sum() / each.sum(), gradient / each.sum()


@pytest.mark.parametrize(
    ("name", "balanced"),
    [
        ("single", False),
        ("single", True),
        ("multi", False),
        ("multi", True),
        ("regression", False),
    ],
)
def test_loss_and_gradient_are_the_textbooks(name, balanced):
    kind = make(name, balanced)
    label_ids = encoded(kind)
    shape = [len(label_ids), kind.num_outputs]
    logits = np.random.default_rng(1).normal(0, 2, shape).astype(np.float32)
    # As the device has them: no int64.
    on_device = tf.constant(label_ids, None if name == "regression" else tf.int32)
    with tf.GradientTape() as tape:
        watched = tf.constant(logits)
        tape.watch(watched)
        sums, weights = kind.sums(watched, on_device), kind.weights(on_device)
        loss = sums["loss"] / weights["loss"]
    gradient = tape.gradient(loss, watched)
    expected, expected_gradient = expected_loss(
        name, logits, label_ids, kind.class_weights
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-7)
    # Parts of a batch, each divided by the weight of the whole, add up to it.
    parts = [
        kind.sums(logits[part], on_device[part]) for part in (np.s_[:3], np.s_[3:])
    ]
    for key in sums:
        total = sum(part[key] for part in parts)
        np.testing.assert_allclose(total, sums[key], rtol=1e-6)
    # An evaluation does not weigh classes.
    unweighted, _ = expected_loss(name, logits, label_ids, None)
    losses = kind.losses(logits, label_ids)
    assert losses.dtype == np.float32 and losses.shape == (len(label_ids),)
    np.testing.assert_allclose(losses.mean(), unweighted, rtol=1e-6)


@pytest.mark.parametrize("name", ["single", "multi"])
def test_the_accuracy_of_training_is_that_of_an_evaluation(name):
    kind = make(name)
    label_ids = encoded(kind)
    shape = [len(label_ids), kind.num_outputs]
    logits = np.random.default_rng(2).normal(0, 2, shape).astype(np.float32)
    # Some rows all right.
    marks = label_ids if name == "multi" else np.eye(3)[label_ids]
    logits[:3] = 4 * marks[:3] - 2
    ids = tf.constant(label_ids, tf.int32)
    accuracy = kind.sums(logits, ids)["accuracy"] / kind.weights(ids)["accuracy"]
    scores = kind.scores(kind.predict(logits), label_ids)
    assert float(accuracy) == pytest.approx(scores["eval_accuracy"])
    assert float(accuracy) >= 3 / 8


def test_balanced_weights_are_scikit_learns():
    expected = compute_class_weight("balanced", classes=np.array(NAMES), y=SINGLE)
    np.testing.assert_allclose(make("single", True).class_weights, expected, rtol=1e-6)
    # Five of eight hold a, three b, two c.
    np.testing.assert_allclose(
        make("multi", True).class_weights, [4 / 4, 5 / 3, 6 / 2], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("kind", "labels", "says"),
    [
        (SingleLabel(NAMES), ["a", "b"], "of 'c'"),
        (MultiLabel(NAMES), [["a"], ["b"]], "with 'c'"),
        (MultiLabel(["a", "b"]), [["a"], ["b", "a"]], "without 'a'"),
    ],
)
def test_a_label_that_does_not_occur_cannot_be_balanced(kind, labels, says):
    with pytest.raises(DataError, match=f"found none {says}.*--class_weights"):
        kind.balanced(labels)


def test_numbers_cannot_be_balanced():
    with pytest.raises(ConfigError, match="--class_weights=balanced only"):
        make("regression", True)


@pytest.mark.parametrize(
    ("labels", "separator", "kind"),
    [
        (["1", "5", "3"], "|", "single"),
        (["1.0", "5.00"], "|", "single"),
        (["1", "3.8"], "|", "regression"),
        ([0.5, 1.0], None, "regression"),
        (["1", "3.8", "x"], "|", "single"),
        (["1", "2", "nan"], "|", "single"),
        (["1", "2.5", "nan"], "|", "regression"),
        (["1_5", "2.5"], "|", "single"),
        (["", "2.5"], "|", "single"),
        (["a", "b|c"], "|", "multi"),
        (["a", "b|c"], ";", "single"),
        (["a", "b|c"], None, "single"),
        (["a", ["b"]], None, "multi"),
        (["a", {"b"}], None, "multi"),
        ([["a"], []], "|", "multi"),
        ([None, "a"], "|", "single"),
        ([], "|", "single"),
    ],
)
def test_what_labels_look_like(labels, separator, kind):
    assert find_kind(labels, separator) == kind


@pytest.mark.parametrize(
    ("name", "label", "says"),
    [
        ("single", "d", "one of the labels a, b, c, got 'd'"),
        ("multi", ["a", "d"], "one of the labels a, b, c, got 'd'"),
        ("multi", "a", "list of labels, got 'a'"),
        ("multi", None, "list of labels"),
        ("regression", "high", "finite number as label, got 'high'"),
        ("regression", "nan", "finite number"),
        ("regression", float("inf"), "finite number"),
        ("regression", "1e39", "finite number"),
        ("regression", "", "finite number"),
        ("regression", ["1"], "finite number"),
        ("regression", None, "finite number"),
    ],
)
def test_a_label_of_another_kind_is_named(name, label, says):
    with pytest.raises(DataError) as error:
        make(name).encode(label, "x.tsv, line 7")
    assert says in str(error.value) and "x.tsv, line 7" in str(error.value)


def test_descriptions():
    assert make("single").describe(SINGLE) == "3 of kind single (a, b, c)"
    assert make("multi").describe(MULTI) == (
        "3 of kind multi, separated by |, 1.1 per example"
    )
    assert make("regression").describe(["0", "3.8", 5]) == "regression, from 0 to 5"
    many = SingleLabel([str(x) for x in range(100)])
    assert many.describe(["3"]) == (
        "100 of kind single (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...)"
    )
