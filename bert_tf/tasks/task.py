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
    # What its rows are called, and how many pieces each has, if all have as many.
    unit: str = "examples"
    row_length: int | None = None
    train_metric_names: tuple[str, ...] = ()
    # What `metrics` returns.
    metric_names: tuple[str, ...] = ()

    @property
    @abc.abstractmethod
    def feature_spec(self) -> FeatureSpec:
        """The features of one record, by Google's names."""

    @abc.abstractmethod
    def create_model(self, **options: Any) -> keras.Model:
        """Returns the model with its head, freshly initialised.

        Args:
          **options: `dtype` and `recompute`, as the public models take them.
        """

    # What training minimises is a sum over rows divided by a weight. The two are
    # asked for apart, so that a batch can be taken in parts that are all divided by
    # the weight of the whole.

    @abc.abstractmethod
    def sums(self, outputs: Any, batch: dict[str, Any]) -> dict[str, Any]:
        """Returns float32 scalars that add up over rows: losses, counts of hits.

        Args:
          outputs: What the model returned for `batch`.
          batch: Features of some rows, `[B, ...]`.
        """

    @abc.abstractmethod
    def weights(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Returns what each of `sums` is divided by; this too adds up over rows."""

    def means(self, sums: dict[str, Any], weights: dict[str, Any]) -> dict[str, Any]:
        """Returns `loss`, which training minimises, and the `train_metric_names`.

        All are linear in `sums`: the means of parts of a batch, each with the weights
        of the whole, add up to those of the whole.
        """
        return {name: value / weights[name] for name, value in sums.items()}

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
