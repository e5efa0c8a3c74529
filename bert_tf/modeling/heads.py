"""The heads that stand below the scope `cls`: logits, masked words, next sentence."""

from typing import Any

import keras
from keras import ops

from bert_tf.config import BertConfig
from bert_tf.modeling import kernels


class OutputLayer(keras.layers.Layer):
    """Logits by `output_weights [L, H]` and `output_bias [L]`."""

    def __init__(
        self, hidden_size: int, num_labels: int, initializer_range: float, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.hidden_size = hidden_size
        self.num_labels = num_labels
        self.initializer_range = initializer_range

    def build(self, input_shape: Any = None) -> None:
        self.output_weights = self.add_weight(
            name="output_weights",
            shape=(self.num_labels, self.hidden_size),
            initializer=kernels.initializer(self.initializer_range),
            autocast=False,
        )
        self.output_bias = self.add_weight(
            name="output_bias",
            shape=(self.num_labels,),
            initializer="zeros",
            autocast=False,
        )

    def call(self, x: Any) -> Any:
        """Returns `[..., L]` float32 for `x [..., H]`."""
        # A few labels: float32 costs nothing, and bfloat16 has three digits.
        x = ops.cast(x, "float32")
        return kernels.logits(x, self.output_weights, self.output_bias)


class MaskedWordTransform(keras.layers.Layer):
    """Dense layer, activation and LayerNorm before the output table."""

    def __init__(self, config: BertConfig, **kwargs: Any):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(
            config.hidden_size,
            activation=kernels.activation(config.hidden_act),
            kernel_initializer=kernels.initializer(config.initializer_range),
            dtype=self.dtype_policy,
            name="dense",
        )
        self.layer_norm = kernels.LayerNormalization(
            dtype=self.dtype_policy, name="LayerNorm"
        )

    def build(self, input_shape: Any = None) -> None:
        self.dense.build((None, self.dense.units))
        self.layer_norm.build((None, self.dense.units))

    def call(self, x: Any) -> Any:
        """Returns `[B*P, H]` for `x [B*P, H]`."""
        return self.layer_norm(self.dense(x))


class MaskedWordHead(keras.layers.Layer):
    """Logits over the vocabulary, at the masked positions only.

    Variables: `transform/dense/{kernel,bias}`, `transform/LayerNorm/{gamma,beta}`,
    `output_bias [V]`; the output table is the word embeddings'.

    Source: `get_masked_lm_output`, `gather_indexes` in run_pretraining.py.
    """

    def __init__(self, config: BertConfig, **kwargs: Any):
        super().__init__(**kwargs)
        self.vocab_size = config.vocab_size
        self.transform = MaskedWordTransform(
            config, dtype=self.dtype_policy, name="transform"
        )

    def build(self, input_shape: Any = None) -> None:
        self.transform.build()
        self.output_bias = self.add_weight(
            name="output_bias",
            shape=(self.vocab_size,),
            initializer="zeros",
            autocast=False,
        )

    def call(self, sequence_output: Any, positions: Any, table: Any) -> Any:
        """Returns the logits at `positions`.

        Args:
          sequence_output: `[B, S, H]`.
          positions: int32 `[B, P]`, indices into the sequence.
          table: `[V, H]`, the word embeddings.

        Returns:
          float32 `[B, P, V]`.
        """
        length, hidden_size = ops.shape(sequence_output)[1], sequence_output.shape[-1]
        batch, count = ops.shape(positions)
        offsets = ops.arange(batch, dtype="int32")[:, None] * length
        flat_positions = ops.reshape(ops.cast(positions, "int32") + offsets, (-1,))
        # Gathered before the transform: S positions would cost S/P times as much.
        x = ops.take(
            ops.reshape(sequence_output, (-1, hidden_size)), flat_positions, axis=0
        )
        x = self.transform(x)  # [B*P, H]
        logits = kernels.logits(x, table, self.output_bias)
        return ops.reshape(logits, (batch, count, self.vocab_size))


class PretrainingHeads(keras.layers.Layer):
    """`cls/predictions` and `cls/seq_relationship`."""

    def __init__(self, config: BertConfig, **kwargs: Any):
        super().__init__(**kwargs)
        self.predictions = MaskedWordHead(
            config, dtype=self.dtype_policy, name="predictions"
        )
        self.seq_relationship = OutputLayer(
            config.hidden_size,
            2,
            config.initializer_range,
            dtype=self.dtype_policy,
            name="seq_relationship",
        )

    def build(self, input_shape: Any = None) -> None:
        self.predictions.build()
        self.seq_relationship.build()

    def call(
        self, sequence_output: Any, pooled_output: Any, positions: Any, table: Any
    ) -> dict[str, Any]:
        """Returns `masked_lm_logits [B, P, V]`, `next_sentence_logits [B, 2]`."""
        return {
            "masked_lm_logits": self.predictions(sequence_output, positions, table),
            "next_sentence_logits": self.seq_relationship(pooled_output),
        }
