"""Spans against SpanBERT's description; tests of records hold the rest to Google's."""

import numpy as np
import pytest
import scipy.stats

from bert_tf.data.generator import python_state
from bert_tf.data.masking import CONTINUES, ID, draw_masks, make_rules

VOCAB = {
    piece: index
    for index, piece in enumerate(
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(str, range(100))]
    )
}
CLS, SEP, MASK = (VOCAB[f"[{name}]"] for name in ("CLS", "SEP", "MASK"))


def sequence_of(words_a, words_b) -> np.ndarray:
    """`[CLS] a [SEP] b [SEP]` of words with so many pieces each."""
    ids = [CLS]
    for words in (words_a, words_b):
        for count in words:
            ids += [20, *[int(21 | CONTINUES)] * (count - 1)]
        ids.append(SEP)
    return np.array(ids, np.uint32)


def draw(words_a, words_b, masking="span", share=0.15, most=100, times=200, seed=0):
    """Yields the places and shown ids of one sequence, drawn so many times."""
    sequence = sequence_of(words_a, words_b)
    length = len(sequence)
    rules = make_rules(VOCAB, length, most, 0.1, share, masking)
    state = python_state(seed)
    work = np.empty((4, length), np.int32)
    for _ in range(times):
        places, shown = np.full(most, -1, np.int32), np.full(most, -1, np.int32)
        count = draw_masks(
            state, rules, sequence, length, sum(words_a), places, shown, work
        )
        yield places[:count], shown[:count]


WORDS = [1, 3, 2, 1, 1, 4, 2, 1] * 8


def word_of(words_a, words_b) -> np.ndarray:
    """The number of the word at each place; -1 for special pieces."""
    numbers = [-1]
    first = 0
    for words in (words_a, words_b):
        for count in words:
            numbers += [first] * count
            first += 1
        numbers.append(-1)
    return np.array(numbers)


def spans(places, words) -> list[list[int]]:
    """The words of each run of neighbouring masked places."""
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    return [sorted({int(words[place]) for place in run}) for run in runs]


@pytest.mark.parametrize("masking", ["whole_word", "span"])
def test_words_are_masked_whole(masking):
    words = word_of(WORDS, WORDS)
    sizes = np.bincount(words[words >= 0])
    length = len(words)
    for places, _ in draw(WORDS, WORDS, masking):
        assert (np.diff(places) > 0).all() and (words[places] >= 0).all()
        assert 0.5 * 0.15 * length < len(places) <= round(0.15 * length)
        touched, counts = np.unique(words[places], return_counts=True)
        assert (counts == sizes[touched]).all()


def test_the_pieces_of_a_span_are_shown_in_one_way():
    sequence = sequence_of(WORDS, WORDS) & ID
    seen = {"mask": 0, "kept": 0, "other": 0}
    for places, shown in draw(WORDS, WORDS, share=0.03):
        was = sequence[places]
        fates = np.where(shown == MASK, 0, np.where(shown == was, 1, 2))
        # Runs are of one span or of spans that happen to touch: words go together.
        words = word_of(WORDS, WORDS)[places]
        for word in np.unique(words):
            of_word = fates[words == word]
            # A random piece may be the one that was there.
            assert len(set(of_word.tolist())) == 1 or 0 not in of_word
        for fate, name in enumerate(seen):
            seen[name] += int((fates == fate).any())
    assert min(seen.values()) > 5


def test_spans_are_as_long_as_spanbert_draws_them():
    """How many spans it takes to mask ten words, against lengths drawn by numpy."""
    words = [1] * 900
    expected = 0.2 * 0.8 ** np.arange(10)
    expected /= expected.sum()
    assert np.arange(1, 11) @ expected == pytest.approx(3.8, abs=0.01)  # the paper's
    draws = np.random.default_rng(0)

    def spans_needed() -> int:
        left, count = 10, 0
        while left:
            left -= min(left, int(draws.choice(np.arange(1, 11), p=expected)))
            count += 1
        return count

    wanted = [spans_needed() for _ in range(4000)]
    found = []
    for places, _ in draw(words, words, share=10 / 1803, times=4000):
        assert len(places) == 10
        found.append(len(spans(places, word_of(words, words))))
    most = max(*wanted, *found) + 1
    table = [np.bincount(wanted, minlength=most), np.bincount(found, minlength=most)]
    table = np.array(table)[:, np.sum(table, axis=0) > 10]
    assert scipy.stats.chi2_contingency(table).pvalue > 1e-3


def test_no_span_goes_over_from_a_to_b():
    # B's first piece goes on with a word that was cut: a word of its own here.
    sequence = sequence_of([1] * 4, [1] * 4)
    sequence[6] |= CONTINUES
    rules = make_rules(VOCAB, len(sequence), 8, 0.1, 0.3, "span")
    state = python_state(1)
    work = np.empty((4, len(sequence)), np.int32)
    over = 0
    for _ in range(500):
        places, shown = np.zeros(8, np.int32), np.zeros(8, np.int32)
        count = draw_masks(state, rules, sequence, 11, 4, places, shown, work)
        assert 5 not in places[:count] and 10 not in places[:count]
        fates = {int(p): s == MASK for p, s in zip(places, shown, strict=True)}
        over += 4 in fates and 6 in fates and fates[4] != fates[6]
    assert over > 5  # the two ends were shown in different ways


@pytest.mark.parametrize("masking", ["token", "whole_word", "span"])
def test_eight_of_ten_are_masked_and_one_is_kept(masking):
    sequence = sequence_of([1] * 50, [1] * 50) & ID
    counts = np.zeros(3, int)
    for places, shown in draw([1] * 50, [1] * 50, masking, times=4000):
        was = sequence[places]
        fates = np.where(shown == MASK, 0, np.where(shown == was, 1, 2))
        # Of a span, all pieces have one fate: count spans by their first word.
        first = np.flatnonzero(np.diff(places, prepend=-5) > 1)
        chosen = first if masking == "span" else slice(None)
        counts += np.bincount(fates[chosen], minlength=3)
    total = counts.sum()
    # A random piece is [MASK] or what was there once in 105 times.
    shares = np.array([0.8 + 0.1 / 105, 0.1 + 0.1 / 105, 0.1 - 0.2 / 105])
    assert scipy.stats.chisquare(counts, shares * total).pvalue > 1e-3


@pytest.mark.parametrize(("share", "most"), [(0.0, 100), (1.0, 100), (0.5, 7)])
def test_how_many_are_masked(share, most):
    for masking in ("token", "whole_word", "span"):
        words = [1] * 30
        for places, _ in draw(words, words, masking, share, most, times=5):
            length = 63
            wanted = min(most, max(1, round(length * share)))
            assert len(places) == min(wanted, 60)
