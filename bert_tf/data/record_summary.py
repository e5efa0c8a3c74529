"""What a set of pretraining records amounts to, counted batch by batch.

All counts are sums over records, so those of batches and of files are added with `+`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Self

import numpy as np

from bert_tf.data.record_files import read_batches
from bert_tf.data.records import FeatureSpec

# The features that `ShardCounts` are counts of.
COUNTED = ("input_mask", "next_sentence_labels", "masked_lm_weights")


# Arrays have no single answer to ==.
@dataclasses.dataclass(frozen=True, eq=False)
class _Counts:
    def __add__(self, other: Self) -> Self:
        names = [field.name for field in dataclasses.fields(self)]
        return type(self)(*(getattr(self, n) + getattr(other, n) for n in names))


@dataclasses.dataclass(frozen=True, eq=False)
class ShardCounts(_Counts):
    """What `metadata.json` says of records.

    Attributes:
      records: How many.
      random_next: How many whose second segment is not what came next.
      masked: Masked positions.
      length_histogram: How many of each length without padding, int64 `[S + 1]`.
    """

    records: int
    random_next: int
    masked: int
    length_histogram: np.ndarray

    @classmethod
    def none(cls, max_seq_length: int) -> Self:
        """Returns the counts of no records."""
        return cls(0, 0, 0, np.zeros(max_seq_length + 1, np.int64))

    @classmethod
    def of_batch(
        cls,
        input_mask: np.ndarray,
        next_sentence_labels: np.ndarray,
        masked_lm_weights: np.ndarray | None = None,
    ) -> Self:
        """Counts a batch.

        Args:
          input_mask: 0 or 1, `[n, S]`.
          next_sentence_labels: 0 or 1, `[n, 1]`.
          masked_lm_weights: 0 or 1, `[n, P]`; None if nothing is masked yet.
        """
        return cls(
            records=len(input_mask),
            random_next=int(np.count_nonzero(next_sentence_labels)),
            masked=0
            if masked_lm_weights is None
            else int(np.count_nonzero(masked_lm_weights)),
            length_histogram=np.bincount(
                np.count_nonzero(input_mask, axis=1), minlength=input_mask.shape[1] + 1
            ),
        )


def count_shard(path: str, spec: FeatureSpec) -> ShardCounts:
    """Counts the records of a file, of which few are in memory at a time.

    Args:
      path: The file.
      spec: The features of its records.

    Raises:
      DataError: It is damaged, or holds other records.
    """
    # Parsing takes most of the time, so what is not counted is not parsed.
    counted = {name: spec[name] for name in COUNTED if name in spec}
    total = ShardCounts.none(spec["input_mask"].shape[0])
    for batch in read_batches(path, counted):
        total += ShardCounts.of_batch(**batch)
    return total


@dataclasses.dataclass(frozen=True, eq=False)
class RecordSummary(_Counts):
    """What a reader wants to know of a set of records.

    Attributes:
      counts: Records, random next, masked positions, lengths.
      masks_histogram: How many records of each number of masks, int64 `[P + 1]`.
      pair_lengths: How many records by next (0 actual, 1 random), pieces of segment A
        and of segment B, special pieces included, int64 `[2, S + 1, S + 1]`.
      shown_as_mask: Masked positions that hold [MASK].
      kept: Masked positions that hold what was there; the rest holds another piece.
      pieces: Pieces of text, before masking.
      unknown: How many of them are [UNK].
    """

    counts: ShardCounts
    masks_histogram: np.ndarray
    pair_lengths: np.ndarray
    shown_as_mask: int
    kept: int
    pieces: int
    unknown: int

    @classmethod
    def of_batch(
        cls, batch: Mapping[str, np.ndarray], vocab: Mapping[str, int]
    ) -> Self:
        """Counts a batch.

        Args:
          batch: `input_ids`, `input_mask`, `segment_ids` `[n, S]`,
            `next_sentence_labels` `[n, 1]`, and unless nothing is masked yet
            `masked_lm_positions`, `masked_lm_ids`, `masked_lm_weights` `[n, P]`.
          vocab: piece -> id, with the special pieces.
        """
        mask, weights = batch["input_mask"], batch.get("masked_lm_weights")
        ids = batch["input_ids"].copy()
        shown = was = np.zeros(0, ids.dtype)
        masks_histogram = np.array([len(ids)])
        if weights is not None:
            rows, columns = np.nonzero(weights)
            at = rows, batch["masked_lm_positions"][rows, columns]
            shown, was = ids[at], batch["masked_lm_ids"][rows, columns]
            ids[at] = was
            masks_histogram = np.bincount(
                np.count_nonzero(weights, axis=1), minlength=weights.shape[1] + 1
            )
        text = ids[
            (mask == 1) & ~np.isin(ids, [vocab[each] for each in ("[CLS]", "[SEP]")])
        ]
        kept = shown == was
        lengths_b = np.count_nonzero(mask * batch["segment_ids"], axis=1)
        lengths_a = np.count_nonzero(mask, axis=1) - lengths_b
        shape = (2, mask.shape[1] + 1, mask.shape[1] + 1)
        cells = (batch["next_sentence_labels"][:, 0], lengths_a, lengths_b)
        return cls(
            counts=ShardCounts.of_batch(mask, batch["next_sentence_labels"], weights),
            masks_histogram=masks_histogram,
            pair_lengths=np.bincount(
                np.ravel_multi_index(cells, shape), minlength=np.prod(shape)
            ).reshape(shape),
            shown_as_mask=int(np.sum((shown == vocab["[MASK]"]) & ~kept)),
            kept=int(np.sum(kept)),
            pieces=text.size,
            unknown=int(np.sum(text == vocab["[UNK]"])),
        )


def median(histogram: np.ndarray) -> float:
    """Returns the median of numbers of which `histogram[i]` are i.

    >>> median(np.array([0, 2, 1, 1]))
    1.5
    """
    ends = np.cumsum(histogram)
    # Of an even number the two in the middle count, of an odd one the same twice.
    middle = np.array([ends[-1] - 1, ends[-1]]) // 2
    return float(np.searchsorted(ends, middle, side="right").mean())


def mean(histogram: np.ndarray) -> float:
    """Returns the mean of numbers of which `histogram[i]` are i."""
    return float(np.arange(len(histogram)) @ histogram / histogram.sum())
