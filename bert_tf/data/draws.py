"""What is drawn for pretraining data, compiled: sentence pairs and their masks.

The draws of create_pretraining_data.py, one for one: from the same state of Python's
generator come the same pairs, masks and random pieces. They are plain loops over
arrays that numba compiles; in Python they would take most of the time.

Letters in shape comments: S max_seq_length, P max_predictions_per_seq.
"""

from typing import NamedTuple

import numpy as np

from bert_tf.data.generator import (
    below,
    compiled,
    derived,
    permuted,
    seed_state,
    uniform,
)
from bert_tf.data.masking import ID, Rules, draw_masks

# Where a document begins, and what its draws are a function of.
DOCUMENT = np.dtype([("segment", "<i8"), ("file", "<i4"), ("number", "<i4")])

# A pair whose second segment, if it is random, and masks are still to be drawn.
PLAN = np.dtype(
    [
        ("key", "<u8"),  # what they are a function of
        ("document", "<i8"),
        ("partner", "<i8"),  # how many random segments were planned before; -1: none
        ("a_start", "<i8"),  # piece
        ("a_length", "<i4"),
        ("b_length", "<i4"),  # of what follows A
        ("target", "<i4"),  # pieces of A and B together
    ]
)

# A pair as ranges of pieces, and how many of its positions are masked.
PAIR = np.dtype(
    [
        ("a_start", "<i8"),
        ("b_start", "<i8"),
        ("a_length", "<i4"),
        ("b_length", "<i4"),
        ("is_random_next", "<i4"),
        ("masked", "<i4"),
    ]
)


class Texts(NamedTuple):
    """Tokenized documents as flat arrays, of which a mapped file may be one."""

    pieces: np.ndarray  # uint32, ids with CONTINUES
    segments: np.ndarray  # int64 [segments + 1], where each begins in pieces
    documents: np.ndarray  # DOCUMENT [documents + 1], the last one behind all


# --- Sentence pairs -----------------------------------------------------------------


@compiled
def _target_length(state, rules):
    longest = rules.max_seq_length - 3  # [CLS], [SEP], [SEP]
    if uniform(state) < rules.short_seq_prob:
        return 2 + below(state, longest - 1)
    return longest


@compiled
def _segments_until(segments, first, last, length):
    """Returns the end of the segments from first on that reach a length together."""
    end = first + 1
    while end < last and segments[end] - segments[first] < length:
        end += 1
    return end


@compiled
def _divide(state, segments, first, last, target):
    """Returns the segment behind A, the one behind the chunk, and whether B is random.

    Segments of B that a random B takes the place of are the next chunk's first ones.
    """
    end = _segments_until(segments, first, last, target)
    a_end = first + 1
    if end - first >= 2:
        a_end = first + 1 + below(state, end - first - 1)
    is_random = end - first == 1 or uniform(state) < 0.5
    return a_end, end, is_random


@compiled
def _draw_random_next(state, segments, first, last, length):
    """Returns a range of segments of a document that reaches a length, if it can."""
    start = first + below(state, last - first)
    return start, _segments_until(segments, start, last, length)


@compiled
def _truncate(state, pair, longest):
    """`truncate_seq_pair`: drops pieces of the longer segment, at either end."""
    while pair.a_length + pair.b_length > longest:
        front = uniform(state) < 0.5
        if pair.a_length > pair.b_length:
            pair.a_start += front
            pair.a_length -= 1
        else:
            pair.b_start += front
            pair.b_length -= 1


@compiled
def _set_pair(pair, segments, a, a_end, b, b_end, is_random):
    pair.a_start = segments[a]
    pair.a_length = segments[a_end] - segments[a]
    pair.b_start = segments[b]
    pair.b_length = segments[b_end] - segments[b]
    pair.is_random_next = is_random


@compiled
def _lay_out(pieces, pair, rules, sequence):
    """Writes `[CLS] a [SEP] b [SEP]` into sequence, returns its length."""
    end = pair.a_length + 1
    length = end + pair.b_length + 2
    sequence[0] = rules.cls
    for i in range(pair.a_length):
        sequence[1 + i] = pieces[pair.a_start + i]
    sequence[end] = rules.sep
    for i in range(pair.b_length):
        sequence[end + 1 + i] = pieces[pair.b_start + i]
    sequence[length - 1] = rules.sep
    return length


@compiled
def _mask_pair(state, rules, pieces, pair, positions, shown, sequence, work):
    """Draws the masks of a pair, with a sequence [S] and more [4, S] to work in."""
    length = _lay_out(pieces, pair, rules, sequence)
    pair.masked = draw_masks(
        state, rules, sequence, length, pair.a_length, positions, shown, work
    )


# --- In the release's order ---------------------------------------------------------


@compiled
def draw_like_release(state, rules, texts, order, first, last, pairs, positions, shown):
    """`create_instances_from_document` for documents in order.

    Args:
      state: The generator, which goes on from document to document.
      rules: What to draw.
      texts: The documents.
      order: int64, the shuffled documents.
      first, last: The places in `order` to draw instances of.
      pairs: PAIR [n], set to the instances; n is enough if there is one for each
        segment of these documents.
      positions, shown: int32 [n, P], set to their masks.

    Returns:
      The number of instances.
    """
    segments = texts.segments
    longest = rules.max_seq_length - 3
    sequence = np.empty(rules.max_seq_length, np.uint32)
    work = np.empty((4, rules.max_seq_length), np.int32)
    count = 0
    for place in range(first, last):
        document = order[place]
        segment = texts.documents[document].segment
        end = texts.documents[document + 1].segment
        target = _target_length(state, rules)
        while segment < end:
            a_end, b_end, is_random = _divide(state, segments, segment, end, target)
            b = a_end
            following = b_end
            if is_random:
                following = a_end
                for _ in range(10):
                    other = below(state, len(order))
                    if other != place:
                        break
                other_document = order[other]
                b, b_end = _draw_random_next(
                    state,
                    segments,
                    texts.documents[other_document].segment,
                    texts.documents[other_document + 1].segment,
                    target - (segments[a_end] - segments[segment]),
                )
            pair = pairs[count]
            _set_pair(pair, segments, segment, a_end, b, b_end, is_random)
            _truncate(state, pair, longest)
            _mask_pair(
                state, rules, texts.pieces, pair, positions[count], shown[count],
                sequence, work,
            )  # fmt: skip
            count += 1
            segment = following
    return count


# --- In any order -------------------------------------------------------------------
# Which chunks a document has is drawn from the key of (seed, file, document,
# duplicate); the rest of an instance from a key of its own under that one. Segments
# that are random are numbered as they are planned; the partners of as many of them as
# there are documents are a permutation of all: each serves about equally often.


@compiled
def plan(rules, texts, seed, first, last, duplicates, partners, plans):
    """Plans the instances of documents, one document after the other.

    Args:
      rules: What to draw.
      texts: The documents.
      seed: uint64.
      first, last: The documents to plan for.
      duplicates: How often to go through each.
      partners: How many random segments were planned before.
      plans: PLAN [n], set; n is enough if there is one for each segment each time.

    Returns:
      The number of plans, and of random segments with those before.
    """
    segments = texts.segments
    state = np.empty(625, np.uint32)
    count = 0
    for document in range(first, last):
        begin = texts.documents[document]
        end = texts.documents[document + 1].segment
        for duplicate in range(duplicates):
            key = derived(derived(derived(seed, begin.file), begin.number), duplicate)
            seed_state(state, key)
            target = _target_length(state, rules)
            segment = begin.segment
            while segment < end:
                a_end, b_end, is_random = _divide(state, segments, segment, end, target)
                row = plans[count]
                row.key = derived(derived(key, 1), segment - begin.segment)
                row.document = document
                row.a_start = segments[segment]
                row.a_length = segments[a_end] - segments[segment]
                row.b_length = segments[b_end] - segments[a_end]
                row.target = target
                row.partner = -1
                segment = b_end
                if is_random:
                    row.partner = partners
                    partners += 1
                    segment = a_end
                count += 1
    return count, partners


@compiled
def partners_of(seed, documents, plans):
    """Returns the documents that serve random segments, never a plan's own, int64 [n].

    Args:
      seed: uint64.
      documents: How many there are.
      plans: PLAN [n], all with a partner.
    """
    partners = np.empty(len(plans), np.int64)
    for i in range(len(plans)):
        key = derived(derived(seed, -2), plans[i].partner // documents)
        place = plans[i].partner % documents
        partner = permuted(place, documents, key)
        if partner == plans[i].document:
            partner = permuted((place + 1) % documents, documents, key)
        partners[i] = partner
    return partners


@compiled
def random_starts(plans, firsts, lasts):
    """Returns where random segments start, and how many segments can be in one.

    Args:
      plans: PLAN [n].
      firsts, lasts: int64 [n], the partners' first segments, and those behind them.

    Returns:
      int64 [n] and [n]; each segment has a piece, so that no more are needed.
    """
    starts, counts = np.empty_like(firsts), np.empty_like(firsts)
    for i in range(len(plans)):
        segments = np.uint64(lasts[i] - firsts[i])
        starts[i] = firsts[i] + np.int64(derived(plans[i].key, 0) % segments)
        length = plans[i].target - plans[i].a_length
        counts[i] = min(lasts[i] - starts[i], max(1, length))
    return starts, counts


@compiled
def draw_ranges(rules, plans, segments, counts, pairs):
    """Sets pairs to what is left of plans after truncation.

    Args:
      rules: What they were planned with.
      plans: PLAN [n].
      segments: int64, where segments begin, counts[i] + 1 of them for each plan with
        a partner.
      counts: int64, those of `random_starts`.
      pairs: PAIR [n], set.
    """
    state = np.empty(625, np.uint32)
    first = random = 0
    for i in range(len(plans)):
        row, pair = plans[i], pairs[i]
        pair.a_start, pair.a_length = row.a_start, row.a_length
        pair.b_start, pair.b_length = row.a_start + row.a_length, row.b_length
        pair.is_random_next = row.partner >= 0
        if pair.is_random_next:
            last = first + counts[random]
            end = _segments_until(segments, first, last, row.target - row.a_length)
            pair.b_start = segments[first]
            pair.b_length = segments[end] - segments[first]
            first = last + 1
            random += 1
        seed_state(state, derived(row.key, 1))
        _truncate(state, pair, rules.max_seq_length - 3)


@compiled
def mask_planned(rules, plans, pieces, pairs, positions, shown):
    """Draws the masks of planned pairs.

    Args:
      rules: What they were planned with.
      plans: PLAN [n].
      pieces: uint32, what `pairs` are ranges of.
      pairs: PAIR [n], whose `masked` is set.
      positions, shown: int32 [n, P], set.
    """
    state = np.empty(625, np.uint32)
    sequence = np.empty(rules.max_seq_length, np.uint32)
    work = np.empty((4, rules.max_seq_length), np.int32)
    for i in range(len(plans)):
        seed_state(state, derived(plans[i].key, 2))
        _mask_pair(
            state, rules, pieces, pairs[i], positions[i], shown[i], sequence, work
        )


# --- Features -----------------------------------------------------------------------


def features(
    rules: Rules,
    pieces: np.ndarray,
    pairs: np.ndarray,
    positions: np.ndarray,
    shown: np.ndarray,
    masked: bool,
) -> dict[str, np.ndarray]:
    """Returns the features of drawn instances by name, int64 or float32 [n, ...].

    Args:
      rules, pieces: What was drawn, and from.
      pairs, positions, shown: What `draw_like_release` or `mask_planned` set.
      masked: Whether to mask, or to leave the pairs as they are.
    """
    count = len(pairs)
    sequences = {
        name: np.zeros((count, rules.max_seq_length), np.int64)
        for name in ("input_ids", "input_mask", "segment_ids")
    }
    _fill_sequences(rules, pieces, pairs, *sequences.values())
    next_sentence_labels = pairs["is_random_next"][:, None].astype(np.int64)
    made = {**sequences, "next_sentence_labels": next_sentence_labels}
    if masked:
        chosen = np.arange(rules.max_predictions_per_seq) < pairs["masked"][:, None]
        places = np.where(chosen, positions, 0).astype(np.int64)
        rows, columns = np.nonzero(chosen)
        at = rows, places[rows, columns]
        ids = np.zeros(places.shape, np.int64)
        ids[rows, columns] = sequences["input_ids"][at]
        sequences["input_ids"][at] = shown[rows, columns]
        made |= {
            "masked_lm_positions": places,
            "masked_lm_ids": ids,
            "masked_lm_weights": chosen.astype(np.float32),
        }
    return made


@compiled
def _fill_sequences(rules, pieces, pairs, input_ids, input_mask, segment_ids):
    sequence = np.empty(rules.max_seq_length, np.uint32)
    for i in range(len(pairs)):
        length = _lay_out(pieces, pairs[i], rules, sequence)
        for j in range(length):
            input_ids[i, j] = sequence[j] & ID
            input_mask[i, j] = 1
            segment_ids[i, j] = j > pairs[i].a_length + 1
