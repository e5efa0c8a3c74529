"""One trainer for every task and every strategy: the step, and the loops around it."""

import bisect
import dataclasses
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bert_tf.errors import ConfigError
from bert_tf.modeling.kernels import dropout_seed
from bert_tf.tasks.task import Task


@dataclasses.dataclass(frozen=True)
class Action:
    """Something to do whenever training has reached one of some steps.

    Attributes:
      steps: The steps.
      run: Called with the step.
    """

    steps: Collection[int]
    run: Callable[[int], None]


def check_batch_size(
    batch_size: int, strategy: tf.distribute.Strategy, name: str
) -> None:
    """Raises a ConfigError if a batch has no equal parts for all devices."""
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise ConfigError(
            f"Expected {name} that {replicas} devices can share equally, got "
            f"{batch_size}; choose a multiple of {replicas}."
        )


class Trainer:
    """Trains, evaluates and predicts with one model under one strategy.

    Args:
      task: What the model is for.
      model: Created under the strategy's scope.
      strategy: Where it runs. A batch is split over the replicas; each replica
        takes the task's loss of its own rows and clips its own gradients, which
        are then averaged, as Google's TPU code does.
      optimizer: Needed to train; created under the strategy's scope.
      random_seed: What dropout is a function of, with step and replica.
    """

    def __init__(
        self,
        task: Task,
        model: keras.Model,
        strategy: tf.distribute.Strategy,
        optimizer: Any = None,
        random_seed: int = 12345,
    ):
        self.task = task
        self.model = model
        self.strategy = strategy
        self.optimizer = optimizer
        self.random_seed = random_seed

    @property
    def step(self) -> int:
        """How many steps have been taken."""
        return int(self.optimizer.iterations.numpy())

    def distribute(self, batches: tf.data.Dataset) -> Iterable[Any]:
        """Returns a dataset of global batches, split over the replicas.

        Raises:
          ConfigError: A batch has no equal parts for all replicas.
        """
        batch_size = tf.nest.flatten(batches.element_spec)[0].shape[0]
        check_batch_size(batch_size, self.strategy, "a batch size")
        return self.strategy.experimental_distribute_dataset(batches)

    def train(
        self,
        batches: tf.data.Dataset,
        *,
        num_train_steps: int,
        steps_per_call: int,
        on_progress: Callable[[int, int, dict[str, float]], None],
        actions: Sequence[Action] = (),
    ) -> None:
        """Trains from the optimizer's step to `num_train_steps`.

        Args:
          batches: Global batches; the first is that of the optimizer's step.
          num_train_steps: The step to end at.
          steps_per_call: Steps that the device takes before the host looks again;
            fewer when an action is due earlier.
          on_progress: Called after each of these with the step reached, how many
            steps were taken and the means over them of `loss`, `gradient_norm`
            (before clipping) and the task's training metrics.
          actions: Run in their order, after `on_progress`.

        Raises:
          ConfigError: The loss or a gradient is not finite; no action has seen that
            step.
        """
        iterator = iter(self.distribute(batches))
        stops = sorted({num_train_steps}.union(*(action.steps for action in actions)))
        step, last = self.step, None
        while step < num_train_steps:
            next_stop = stops[bisect.bisect_right(stops, step)]
            count = min(steps_per_call, next_stop - step)
            means = {
                name: float(value)
                for name, value in self._train_steps(
                    iterator, tf.constant(count)
                ).items()
            }
            step += count
            _check_finite(step, means, last)
            last = means
            on_progress(step, count, means)
            for action in actions:
                if step in action.steps:
                    action.run(step)

    @tf.function
    def _train_steps(self, iterator: Any, count: tf.Tensor) -> dict[str, tf.Tensor]:
        """Takes `count` steps; returns the means over them."""
        names = ("loss", "gradient_norm", *self.task.train_metric_names)
        sums = dict.fromkeys(names, tf.constant(0.0))
        for _ in tf.range(count):
            step = self._train_step(next(iterator))
            sums = {name: sums[name] + step[name] for name in sums}
        return {name: x / tf.cast(count, x.dtype) for name, x in sums.items()}

    def _train_step(self, batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        per_replica = self.strategy.run(self._replica_step, args=(batch,))
        return {
            name: self.strategy.reduce(tf.distribute.ReduceOp.MEAN, x, axis=None)
            for name, x in per_replica.items()
        }

    def _replica_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        gradients, scalars = self.gradients(batch)
        self.optimizer.apply(gradients, self.model.trainable_variables)
        return {**scalars, "gradient_norm": tf.linalg.global_norm(gradients)}

    def gradients(self, batch: dict[str, tf.Tensor]) -> tuple[list[Any], dict]:
        """Returns a replica's gradients, before clipping, and its loss and metrics.

        To be called inside `strategy.run`.
        """
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        seed = dropout_seed(self.random_seed, self.optimizer.iterations, replica)
        with tf.GradientTape() as tape:
            outputs = self.model(batch, training=True, dropout_seed=seed)
            loss = self.task.loss(outputs, batch)
        variables = [v.value for v in self.model.trainable_variables]
        scalars = {"loss": loss, **self.task.train_metrics(outputs, batch)}
        return tape.gradient(loss, variables), scalars

    def predict(
        self,
        batches: tf.data.Dataset,
        on_progress: Callable[[int], None] = lambda count: None,
    ) -> dict[str, np.ndarray]:
        """Runs the model over `batches` without dropout.

        Args:
          batches: Global batches of one size, with `is_real_example`.
          on_progress: Called after each batch with its number of real rows.

        Returns:
          The task's `per_example` of all real rows, `[n, ...]`: in the order of `row`,
          where batches have that feature, or else as they came.
        """
        parts: list[dict[str, np.ndarray]] = []
        for batch in self.distribute(batches):
            rows = {
                name: np.concatenate(
                    [x.numpy() for x in self.strategy.experimental_local_results(value)]
                )
                for name, value in self._predict_step(batch).items()
            }
            real = rows.pop("is_real_example") == 1
            parts.append({name: value[real] for name, value in rows.items()})
            on_progress(int(real.sum()))
        rows = {
            name: np.concatenate([part[name] for part in parts]) for name in parts[0]
        }
        if "row" in rows:
            order = np.argsort(rows.pop("row"))
            rows = {name: value[order] for name, value in rows.items()}
        return rows

    @tf.function
    def _predict_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        def replica_step(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            outputs = self.model(batch, training=False)
            return {
                **self.task.per_example(outputs, batch),
                **{k: batch[k] for k in ("is_real_example", "row") if k in batch},
            }

        return self.strategy.run(replica_step, args=(batch,))


def _check_finite(
    step: int, means: dict[str, float], last: dict[str, float] | None
) -> None:
    """Stops a run whose weights are lost, before it can write them."""
    for name in ("loss", "gradient_norm"):
        if not math.isfinite(means[name]):
            before = f", after {last[name]:.4f} before" if last else ""
            raise ConfigError(
                f"Expected a finite {name.replace('_', ' ')}, got {means[name]} at "
                f"step {step}{before}; lower --learning_rate, or look for damaged "
                "weights in --init_checkpoint."
            )
