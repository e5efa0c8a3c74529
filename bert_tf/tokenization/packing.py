"""From the pieces of texts to a model's input, as TensorFlow ops.

Letters in shape comments: n texts, p pieces of all of them, r rows, S sequence.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf


class Extract(NamedTuple):
    """The pieces of its text that each row of a batch holds.

    Attributes:
      pieces: int32 [p], those of all texts, one text after the other.
      start: int32 [r, 1], where in `pieces` those of the row begin.
      length: int32 [r, 1], how many the row holds.
      surplus: int32 [r, 1], how many more the text has.
      head: int32 [r, 1], how many of the row's pieces stand before the surplus, the
        others standing behind it; None if all stand before it.
    """

    pieces: tf.Tensor
    start: tf.Tensor
    length: tf.Tensor
    surplus: tf.Tensor
    head: tf.Tensor | None = None


def fit(texts: Sequence[tf.RaggedTensor], max_seq_length: int) -> list[Extract]:
    """Keeps the first pieces of each text, as many as a row has room for.

    Args:
      texts: the pieces of the texts or of the first and the second ones, int32
        [n, None].
      max_seq_length: most pieces of a row, special ones included.

    Returns:
      An extract for each of `texts`.

    Source: `_truncate_seq_pair` in run_classifier.py.
    """
    full = [tf.cast(text.row_lengths(), tf.int32)[:, tf.newaxis] for text in texts]
    if len(full) == 1:
        kept = [tf.minimum(full[0], max_seq_length - 2)]
    else:
        full_a, full_b = full
        budget = max_seq_length - tf.where(full_b > 0, 3, 2)
        # Where this comes from: `_kept_lengths` in full_tokenizer.py.
        kept = [
            tf.minimum(full_a, tf.maximum(budget - full_b, budget - budget // 2)),
            tf.minimum(full_b, tf.maximum(budget - full_a, budget // 2)),
        ]
    return [
        Extract(
            pieces=text.values,
            start=tf.cast(text.row_splits[:-1, tf.newaxis], tf.int32),
            length=length,
            surplus=available - length,
        )
        for text, available, length in zip(texts, full, kept, strict=True)
    ]


def head_and_tail(extract: Extract) -> Extract:
    """Leaves the surplus out after the first quarter instead of at the end.

    Source: Sun et al. 2019, "How to Fine-Tune BERT for Text Classification?": of the
    510 pieces that a row has room for, the first 128 and the last 382.
    """
    return extract._replace(head=(extract.length + 2) // 4)


def windows(
    extracts: Sequence[Extract], doc_stride: int | None
) -> tuple[list[Extract], tf.Tensor]:
    """Gives a text as many rows as it takes to hold all of its pieces.

    Each window but the last begins `doc_stride` after the one before; the last one ends
    with the text. Of a pair, the text with fewer windows stays at its last one.

    Args:
      extracts: of the texts, or of the first and the second ones, a row each; of no
        text that has pieces may it hold none.
      doc_stride: at least 1; the length of an extract where that is shorter. None for
        half of the length.

    Returns:
      The extracts, those of one text or pair after the other, and int32 [n], how many
      windows each text or pair has, at least one.
    """
    strides = [_strides(extract.length, doc_stride) for extract in extracts]
    counts = [
        1 + (extract.surplus + stride - 1) // stride
        for extract, stride in zip(extracts, strides, strict=True)
    ]
    count = tf.reduce_max(tf.concat(counts, axis=1), axis=1)
    numbers = tf.ragged.range(count)  # [n, None], each 0, 1, ...
    text = numbers.value_rowids()
    number = numbers.values[:, tf.newaxis]  # [r, 1]
    moved = []
    for extract, stride in zip(extracts, strides, strict=True):
        surplus = tf.gather(extract.surplus, text)
        skipped = tf.minimum(number * tf.gather(stride, text), surplus)
        moved.append(
            Extract(
                pieces=extract.pieces,
                start=tf.gather(extract.start, text) + skipped,
                length=tf.gather(extract.length, text),
                surplus=surplus,
            )
        )
    return moved, count


def _strides(length: tf.Tensor, doc_stride: int | None) -> tf.Tensor:
    stride = length // 2 if doc_stride is None else tf.minimum(length, doc_stride)
    return tf.maximum(stride, 1)


def arrange(
    extracts: Sequence[Extract],
    cls_id: int,
    sep_id: int,
    max_seq_length: int,
    pad_to_max: bool,
) -> dict[str, tf.Tensor]:
    """Puts extracts between special pieces, `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`.

    Args:
      extracts: of the texts, or of the first and the second ones; short enough.
      cls_id: the id of `[CLS]`.
      sep_id: the id of `[SEP]`.
      max_seq_length: most pieces of a row, special ones included.
      pad_to_max: whether rows are `max_seq_length` long, or only as long as the
        longest row of the batch.

    Returns:
      `input_ids`, `input_mask` and `segment_ids`, int32 [r, S].
    """
    first = extracts[0].length + 2
    total = first
    for second in extracts[1:]:
        total = first + tf.where(second.length > 0, second.length + 1, 0)
    if pad_to_max:
        width = tf.constant(max_seq_length)
    else:
        # Of no rows too, a model expects some columns: those of an empty text.
        width = tf.maximum(tf.reduce_max(total), 2)
    place = tf.range(width)[tf.newaxis, :]  # [1, S]
    ids = tf.where(place < total, sep_id, 0)
    ids = tf.where(place == 0, cls_id, ids)
    ids = _place(ids, place - 1, extracts[0])
    for second in extracts[1:]:
        ids = _place(ids, place - first, second)
    input_mask = tf.cast(place < total, tf.int32)
    features = {
        "input_ids": ids,
        "input_mask": input_mask,
        "segment_ids": input_mask * tf.cast(place >= first, tf.int32),
    }
    if pad_to_max:
        for feature in features.values():
            feature.set_shape([None, max_seq_length])
    return features


def _place(ids: tf.Tensor, offset: tf.Tensor, extract: Extract) -> tf.Tensor:
    """Writes an extract over `ids` where `0 <= offset < length`.

    Args:
      ids: int32 [r, S].
      offset: int32 [1 or r, S], the number of the extract's piece that stands there.
      extract: of r rows.
    """
    # One more value, so that there is something to gather from an empty batch.
    values = tf.concat([extract.pieces, [0]], axis=0)
    index = extract.start + offset
    if extract.head is not None:
        index += tf.where(offset >= extract.head, extract.surplus, 0)
    index = tf.clip_by_value(index, 0, tf.size(values) - 1)
    here = (offset >= 0) & (offset < extract.length)
    return tf.where(here, tf.gather(values, index), ids)
