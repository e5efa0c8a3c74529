"""What everything else may know of a kind of label.

A kind is all that follows from what a label can be: the feature, the loss, the
metrics, the files of predictions and the outputs of an export. Nothing else asks
which kind it is.
"""

import abc
from collections.abc import Collection, Iterable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import tensorflow as tf
from keras import ops

from bert_tf.errors import DataError

Label = str | Collection[str] | float | None
SEPARATOR = "|"


class LabelKind(abc.ABC):
    """One kind of label, with the labels of a task.

    Args:
      labels: All labels, in the order of their ids; none for numbers.
      separator: What stands between the labels of one row of a table.
      class_weights: float32 `[L]`, how much a label counts in training; 1 if None.
    """

    name: ClassVar[str]
    # Whether there is a list of labels.
    has_labels: ClassVar[bool] = True
    train_metric_names: ClassVar[tuple[str, ...]] = ("accuracy",)
    # What `scores` returns.
    metric_names: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        labels: Sequence[str],
        separator: str = SEPARATOR,
        class_weights: np.ndarray | None = None,
    ):
        self.labels = [str(label) for label in labels]
        self.separator = separator
        self.class_weights = class_weights
        self._ids = {label: index for index, label in enumerate(self.labels)}

    def id_of(self, label: Any, source: str) -> int:
        """Returns the id of one name; a DataError, with `source`, if it is unknown."""
        if str(label) not in self._ids:
            raise DataError(
                f"Expected one of the labels {', '.join(self.labels)}, got {label!r} "
                f"in {source}; correct the label, or train on a file that holds it."
            )
        return self._ids[str(label)]

    def balanced(self, labels: Sequence[Label]) -> Self:
        """Returns this kind with weights by which rare labels count like common ones.

        Args:
          labels: Of all training examples, each valid.

        Raises:
          DataError: A label does not occur.
          ConfigError: There are no classes to weigh.
        """
        weights = self._balanced_weights(np.array([self.encode(x) for x in labels]))
        return type(self)(self.labels, self.separator, weights.astype(np.float32))

    # From files.

    @classmethod
    def from_file(
        cls, label: Any, source: str, separator: str, is_table: bool
    ) -> Label:
        """Returns a label of this kind as a file has it.

        Args:
          label: What stands in the file: text, or in JSON also a list of texts.
          source: Where.
          separator: Between several labels in a field of a table.
          is_table: Whether it comes from a table.

        Raises:
          DataError: It is empty, or no single one, where it must be one.
        """
        if isinstance(label, list):
            raise DataError(
                f"Expected one label in {source}, found {str(label)[:40]}; correct "
                "that line, or say --label_kind=multi."
            )
        if label == "":
            raise DataError(
                f"Expected a label in {source}, found an empty field; correct that row."
            )
        return label

    @classmethod
    def names_in(cls, labels: Iterable[Label]) -> list[str]:
        """Returns what different labels there are, sorted."""
        return sorted({str(label) for label in labels})

    @property
    def note(self) -> dict[str, str]:
        """What a training run notes of its kind of labels."""
        return {"label_kind": self.name}

    @property
    def weighing(self) -> str:
        """How `--class_weights` spells the weights."""
        return "none" if self.class_weights is None else "balanced"

    @property
    def placeholder(self) -> Label:
        """A valid label for examples to predict."""
        return self.labels[0]

    @property
    @abc.abstractmethod
    def feature(self) -> tf.io.FixedLenFeature:
        """Type and shape of `label_ids` in a record."""

    @abc.abstractmethod
    def encode(self, label: Label, source: str = "an example") -> Any:
        """Returns a label as its feature; a DataError, with `source`, if it is none."""

    @abc.abstractmethod
    def describe(self, labels: Sequence[Label]) -> str:
        """Returns in a few words what these labels are."""

    @abc.abstractmethod
    def _balanced_weights(self, label_ids: np.ndarray) -> np.ndarray:
        """Returns `[L]`."""

    # On the device.

    @property
    def num_outputs(self) -> int:
        """How many logits a row has."""
        return len(self.labels)

    @abc.abstractmethod
    def _device_losses(self, logits: Any, label_ids: Any) -> Any:
        """Returns float32 of the shape of `label_ids`."""

    @abc.abstractmethod
    def soft_losses(self, logits: Any, teacher_logits: Any, temperature: float) -> Any:
        """Returns how far logits `[B, L]` are from a teacher's, float32 `[B]`."""

    def hard_losses(self, logits: Any, label_ids: Any) -> Any:
        """Returns what training without a teacher minimises, of each row, `[B]`."""
        losses = self._loss_weights(label_ids) * self._device_losses(logits, label_ids)
        rows = ops.shape(label_ids)[0]
        return ops.mean(ops.reshape(losses, (rows, -1)), axis=-1)

    def hits(self, logits: Any, label_ids: Any) -> Any:
        """Returns for each row whether all of it is right, float32 `[B]`."""
        return ops.cast(self._hits(logits, label_ids), "float32")

    def _loss_weights(self, label_ids: Any) -> Any:
        """Returns what the losses are weighed by, of their shape."""
        return ops.ones_like(label_ids, dtype="float32")

    def _hits(self, logits: Any, label_ids: Any) -> Any:
        """Returns for each row whether all of it is right, bool `[B]`."""
        raise NotImplementedError

    def sums(self, logits: Any, label_ids: Any) -> dict[str, Any]:
        """As `Task.sums`."""
        losses = self._device_losses(logits, label_ids)
        sums = {"loss": ops.sum(self._loss_weights(label_ids) * losses)}
        if self.train_metric_names:
            sums["accuracy"] = ops.sum(self.hits(logits, label_ids))
        return sums

    def weights(self, label_ids: Any) -> dict[str, Any]:
        """As `Task.weights`."""
        weights = {"loss": ops.sum(self._loss_weights(label_ids))}
        if self.train_metric_names:
            weights["accuracy"] = ops.cast(ops.shape(label_ids)[0], "float32")
        return weights

    @abc.abstractmethod
    def serve(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the outputs of an export, of logits `[n, L]`."""

    # On the host.

    @abc.abstractmethod
    def predict(self, logits: np.ndarray) -> np.ndarray:
        """Returns what is said of each row, float32 `[n, num_outputs]`."""

    @abc.abstractmethod
    def losses(self, logits: np.ndarray, label_ids: np.ndarray) -> np.ndarray:
        """Returns each row's loss without class weights, float32 `[n]`."""

    @abc.abstractmethod
    def scores(self, predictions: np.ndarray, label_ids: np.ndarray) -> dict[str, Any]:
        """Returns metrics by the names of `eval_results.txt`."""

    @property
    def columns(self) -> list[str]:
        """What heads the columns of `predict`."""
        return [f"probability_{label}" for label in self.labels]

    def names(self, predictions: np.ndarray) -> list[str] | None:
        """Returns the predicted label of each row, or None for numbers."""
        return None

    def report(self, predictions: np.ndarray, label_ids: np.ndarray) -> str | None:
        """Returns tables that say more than metrics, for people; None for none."""
        return None

    def figure(
        self, predictions: np.ndarray, label_ids: np.ndarray
    ) -> tuple[str, Any] | None:
        """Returns a file name and a matplotlib figure, or None.

        Raises:
          ModuleNotFoundError: matplotlib is not installed.
        """
        return None

    def check_that_all_occur(self, counts: np.ndarray, what: str) -> None:
        """Raises a DataError that names a label whose count, `[L]`, is 0."""
        for label, count in zip(self.labels, counts, strict=True):
            if count == 0:
                raise DataError(
                    f"Expected training examples {what} each label to balance them, "
                    f"found none {what} {label!r}; add some, or leave out "
                    "--class_weights."
                )
