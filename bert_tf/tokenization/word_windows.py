"""Rows of texts that come as words, each row a window over its text, as TensorFlow ops.

What is said of a row's pieces can be brought back to the words: every piece knows its
word, and the row in which most stands around it.

Letters in shape comments: n texts, p pieces of all of them, r rows, S sequence.
"""

from typing import NamedTuple

import tensorflow as tf

from bert_tf.tokenization import packing
from bert_tf.tokenization.graph_tokenizer import GraphTokenizer


class WordWindows(NamedTuple):
    """Rows, and what of the texts they hold.

    Attributes:
      features: `input_ids`, `input_mask` and `segment_ids`, int32 [r, S].
      text: int32 [r], the number of the text that a row is of.
      start: int32 [r], the first piece of the text that the row holds.
      length: int32 [r], how many it holds.
      offset: int32 [r], where in the row they begin.
      pieces: int32 [p], the ids of the pieces of all texts, one text after the other.
      word: int32 [p], the number of the word, within its text, that a piece is of.
      best_row: int32 [p], the row in which a piece has most context.
      splits: int32 [n + 1], where in `pieces` those of each text begin.
    """

    features: dict[str, tf.Tensor]
    text: tf.Tensor
    start: tf.Tensor
    length: tf.Tensor
    offset: tf.Tensor
    pieces: tf.Tensor
    word: tf.Tensor
    best_row: tf.Tensor
    splits: tf.Tensor


def pack_words(
    tokenizer: GraphTokenizer,
    words: tf.RaggedTensor,
    max_seq_length: int,
    doc_stride: int | None = None,
    *,
    queries: tf.Tensor | None = None,
    max_query_length: int = 64,
    every_word: bool = False,
    pad_to_max: bool = True,
) -> WordWindows:
    """Makes a model's input from a batch of texts without cutting any.

    `[CLS] text [SEP]`, or `[CLS] query [SEP] text [SEP]`. A text that is too long gets
    several rows: windows that begin `doc_stride` pieces one after the other, until one
    reaches the end. A text without pieces has no row.

    Args:
      tokenizer: Tokenizes each word for itself.
      words: string [n, None].
      max_seq_length: Most pieces of a row, special ones included; greater than
        `max_query_length` + 3, where there are queries, else than 2.
      doc_stride: At least 1; None for half of what a window holds.
      queries: string [n], what stands before each window of its text.
      max_query_length: Of a query's pieces so many are kept, the first ones.
      every_word: Whether a word without pieces, such as a control character, becomes
        `[UNK]`.
      pad_to_max: Whether rows are `max_seq_length` long, or only as long as the
        longest.

    Source: `convert_examples_to_features` in run_squad.py of google-research/bert.
    """
    with tf.device("/CPU:0"):
        ids, word = _word_pieces(tokenizer, words, every_word)
        splits = tf.cast(ids.row_splits, tf.int32)
        available = splits[1:] - splits[:-1]
        room = tf.fill(tf.shape(available), max_seq_length - 2)
        query = None
        if queries is not None:
            tf.debugging.assert_equal(
                tf.size(queries, tf.int64),
                words.nrows(),
                "Expected as many queries as texts.",
            )
            query = tokenizer.tokenize(queries)[:, :max_query_length]
            query_length = tf.cast(query.row_lengths(), tf.int32)
            room -= query_length + 1
        stride = room // 2 if doc_stride is None else tf.minimum(room, doc_stride)
        stride = tf.maximum(stride, 1)
        windows = 1 + (tf.maximum(available - room, 0) + stride - 1) // stride
        numbers = tf.ragged.range(tf.where(available > 0, windows, 0))
        text = tf.cast(numbers.value_rowids(), tf.int32)  # [r]
        start = numbers.values * tf.gather(stride, text)
        length = tf.minimum(tf.gather(room, text), tf.gather(available, text) - start)
        begins = tf.gather(splits, text) + start
        extracts = [_extract(ids.values, begins, length)]
        offset = tf.ones_like(length)
        if query is not None:
            lengths = tf.gather(query_length, text)
            query_begins = tf.cast(tf.gather(query.row_splits, text), tf.int32)
            extracts.insert(0, _extract(query.values, query_begins, lengths))
            offset = lengths + 2
        return WordWindows(
            features=packing.arrange(
                extracts, *tokenizer.special_ids, max_seq_length, pad_to_max
            ),
            text=text,
            start=start,
            length=length,
            offset=offset,
            pieces=ids.values,
            word=word,
            best_row=_best_rows(begins, length, tf.size(ids.values)),
            splits=splits,
        )


def _word_pieces(
    tokenizer: GraphTokenizer, words: tf.RaggedTensor, every_word: bool
) -> tuple[tf.RaggedTensor, tf.Tensor]:
    """Returns the pieces of each text, int32 [n, None], and the word of each, [p]."""
    pieces = tokenizer.tokenize(words.values)  # [words of all texts, None]
    if every_word:
        missing = tf.cast(pieces.row_lengths() == 0, tf.int64)
        unknown = tf.fill([tf.reduce_sum(missing)], tokenizer.vocab["[UNK]"])
        stand_ins = tf.RaggedTensor.from_row_lengths(unknown, missing)
        pieces = tf.concat([pieces, stand_ins], axis=1)
    ids = tf.RaggedTensor.from_row_splits(
        pieces.values, tf.gather(pieces.row_splits, words.row_splits), validate=False
    )
    first = tf.gather(words.row_splits, ids.value_rowids())
    return ids, tf.cast(pieces.value_rowids() - first, tf.int32)


def _extract(pieces: tf.Tensor, start: tf.Tensor, length: tf.Tensor) -> packing.Extract:
    zeros = tf.zeros_like(start)
    return packing.Extract(pieces, *(x[:, tf.newaxis] for x in (start, length, zeros)))


def _best_rows(begins: tf.Tensor, length: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Returns in which row each piece has most context, int32 [p].

    Args:
      begins: int32 [r], the first of all pieces that a row holds.
      length: int32 [r], how many it holds.
      count: p.

    Source: `_check_is_max_context` in run_squad.py of google-research/bert.
    """
    places = tf.ragged.range(length)
    row = tf.cast(places.value_rowids(), tf.int32)
    piece = tf.gather(begins, row) + places.values
    own_length = tf.gather(length, row)
    context = tf.minimum(places.values, own_length - 1 - places.values)
    score = tf.cast(context, tf.float64) + 0.01 * tf.cast(own_length, tf.float64)
    best = tf.math.unsorted_segment_max(score, piece, count)
    # Of equal ones, the first.
    found = tf.where(score == tf.gather(best, piece), row, tf.int32.max)
    return tf.math.unsorted_segment_min(found, piece, count)
