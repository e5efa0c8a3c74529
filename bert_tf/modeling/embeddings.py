"""Word, segment and position embeddings."""

from typing import Any

import keras
from keras import ops

from bert_tf.config import BertConfig
from bert_tf.modeling.kernels import Dropout, LayerNormalization, initializer


class BertEmbeddings(keras.layers.Layer):
    """Sum of three embeddings, normalised, with dropout.

    Variables, by Google's names: `word_embeddings [V, H]`,
    `token_type_embeddings [T, H]`, `position_embeddings [P, H]`,
    `LayerNorm/gamma [H]`, `LayerNorm/beta [H]`.

    Source: `embedding_lookup`, `embedding_postprocessor` in modeling.py.
    """

    def __init__(self, config: BertConfig, **kwargs: Any):
        super().__init__(**kwargs)
        self.config = config
        self.layer_norm = LayerNormalization(dtype=self.dtype_policy, name="LayerNorm")
        self.dropout = Dropout(config.hidden_dropout_prob, "bert/embeddings")

    def build(self, input_shape: Any = None) -> None:
        config = self.config
        init = initializer(config.initializer_range)

        def table(name: str, rows: int) -> keras.Variable:
            # Never cast as a whole: the gradient of what is looked up in it has to
            # stay slices, whatever the layers compute in.
            return self.add_weight(
                name=name,
                shape=(rows, config.hidden_size),
                initializer=init,
                autocast=False,
            )

        self.word_embeddings = table("word_embeddings", config.vocab_size)
        self.token_type_embeddings = table(
            "token_type_embeddings", config.type_vocab_size
        )
        self.position_embeddings = table(
            "position_embeddings", config.max_position_embeddings
        )
        self.layer_norm.build((None, config.hidden_size))

    def call(self, input_ids: Any, segment_ids: Any, seed: Any = None) -> Any:
        """Returns `[B, S, H]` for int32 `input_ids`, `segment_ids` `[B, S]`."""
        # Under a strategy, Keras' `fit` builds with ids that it has made floats.
        input_ids = ops.cast(input_ids, "int32")
        segment_ids = ops.cast(segment_ids, "int32")
        length = ops.shape(input_ids)[1]
        # Summed in float32, whatever the tables of an export are stored in.
        words = ops.cast(ops.take(self.word_embeddings, input_ids, axis=0), "float32")
        # A matmul, as in the release, also because its gradient is dense: the
        # norm that gradients are clipped by depends on that.
        segments = ops.matmul(
            ops.one_hot(segment_ids, self.config.type_vocab_size, dtype="float32"),
            self.token_type_embeddings,
        )
        positions = ops.cast(self.position_embeddings[:length], "float32")
        summed = ops.cast(words + segments + positions, self.compute_dtype)
        return self.dropout(self.layer_norm(summed), seed)
