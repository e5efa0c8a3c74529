"""The Transformer encoder: blocks of self-attention and feed-forward layers."""

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from bert_tf.config import BertConfig
from bert_tf.modeling import kernels


class ResidualOutput(keras.layers.Layer):
    """Projection to the encoder's width, dropout, residual connection, LayerNorm.

    Variables: `dense/kernel [*, H]`, `dense/bias`, `LayerNorm/gamma`,
    `LayerNorm/beta`. It ends both halves of a block.
    """

    def __init__(self, config: BertConfig, width: int, place: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.width = width
        self.dense = keras.layers.Dense(
            config.hidden_size,
            kernel_initializer=kernels.initializer(config.initializer_range),
            dtype=self.dtype_policy,
            name="dense",
        )
        self.layer_norm = kernels.LayerNormalization(
            dtype=self.dtype_policy, name="LayerNorm"
        )
        self.dropout = kernels.Dropout(config.hidden_dropout_prob, place)

    def build(self, input_shape: Any = None) -> None:
        self.dense.build((None, self.width))
        self.layer_norm.build((None, self.dense.units))

    def call(self, x: Any, residual: Any, seed: Any = None) -> Any:
        """Returns `[B*S, H]` for `x [B*S, width]` and `residual [B*S, H]`."""
        return self.layer_norm(self.dropout(self.dense(x), seed) + residual)


class SelfAttention(keras.layers.Layer):
    """Multi-head self-attention, before its output projection.

    Variables: `query`, `key`, `value`, each `kernel [H, H]` and `bias [H]`.

    Source: `attention_layer` in modeling.py.
    """

    def __init__(self, config: BertConfig, place: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.config = config
        self.query, self.key, self.value = (
            keras.layers.Dense(
                config.hidden_size,
                kernel_initializer=kernels.initializer(config.initializer_range),
                dtype=self.dtype_policy,
                name=name,
            )
            for name in ("query", "key", "value")
        )
        self.dropout = kernels.Dropout(config.attention_probs_dropout_prob, place)

    def build(self, input_shape: Any = None) -> None:
        for dense in (self.query, self.key, self.value):
            dense.build((None, self.config.hidden_size))

    def call(self, x: Any, bias: Any, seed: Any = None) -> Any:
        """Returns `[B*S, H]` for `x [B*S, H]` and `bias [B, 1, 1, S]`."""
        heads = self.config.num_attention_heads
        shape = (-1, ops.shape(bias)[3], heads, self.config.hidden_size // heads)
        merged = kernels.merged_weights(self.query)
        if merged is None:
            query, key, value = (
                ops.transpose(ops.reshape(dense(x), shape), (0, 2, 1, 3))
                for dense in (self.query, self.key, self.value)
            )  # [B, N, S, D]
        else:
            kernel, biases = merged
            three = ops.matmul(x, kernel) + biases  # [B*S, 3H]
            three = ops.reshape(three, (*shape[:2], 3, *shape[2:]))
            query, key, value = ops.unstack(ops.transpose(three, (2, 0, 3, 1, 4)), 3)
        context = kernels.attention(
            query, key, value, bias, lambda probs: self.dropout(probs, seed)
        )
        return ops.reshape(context, (-1, self.config.hidden_size))


class EncoderBlock(keras.layers.Layer):
    """One `layer_<n>` of the encoder.

    Source: the loop of `transformer_model` in modeling.py.
    """

    def __init__(self, config: BertConfig, **kwargs: Any):
        super().__init__(**kwargs)
        self.config = config
        policy = {"dtype": self.dtype_policy}
        place = f"bert/encoder/{self.name}"
        self.self_attention = SelfAttention(
            config, f"{place}/attention/self", name="self", **policy
        )
        self.attention_output = ResidualOutput(
            config,
            config.hidden_size,
            f"{place}/attention/output",
            name="output",
            **policy,
        )
        self.intermediate = keras.layers.Dense(
            config.intermediate_size,
            activation=kernels.activation(config.hidden_act),
            kernel_initializer=kernels.initializer(config.initializer_range),
            name="dense",
            **policy,
        )
        self.block_output = ResidualOutput(
            config, config.intermediate_size, f"{place}/output", name="output", **policy
        )

    def build(self, input_shape: Any = None) -> None:
        with keras.name_scope("attention"):
            self.self_attention.build()
            self.attention_output.build()
        with keras.name_scope("intermediate"):
            self.intermediate.build((None, self.config.hidden_size))
        self.block_output.build()

    def call(self, x: Any, bias: Any, seed: Any = None) -> Any:
        """Returns `[B*S, H]` for `x [B*S, H]` and `bias [B, 1, 1, S]`."""
        context = self.self_attention(x, bias, seed=seed)
        x = self.attention_output(context, x, seed=seed)
        return self.block_output(self.intermediate(x), x, seed=seed)


class BertEncoder(keras.layers.Layer):
    """`num_hidden_layers` blocks, one after the other.

    Args:
      config: The architecture.
      recompute: Whether training keeps only the blocks' inputs for the backward pass.
    """

    def __init__(self, config: BertConfig, recompute: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.recompute = recompute
        self.blocks = [
            EncoderBlock(config, dtype=self.dtype_policy, name=f"layer_{index}")
            for index in range(config.num_hidden_layers)
        ]

    def build(self, input_shape: Any = None) -> None:
        for block in self.blocks:
            block.build()

    def call(self, x: Any, input_mask: Any, seed: Any = None) -> list[Any]:
        """Returns every block's output.

        Args:
          x: `[B, S, H]`, the embeddings.
          input_mask: `[B, S]`, 1 for real tokens, 0 for padding.
          seed: int32 `[2]`, or None for no dropout.

        Returns:
          One `[B, S, H]` per block.
        """
        hidden_size, shape = x.shape[-1], ops.shape(x)
        bias = kernels.attention_bias(input_mask, x.dtype)
        # Two dimensions all the way: reshaping back and forth costs time on TPU,
        # and a bare [B*S, H] matmul is what CPU kernels fuse best.
        x = ops.reshape(x, (-1, hidden_size))
        outputs = []
        for block in self.blocks:
            run: Any = functools.partial(block.__call__, seed=seed)
            # Without a seed nothing is trained, so nothing would be kept anyway.
            if self.recompute and seed is not None:
                run = _recomputed(run)
            x = run(x, bias)
            outputs.append(ops.reshape(x, shape))
        return outputs


def _recomputed(run: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Returns `run` such that only its inputs are kept for the backward pass.

    `tf.recompute_grad` lets the block below start before the gradients of this one's
    weights are taken; what they are taken from is then kept for all blocks at a time.
    """
    import tensorflow as tf

    @tf.custom_gradient
    def recomputed(x: Any, bias: Any) -> Any:
        def gradient(dy: Any, variables: Any = ()) -> Any:
            with tf.control_dependencies([dy]), tf.GradientTape() as tape:
                again = x + _zero_after(dy)
                tape.watch(again)
                y = run(again, bias)
            dx, *others = tape.gradient(y, [again, *variables], dy)
            with tf.control_dependencies(others):
                return (tf.identity(dx), None), others

        return run(x, bias), gradient

    return recomputed


def _zero_after(x: Any) -> Any:
    """Returns a zero that no compiler knows before `x` is there.

    Otherwise what is computed a second time would be found to be there already.
    Source: `tf.recompute_grad`.
    """
    known = ops.cast(ops.reshape(x, (-1,))[0], "bool")
    return ops.cast(ops.where(ops.equal(known, known), 0.0, float("nan")), x.dtype)
