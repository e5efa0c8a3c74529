"""Which positions are masked, and what they show, compiled.

Letters in shape comments: S max_seq_length, P max_predictions_per_seq.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from bert_tf.data.generator import below, compiled, shuffle, uniform
from bert_tf.data.pretraining_config import MASKINGS

_TOKEN, _WHOLE_WORD, _SPAN = range(3)

# SpanBERT (section 3.1): lengths of spans in words are geometric with p 0.2, and only
# those up to 10 are drawn, which makes their mean 3.8.
_SPAN_P = 0.2
_LONGEST_SPAN = 10

# A piece's highest bit says that it goes on with the word of the piece before it.
CONTINUES = np.uint32(1 << 31)
ID = np.uint32((1 << 31) - 1)


class Rules(NamedTuple):
    """What the draws depend on besides texts and seed."""

    max_seq_length: int
    max_predictions_per_seq: int
    short_seq_prob: float
    masked_lm_prob: float
    masking: int  # place in MASKINGS
    cls: int
    sep: int
    mask: int
    random_pieces: np.ndarray  # int64, the ids a random piece is drawn from
    span_shares: np.ndarray  # float64 [10], share of spans up to each length


def make_rules(
    vocab: Mapping[str, int],
    max_seq_length: int,
    max_predictions_per_seq: int,
    short_seq_prob: float,
    masked_lm_prob: float,
    masking: str,
) -> Rules:
    """Returns the rules that go with a vocabulary, piece -> id."""
    return Rules(
        max_seq_length,
        max_predictions_per_seq,
        float(short_seq_prob),
        float(masked_lm_prob),
        MASKINGS.index(masking),
        vocab["[CLS]"],
        vocab["[SEP]"],
        vocab["[MASK]"],
        np.fromiter(vocab.values(), np.int64),
        span_shares(),
    )


def span_shares() -> np.ndarray:
    """Returns the share of spans that have up to 1, 2, ... words, float64 [10]."""
    shares = np.cumsum(_SPAN_P * (1 - _SPAN_P) ** np.arange(_LONGEST_SPAN))
    return shares / shares[-1]


@compiled
def draw_masks(state, rules, sequence, length, a_length, positions, shown, work):
    """`create_masked_lm_predictions` of the release, and spans.

    Args:
      state: The generator.
      rules: How much to mask, and how.
      sequence: uint32 [S], `[CLS] a [SEP] b [SEP]`.
      length: Its pieces, special ones included.
      a_length: Pieces of A, without special ones.
      positions: [P], set to what was chosen, from left to right.
      shown: [P], set to the ids that take the place of the pieces there.
      work: int32 [4, S] to work in.

    Returns:
      How many were chosen.
    """
    candidates, groups, order, drawn = work[0], work[1], work[2], work[3]
    count = 0
    group_count = 0
    whole = rules.masking != _TOKEN
    for position in range(1, length - 1):
        if position == a_length + 1:
            continue
        continues = whole and sequence[position] & CONTINUES
        # In a span, no word goes over from A to B; the release lets one do so.
        if rules.masking == _SPAN and position == a_length + 2:
            continues = False
        if not (continues and group_count):
            groups[group_count] = count
            group_count += 1
        candidates[count] = position
        drawn[position] = -1
        count += 1
    wanted = int(np.rint(length * rules.masked_lm_prob))
    wanted = min(rules.max_predictions_per_seq, max(1, wanted))
    if rules.masking == _SPAN:
        _draw_spans(
            state, rules, sequence, wanted, a_length, candidates, groups, order,
            drawn, count, group_count,
        )  # fmt: skip
    else:
        for i in range(group_count):
            order[i] = i
        shuffle(state, order, group_count)
        chosen = 0
        for i in range(group_count):
            group = order[i]
            end = groups[group + 1] if group + 1 < group_count else count
            if chosen >= wanted:
                break
            if chosen + end - groups[group] > wanted:
                continue
            for j in range(groups[group], end):
                position = candidates[j]
                fate = _draw_fate(state)
                drawn[position] = _shown(state, rules, fate, sequence[position])
            chosen += end - groups[group]
    chosen = 0
    for j in range(count):
        position = candidates[j]
        if drawn[position] >= 0:
            positions[chosen] = position
            shown[chosen] = drawn[position]
            chosen += 1
    return chosen


_MASKED, _KEPT, _RANDOM = range(3)


@compiled
def _draw_fate(state):
    if uniform(state) < 0.8:
        return _MASKED
    return _KEPT if uniform(state) < 0.5 else _RANDOM


@compiled
def _shown(state, rules, fate, piece):
    if fate == _MASKED:
        return rules.mask
    if fate == _KEPT:
        return np.int64(piece & ID)
    return rules.random_pieces[below(state, len(rules.random_pieces))]


@compiled
def _draw_spans(
    state, rules, sequence, wanted, a_length, candidates, groups, order, drawn, count,
    group_count,
):  # fmt: skip
    """Chooses spans of whole words, each of which is shown in one way.

    A span begins with the word of a random piece and goes on to its right until it has
    the drawn number of words, or meets a segment's end, another span or the number of
    pieces wanted.
    """
    for j in range(count):
        order[j] = j
    shuffle(state, order, count)
    chosen = 0
    for i in range(count):
        if chosen >= wanted:
            return
        if drawn[candidates[order[i]]] >= 0:
            continue
        # The last group that begins at or before this piece.
        group = np.searchsorted(groups[:group_count], order[i], side="right") - 1
        start = groups[group]
        words = 1 + np.searchsorted(rules.span_shares, uniform(state), side="right")
        end = start
        for other in range(group, min(group + words, group_count)):
            word_end = groups[other + 1] if other + 1 < group_count else count
            first = candidates[groups[other]]
            if (
                drawn[first] >= 0
                or chosen + word_end - start > wanted
                or (first > a_length) != (candidates[start] > a_length)
            ):
                break
            end = word_end
        if end == start:
            continue
        fate = _draw_fate(state)
        for j in range(start, end):
            position = candidates[j]
            drawn[position] = _shown(state, rules, fate, sequence[position])
        chosen += end - start
