"""Masks drawn while training, anew for each batch, by TensorFlow ops alone.

The distributions are those of `draw_masks` in bert_tf/data/masking.py. The numbers are
not: there they come one after the other, here for all rows of a batch at once.

Letters in shape comments: B rows, S pieces of a row, P max_predictions_per_seq,
W two more than S.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from bert_tf.data.corpus import continuations
from bert_tf.data.masking import span_shares
from bert_tf.data.pretraining_config import MASKINGS
from bert_tf.errors import ConfigError

_MOST = np.iinfo(np.int32).max


class DynamicMasking:
    """Draws the masks of a batch: a pure function of the batch and a seed.

    Args:
      vocab: piece -> id.
      max_predictions_per_seq: The most positions that are masked in a row, and how
        many the features have room for.
      masked_lm_prob: The share of a row's pieces that is masked.
      masking: `token`, `whole_word` or `span`.

    Raises:
      ConfigError: There is no such masking, or room for no masks.
    """

    def __init__(
        self,
        vocab: Mapping[str, int],
        max_predictions_per_seq: int,
        masked_lm_prob: float = 0.15,
        masking: str = "token",
    ):
        if masking not in MASKINGS:
            raise ConfigError(
                f"Expected masking to be one of {', '.join(MASKINGS)}, got {masking}."
            )
        if max_predictions_per_seq < 1:
            raise ConfigError(
                "Expected max_predictions_per_seq to be at least 1, got "
                f"{max_predictions_per_seq}."
            )
        self._most = max_predictions_per_seq
        self._share = float(masked_lm_prob)
        self._masking = masking
        self._cls, self._sep, self._mask = (
            vocab[f"[{name}]"] for name in ("CLS", "SEP", "MASK")
        )
        self._continues = continuations(vocab) > 0
        self._random_pieces = np.fromiter(vocab.values(), np.int32)

    def __call__(
        self,
        features: Mapping[str, Any],
        seed: Any,
        first: int = 0,
        batch_size: int | None = None,
    ) -> dict[str, tf.Tensor]:
        """Returns the features of `pretraining_features`, with new masks.

        Args:
          features: `input_ids`, `input_mask`, int32 [B, S], and any others, which are
            handed on. If they have masks, `masked_lm_positions` and the like of any
            number per row, these are taken off first.
          seed: int [2], for each batch another.
          first: The place of the first of these rows in their batch: rows get the
            masks that they would get among all.
          batch_size: How many rows the batch has; None if these are all.

        Returns:
          `input_ids` as the masks show them; `masked_lm_positions` and
          `masked_lm_ids`, int32 [B, P], and `masked_lm_weights`, float32 [B, P], from
          left to right, then zeros. A row without candidates gets no masks.
        """
        features = {name: tf.convert_to_tensor(x) for name, x in features.items()}
        input_ids = _unmasked(features)
        real = features["input_mask"] > 0
        candidates = real & (input_ids != self._cls) & (input_ids != self._sep)
        # Not negative: from such seeds, XLA and plain TensorFlow draw different bits.
        piece_seed, *seeds = tf.unstack(
            tf.random.stateless_uniform([4, 2], seed, 0, _MOST, tf.int32, alg="philox")
        )
        wanted = self._wanted(real, candidates)
        rows = _Rows(first, tf.shape(input_ids)[0], batch_size)
        positions, fates = self._choose(input_ids, candidates, wanted, rows, seeds)
        random_pieces = tf.gather(
            self._random_pieces,
            rows.draw(tf.shape(positions)[1], piece_seed, len(self._random_pieces)),
        )
        chosen = positions < tf.shape(input_ids)[1]
        places = tf.where(chosen, positions, 0)
        ids = tf.where(chosen, tf.gather(input_ids, places, batch_dims=1), 0)
        shown = tf.where(fates < 0.9, ids, random_pieces)
        shown = tf.where(fates < 0.8, self._mask, shown)
        return {
            **features,
            "input_ids": _changed(input_ids, places, tf.where(chosen, shown - ids, 0)),
            "masked_lm_positions": places,
            "masked_lm_ids": ids,
            "masked_lm_weights": tf.cast(chosen, tf.float32),
        }

    def _wanted(self, real: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Returns how many positions to mask at most, int32 [B, 1]."""
        length = tf.reduce_sum(tf.cast(real, tf.int32), axis=1, keepdims=True)
        # In float64 and to the even one of two, as Python rounds in the release.
        share = tf.round(tf.cast(length, tf.float64) * self._share)
        wanted = tf.clip_by_value(tf.cast(share, tf.int32), 1, self._most)
        count = tf.reduce_sum(tf.cast(candidates, tf.int32), axis=1, keepdims=True)
        return tf.minimum(wanted, count)

    def _choose(
        self,
        input_ids: tf.Tensor,
        candidates: tf.Tensor,
        wanted: tf.Tensor,
        drawn: "_Rows",
        seeds: list[tf.Tensor],
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns which positions to mask and how, [B, P].

        Positions ascend, and are S where there is none. How is a number of [0, 1).
        """
        order_seed, fate_seed, words_seed = seeds
        length = tf.shape(input_ids)[1]
        # Integers: of 24-bit floats, one row in a thousand would have equal ones.
        draws = drawn.draw(length, order_seed, _MOST)
        fates = drawn.draw(self._most, fate_seed)
        if self._masking == "token":
            return draw_pieces(candidates, wanted, draws, self._most), fates
        goes_on = tf.gather(self._continues, input_ids)
        if self._masking == "whole_word":
            words = words_of(candidates, goes_on)
            chosen = draw_words(candidates, wanted, draws, words)
            return _positions(chosen, self._most), fates
        # In a span, no word goes over from A to B; the release lets one do so.
        goes_on &= tf.pad(candidates, [[0, 0], [1, 0]])[:, :-1]
        words = words_of(candidates, goes_on)
        lengths = 1 + tf.searchsorted(
            span_shares().astype(np.float32),
            tf.reshape(drawn.draw(self._most, words_seed), [-1]),
            side="right",
        )
        lengths = tf.reshape(lengths, [-1, self._most])
        span = draw_spans(candidates, wanted, draws, words, lengths)
        positions = _positions(span >= 0, self._most)
        # One for all pieces of a span.
        span = tf.gather(_padded(span, length + 1, 0), positions, batch_dims=1)
        return positions, tf.gather(fates, span, batch_dims=1)


class _Rows(NamedTuple):
    """Rows of a batch, for which numbers are drawn as for all of it."""

    first: int
    count: tf.Tensor
    batch_size: int | None

    def draw(
        self, width: tf.Tensor | int, seed: tf.Tensor, end: int | None = None
    ) -> tf.Tensor:
        """Returns random numbers [count, width]: of [0, 1), or int32 below `end`."""
        whole = tf.random.stateless_uniform(
            [self.count if self.batch_size is None else self.batch_size, width],
            seed,
            0,
            end or 1.0,
            tf.float32 if end is None else tf.int32,
            alg="philox",
        )
        return whole[self.first : self.first + self.count]


# --- Which positions ----------------------------------------------------------------


class Words(NamedTuple):
    """Which pieces are a word together."""

    number: tf.Tensor  # int32 [B, S], the word that each piece is of
    sizes: tf.Tensor  # int32 [B, W], the pieces of each word; 0 if there is none
    starts: tf.Tensor  # int32 [B, W], where each word begins; beyond S: there is none


def words_of(candidates: tf.Tensor, continues: tf.Tensor) -> Words:
    """Returns the words of rows.

    Args:
      candidates: bool [B, S], the pieces that are of words.
      continues: bool [B, S], the pieces that go on with the word before them, if
        there is one.
    """
    # Pieces at the front of a row that go on with nothing are word 0.
    number = tf.cumsum(tf.cast(candidates & ~continues, tf.int32), axis=1)
    rows, length = tf.unstack(tf.shape(number))
    width = length + 2
    flat = number + width * tf.range(rows)[:, None]
    sizes = tf.math.unsorted_segment_sum(
        tf.cast(candidates, tf.int32), flat, rows * width
    )
    places = tf.where(candidates, tf.range(length), _MOST)
    starts = tf.math.unsorted_segment_min(places, flat, rows * width)
    shape = [rows, width]
    return Words(number, tf.reshape(sizes, shape), tf.reshape(starts, shape))


def draw_pieces(
    candidates: tf.Tensor, wanted: tf.Tensor, draws: tf.Tensor, most: int
) -> tf.Tensor:
    """Chooses single pieces.

    Args:
      candidates: bool [B, S].
      wanted: int32 [B, 1], how many to choose, no more than there are.
      draws: int32 [B, S], random, not negative: the pieces' order, the highest first.
      most: P.

    Returns:
      Their positions, int32 [B, P], ascending, S where there is none.
    """
    length = tf.shape(candidates)[1]
    count = tf.minimum(most, length)
    order = tf.math.top_k(tf.where(candidates, draws, -1), count).indices
    positions = tf.sort(tf.where(tf.range(count) < wanted, order, length))
    return tf.ensure_shape(_padded(positions, most, length), [None, most])


def draw_words(
    candidates: tf.Tensor, wanted: tf.Tensor, draws: tf.Tensor, words: Words
) -> tf.Tensor:
    """Chooses words in random order, passing over those that do not fit any more.

    Every turn of the loop takes all up to the next word that does not fit. What is
    left after them is too little for that word later on, too.

    Args:
      candidates: bool [B, S].
      wanted: int32 [B, 1], how many pieces to choose at most.
      draws: int32 [B, S], random, not negative: the words' order, the highest first.
      words: The words.

    Returns:
      The pieces of the chosen words, bool [B, S].
    """
    rows, width = tf.unstack(tf.shape(words.sizes))
    draws = tf.where(words.sizes > 0, _padded(draws, width, 0), -1)
    order = tf.math.top_k(draws, width).indices

    def fitting(sizes, left):
        return tf.where(sizes <= left, sizes, 0)

    def take(left, sizes, taken):
        now = (sizes > 0) & (tf.cumsum(sizes, axis=1) <= left)
        left -= tf.reduce_sum(tf.where(now, sizes, 0), axis=1, keepdims=True)
        return left, fitting(tf.where(now, 0, sizes), left), taken | now

    sizes = fitting(tf.gather(words.sizes, order, batch_dims=1), wanted)
    _, _, taken = tf.while_loop(
        lambda left, sizes, taken: tf.reduce_any(sizes > 0),
        take,
        (wanted, sizes, tf.zeros_like(sizes, tf.bool)),
    )
    flat = tf.reshape(order + width * tf.range(rows)[:, None], [-1, 1])
    taken = tf.scatter_nd(
        flat, tf.reshape(tf.cast(taken, tf.int32), [-1]), [rows * width]
    )
    taken = tf.reshape(taken, [rows, width])
    return candidates & (tf.gather(taken, words.number, batch_dims=1) > 0)


def draw_spans(
    candidates: tf.Tensor,
    wanted: tf.Tensor,
    draws: tf.Tensor,
    words: Words,
    lengths: tf.Tensor,
) -> tf.Tensor:
    """Chooses spans of words, each of which begins with the word of a random piece.

    Every turn of the loop chooses one in each row: that of the first piece in random
    order whose word is free and fits. A word that does not will not fit later either.

    Args:
      candidates: bool [B, S], with others between segments.
      wanted: int32 [B, 1], how many pieces to choose at most.
      draws: int32 [B, S], random, not negative: the pieces' order, the highest first.
      words: The words, none of which is of two segments.
      lengths: int32 [B, P], how many words the spans are to have at most.

    Returns:
      The number of the span that a piece is in, -1 for none, int32 [B, S].
    """
    rows, length = tf.unstack(tf.shape(candidates))
    place = tf.range(length)
    size = tf.gather(words.sizes, words.number, batch_dims=1)
    # Where a piece's word begins; what is of no word stands for itself.
    start_of = tf.gather(words.starts, words.number, batch_dims=1)
    start_of = _padded(tf.where(candidates, start_of, place), length + 1, length)

    def at(x, places):
        return tf.gather(x, places, batch_dims=1)

    def free(draws, left):
        return tf.where(size <= left, draws, -1)

    def draw_one(turn, left, draws, span):
        piece = tf.argmax(draws, axis=1, output_type=tf.int32)[:, None]
        start = at(start_of, piece)
        # On to its right, until there are enough words, ...
        behind = at(words.number, piece) + lengths[:, turn, None]
        enough = at(words.starts, tf.minimum(behind, length + 1))
        # ... or enough pieces, ...
        full = at(start_of, tf.minimum(start + left, length))
        # ... or there comes another span, or the segment's end.
        closed = tf.where((draws < 0) & (place > start), place, length)
        end = tf.reduce_min(closed, axis=1, keepdims=True)
        end = tf.minimum(tf.minimum(enough, full), end)
        end = tf.where(at(draws, piece) < 0, start, end)
        inside = (start <= place) & (place < end)
        left -= end - start
        draws = free(tf.where(inside, -1, draws), left)
        return turn + 1, left, draws, tf.where(inside, turn, span)

    draws = free(tf.where(candidates, draws, -1), wanted)
    *_, span = tf.while_loop(
        lambda turn, left, draws, span: tf.reduce_any(draws >= 0),
        draw_one,
        (0, wanted, draws, tf.fill([rows, length], -1)),
    )
    return span


# --- Rows ---------------------------------------------------------------------------


def _positions(chosen: tf.Tensor, most: int) -> tf.Tensor:
    """Returns where `chosen` [B, S] is: int32 [B, P], ascending, then S."""
    length = tf.shape(chosen)[1]
    from_end = tf.where(chosen, tf.range(length, 0, -1), 0)
    found = length - tf.math.top_k(from_end, tf.minimum(most, length)).values
    return tf.ensure_shape(_padded(found, most, length), [None, most])


def _unmasked(features: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Returns `input_ids` without the masks that the features have, if any."""
    input_ids = features["input_ids"]
    if "masked_lm_positions" not in features:
        return input_ids
    positions = features["masked_lm_positions"]
    shown = tf.gather(input_ids, positions, batch_dims=1)
    change = features["masked_lm_ids"] - shown
    masked = features["masked_lm_weights"] > 0
    return _changed(input_ids, positions, tf.where(masked, change, 0))


def _changed(x: tf.Tensor, positions: tf.Tensor, change: tf.Tensor) -> tf.Tensor:
    """Returns x [B, S] with [B, n] added at positions [B, n]; 0 may be anywhere."""
    rows, length = tf.unstack(tf.shape(x))
    places = positions + length * tf.range(rows)[:, None]
    flat = tf.tensor_scatter_nd_add(tf.reshape(x, [-1]), places[..., None], change)
    return tf.ensure_shape(tf.reshape(flat, [rows, length]), x.shape)


def _padded(x: tf.Tensor, width: tf.Tensor | int, value: tf.Tensor | int) -> tf.Tensor:
    """Returns [B, up to width] filled up to [B, width]."""
    return tf.pad(x, [[0, 0], [0, width - tf.shape(x)[1]]], constant_values=value)
