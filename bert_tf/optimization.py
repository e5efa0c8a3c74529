"""Google's optimizer: Adam with decoupled weight decay, and its learning rate."""

import re
from typing import Any

import keras
import tensorflow as tf

from bert_tf.naming import google_name

_NO_DECAY = re.compile("LayerNorm|layer_norm|bias")


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


@keras.saving.register_keras_serializable("bert_tf")
class AdamWeightDecay(keras.optimizers.Optimizer):
    """Adam without bias correction, decoupled weight decay, clipping by global norm.

    `apply(grads, variables)` clips, and then, where several replicas run, averages
    the clipped gradients over them: the order of the release on TPU. Slots are read
    and written as `<name>/adam_m` and `<name>/adam_v`. Weights whose Google name
    holds `LayerNorm`, `layer_norm` or `bias` do not decay.

    Source: `AdamWeightDecayOptimizer` and `create_optimizer` in optimization.py.
    """

    def __init__(
        self,
        learning_rate: Any = 5e-5,
        weight_decay_rate: float = 0.01,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        clip_norm: float = 1.0,
        name: str = "adam_weight_decay",
        **kwargs: Any,
    ):
        # Keras' own `weight_decay` and `global_clipnorm` mean other formulas.
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.weight_decay_rate = weight_decay_rate
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.clip_norm = clip_norm

    def build(self, variables: Any) -> None:
        if self.built:
            return
        super().build(variables)
        self.adam_m, self.adam_v = self.add_optimizer_variables(
            variables, ["adam_m", "adam_v"]
        )
        self._names = [google_name(v) for v in variables]

    def learning_rate_at(self, step: int) -> Any:
        """Returns the rate that the update of `step` (from 0) takes."""
        return self._learning_rate(step)

    def slots(self) -> dict[str, keras.Variable]:
        """Returns `{name in a checkpoint: slot variable}`; empty before `build`."""
        if not self.built:
            return {}
        return {
            f"{name}/{slot}": variable
            for slot in ("adam_m", "adam_v")
            for name, variable in zip(self._names, getattr(self, slot), strict=True)
        }

    def _clip_gradients(self, grads: Any) -> list[Any]:
        """Clips one replica's gradients; they are then summed over the replicas.

        The norm takes the gradient of an embedding table as it comes from the
        lookup, one slice per token, before slices of the same row are added up. So
        does the release.
        """
        clipped, _ = tf.clip_by_global_norm(grads, self.clip_norm)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        # Dense from here on: slices are not summed right by every all-reduce.
        dense = [g if g is None else tf.convert_to_tensor(g) for g in clipped]
        if replicas == 1:
            return dense
        return [g if g is None else g / replicas for g in dense]

    def scale_loss(self, loss: Any) -> Any:
        """Undoes what `fit` did to a replica's loss before its gradient is taken.

        Keras divides it by the number of replicas, so that a plain sum is the mean;
        here the gradients are divided, once they are clipped.
        """
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        return super().scale_loss(loss) * replicas

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        adam_m, adam_v = self.adam_m[index], self.adam_v[index]
        gradient = tf.cast(gradient, variable.dtype)
        next_m = self.beta_1 * adam_m + (1.0 - self.beta_1) * gradient
        next_v = self.beta_2 * adam_v + (1.0 - self.beta_2) * tf.square(gradient)
        update = next_m / (tf.sqrt(next_v) + self.epsilon)
        if self.weight_decay_rate and not _NO_DECAY.search(self._names[index]):
            update += self.weight_decay_rate * variable
        self.assign_sub(variable, tf.cast(learning_rate, variable.dtype) * update)
        self.assign(adam_m, next_m)
        self.assign(adam_v, next_v)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for key in ("weight_decay_rate", "beta_1", "beta_2", "epsilon", "clip_norm"):
            config[key] = getattr(self, key)
        return config


def create_optimizer(
    init_lr: float, num_train_steps: int, num_warmup_steps: int
) -> AdamWeightDecay:
    """Returns Google's optimizer for a run of `num_train_steps`.

    Args:
      init_lr: The peak of the learning rate.
      num_train_steps: Step at which the rate reaches 0.
      num_warmup_steps: Steps over which it climbs from 0.

    Returns:
      A Keras optimizer: `apply(grads, variables)`, or `compile(optimizer=...)`.
    """
    return AdamWeightDecay(
        WarmupLinearDecay(init_lr, num_train_steps, num_warmup_steps)
    )
