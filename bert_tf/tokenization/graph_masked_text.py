"""Texts that say [MASK], as TensorFlow ops: what `masked_text.py` does, for a batch."""

import tensorflow as tf

from bert_tf.errors import DataError
from bert_tf.tokenization.graph_tokenizer import GraphTokenizer
from bert_tf.tokenization.masked_text import MASK


def mask_id(tokenizer: GraphTokenizer) -> int:
    """Returns the id of `[MASK]`; a DataError if the vocabulary lacks it."""
    if MASK not in tokenizer.vocab:
        raise DataError(
            f"Expected the piece {MASK} in the vocabulary, which texts to be filled "
            "hold, found none; name the vocabulary that the model was pretrained with."
        )
    return tokenizer.vocab[MASK]


def tokenize_masked(tokenizer: GraphTokenizer, texts: tf.Tensor) -> tf.RaggedTensor:
    """Returns the ids of a batch of texts, each `[MASK]` in them being one piece.

    What stands between the masks is tokenized as texts of their own, as
    `MaskedText.tokenize` does.

    Args:
      tokenizer: Its vocabulary holds `[MASK]`.
      texts: string [n], UTF-8; with or without masks.

    Returns:
      int32 [n, None], without special pieces but the masks.
    """
    with tf.device("/CPU:0"):
        parts = tf.strings.split(texts, sep=MASK)  # [n, None], at least one each
        pieces = tokenizer.tokenize(parts.values)
        # A mask stands before every part but the first of its text.
        starts = tf.gather(parts.row_splits, parts.value_rowids())
        is_later = tf.range(tf.size(parts.values, tf.int64)) > starts
        masks = tf.fill(
            [tf.reduce_sum(tf.cast(is_later, tf.int32))], mask_id(tokenizer)
        )
        led = tf.RaggedTensor.from_row_lengths(masks, tf.cast(is_later, tf.int64))
        ids = tf.concat([led, pieces], axis=1)
        splits = tf.gather(ids.row_splits, parts.row_splits)
        return tf.RaggedTensor.from_row_splits(ids.values, splits, validate=False)
