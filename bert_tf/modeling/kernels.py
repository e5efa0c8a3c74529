"""The arithmetic that the layers share: activations, LayerNorm, attention, dropout.

TensorFlow's graph optimizer knows some spellings, and makes one oneDNN call of each on
CPUs: matmul, bias and activation; matmul, bias and residual; scores, scale and mask;
LayerNorm. All but the last are how things are spelled here anyway.

A forward pass without dropout is Keras' ops alone and runs on its JAX backend too, also
where there is no TensorFlow: what needs that imports it where it is used, here and in
`encoder.py`.

Letters in shape comments: B batch, S sequence, N heads, D head size, H hidden.
"""

import contextlib
import contextvars
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
from keras import ops

# Added to the attention scores of padding, as in the release. It is not minus
# infinity: a row without any real token still has a finite softmax.
_MASKED_SCORE = -10000.0

# Seeds stay non-negative: XLA and plain TensorFlow draw different bits from
# negative ones.
_SEED_BITS = 0x7FFFFFFF

# A precision, as flags name it -> Keras' dtype policy, whose variables stay float32.
POLICIES = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}

# Path of a variable -> the weights that stand for it and its neighbours; None where
# graphs are for all devices.
_fused_weights: contextvars.ContextVar[Mapping[str, Any] | None]
_fused_weights = contextvars.ContextVar("fused_weights", default=None)


@contextlib.contextmanager
def fused_for_cpu(merged: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Graphs traced within are for inference on CPUs, as fast as they can be there.

    The rows of a batch have to be unknown: what is constant is folded into something
    that TensorFlow's optimizer no longer recognises.

    Args:
      merged: Path of the variable of a query -> it, that of the key and that of the
        value side by side: `[H, 3H]` or `[3H]`. What is not there is used as it is.
    """
    token = _fused_weights.set(merged or {})
    try:
        yield
    finally:
        _fused_weights.reset(token)


def merged_weights(query: keras.layers.Dense) -> tuple[Any, Any] | None:
    """Returns kernel `[H, 3H]` and bias `[3H]` of query, key and value; None if apart.

    Args:
      query: The layer that makes the query.
    """
    merged = _fused_weights.get() or {}
    if query.kernel.path not in merged:
        return None
    return merged[query.kernel.path], merged[query.bias.path]


def activation(hidden_act: str) -> Callable[[Any], Any] | None:
    """Returns the function that `hidden_act` names; None for `linear`.

    `gelu` is the tanh form. Source: `get_activation`, `gelu` in modeling.py of the
    release; `gelu_erf` is this package's.
    """
    return {
        "gelu": lambda x: ops.gelu(x, approximate=True),
        "gelu_erf": lambda x: ops.gelu(x, approximate=False),
        "relu": ops.relu,
        "tanh": ops.tanh,
        "linear": None,
    }[hidden_act]


class LayerNormalization(keras.layers.LayerNormalization):
    """Keras' layer with the release's epsilon, over the last axis.

    Variables: `gamma [H]`, `beta [H]`. The statistics are taken in float32.

    Source: `layer_norm` in modeling.py of the release.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(epsilon=1e-12, **kwargs)

    def call(self, inputs: Any) -> Any:
        """Returns `[..., H]` for `inputs [..., H]`."""
        if _fused_weights.get() is None:
            return super().call(inputs)
        import tensorflow as tf

        # A batch norm of one image whose channels are the rows: what the optimizer
        # takes for a LayerNorm. Where it does not, this is slow, and less exact.
        shape = tf.shape(inputs)
        rows = tf.reduce_prod(shape[:-1])
        normalized = tf.raw_ops.FusedBatchNormV3(
            x=tf.reshape(inputs, [1, rows, inputs.shape[-1], 1]),
            scale=tf.fill([rows], 1.0),
            offset=tf.fill([rows], 0.0),
            mean=tf.constant([], tf.float32),
            variance=tf.constant([], tf.float32),
            epsilon=self.epsilon,
            data_format="NCHW",
            is_training=True,
        ).y
        gamma, beta = (ops.cast(x, inputs.dtype) for x in (self.gamma, self.beta))
        return tf.reshape(normalized, shape) * gamma + beta


def attention_bias(input_mask: Any, dtype: Any) -> Any:
    """Returns what to add to attention scores: 0 where a token is real.

    Args:
      input_mask: `[B, S]`, 1 for real tokens, 0 for padding.
      dtype: Of the scores.

    Returns:
      `[B, 1, 1, S]`.
    """
    mask = ops.cast(input_mask, dtype)
    return ((1.0 - mask) * _MASKED_SCORE)[:, None, None, :]


def attention(query: Any, key: Any, value: Any, bias: Any, dropout: Any) -> Any:
    """Scaled dot-product attention of every token to every real token.

    Args:
      query, key, value: `[B, N, S, D]`.
      bias: `[B, 1, 1, S]` from `attention_bias`.
      dropout: Applied to the probabilities, `[B, N, S, S]`.

    Returns:
      `[B, S, N, D]`. The softmax is taken in float32 whatever the inputs are.

    Source: `attention_layer` in modeling.py of the release.
    """
    head_size = query.shape[-1]
    scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))  # [B, N, S, S]
    scores = scores * (head_size**-0.5) + bias
    probs = ops.cast(ops.softmax(ops.cast(scores, "float32")), value.dtype)
    context = ops.matmul(dropout(probs), value)  # [B, N, S, D]
    return ops.transpose(context, (0, 2, 1, 3))  # [B, S, N, D]


def logits(x: Any, weights: Any, bias: Any) -> Any:
    """Returns float32 `[..., L]` for `x [..., H]`, `weights [L, H]`, `bias [L]`.

    The products are taken in the dtype of `x`. Google stores the output matrices
    transposed, so `Dense` does not fit.
    """
    products = ops.matmul(x, ops.transpose(ops.cast(weights, x.dtype)))
    return ops.cast(products, "float32") + bias


def dropout_seed(random_seed: int, step: Any, replica: Any, part: Any = 0) -> Any:
    """Returns the seed of one training step on one replica.

    Args:
      random_seed: The run's seed.
      step: Scalar integer tensor, the step about to be taken.
      replica: Scalar integer tensor, the id of this replica.
      part: Scalar integer tensor, which part of the replica's rows.

    Returns:
      int32 `[2]`, a pure function of the four.
    """
    import tensorflow as tf

    run = (random_seed * 0x9E3779B1) & _SEED_BITS
    place = tf.cast(replica, tf.int32) * 0x01000193 + tf.cast(part, tf.int32) * 0x3779F
    word = tf.bitwise.bitwise_and(place + run, _SEED_BITS)
    return tf.stack([word, tf.bitwise.bitwise_and(tf.cast(step, tf.int32), _SEED_BITS)])


def fresh_dropout_seed() -> Any:
    """Returns a new seed at each execution, for `fit` and other callers without one."""
    import tensorflow as tf

    return tf.random.uniform([2], maxval=_SEED_BITS, dtype=tf.int32)


class Dropout:
    """Dropout whose mask is a pure function of the step's seed and its own place.

    Keras' own layer keeps a seed variable, which Google's checkpoints have no name
    for, and draws the same mask on every replica of a strategy.

    Args:
      rate: Share of units that are dropped; the rest is scaled by `1 / (1 - rate)`.
      place: What tells this dropout from the model's others: the name of the layer
        it stands in.
    """

    def __init__(self, rate: float, place: str):
        self.rate = rate
        self._salt = zlib.crc32(place.encode()) & _SEED_BITS

    def __call__(self, x: Any, seed: Any) -> Any:
        """Returns `x` with units dropped; `x` itself if `seed` is None."""
        if seed is None or self.rate == 0.0:
            return x
        import tensorflow as tf

        seed = tf.stack([tf.bitwise.bitwise_xor(seed[0], self._salt), seed[1]])
        # In float32 always: bfloat16 draws only 128 different numbers.
        draw = tf.random.stateless_uniform(tf.shape(x), seed, alg="philox")
        return tf.where(draw >= self.rate, x * (1.0 / (1.0 - self.rate)), 0.0)


def initializer(stddev: float) -> keras.initializers.Initializer:
    """Google's initializer: a normal distribution cut at two standard deviations."""
    return keras.initializers.TruncatedNormal(stddev=stddev)
