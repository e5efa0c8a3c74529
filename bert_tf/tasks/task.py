"""What the trainer needs to know of a task."""

import abc
from typing import Any

import keras
import numpy as np

from bert_tf.data.records import FeatureSpec


class Task(abc.ABC):
    """Examples, features, head, loss, metrics and prediction files of one problem.

    The trainer and the scripts know tasks only through these methods; a task knows
    neither strategies nor steps.
    """

    name: str
    train_metric_names: tuple[str, ...] = ()

    @property
    @abc.abstractmethod
    def feature_spec(self) -> FeatureSpec:
        """The features of one record, by Google's names."""

    @abc.abstractmethod
    def create_model(self) -> keras.Model:
        """Returns the model with its head, freshly initialised."""

    @abc.abstractmethod
    def loss(self, outputs: Any, batch: dict[str, Any]) -> Any:
        """Returns the scalar that one replica minimises, as the release normalises.

        Args:
          outputs: What the model returned for `batch`.
          batch: Features of the replica's rows, `[B, ...]`.
        """

    @abc.abstractmethod
    def train_metrics(self, outputs: Any, batch: dict[str, Any]) -> dict[str, Any]:
        """Returns the float32 scalars of `train_metric_names` for one replica."""

    @abc.abstractmethod
    def per_example(self, outputs: Any, batch: dict[str, Any]) -> dict[str, Any]:
        """Returns what evaluation and prediction need of each row, `[B, ...]`."""

    @abc.abstractmethod
    def metrics(
        self, rows: dict[str, np.ndarray], batch_size: int
    ) -> dict[str, np.floating]:
        """Returns the metrics of an evaluation, by the names of `eval_results.txt`.

        Args:
          rows: `per_example` of all real rows, in order.
          batch_size: Rows per batch; the release's `loss` is a mean over batches.
        """
