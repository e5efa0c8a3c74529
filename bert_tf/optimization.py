"""Google's optimizers, Adam with decoupled weight decay and LAMB; their rate."""

import dataclasses
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from bert_tf.errors import ConfigError
from bert_tf.naming import google_name

_NO_DECAY = re.compile("LayerNorm|layer_norm|bias")

# Elements of a weight from which on its update takes longer than to call what is
# compiled, which itself takes a tenth of a second for each shape.
_FUSED_FROM = 2**18


@keras.saving.register_keras_serializable("bert_tf")
class WarmupLinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from 0, then linear decay from the initial rate to 0.

    The decay starts at step 0 behind the warm-up, as in the release: the rate jumps
    from the end of the warm-up onto the decay line.

    Args:
      init_lr: The rate that the warm-up climbs to.
      num_train_steps: The step at which the rate is 0.
      num_warmup_steps: Steps of the warm-up; 0 for none.

    Source: `create_optimizer` in optimization.py of google-research/bert.
    """

    def __init__(self, init_lr: float, num_train_steps: int, num_warmup_steps: int):
        self.init_lr = init_lr
        self.num_train_steps = num_train_steps
        self.num_warmup_steps = num_warmup_steps

    def __call__(self, step: Any) -> tf.Tensor:
        """Returns the float32 rate of `step`, the number of steps already taken."""
        step = tf.cast(step, tf.float32)
        done = tf.minimum(step, self.num_train_steps) / self.num_train_steps
        decayed = self.init_lr * (1.0 - done)
        if not self.num_warmup_steps:
            return decayed
        warmed = self.init_lr * (step / self.num_warmup_steps)
        return tf.where(step < self.num_warmup_steps, warmed, decayed)

    def get_config(self) -> dict[str, Any]:
        return {
            "init_lr": self.init_lr,
            "num_train_steps": self.num_train_steps,
            "num_warmup_steps": self.num_warmup_steps,
        }


@dataclasses.dataclass(frozen=True)
class Gradients:
    """A replica's gradients, dense, with what their norm is made of.

    The gradient of an embedding table comes from the lookup as slices, one per token,
    and the release clips by their norm before slices of the same row are added up.
    Once they are added up, that norm has to be carried along.

    Attributes:
      dense: One tensor per variable; None where there is no gradient.
      slices: Half the sum of squares of each that came as slices; None for the
        others, whose norm is that of the dense tensor.
    """

    dense: list[Any]
    slices: list[Any]

    @classmethod
    def of(cls, gradients: Sequence[Any]) -> Self:
        """Returns a tape's gradients, slices added up."""
        return cls(
            [g if g is None else tf.convert_to_tensor(g) for g in gradients],
            [
                tf.nn.l2_loss(g.values) if isinstance(g, tf.IndexedSlices) else None
                for g in gradients
            ],
        )

    def divided_by(self, scale: Any) -> Self:
        """Returns them as if the loss had not been multiplied by `scale`."""
        return type(self)(
            [g if g is None else g / scale for g in self.dense],
            [x if x is None else x / (scale * scale) for x in self.slices],
        )

    def norm(self) -> tf.Tensor:
        """Returns the global norm."""
        halves = [
            tf.nn.l2_loss(dense) if square is None else square
            for dense, square in zip(self.dense, self.slices, strict=True)
            if dense is not None
        ]
        return tf.sqrt(2.0 * tf.add_n(halves))


def clip_and_reduce(
    gradients: Gradients, clip_norm: float, reduction: str = "replica"
) -> tuple[list[Any], tf.Tensor]:
    """Clips gradients by their global norm and adds them up over the replicas.

    To be called by each replica.

    Args:
      gradients: Of this replica.
      clip_norm: The most that a norm may be.
      reduction: `replica`: each replica's gradients, those of the mean over its own
        rows, are clipped and then averaged, as the release does on TPU. `global`:
        they are parts of the whole batch's gradients, which are added up and then
        clipped, as the release does on one device.

    Returns:
      The gradients, the same on all replicas, and the norm before clipping. A norm
      that is not finite makes all gradients NaN.
    """
    context = tf.distribute.get_replica_context()
    replicas = context.num_replicas_in_sync

    def sum_over_replicas(tensors: list[Any]) -> list[Any]:
        there = [x for x in tensors if x is not None]
        if replicas == 1 or not there:
            return tensors
        summed = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, there))
        return [x if x is None else next(summed) for x in tensors]

    if reduction == "global":
        gradients = Gradients(
            sum_over_replicas(gradients.dense), sum_over_replicas(gradients.slices)
        )
    norm = gradients.norm()
    clipped, _ = tf.clip_by_global_norm(gradients.dense, clip_norm, use_norm=norm)
    if reduction == "replica" and replicas > 1:
        shares = [g if g is None else g / replicas for g in clipped]
        clipped = sum_over_replicas(shares)
    return clipped, norm


class DynamicLossScale:
    """What a loss is multiplied by so that its float16 gradients do not vanish.

    It doubles after 2,000 steps of finite gradients and halves after a step without.
    The two variables have the names that TensorFlow's mixed precision gives them in
    checkpoints.
    """

    _INITIAL, _GROWTH_STEPS = 2.0**15, 2000

    def __init__(self, add_variable: Callable[..., keras.Variable]):
        self.scale = add_variable(
            (), keras.initializers.Constant(self._INITIAL), "float32", name="scale"
        )
        self.good_steps = add_variable((), "zeros", "int64", name="good_steps")

    def named(self) -> dict[str, keras.Variable]:
        """Returns `{name in a checkpoint: variable}`."""
        return {"current_loss_scale": self.scale, "good_steps": self.good_steps}

    def update(self, norm: tf.Tensor) -> None:
        """Takes note of a step's gradient norm; outside the replicas."""
        scale, good_steps = self.scale.value, self.good_steps.value
        finite = tf.math.is_finite(norm)
        good = tf.where(finite, good_steps + 1, 0)
        grows = good >= self._GROWTH_STEPS
        # Doubling stops before the scale itself overflows.
        larger = tf.where(tf.math.is_finite(4.0 * scale), 2.0 * scale, scale)
        kept = tf.where(grows, larger, scale)
        scale.assign(tf.where(finite, kept, scale / 2.0))
        good_steps.assign(tf.where(grows, tf.zeros_like(good), good))


def _is_worth_fusing(variable: Any) -> bool:
    """Returns whether XLA is to make one loop of a weight's update.

    On TPU everything is compiled anyway; on GPU, and on macOS, it has not been tried.
    """
    is_large = variable.shape.num_elements() >= _FUSED_FROM
    return is_large and sys.platform == "linux" and ":CPU:" in variable.device.upper()


def _write(variable: keras.Variable, value: tf.Tensor) -> None:
    """Writes into a variable's own buffer.

    `assign` makes the value's buffer the variable's. The buffers that stay would then
    be others after each step, amidst the memory that the next step needs in one piece.
    """
    tf.raw_ops.ResourceStridedSliceAssign(
        ref=variable.value.handle,
        begin=[0],
        end=[0],
        strides=[1],
        value=value,
        ellipsis_mask=1,  # all of it
    )


class _ClippedMoments(keras.optimizers.Optimizer):
    """What `AdamWeightDecay` and `Lamb` share: all but how slots become an update.

    Args: those of `AdamWeightDecay`.
    """

    _default_name: str

    def __init__(
        self,
        learning_rate: Any = 5e-5,
        weight_decay_rate: float = 0.01,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        clip_norm: float = 1.0,
        dynamic_loss_scale: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ):
        # Keras' own `weight_decay` and `global_clipnorm` mean other formulas.
        super().__init__(
            learning_rate=learning_rate, name=name or self._default_name, **kwargs
        )
        self.weight_decay_rate = weight_decay_rate
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.clip_norm = clip_norm
        self.dynamic_loss_scale = dynamic_loss_scale
        self.loss_scale: DynamicLossScale | None = None

    def build(self, variables: Any) -> None:
        if self.built:
            return
        super().build(variables)
        self.adam_m, self.adam_v = self.add_optimizer_variables(
            variables, ["adam_m", "adam_v"]
        )
        self._names = [google_name(v) for v in variables]
        if self.dynamic_loss_scale:
            self.loss_scale = DynamicLossScale(self.add_variable)

    def learning_rate_at(self, step: int) -> Any:
        """Returns the rate that the update of `step` (from 0) takes."""
        return self._learning_rate(step)

    def slots(self) -> dict[str, keras.Variable]:
        """Returns `{name in a checkpoint: variable}`; empty before `build`."""
        if not self.built:
            return {}
        slots = {
            f"{name}/{slot}": variable
            for slot in ("adam_m", "adam_v")
            for name, variable in zip(self._names, getattr(self, slot), strict=True)
        }
        return slots | (self.loss_scale.named() if self.loss_scale else {})

    def apply_reduced(self, grads: Sequence[Any], variables: Sequence[Any]) -> None:
        """Updates by what `clip_and_reduce` returned; called by each replica."""
        pairs = [
            (gradient, variable.value)
            for gradient, variable in zip(grads, variables, strict=True)
            if gradient is not None
        ]
        tf.__internal__.distribute.interim.maybe_merge_call(
            self._distributed_tf_update_step,
            tf.distribute.get_strategy(),
            pairs,
            self.learning_rate,
        )
        self.iterations.assign_add(1)

    # What Keras calls in `apply`, in this order.

    def _clip_gradients(self, grads: Any) -> list[Any]:
        return clip_and_reduce(Gradients.of(grads), self.clip_norm)[0]

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        return grads_and_vars  # done when they were clipped

    def scale_loss(self, loss: Any) -> Any:
        """Undoes what `fit` did to a replica's loss before its gradient is taken.

        Keras divides it by the number of replicas, so that a plain sum is the mean;
        here the gradients are divided, once they are clipped.
        """
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        return super().scale_loss(loss) * replicas

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        decays = not _NO_DECAY.search(self._names[index])
        gradient = tf.cast(gradient, variable.dtype)
        rate = tf.cast(learning_rate, variable.dtype)
        slots = self.adam_m[index], self.adam_v[index]
        if _is_worth_fusing(variable):
            # `value` may belong to a strategy; its handle is then this replica's.
            handles = (variable.handle, *(slot.value.handle for slot in slots))
            self._fused_step(gradient, *handles, rate, decays)
            return
        # Otherwise the products of slots and weights, for which nothing is waited,
        # are taken before the forward pass and kept over it.
        with tf.control_dependencies([gradient]):
            weight, m, v = (tf.convert_to_tensor(x) for x in (variable, *slots))
            update, *moments = self._step(gradient, weight, m, v, rate, decays)
            self.assign_sub(variable, update)
            for slot, moment in zip(slots, moments, strict=True):
                _write(slot, moment)

    @tf.function(jit_compile=True, autograph=False)
    def _fused_step(
        self,
        gradient: tf.Tensor,
        variable: tf.Tensor,
        adam_m: tf.Tensor,
        adam_v: tf.Tensor,
        rate: tf.Tensor,
        decays: bool,
    ) -> None:
        """Takes a weight's step in one pass over memory, instead of one for each op.

        Args:
          variable, adam_m, adam_v: Handles of the weight and its slots, in whose own
            buffers the results are written.
        """
        handles = (variable, adam_m, adam_v)
        weight, m, v = (
            tf.raw_ops.ReadVariableOp(resource=x, dtype=gradient.dtype) for x in handles
        )
        update, *moments = self._step(gradient, weight, m, v, rate, decays)
        tf.raw_ops.AssignSubVariableOp(resource=variable, value=update)
        for slot, moment in zip((adam_m, adam_v), moments, strict=True):
            tf.raw_ops.AssignVariableOp(resource=slot, value=moment)

    def _step(
        self,
        gradient: Any,
        variable: Any,
        adam_m: Any,
        adam_v: Any,
        rate: Any,
        decays: bool,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns what a weight loses, and its slots as they are to be."""
        next_m = self.beta_1 * adam_m + (1.0 - self.beta_1) * gradient
        next_v = self.beta_2 * adam_v + (1.0 - self.beta_2) * tf.square(gradient)
        update = rate * self._update(next_m, next_v, variable, decays)
        if self.dynamic_loss_scale:
            overflowed = tf.math.is_nan(gradient)
            update = tf.where(overflowed, tf.zeros([], update.dtype), update)
            next_m = tf.where(overflowed, adam_m, next_m)
            next_v = tf.where(overflowed, adam_v, next_v)
        return update, next_m, next_v

    def _update(self, next_m: Any, next_v: Any, variable: Any, decays: bool) -> Any:
        """Returns what a weight loses at a rate of 1.

        Args:
          next_m, next_v: The slots as they are to be.
          variable: The weight.
          decays: Whether its name lets it decay.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for key in (
            "weight_decay_rate",
            "beta_1",
            "beta_2",
            "epsilon",
            "clip_norm",
            "dynamic_loss_scale",
        ):
            config[key] = getattr(self, key)
        return config


@keras.saving.register_keras_serializable("bert_tf")
class AdamWeightDecay(_ClippedMoments):
    """Adam without bias correction, decoupled weight decay, clipping by global norm.

    `apply(grads, variables)` takes each replica's gradients, clips them and then
    averages over the replicas: the order of the release on TPU. Slots are read and
    written as `<name>/adam_m` and `<name>/adam_v`. Weights whose Google name holds
    `LayerNorm`, `layer_norm` or `bias` do not decay.

    Args:
      learning_rate: A rate or a schedule.
      weight_decay_rate: Share of the rate by which weights decay.
      beta_1, beta_2, epsilon: As in Adam.
      clip_norm: The most that the norm of all gradients may be.
      dynamic_loss_scale: For training in float16: `loss_scale` is then a
        `DynamicLossScale`, kept with the slots, and gradients of NaN, which
        overflowed, change nothing.

    Source: `AdamWeightDecayOptimizer` and `create_optimizer` in optimization.py.
    """

    _default_name = "adam_weight_decay"

    def _update(self, next_m: Any, next_v: Any, variable: Any, decays: bool) -> Any:
        update = next_m / (tf.sqrt(next_v) + self.epsilon)
        if self.weight_decay_rate and decays:
            update += self.weight_decay_rate * variable
        return update


@keras.saving.register_keras_serializable("bert_tf")
class Lamb(_ClippedMoments):
    """LAMB: Adam's update of each weight, made as long as the weight itself.

    For batches of thousands of rows. The update is Adam's, bias correction included,
    plus the decay, times the trust ratio: the norm of the weight over that of this
    sum, or 1 where either norm is 0; the paper's phi is the identity. Weights that
    do not decay (`LayerNorm`, `layer_norm`, `bias`) take no trust ratio either, as
    in ALBERT's own training; the paper scales every layer. A step that overflowed in
    float16 counts for the bias correction too.

    Args: those of `AdamWeightDecay`. Gradients are clipped, and slots are named, as
    there.

    Source: Algorithm 2 of You et al., "Large Batch Optimization for Deep Learning"
    (arXiv 1904.00962); for what is left out, `LAMBOptimizer` in lamb_optimizer.py of
    google-research/albert, which corrects no bias.
    """

    _default_name = "lamb"

    def _update(self, next_m: Any, next_v: Any, variable: Any, decays: bool) -> Any:
        # In float32, 1 - 0.999 would have four digits left.
        step = tf.cast(self.iterations.value, tf.float64) + 1.0
        share_of_m, share_of_v = (
            tf.cast(1.0 - tf.cast(beta, tf.float64) ** step, variable.dtype)
            for beta in (self.beta_1, self.beta_2)
        )
        # The denominator takes both corrections, in its own buffer: a corrected slot
        # would be one more tensor of the variable's size.
        denominator = tf.sqrt(next_v) / tf.sqrt(share_of_v) + self.epsilon
        update = next_m / (share_of_m * denominator)
        if not decays:
            return update
        if self.weight_decay_rate:
            update += self.weight_decay_rate * variable
        weight_norm, update_norm = _norm(variable), _norm(update)
        both = (weight_norm > 0.0) & (update_norm > 0.0)
        return tf.where(both, weight_norm / update_norm, 1.0) * update


def _norm(tensor: Any) -> tf.Tensor:
    return tf.sqrt(2.0 * tf.nn.l2_loss(tensor))  # without a tensor of squares


_OPTIMIZERS: dict[str, type[AdamWeightDecay] | type[Lamb]] = {
    "adam_weight_decay": AdamWeightDecay,
    "lamb": Lamb,
}


def create_optimizer(
    init_lr: float,
    num_train_steps: int,
    num_warmup_steps: int,
    dynamic_loss_scale: bool = False,
    optimizer: str = "adam_weight_decay",
) -> AdamWeightDecay | Lamb:
    """Returns one of Google's optimizers for a run of `num_train_steps`.

    Args:
      init_lr: The peak of the learning rate.
      num_train_steps: Step at which the rate reaches 0.
      num_warmup_steps: Steps over which it climbs from 0.
      dynamic_loss_scale: Whether the model computes in float16.
      optimizer: `adam_weight_decay`, the release's, or `lamb`, for large batches.

    Returns:
      A Keras optimizer, `AdamWeightDecay` or `Lamb`: `apply(grads, variables)`, or
      `compile(optimizer=...)`.

    Raises:
      ConfigError: There is no such optimizer.
    """
    if optimizer not in _OPTIMIZERS:
        raise ConfigError(
            f"Expected one of the optimizers {', '.join(_OPTIMIZERS)}, got "
            f"{optimizer!r}."
        )
    return _OPTIMIZERS[optimizer](
        WarmupLinearDecay(init_lr, num_train_steps, num_warmup_steps),
        dynamic_loss_scale=dynamic_loss_scale,
    )
