"""Word, segment and position embeddings."""

from typing import Any

import keras
from keras import ops

from bert_tf.config import BertConfig
from bert_tf.modeling.kernels import Dropout, LayerNormalization, initializer


class BertEmbeddings(keras.layers.Layer):
    """Sum of three embeddings, normalised, with dropout.

    Args:
      config: The architecture.
      use_one_hot_embeddings: Whether words are a matmul with one-hot rows, which TPUs
        are faster at, rather than rows of the table. The sum is the same; the table's
        gradient is dense then, and so is the norm that gradients are clipped by.

    Variables, by Google's names: `word_embeddings [V, H]`,
    `token_type_embeddings [T, H]`, `position_embeddings [P, H]`,
    `LayerNorm/gamma [H]`, `LayerNorm/beta [H]`.

    Source: `embedding_lookup`, `embedding_postprocessor` in modeling.py.
    """

    def __init__(
        self, config: BertConfig, use_one_hot_embeddings: bool = False, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.config = config
        self.use_one_hot_embeddings = use_one_hot_embeddings
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
        if self.use_one_hot_embeddings:
            words = _matmul_lookup(self.word_embeddings, input_ids)
        else:
            words = ops.take(self.word_embeddings, input_ids, axis=0)
        words = ops.cast(words, "float32")
        # A matmul, as in the release, also because its gradient is dense: the
        # norm that gradients are clipped by depends on that.
        segments = _matmul_lookup(self.token_type_embeddings, segment_ids)
        positions = ops.cast(self.position_embeddings[:length], "float32")
        summed = ops.cast(words + segments + positions, self.compute_dtype)
        return self.dropout(self.layer_norm(summed), seed)


def _matmul_lookup(table: Any, ids: Any) -> Any:
    """Returns the rows of a table `[V, H]` that ids `[B, S]` name, `[B, S, H]`."""
    rows, width = table.shape
    # Flat: the gradient of a product with a batch axis would have that axis too.
    one_hot = ops.one_hot(ops.reshape(ids, (-1,)), rows, dtype="float32")
    return ops.reshape(ops.matmul(one_hot, table), (*ops.shape(ids), width))
