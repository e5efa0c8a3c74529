"""Metrics against formulas written out by hand."""

import numpy as np
import pytest

from bert_tf import metrics

pytestmark = pytest.mark.filterwarnings("error")


def draw(seed: int, high: int, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    label_ids = generator.integers(0, high, count)
    guesses = generator.integers(0, high, count)
    return label_ids, np.where(generator.random(count) < 0.6, label_ids, guesses)


def f1(label: np.ndarray, predicted: np.ndarray) -> float:
    hits = np.sum(label & predicted)
    return 2 * hits / max(np.sum(label) + np.sum(predicted), 1)


def matthews(label_ids: np.ndarray, predicted: np.ndarray) -> float:
    """For any number of classes, as Gorodkin (2004) has it: a correlation."""
    count = max(label_ids.max(), predicted.max()) + 1
    x, y = np.eye(count)[label_ids], np.eye(count)[predicted]
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return (x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum())


@pytest.mark.parametrize("num_labels", [2, 3, 7])
def test_single_labels(num_labels):
    label_ids, predicted = draw(num_labels, num_labels)
    each = [f1(label_ids == x, predicted == x) for x in range(num_labels)]
    found = metrics.single_label_metrics(label_ids, predicted, num_labels)
    np.testing.assert_allclose(
        [found[f"eval_{name}"] for name in ("accuracy", "f1", "matthews")],
        [
            np.mean(label_ids == predicted),
            each[1] if num_labels == 2 else np.mean(each),
            matthews(label_ids, predicted),
        ],
        rtol=1e-12,
    )


def test_several_labels():
    label_ids = np.stack([draw(seed, 2)[0] for seed in range(5)], axis=1)
    predicted = np.stack([draw(seed, 2)[1] for seed in range(5)], axis=1) == 1
    each = [f1(label_ids[:, x] == 1, predicted[:, x]) for x in range(5)]
    found = metrics.multi_label_metrics(label_ids, predicted)
    assert found.keys() == {"eval_accuracy", "eval_f1_micro", "eval_f1_macro"}
    right = (label_ids == predicted).all(axis=1)
    assert found["eval_accuracy"] == pytest.approx(right.mean())
    assert found["eval_f1_micro"] == pytest.approx(f1(label_ids == 1, predicted))
    assert found["eval_f1_macro"] == pytest.approx(np.mean(each))


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks by counting; equal values share the mean of theirs."""
    below = (values[None] < values[:, None]).sum(axis=1)
    equal = (values[None] == values[:, None]).sum(axis=1)
    return below + (equal + 1) / 2


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    return (x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum())


def test_numbers():
    generator = np.random.default_rng(3)
    values = generator.integers(0, 20, 300).astype(np.float32) / 4  # with ties
    scores = (values + generator.normal(0, 1, 300)).astype(np.float32)
    found = metrics.regression_metrics(values, scores)
    exact = values.astype(np.float64), scores.astype(np.float64)
    assert found["eval_pearson"] == pytest.approx(correlation(*exact))
    assert found["eval_spearman"] == pytest.approx(correlation(*map(ranks, exact)))
    assert found["eval_mse"] == pytest.approx(np.mean((exact[0] - exact[1]) ** 2))


ZEROS, ONES = np.zeros(4, int), np.ones(4, int)


@pytest.mark.parametrize(
    ("label_ids", "predicted", "accuracy", "f1"),
    [
        (ZEROS, ZEROS, 1, 0),
        (ONES, ONES, 1, 1),
        (ZEROS, ONES, 0, 0),
        (np.array([0, 1, 0, 1]), ZEROS, 0.5, 0),
        (ONES[:1], ONES[:1], 1, 1),
    ],
)
def test_constant_predictions_say_nothing(label_ids, predicted, accuracy, f1):
    assert metrics.single_label_metrics(label_ids, predicted, 2) == {
        "eval_accuracy": accuracy,
        "eval_f1": f1,
        "eval_matthews": 0.0,
    }


def test_no_label_anywhere():
    none = np.zeros([3, 2], int)
    assert metrics.multi_label_metrics(none, none == 1) == {
        "eval_accuracy": 1.0,
        "eval_f1_micro": 0.0,
        "eval_f1_macro": 0.0,
    }


@pytest.mark.parametrize("count", [1, 5])
def test_a_constant_correlates_with_nothing(count):
    values = np.arange(count, dtype=np.float32)
    same = np.full(count, 2.5, np.float32)
    for pair in ((values, same), (same, values), (same, same)):
        found = metrics.regression_metrics(*pair)
        assert found["eval_pearson"] == found["eval_spearman"] == 0.0


def test_probabilities_and_losses_far_out():
    """Nothing overflows, and all of it is float32."""
    logits = np.array([[80.0, -80.0], [-300.0, 300.0], [0.5, -1.5]], np.float32)
    exact = logits.astype(np.longdouble)
    label_ids, marks = np.array([1, 1, 0]), np.array([[0, 1], [0, 1], [1, 0]])
    total = np.log(np.exp(exact).sum(axis=1))
    binary = np.log1p(np.exp(exact)) - exact * marks
    for found, expected in (
        (metrics.softmax(logits), np.exp(exact - total[:, None])),
        (metrics.sigmoid(logits), 1 / (1 + np.exp(-exact))),
        (
            metrics.cross_entropy(logits, label_ids),
            total - exact[np.arange(3), label_ids],
        ),
        (metrics.sigmoid_cross_entropy(logits, marks), binary.mean(axis=1)),
        (metrics.squared_error(logits[:, 0], marks[:, 0]), (exact - marks)[:, 0] ** 2),
    ):
        assert found.dtype == np.float32
        np.testing.assert_allclose(
            found, expected.astype(np.float64), rtol=1e-6, atol=1e-37
        )
