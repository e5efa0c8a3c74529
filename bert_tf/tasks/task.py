"""What the trainer needs to know of a task."""

import abc
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bert_tf.data.records import FeatureSpec
from bert_tf.tasks.servable import DEFAULT_SIGNATURE, Servable, Signature


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
          **options: `dtype`, `recompute` and `use_one_hot_embeddings`, as the public
            models take them.
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
    def metrics(self, rows: Any, batch_size: int) -> dict[str, Any]:
        """Returns the metrics of an evaluation, by the names of `eval_results.txt`.

        Args:
          rows: `per_example` of all real rows, in order; of a `FineTuningTask`, what
            `join` makes of them.
          batch_size: Rows per batch; the release's `loss` is a mean over batches.
        """


class FineTuningTask(Task, Servable):
    """A task whose rows are made of labelled examples.

    An example may take several rows: what the model says of these, `join` makes what is
    said of the example. `Example` below is what the task's files are read into, and
    "outcome" what `join` returns.
    """

    # How many logits there are for each label, row or piece.
    num_outputs: int
    # What the signature of its strings is called, beside `serving_default`.
    serving_name: str | None = None

    # From examples to rows.

    @abc.abstractmethod
    def check(self, examples: Sequence[Any]) -> None:
        """Raises a DataError that names an example which the task cannot take."""

    @abc.abstractmethod
    def count_rows(self, examples: Sequence[Any]) -> np.ndarray:
        """Returns how many rows of `features` each example has, int32 `[n]`."""

    @abc.abstractmethod
    def features(self, examples: Sequence[Any]) -> Iterator[dict[str, np.ndarray]]:
        """Yields the features of `examples`, in order, many rows at a time."""

    @abc.abstractmethod
    def size(self, examples: Sequence[Any], rows: int) -> str:
        """Returns in words how many `examples` are in so many rows."""

    # What a training run notes of itself.

    @property
    @abc.abstractmethod
    def model_note(self) -> Mapping[str, Any]:
        """What its checkpoints fit, beside config, vocabulary and labels."""

    @property
    @abc.abstractmethod
    def row_note(self) -> Mapping[str, Any]:
        """How examples become rows."""

    @property
    def training_note(self) -> Mapping[str, Any]:
        """What else a step's gradients are a function of."""
        return {}

    @abc.abstractmethod
    def content(self, example: Any) -> Sequence[str]:
        """Returns what an example is to training: its texts and its label."""

    # From rows to answers.

    @abc.abstractmethod
    def join(self, examples: Sequence[Any], rows: Mapping[str, np.ndarray]) -> Any:
        """Makes of `per_example` of all rows what is said of all examples.

        Args:
          examples: Those that the rows were made of.
          rows: `per_example` of the rows of `features`, in order.
        """

    def labelled(self, examples: Sequence[Any]) -> bool:
        """Returns whether what is right is known of examples that are predicted."""
        return False

    def report(self, outcome: Any) -> str | None:
        """Returns tables that say more than metrics, for people; None for none."""
        return None

    def figure(self, outcome: Any) -> tuple[str, Any] | None:
        """Returns a file name and a matplotlib figure; None for none.

        Raises:
          ModuleNotFoundError: matplotlib is not installed.
        """
        return None

    @abc.abstractmethod
    def prediction_files(self, examples: Sequence[Any], outcome: Any) -> dict[str, str]:
        """Returns the text of each file that a prediction leaves, by its name."""

    # As a SavedModel.

    @property
    def signatures(self) -> Mapping[str, Signature]:
        names = filter(None, [DEFAULT_SIGNATURE, self.serving_name])
        return dict.fromkeys(names, Signature(self.serving_inputs, self.serve))

    @property
    @abc.abstractmethod
    def serving_inputs(self) -> Sequence[tf.TensorSpec]:
        """What an export takes: strings `[n]`, by name."""

    @abc.abstractmethod
    def serve(self, model: Any, *inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns what an export says of its inputs, `[n, ...]`, by name."""
