"""Masks drawn while training, anew for each batch, by TensorFlow ops alone.

The distributions are those of `draw_masks` in bert_tf/data/masking.py. Its numbers are
not: those come one after the other, these for all rows of a batch at once.

Letters in shape comments: B rows, S pieces of a row, P max_predictions_per_seq.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from bert_tf.data.pretraining_config import MASKINGS
from bert_tf.errors import ConfigError

_MASKED_LM = ("masked_lm_positions", "masked_lm_ids", "masked_lm_weights")

# Seeds stay non-negative: XLA and plain TensorFlow draw different bits from
# negative ones.
_MOST = np.iinfo(np.int32).max


class DynamicMasking:
    """Draws the masks of a batch, a pure function of the batch and a seed.

    Args:
      vocab: piece -> id.
      max_predictions_per_seq: The most positions that are masked in a row, and how
        many the features hold.
      masked_lm_prob: The share of a row's pieces that is masked.
      masking: `token`, `whole_word` or `span`.

    Raises:
      ConfigError: There is no such masking.
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
        self._share = masked_lm_prob
        self._masking = masking
        self._cls, self._sep, self._mask = (
            vocab[f"[{name}]"] for name in ("CLS", "SEP", "MASK")
        )
        self._random_pieces = np.fromiter(vocab.values(), np.int32)

    def __call__(
        self, features: Mapping[str, tf.Tensor], seed: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Returns the features with masks, those of `pretraining_features`.

        Args:
          features: `input_ids`, `input_mask`, int32 [B, S], and any others, which are
            handed on. With masks of their own, `masked_lm_positions` and the like of
            any number per row, they are first put back as they were.
          seed: int [2], not negative.

        Returns:
          `input_ids` as the masks show them, `masked_lm_positions` and
          `masked_lm_ids`, int32 [B, P], and `masked_lm_weights`, float32 [B, P]:
          positions from left to right, then zeros. A row without real tokens gets no
          masks.
        """
        if self._masking != "token":
            raise NotImplementedError(self._masking)
        features = {name: tf.convert_to_tensor(x) for name, x in features.items()}
        input_ids = _unmasked(features)
        real = features["input_mask"] > 0
        candidates = real & (input_ids != self._cls) & (input_ids != self._sep)
        seeds = tf.unstack(
            tf.random.stateless_uniform(
                [3, 2], seed, minval=0, maxval=_MOST, dtype=tf.int32, alg="philox"
            )
        )
        wanted = self._wanted(real, candidates)
        positions, fates = self._draw_pieces(candidates, wanted, *seeds[:2])
        return {
            **features,
            **self._show(input_ids, positions, fates, seeds[2]),
        }

    def _wanted(self, real: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Returns how many positions to mask at most, int32 [B, 1]."""
        # float64, as Python's round(len(tokens) * masked_lm_prob).
        length = tf.reduce_sum(tf.cast(real, tf.int32), axis=1, keepdims=True)
        share = tf.round(tf.cast(length, tf.float64) * self._share)
        wanted = tf.clip_by_value(tf.cast(share, tf.int32), 1, self._most)
        count = tf.reduce_sum(tf.cast(candidates, tf.int32), axis=1, keepdims=True)
        return tf.minimum(wanted, count)

    def _draw_pieces(
        self,
        candidates: tf.Tensor,
        wanted: tf.Tensor,
        order_seed: tf.Tensor,
        fate_seed: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns positions [B, P], S where there is none, and fates [B, P]."""
        scores = tf.where(candidates, _draw(tf.shape(candidates), order_seed), -1)
        length = tf.shape(candidates)[1]
        most = tf.minimum(self._most, length)
        order = tf.math.top_k(scores, most).indices
        places = tf.where(tf.range(most) < wanted, order, length)
        positions = self._padded(tf.sort(places), length)
        return positions, _draw_shares(tf.shape(positions), fate_seed)

    def _padded(self, positions: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        """Returns [B, up to P] filled up with the row's length to [B, P]."""
        missing = self._most - tf.shape(positions)[1]
        positions = tf.pad(positions, [[0, 0], [0, missing]], constant_values=length)
        return tf.ensure_shape(positions, [None, self._most])

    def _show(
        self,
        input_ids: tf.Tensor,
        positions: tf.Tensor,
        fates: tf.Tensor,
        seed: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """Returns the features that masks change.

        Args:
          input_ids: int32 [B, S], without masks.
          positions: int32 [B, P], ascending, S where there is none.
          fates: float32 [B, P], up to 1: [MASK], as it was, or a random piece.
          seed: What random pieces are drawn from.
        """
        chosen = positions < tf.shape(input_ids)[1]
        places = tf.where(chosen, positions, 0)
        was = tf.gather(input_ids, places, batch_dims=1)
        count = len(self._random_pieces)
        drawn = tf.gather(
            self._random_pieces,
            tf.random.stateless_uniform(
                tf.shape(places), seed, 0, count, tf.int32, alg="philox"
            ),
        )
        shown = tf.where(fates < 0.8, self._mask, tf.where(fates < 0.9, was, drawn))
        return {
            "input_ids": _changed(input_ids, places, tf.where(chosen, shown - was, 0)),
            "masked_lm_positions": places,
            "masked_lm_ids": tf.where(chosen, was, 0),
            "masked_lm_weights": tf.cast(chosen, tf.float32),
        }


def _unmasked(features: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Returns input_ids without the masks that the features have, if any."""
    input_ids = features["input_ids"]
    if "masked_lm_positions" not in features:
        return input_ids
    positions, ids, weights = (features[name] for name in _MASKED_LM)
    shown = tf.gather(input_ids, positions, batch_dims=1)
    return _changed(input_ids, positions, tf.where(weights > 0, ids - shown, 0))


def _changed(x: tf.Tensor, positions: tf.Tensor, change: tf.Tensor) -> tf.Tensor:
    """Returns x [B, S] with changes [B, n] added; changes of 0 may be anywhere."""
    rows, length = tf.unstack(tf.shape(x))
    places = positions + (tf.range(rows) * length)[:, None]
    flat = tf.tensor_scatter_nd_add(tf.reshape(x, [-1]), places[..., None], change)
    return tf.ensure_shape(tf.reshape(flat, [rows, length]), x.shape)


def _draw(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    # Integers: with 24 bits of a float, one row in a thousand would have equal ones.
    return tf.random.stateless_uniform(shape, seed, 0, _MOST, tf.int32, alg="philox")


def _draw_shares(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_uniform(shape, seed, alg="philox")
