"""Where the instances of pretraining data come from: drawn in turn, or one by one."""

import bisect
import os
from collections.abc import Callable
from typing import Protocol

import numpy as np

from bert_tf.data import draws
from bert_tf.data.corpus import map_array, release_pages
from bert_tf.data.generator import permuted_places, python_state, shuffle
from bert_tf.data.masking import Rules

# Of documents whose instances are drawn or planned at a time.
_SEGMENTS = 65536

# Pairs, PAIR [n]; masked positions and what they show, int32 [n, P].
Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]


class Instances(Protocol):
    """All instances of a corpus, in the order of their records.

    Attributes:
      count: How many there are.
    """

    count: int

    def draw(self, places: np.ndarray) -> Drawn:
        """Returns the instances at places, int64 [n]."""

    def release(self) -> None:
        """Gives back memory that is not needed for now."""


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
        return self._pairs[rows], self._positions[rows], self._shown[rows]

    def release(self) -> None:
        pass

    @staticmethod
    def bytes_for(pieces: int, rules: Rules, duplicates: int) -> int:
        """Returns about how much memory the instances of so many pieces take."""
        # Short chunks, and what a pair that is too long loses, leave instances that
        # go on by 0.6 of the most pieces at a time or more, on texts of all kinds.
        count = duplicates * pieces / (0.6 * (rules.max_seq_length - 3))
        each = draws.PAIR.itemsize + 8 * rules.max_predictions_per_seq + 8
        return int(count * each)


class PlannedInstances:
    """Instances that are planned, and drawn when they are asked for.

    Args:
      rules: What to draw.
      texts: The documents.
      seed: Any number.
      duplicates: How often to go through the documents.
      folder: A local folder for the plans.
      on_documents: Called with how many documents more are done.
    """

    def __init__(
        self,
        rules: Rules,
        texts: draws.Texts,
        seed: int,
        duplicates: int,
        folder: str,
        on_documents: Callable[[int], None],
    ):
        self._rules = rules
        self._texts = texts
        self._seed = np.uint64(seed % 2**64)
        path = os.path.join(folder, "plans")
        partners = 0
        documents = texts.documents
        first = 0
        with open(path, "wb") as writer:
            while first < len(documents) - 1:
                begin = documents[first]["segment"]
                last = bisect.bisect_right(
                    range(len(documents)),
                    begin + _SEGMENTS,
                    lo=first + 2,
                    key=lambda place: documents[place]["segment"],
                )
                last = min(last - 1, len(documents) - 1)
                plans = np.empty(documents[last]["segment"] - begin, draws.PLAN)
                for duplicate in range(duplicates):
                    count, partners = draws.plan(
                        rules,
                        texts,
                        self._seed,
                        first,
                        last,
                        duplicate,
                        partners,
                        plans,
                    )
                    writer.write(plans[:count].tobytes())
                    on_documents(last - first)
                first = last
        self._plans, self._mapped = map_array(path, draws.PLAN)
        self.count = len(self._plans)

    def draw(self, places: np.ndarray) -> Drawn:
        rows = self._plans[permuted_places(places, self.count, self._seed)]
        predictions = self._rules.max_predictions_per_seq
        pairs = np.empty(len(rows), draws.PAIR)
        positions = np.empty((len(rows), predictions), np.int32)
        shown = np.empty((len(rows), predictions), np.int32)
        draws.draw_planned(
            self._rules, self._texts, self._seed, rows, pairs, positions, shown
        )
        return pairs, positions, shown

    def release(self) -> None:
        release_pages(self._mapped)
