"""What a label can be: one of a list, any of a list, or a number."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from bert_tf import metrics
from bert_tf.errors import ConfigError, DataError
from bert_tf.losses import (
    cross_entropy,
    sigmoid_cross_entropy,
    soft_cross_entropy,
    soft_sigmoid_cross_entropy,
)
from bert_tf.tasks import report
from bert_tf.tasks.label_kind import Label, LabelKind

_NAMES_SHOWN = 10
_LARGEST_NUMBER = float(np.finfo(np.float32).max)


class SingleLabel(LabelKind):
    """Exactly one of the labels."""

    name = "single"
    metric_names = ("eval_accuracy", "eval_f1", "eval_matthews")

    @property
    def feature(self) -> tf.io.FixedLenFeature:
        return tf.io.FixedLenFeature([], tf.int64)

    def encode(self, label: Label, source: str = "an example") -> Any:
        return self.id_of(label, source)

    def describe(self, labels: Sequence[Label]) -> str:
        more = ", ..." if len(self.labels) > _NAMES_SHOWN else ""
        names = ", ".join(self.labels[:_NAMES_SHOWN]) + more
        return f"{len(self.labels)} of kind single ({names})"

    def _balanced_weights(self, label_ids: np.ndarray) -> np.ndarray:
        counts = np.bincount(label_ids, minlength=len(self.labels))
        self.check_that_all_occur(counts, "of")
        return len(label_ids) / (len(self.labels) * counts)

    def _device_losses(self, logits: Any, label_ids: Any) -> Any:
        return cross_entropy(logits, label_ids)

    def _loss_weights(self, label_ids: Any) -> Any:
        if self.class_weights is None:
            return super()._loss_weights(label_ids)
        return ops.take(ops.convert_to_tensor(self.class_weights), label_ids)

    def soft_losses(self, logits: Any, teacher_logits: Any, temperature: float) -> Any:
        return soft_cross_entropy(logits, teacher_logits, temperature)

    def _hits(self, logits: Any, label_ids: Any) -> Any:
        return ops.equal(ops.argmax(logits, axis=-1), ops.cast(label_ids, "int32"))

    def serve(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        names = tf.constant(self.labels)
        return {
            "label": tf.gather(names, tf.argmax(logits, axis=-1)),
            **_named(names, tf.nn.softmax(logits, axis=-1)),
        }

    def predict(self, logits: np.ndarray) -> np.ndarray:
        return metrics.softmax(logits)

    def losses(self, logits: np.ndarray, label_ids: np.ndarray) -> np.ndarray:
        return metrics.cross_entropy(logits, label_ids)

    def scores(self, predictions: np.ndarray, label_ids: np.ndarray) -> dict[str, Any]:
        predicted = predictions.argmax(axis=-1)
        return metrics.single_label_metrics(label_ids, predicted, len(self.labels))

    def names(self, predictions: np.ndarray) -> list[str] | None:
        return [self.labels[index] for index in predictions.argmax(axis=-1)]

    def report(self, predictions: np.ndarray, label_ids: np.ndarray) -> str | None:
        predicted = predictions.argmax(axis=-1)
        table = report.class_table(label_ids, predicted, self.labels)
        if len(self.labels) > report.MOST_PAIRED_LABELS:
            return table
        return f"{table}\n{report.confusion_table(label_ids, predicted, self.labels)}"

    def figure(
        self, predictions: np.ndarray, label_ids: np.ndarray
    ) -> tuple[str, Any] | None:
        if len(self.labels) > report.MOST_PAIRED_LABELS:
            return None
        predicted = predictions.argmax(axis=-1)
        figure = report.confusion_figure(label_ids, predicted, self.labels)
        return "confusion_matrix.png", figure


class MultiLabel(LabelKind):
    """Any of the labels, or none: a decision of its own for each."""

    name = "multi"
    metric_names = ("eval_accuracy", "eval_f1_micro", "eval_f1_macro")

    @classmethod
    def from_file(
        cls, label: Any, source: str, separator: str, is_table: bool
    ) -> Label:
        labels = label
        if isinstance(label, str):
            split = label.split(separator) if is_table else [label]
            labels = [each.strip() for each in split] if label else []
        for each in labels:
            if not each or separator in each:
                raise DataError(
                    f"Expected labels that are not empty and hold no {separator!r} in "
                    f"{source}, got {each!r}; correct that row, or choose another "
                    "--label_separator."
                )
        return labels

    @classmethod
    def names_in(cls, labels: Iterable[Label]) -> list[str]:
        return sorted({str(each) for label in labels for each in label})  # type: ignore[union-attr]

    @property
    def note(self) -> dict[str, str]:
        return {**super().note, "label_separator": self.separator}

    @property
    def placeholder(self) -> Label:
        return []

    @property
    def feature(self) -> tf.io.FixedLenFeature:
        return tf.io.FixedLenFeature([len(self.labels)], tf.int64)

    def encode(self, label: Label, source: str = "an example") -> Any:
        if not is_several(label):
            raise DataError(
                f"Expected a list of labels, got {label!r} in {source}; make it a list "
                "(an empty one for none), or say --label_kind=single."
            )
        marks = np.zeros(len(self.labels), np.int64)
        marks[[self.id_of(each, source) for each in label]] = 1  # type: ignore[union-attr]
        return marks

    def describe(self, labels: Sequence[Label]) -> str:
        mean = float(np.mean([self.encode(label).sum() for label in labels]))
        return (
            f"{len(self.labels)} of kind multi, separated by {self.separator}, "
            f"{mean:.1f} per example"
        )

    def _balanced_weights(self, label_ids: np.ndarray) -> np.ndarray:
        with_label = label_ids.sum(axis=0)
        without_label = len(label_ids) - with_label
        self.check_that_all_occur(with_label, "with")
        self.check_that_all_occur(without_label, "without")
        return without_label / with_label

    def _device_losses(self, logits: Any, label_ids: Any) -> Any:
        return sigmoid_cross_entropy(logits, label_ids)

    def _loss_weights(self, label_ids: Any) -> Any:
        ones = super()._loss_weights(label_ids)
        if self.class_weights is None:
            return ones
        return ops.where(ops.equal(label_ids, 1), self.class_weights, ones)

    def soft_losses(self, logits: Any, teacher_logits: Any, temperature: float) -> Any:
        losses = soft_sigmoid_cross_entropy(logits, teacher_logits, temperature)
        return ops.mean(losses, axis=-1)

    def _hits(self, logits: Any, label_ids: Any) -> Any:
        return ops.all(ops.equal(logits > 0, ops.equal(label_ids, 1)), axis=-1)

    def serve(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        return _named(tf.constant(self.labels), tf.sigmoid(logits))

    def predict(self, logits: np.ndarray) -> np.ndarray:
        return metrics.sigmoid(logits)

    def losses(self, logits: np.ndarray, label_ids: np.ndarray) -> np.ndarray:
        return metrics.sigmoid_cross_entropy(logits, label_ids)

    def scores(self, predictions: np.ndarray, label_ids: np.ndarray) -> dict[str, Any]:
        return metrics.multi_label_metrics(label_ids, predictions > 0.5)

    def names(self, predictions: np.ndarray) -> list[str] | None:
        names = np.array(self.labels, object)
        return [self.separator.join(names[row > 0.5]) for row in predictions]

    def report(self, predictions: np.ndarray, label_ids: np.ndarray) -> str | None:
        return report.class_table(label_ids, predictions > 0.5, self.labels)


class Regression(LabelKind):
    """A number."""

    name = "regression"
    has_labels = False
    train_metric_names = ()
    metric_names = ("eval_pearson", "eval_spearman", "eval_mse")

    @property
    def placeholder(self) -> Label:
        return 0.0

    @property
    def num_outputs(self) -> int:
        return 1

    @property
    def feature(self) -> tf.io.FixedLenFeature:
        return tf.io.FixedLenFeature([], tf.float32)

    def encode(self, label: Label, source: str = "an example") -> Any:
        value = _number(label)
        if value is None or not abs(value) <= _LARGEST_NUMBER:
            raise DataError(
                f"Expected a finite number as label, got {label!r} in {source}; "
                "correct the label, or, of a custom task, say --label_kind=single."
            )
        return np.float32(value)

    def describe(self, labels: Sequence[Label]) -> str:
        values = [self.encode(label) for label in labels]
        return f"regression, from {min(values):g} to {max(values):g}"

    def _balanced_weights(self, label_ids: np.ndarray) -> np.ndarray:
        raise ConfigError(
            "Expected --class_weights=balanced only with labels that are classes, got "
            "it with a regression; leave it out."
        )

    def _device_losses(self, logits: Any, label_ids: Any) -> Any:
        scores = ops.squeeze(ops.cast(logits, "float32"), axis=-1)
        return ops.square(scores - label_ids)

    def soft_losses(self, logits: Any, teacher_logits: Any, temperature: float) -> Any:
        # Numbers have no temperature.
        return self._device_losses(logits, ops.squeeze(teacher_logits, axis=-1))

    def serve(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"score": tf.squeeze(logits, axis=-1)}

    def predict(self, logits: np.ndarray) -> np.ndarray:
        return logits.astype(np.float32)

    def losses(self, logits: np.ndarray, label_ids: np.ndarray) -> np.ndarray:
        return metrics.squared_error(logits[:, 0], label_ids)

    def scores(self, predictions: np.ndarray, label_ids: np.ndarray) -> dict[str, Any]:
        return metrics.regression_metrics(label_ids, predictions[:, 0])

    @property
    def columns(self) -> list[str]:
        return ["score"]

    def figure(
        self, predictions: np.ndarray, label_ids: np.ndarray
    ) -> tuple[str, Any] | None:
        figure = report.scatter_figure(
            label_ids, predictions[:, 0], self.scores(predictions, label_ids)
        )
        return "eval_scatter.png", figure


KINDS: Mapping[str, type[LabelKind]] = {
    kind.name: kind for kind in (SingleLabel, MultiLabel, Regression)
}


def find_kind(labels: Sequence[Label], separator: str | None = None) -> str:
    """Returns which kind labels are, by what they look like.

    Args:
      labels: Of the training examples.
      separator: If given, a label that holds it is several.

    Returns:
      `multi` if any of them is several; `regression` if all are numbers and not all
      of these whole, since whole numbers alone are rather names, such as stars;
      else `single`.
    """
    for label in labels:
        if is_several(label) or (
            separator and isinstance(label, str) and separator in label
        ):
            return MultiLabel.name
    numbers = [_number(label) for label in labels]
    if None not in numbers and any(
        math.isfinite(x) and not x.is_integer() for x in numbers if x is not None
    ):
        return Regression.name
    return SingleLabel.name


def is_several(label: Label) -> bool:
    """Returns whether a label is a list of labels."""
    return isinstance(label, Collection) and not isinstance(label, (str, bytes))


def _number(label: Any) -> float | None:
    """Returns a label's value if it is a number, else None."""
    # Python would read 1_000 as a number, which no other program writes.
    if "_" in str(label):
        return None
    try:
        return float(label)
    except (TypeError, ValueError):
        return None


def _named(names: tf.Tensor, probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
    # A row each, since TF Serving's row format wants one batch dimension.
    rows = tf.tile(names[None], [tf.shape(probabilities)[0], 1])
    return {"labels": rows, "probabilities": probabilities}
