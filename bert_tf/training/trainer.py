"""One trainer for every task and every strategy: the step, and the loops around it."""

import bisect
import dataclasses
import math
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bert_tf.errors import ConfigError
from bert_tf.modeling.kernels import dropout_seed
from bert_tf.optimization import Gradients, clip_and_reduce
from bert_tf.tasks.task import Task
from bert_tf.training.distribution import Batches, Workers, distribute

# Seconds that a call of the device takes where nobody said how many steps: short
# enough for a live progress bar.
_CALL_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class Action:
    """Something to do whenever training has reached one of some steps.

    Attributes:
      steps: The steps.
      run: Called with the step.
    """

    steps: Collection[int]
    run: Callable[[int], None]


def check_micro_batch_size(micro_batch_size: int, rows: int) -> None:
    """Raises a ConfigError if a replica's rows have no equal parts of that size."""
    if rows % micro_batch_size:
        raise ConfigError(
            f"Expected --micro_batch_size to divide the {rows} examples of each "
            f"device, got {micro_batch_size}; choose a divisor."
        )


class Trainer:
    """Trains, evaluates and predicts with one model under one strategy.

    Args:
      task: What the model is for.
      model: Created under the strategy's scope.
      strategy: Where it runs. A batch is split over the replicas.
      optimizer: Needed to train; created under the strategy's scope.
      random_seed: What dropout is a function of, with step and replica.
      micro_batch_size: Rows that a replica works on at a time. The gradients of these
        parts are added up, and clipped and reduced once per step. None for all of a
        replica's rows at once.
      reduction: `replica`: each replica divides its loss by the weight of its own
        rows and clips its own gradients, which are then averaged, as Google's TPU
        code does. `global`: all divide by the weight of the whole batch, and
        gradients are added up before they are clipped, so that the number of
        replicas makes no difference.
    """

    def __init__(
        self,
        task: Task,
        model: keras.Model,
        strategy: tf.distribute.Strategy,
        optimizer: Any = None,
        random_seed: int = 12345,
        *,
        micro_batch_size: int | None = None,
        reduction: str = "replica",
    ):
        self.task = task
        self.model = model
        self.strategy = strategy
        self.workers = Workers(strategy)
        self.optimizer = optimizer
        self.random_seed = random_seed
        self.micro_batch_size = micro_batch_size
        self.reduction = reduction

    @property
    def step(self) -> int:
        """How many steps have been taken."""
        return int(self.optimizer.iterations.numpy())

    def train(
        self,
        batches: Batches,
        *,
        num_train_steps: int,
        on_progress: Callable[[int, dict[str, np.ndarray]], None],
        steps_per_call: int | None = None,
        actions: Sequence[Action] = (),
        should_stop: Callable[[], bool] = lambda: False,
    ) -> int:
        """Trains from the optimizer's step to `num_train_steps`.

        Args:
          batches: Makes batches; the first is that of the optimizer's step.
          num_train_steps: The step to end at.
          on_progress: Called after each call of the device with the step reached and,
            for each of the steps taken, `[count]`, the `loss`, the `gradient_norm`
            (before clipping) and the task's training metrics.
          steps_per_call: Steps that the device takes before the host looks again;
            fewer when an action is due earlier. None for about half a second's.
          actions: Run in their order, after `on_progress`.
          should_stop: Asked before each call; ends the training early, of all workers
            if it is so for one.

        Returns:
          The step reached.

        Raises:
          ConfigError: The loss or a gradient is not finite; no action has seen that
            step.
        """
        iterator = iter(distribute(self.strategy, batches))
        stops = sorted({num_train_steps}.union(*(action.steps for action in actions)))
        step, first_step, last_loss = self.step, self.step, None
        at_once = steps_per_call or 1
        while step < num_train_steps and not self.workers.largest(should_stop()):
            next_stop = stops[bisect.bisect_right(stops, step)]
            count = min(at_once, next_stop - step)
            start = time.monotonic()
            results = self._train_steps(iterator, tf.constant(count))
            scalars = {name: values.numpy() for name, values in results.items()}
            if steps_per_call is None and step > first_step:  # the first call traces
                pace = (time.monotonic() - start) / count
                at_once = self.workers.largest(max(1, int(_CALL_SECONDS / pace)))
            self._check_finite(step, scalars, last_loss)
            last_loss = scalars["loss"][-1]
            step += count
            on_progress(step, scalars)
            for action in actions:
                if step in action.steps:
                    action.run(step)
        return step

    def _check_finite(
        self, step: int, scalars: dict[str, np.ndarray], last_loss: float | None
    ) -> None:
        """Stops a run whose weights are lost, before it can write them."""
        for index, loss in enumerate(scalars["loss"]):
            name, value = "loss", loss
            if math.isfinite(loss):
                name, value = "gradient", scalars["gradient_norm"][index]
                # A float16 gradient may overflow: the step is then skipped.
                skipped = self.optimizer.loss_scale is not None
                if skipped and scalars["loss_scale"][index] >= 1.0:
                    value = 0.0
            if not math.isfinite(value):
                before = ""
                if last_loss is not None:
                    before = f" (the last finite loss was {last_loss:.4f})"
                raise ConfigError(
                    f"Expected a finite {name}, got {value} at step "
                    f"{step + index + 1}{before}, and stopped before anything was "
                    "overwritten; likely causes: a --learning_rate too high, damaged "
                    "weights in --init_checkpoint, or --precision=float16."
                )
            last_loss = loss

    @tf.function
    def _train_steps(self, iterator: Any, count: tf.Tensor) -> dict[str, tf.Tensor]:
        """Takes `count` steps; returns the scalars of each, `[count]`."""
        names = ["loss", *self.task.train_metric_names, "gradient_norm"]
        if self.optimizer.loss_scale is not None:
            names.append("loss_scale")
        taken = {n: tf.TensorArray(tf.float32, size=count) for n in names}
        for index in tf.range(count):
            scalars = self._train_step(next(iterator))
            taken = {n: taken[n].write(index, scalars[n]) for n in taken}
        return {name: values.stack() for name, values in taken.items()}

    def _train_step(self, batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        means, norms = self.strategy.run(self._replica_step, args=(batch,))
        mean, total = tf.distribute.ReduceOp.MEAN, tf.distribute.ReduceOp.SUM
        # Under `global`, each replica holds its share of the whole batch's means.
        operation = total if self.reduction == "global" else mean
        scalars = {
            name: self.strategy.reduce(operation, x, axis=None)
            for name, x in means.items()
        }
        scalars["gradient_norm"] = self.strategy.reduce(mean, norms, axis=None)
        loss_scale = self.optimizer.loss_scale
        if loss_scale is not None:
            loss_scale.update(scalars["gradient_norm"])
            scalars["loss_scale"] = tf.identity(loss_scale.scale.value)
        return scalars

    def _replica_step(self, batch: dict[str, tf.Tensor]) -> tuple[dict, tf.Tensor]:
        gradients, means = self.gradients(batch)
        clipped, norm = clip_and_reduce(
            gradients, self.optimizer.clip_norm, self.reduction
        )
        self.optimizer.apply_reduced(clipped, self.model.trainable_variables)
        return means, norm

    def gradients(self, batch: dict[str, tf.Tensor]) -> tuple[Gradients, dict]:
        """Returns a replica's gradients, before clipping, and its loss and metrics.

        To be called inside `strategy.run`.
        """
        context = tf.distribute.get_replica_context()
        weights = self.task.weights(batch)
        if self.reduction == "global" and context.num_replicas_in_sync > 1:
            weights = context.all_reduce(tf.distribute.ReduceOp.SUM, weights)
        rows = next(iter(batch.values())).shape[0]
        part_rows = self.micro_batch_size or rows
        if part_rows == rows:
            raw, means = self._part_gradients(batch, weights, part=0)
            gradients = Gradients.of(raw)
        else:
            check_micro_batch_size(part_rows, rows)
            gradients, means = self._accumulated(batch, weights, rows // part_rows)
        if self.optimizer.loss_scale is not None:
            gradients = gradients.divided_by(self.optimizer.loss_scale.scale.value)
        return gradients, means

    def _part_gradients(
        self, rows: dict[str, tf.Tensor], weights: dict[str, tf.Tensor], part: Any
    ) -> tuple[list[Any], dict[str, tf.Tensor]]:
        """Returns gradients, as from the tape, and means of some of the rows."""
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        seed = dropout_seed(self.random_seed, self.optimizer.iterations, replica, part)
        with tf.GradientTape() as tape:
            outputs = self.model(rows, training=True, dropout_seed=seed)
            means = self.task.means(self.task.sums(outputs, rows), weights)
            loss = means["loss"]
            if self.optimizer.loss_scale is not None:
                loss *= self.optimizer.loss_scale.scale.value
        variables = [v.value for v in self.model.trainable_variables]
        return tape.gradient(loss, variables), means

    def _accumulated(
        self, batch: dict[str, tf.Tensor], weights: dict[str, tf.Tensor], parts: int
    ) -> tuple[Gradients, dict[str, tf.Tensor]]:
        """Returns what all parts of a batch, one after the other, add up to."""
        split = {
            name: tf.reshape(
                x, tf.concat([[parts, x.shape[0] // parts], tf.shape(x)[1:]], axis=0)
            )
            for name, x in batch.items()
        }
        names = ("loss", *self.task.train_metric_names)
        # Which gradients there are, and which are slices: seen when a part is traced.
        kinds: list[type] = []

        def add_part(part: Any, dense: Any, slices: Any, means: Any) -> Any:
            gradients, part_means = self._part_gradients(
                {name: x[part] for name, x in split.items()}, weights, part
            )
            kinds[:] = map(type, gradients)
            # Keeps TensorFlow from drawing a total into a longer sum, for which its
            # memory optimizer makes a variable also behind the last part, where nothing
            # deletes it: the next step would fail with "already exists".
            with tf.control_dependencies([part]):
                return (
                    part + 1,
                    list(map(_plus, dense, gradients)),
                    [
                        total + tf.nn.l2_loss(g.values)
                        if kind is tf.IndexedSlices
                        else total
                        for total, g, kind in zip(slices, gradients, kinds, strict=True)
                    ],
                    {name: means[name] + part_means[name] for name in names},
                )

        variables = self.model.trainable_variables
        # A zero that the graph's optimizer does not know for one: it would keep tables
        # of constants as large as the weights.
        zero = tf.cast(tf.minimum(self.optimizer.iterations.value, 0), tf.float32)
        _, dense, slices, means = tf.while_loop(
            lambda part, *_: part < parts,
            add_part,
            (
                tf.constant(0),
                [tf.fill(v.shape, zero) for v in variables],
                [tf.constant(0.0) for _ in variables],
                dict.fromkeys(names, tf.constant(0.0)),
            ),
            maximum_iterations=parts,  # XLA wants a bound
            parallel_iterations=1,
        )

        def only(totals: list[Any], wanted: Callable[[type], bool]) -> list[Any]:
            pairs = zip(totals, kinds, strict=True)
            return [x if wanted(kind) else None for x, kind in pairs]

        return Gradients(
            only(dense, lambda kind: kind is not type(None)),
            only(slices, lambda kind: kind is tf.IndexedSlices),
        ), means

    def predict(
        self,
        batches: Batches,
        on_progress: Callable[[int], None] = lambda count: None,
    ) -> dict[str, np.ndarray]:
        """Runs the model over `batches` without dropout.

        Args:
          batches: Makes batches of one size, with `is_real_example`.
          on_progress: Called after each batch with its number of real rows.

        Returns:
          The task's `per_example` of all real rows, `[n, ...]`: in the order of `row`,
          where batches have that feature, or else as they came. All workers get all.
        """
        parts: list[dict[str, np.ndarray]] = []
        for batch in distribute(self.strategy, batches):
            rows = {
                name: self.workers.gather(value)
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


def _plus(total: tf.Tensor, gradient: Any) -> tf.Tensor:
    if gradient is None:
        return total
    if isinstance(gradient, tf.IndexedSlices):
        # In place: a table of its own for each part would be most of the work.
        return tf.tensor_scatter_nd_add(
            total, gradient.indices[:, tf.newaxis], gradient.values
        )
    return total + gradient
