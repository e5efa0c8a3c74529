"""Where the instances of pretraining data come from: drawn in turn, or one by one."""

import bisect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from bert_tf.data import draws
from bert_tf.data.corpus import Corpus
from bert_tf.data.file_ranges import read_ranges
from bert_tf.data.generator import (
    derived,
    permuted_places,
    python_state,
    shuffle,
)
from bert_tf.data.masking import Rules

# Of documents whose instances are drawn or planned at a time.
_SEGMENTS = 65536


class Drawn(NamedTuple):
    """Some instances."""

    pieces: np.ndarray  # uint32, what the pairs are ranges of
    pairs: np.ndarray  # PAIR [n]
    positions: np.ndarray  # int32 [n, P], masked ones
    shown: np.ndarray  # int32 [n, P], the ids that they show


class Instances(Protocol):
    """All instances of a corpus, in the order of their records.

    Attributes:
      count: How many there are.
    """

    count: int

    def draw(self, places: np.ndarray) -> Drawn:
        """Returns the instances at places, int64 [n]."""


class ReleaseInstances:
    """The release's instances in the release's order, all drawn beforehand.

    Args:
      rules: What to draw.
      texts: The documents.
      seed: The seed of `random.Random`.
      duplicates: How often to go through the documents.
      on_documents: Called with how many documents more are done.
    """

    def __init__(
        self,
        rules: Rules,
        texts: draws.Texts,
        seed: int,
        duplicates: int,
        on_documents: Callable[[int], None],
    ):
        self._pieces = texts.pieces
        state = python_state(seed)
        order = np.arange(len(texts.documents) - 1)
        shuffle(state, order, len(order))
        widths = np.diff(texts.documents["segment"])[order]
        ends = np.cumsum(widths)
        predictions = rules.max_predictions_per_seq
        self._pairs = np.empty(0, draws.PAIR)
        self._positions = np.empty((0, predictions), np.int32)
        self._shown = np.empty((0, predictions), np.int32)
        count = 0
        for _ in range(duplicates):
            first = 0
            while first < len(order):
                begin = ends[first] - widths[first]
                last = max(first + 1, int(np.searchsorted(ends, begin + _SEGMENTS)))
                self._resize(count + int(ends[last - 1] - begin))
                count += draws.draw_like_release(
                    state,
                    rules,
                    texts,
                    order,
                    first,
                    last,
                    self._pairs[count:],
                    self._positions[count:],
                    self._shown[count:],
                )
                on_documents(last - first)
                first = last
        self._resize(count)
        self._order = np.arange(count)
        shuffle(state, self._order, count)
        self.count = count

    def _resize(self, count: int) -> None:
        # In place where the system can: what was drawn is not there twice.
        self._pairs.resize(count, refcheck=False)
        for array in (self._positions, self._shown):
            array.resize((count, array.shape[1]), refcheck=False)

    def draw(self, places: np.ndarray) -> Drawn:
        rows = self._order[places]
        return Drawn(
            self._pieces, self._pairs[rows], self._positions[rows], self._shown[rows]
        )

    @staticmethod
    def bytes_for(documents: int, pieces: int, rules: Rules, duplicates: int) -> int:
        """Returns about how much memory the instances of documents take."""
        each = draws.PAIR.itemsize + 8 * rules.max_predictions_per_seq + 8
        return each * _estimated_count(documents, pieces, rules, duplicates)


class PlannedInstances:
    """Instances that are planned, and drawn when they are asked for.

    Args:
      rules: What to draw.
      corpus: The documents.
      seed: Any number.
      duplicates: How often to go through the documents.
      folder: A local folder for the plans.
      on_documents: Called with how many documents more are done.
    """

    def __init__(
        self,
        rules: Rules,
        corpus: Corpus,
        seed: int,
        duplicates: int,
        folder: str,
        on_documents: Callable[[int], None],
    ):
        self._rules = rules
        self._files = corpus.files
        self._seed = as_key(seed)
        self._order = order_key(self._seed)
        self._documents = len(corpus.texts.documents) - 1
        path = Path(folder, "plans")
        with path.open("wb") as writer:
            self.count = 0
            partners = 0
            for first, last in _batches(corpus.texts, _SEGMENTS // duplicates):
                plans, partners = planned(
                    rules, corpus.texts, self._seed, first, last, duplicates, partners
                )
                writer.write(plans.tobytes())
                self.count += len(plans)
                on_documents((last - first) * duplicates)
                corpus.release()
        self._plans = path.open("rb")

    def draw(self, places: np.ndarray) -> Drawn:
        rows = permuted_places(places, self.count, self._order)
        plans = read_ranges(self._plans, draws.PLAN, rows, np.ones_like(rows))
        segments, counts = self._random_segments(plans[plans["partner"] >= 0])
        pairs = np.empty(len(plans), draws.PAIR)
        draws.draw_ranges(self._rules, plans, segments, counts, pairs)

        lengths = np.stack([pairs["a_length"], pairs["b_length"]], axis=1)
        starts = np.stack([pairs["a_start"], pairs["b_start"]], axis=1)
        counts = lengths.ravel().astype(np.int64)
        pieces = read_ranges(self._files["pieces"], np.uint32, starts.ravel(), counts)
        # From now on they are ranges of what was read.
        pairs["a_start"], pairs["b_start"] = (
            (np.cumsum(counts) - counts).reshape(-1, 2).T
        )

        return masked(self._rules, plans, pieces, pairs)

    @staticmethod
    def bytes_for(documents: int, pieces: int, rules: Rules, duplicates: int) -> int:
        """Returns about how large a file the plans of documents make."""
        return draws.PLAN.itemsize * _estimated_count(
            documents, pieces, rules, duplicates
        )

    def _random_segments(self, plans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns where the segments of random ones begin, and how many each has."""
        partners = draws.partners_of(self._seed, self._documents, plans)
        spans = read_ranges(
            self._files["documents"],
            draws.DOCUMENT,
            partners,
            np.full_like(partners, 2),  # with the document behind
        )["segment"].reshape(-1, 2)
        starts, counts = draws.random_starts(
            plans, np.ascontiguousarray(spans[:, 0]), np.ascontiguousarray(spans[:, 1])
        )
        segments = read_ranges(self._files["segments"], np.int64, starts, counts + 1)
        return segments, counts


def as_key(seed: int) -> np.uint64:
    """Returns the key that planned instances are drawn under."""
    return np.uint64(seed % 2**64)


def order_key(seed: np.uint64) -> np.uint64:
    """Returns the key of the permutation of all plans that the records are."""
    return np.uint64(derived(seed, -1))


def planned(
    rules: Rules,
    texts: draws.Texts,
    seed: np.uint64,
    first: int,
    last: int,
    duplicates: int,
    partners: int = 0,
) -> tuple[np.ndarray, int]:
    """Returns `draws.plan` of documents, PLAN [n], and how many are random by then."""
    most = np.diff(texts.documents["segment"][[first, last]])[0] * duplicates
    plans = np.empty(most, draws.PLAN)
    count, partners = draws.plan(
        rules, texts, seed, first, last, duplicates, partners, plans
    )
    return plans[:count], partners


def masked(
    rules: Rules, plans: np.ndarray, pieces: np.ndarray, pairs: np.ndarray
) -> Drawn:
    """Draws the masks of planned pairs, which are ranges of pieces."""
    positions = np.empty((len(plans), rules.max_predictions_per_seq), np.int32)
    shown = np.empty_like(positions)
    draws.mask_planned(rules, plans, pieces, pairs, positions, shown)
    return Drawn(pieces, pairs, positions, shown)


def _estimated_count(documents: int, pieces: int, rules: Rules, duplicates: int) -> int:
    """Returns how many instances documents make, rather too many."""
    # Short chunks, and what a pair that is too long loses, leave instances that go on
    # by 0.6 of the most pieces at a time or more; a document ends one.
    each_time = documents + pieces / (0.6 * (rules.max_seq_length - 3))
    return int(duplicates * each_time)


def _batches(texts: draws.Texts, segments: int) -> Iterator[tuple[int, int]]:
    """Yields ranges of documents that have not many more segments than that."""
    documents = texts.documents
    first = 0
    while first < len(documents) - 1:
        end = bisect.bisect_right(
            range(len(documents)),
            documents[first]["segment"] + segments,
            key=lambda place: documents[place]["segment"],
        )
        last = min(max(first + 1, end - 1), len(documents) - 1)
        yield first, last
        first = last
