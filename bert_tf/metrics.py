"""What evaluation makes of logits, on the host and in float32.

scikit-learn and SciPy are imported when they are first needed: the start of a run
need not wait for them.
"""

from typing import Any

import numpy as np


def lower_is_better(metric: str) -> bool:
    """Returns whether a metric of `eval_results.txt` is a loss or an error."""
    return metric.endswith(("loss", "mse"))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns probabilities float32 `[n, L]` that add up to 1, of logits `[n, L]`."""
    from scipy import special

    return special.softmax(logits.astype(np.float32), axis=-1)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Returns a probability of its own for every logit, float32."""
    from scipy import special

    return special.expit(logits.astype(np.float32))


def cross_entropy(logits: np.ndarray, label_ids: np.ndarray) -> np.ndarray:
    """Returns each row's cross entropy in nats, float32 `[n]`.

    Args:
      logits: float `[n, L]`.
      label_ids: integer `[n]`.
    """
    from scipy import special

    log_probs = special.log_softmax(logits.astype(np.float32), axis=-1)
    return -log_probs[np.arange(len(label_ids)), label_ids]


def sigmoid_cross_entropy(logits: np.ndarray, label_ids: np.ndarray) -> np.ndarray:
    """Returns each row's mean over labels of the binary cross entropy, float32 `[n]`.

    Args:
      logits: float `[n, L]`.
      label_ids: 0 or 1, `[n, L]`.
    """
    logits = logits.astype(np.float32)
    losses = np.logaddexp(np.float32(0), logits) - logits * label_ids.astype(np.float32)
    return losses.mean(axis=-1)


def squared_error(scores: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns float32 `[n]` of two arrays `[n]`."""
    return np.square(scores.astype(np.float32) - values.astype(np.float32))


def single_label_metrics(
    label_ids: np.ndarray, predicted: np.ndarray, num_labels: int
) -> dict[str, Any]:
    """Accuracy, F1 and Matthews' correlation where every row has one label.

    Args:
      label_ids: integer `[n]`.
      predicted: integer `[n]`.
      num_labels: L.

    Returns:
      `eval_accuracy`; `eval_f1`: of label id 1 where there are two labels, as GLUE
      takes it, else the mean over the labels that occur; `eval_matthews`.
    """
    from sklearn import metrics

    average = "binary" if num_labels == 2 else "macro"
    return {
        "eval_accuracy": metrics.accuracy_score(label_ids, predicted),
        "eval_f1": metrics.f1_score(
            label_ids, predicted, average=average, zero_division=0.0
        ),
        "eval_matthews": 0.0
        if _constant(label_ids) or _constant(predicted)
        else metrics.matthews_corrcoef(label_ids, predicted),
    }


def multi_label_metrics(label_ids: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Accuracy and F1 where a row may have any of the labels.

    Args:
      label_ids: 0 or 1, `[n, L]` with L of at least 2.
      predicted: 0 or 1, `[n, L]`.

    Returns:
      `eval_accuracy`, the share of rows whose labels are all right; `eval_f1_micro`,
      over all decisions; `eval_f1_macro`, the mean over the labels.
    """
    from sklearn import metrics

    return {
        "eval_accuracy": metrics.accuracy_score(label_ids, predicted),
        **{
            f"eval_f1_{average}": metrics.f1_score(
                label_ids, predicted, average=average, zero_division=0.0
            )
            for average in ("micro", "macro")
        },
    }


def regression_metrics(values: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """Correlations and mean squared error of two arrays `[n]`."""
    from scipy import stats

    correlations = {"eval_pearson": 0.0, "eval_spearman": 0.0}
    # Of a constant, no correlation is defined: 0.0, "says nothing", as scikit-learn
    # has it for Matthews' coefficient. A nan could not be compared or plotted.
    if not (_constant(values) or _constant(scores)):
        exact = values.astype(np.float64), scores.astype(np.float64)
        correlations = {
            "eval_pearson": stats.pearsonr(*exact).statistic,
            "eval_spearman": stats.spearmanr(*exact).statistic,
        }
    return {**correlations, "eval_mse": squared_error(scores, values).mean()}


def _constant(values: np.ndarray) -> bool:
    return bool((values == values[0]).all())
