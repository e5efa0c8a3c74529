"""Masks drawn while training: as the records' are, and what must never happen."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from bert_tf.data.dynamic_masking import (
    DynamicMasking,
    draw_pieces,
    draw_spans,
    draw_words,
    words_of,
)
from bert_tf.data.generator import python_state
from bert_tf.data.masking import CONTINUES, draw_masks, make_rules
from bert_tf.data.pretraining_config import MASKINGS
from bert_tf.data.records import (
    encode_records,
    parse_records,
    pretraining_features,
    unmasked_features,
)
from bert_tf.errors import ConfigError
from bert_tf.tokenization.vocabulary import load_vocab

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = [*SPECIAL, *(f"w{i}" for i in range(500)), *(f"##w{i}" for i in range(500))]
VOCAB = {piece: index for index, piece in enumerate(PIECES)}
CLS, SEP, MASK = 2, 3, 4
WORD, GOES_ON = VOCAB["w7"], VOCAB["##w7"]

# Where these are exceeded by chance once in 10,000 tests of a figure.
LEAST_P = 1e-4


def row_of(a: str, b: str, length: int | None = None) -> dict[str, np.ndarray]:
    """Features [S] of `[CLS] a [SEP] b [SEP]`, where w begins a word and c goes on."""
    ids = {"w": WORD, "c": GOES_ON}
    pieces = [CLS, *(ids[x] for x in a), SEP, *(ids[x] for x in b), SEP]
    padding = (length or len(pieces)) - len(pieces)
    segments = [0] * (len(a) + 2) + [1] * (len(b) + 1)
    values = {
        "input_ids": pieces + [0] * padding,
        "input_mask": [1] * len(pieces) + [0] * padding,
        "segment_ids": segments + [0] * padding,
        "next_sentence_labels": [1],
    }
    return {name: np.array(x, np.int32) for name, x in values.items()}


def batch_of(rows) -> dict[str, np.ndarray]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def random_rows(count: int, length: int, seed: int):
    """Rows of all kinds, some of them of zeros, as pairs (a, b) and as features."""
    rng = np.random.default_rng(seed)
    texts, rows = [], []
    for _ in range(count):
        pieces = "".join(rng.choice(["w", "c"], length - 3, p=rng.dirichlet([2, 1])))
        end = int(rng.integers(2, length - 2))
        middle = int(rng.integers(1, end))
        a, b = pieces[:middle], pieces[middle:end]
        row = row_of(a, b, length)
        if rng.random() < 0.1:
            a, b, row = "", "", {name: x * 0 for name, x in row.items()}
        texts.append((a, b))
        rows.append(row)
    return texts, batch_of(rows)


def groups_of(a: str, b: str, masking: str) -> list[list[int]]:
    """The positions that belong together, stated plainly."""
    groups: list[list[int]] = []
    for first, text in ((1, a), (len(a) + 2, b)):
        for position, kind in enumerate(text, first):
            cut = masking == "span" and position == len(a) + 2
            goes_on = kind == "c" and masking != "token" and not cut
            if goes_on and groups:
                groups[-1].append(position)
            else:
                groups.append([position])
    return groups


def draw_compiled(a, b, masking, share, most, times, seed=0):
    """What each position shows in so many draws of `draw_masks`, -1 if not masked."""
    ids = row_of(a, b)["input_ids"].astype(np.uint32)
    sequence = np.where(ids == GOES_ON, ids | CONTINUES, ids)
    length = len(sequence)
    rules = make_rules(VOCAB, length, most, 0.1, share, masking)
    state = python_state(seed)
    work = np.empty((4, length), np.int32)
    drawn = np.full((times, length), -1)
    places, shown = np.empty(most, np.int32), np.empty(most, np.int32)
    for row in drawn:
        count = draw_masks(state, rules, sequence, length, len(a), places, shown, work)
        row[places[:count]] = shown[:count]
    return drawn


def shown_where_masked(features) -> np.ndarray:
    """What each position shows, [B, S], -1 if it is not masked."""
    drawn = np.full(features["input_ids"].shape, -1)
    rows, columns = np.nonzero(features["masked_lm_weights"])
    at = rows, np.array(features["masked_lm_positions"])[rows, columns]
    drawn[at] = np.array(features["input_ids"])[at]
    return drawn


def draw_dynamic(a, b, masking, share, most, times, seed=(0, 0)):
    """As `draw_compiled`, of a batch of equal rows."""
    row = row_of(a, b)
    features = {name: np.repeat(x[None], times, 0) for name, x in row.items()}
    return shown_where_masked(
        DynamicMasking(VOCAB, most, share, masking)(features, seed)
    )


def fates_of(drawn: np.ndarray, a: str, b: str) -> np.ndarray:
    """0 not masked, 1 [MASK], 2 as it was, 3 another, [B, S]."""
    was = row_of(a, b)["input_ids"]
    return np.select([drawn < 0, drawn == MASK, drawn == was], [0, 1, 2], 3)


def same_distribution(one, other) -> float:
    """The p-value of two samples of rows [n, ...] having one distribution."""
    _, kinds = np.unique(np.concatenate([one, other]), axis=0, return_inverse=True)
    kinds = kinds.reshape(-1)
    table = np.stack(
        [
            np.bincount(x, minlength=kinds.max() + 1)
            for x in (kinds[: len(one)], kinds[len(one) :])
        ]
    )
    rare = table.sum(axis=0) < 20
    table = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
    table = table[:, table.sum(axis=0) > 0]
    return scipy.stats.chi2_contingency(table).pvalue if table.shape[1] > 1 else 1.0


SMALL = [
    # A, B, share, most
    ("wwwww", "www", 0.3, 20),
    ("wcwww", "cwcw", 0.34, 20),  # B begins with the end of a word
    ("cccwwcc", "wcccw", 0.4, 20),  # A does so, too
    ("wcwcwc", "wcwc", 0.25, 20),  # three wanted, which words cannot fill
    ("wccww", "ccccc", 0.9, 20),
    ("wwwcwww", "wwcwwww", 0.5, 4),
    ("w", "w", 0.0, 1),
]


@pytest.mark.parametrize("masking", MASKINGS)
@pytest.mark.parametrize("case", SMALL)
def test_every_choice_is_as_likely_as_in_records(masking, case):
    a, b, share, most = case
    compiled = fates_of(draw_compiled(a, b, masking, share, most, 8000), a, b)
    dynamic = fates_of(draw_dynamic(a, b, masking, share, most, 8000), a, b)
    # All positions of a row together; with what they show where these are not too
    # many; and how often each fate.
    assert same_distribution(compiled > 0, dynamic > 0) > LEAST_P
    assert same_distribution(compiled, dynamic) > LEAST_P
    counts = [
        np.stack([(x == fate).sum(axis=1) for fate in (1, 2, 3)], axis=1)
        for x in (compiled, dynamic)
    ]
    assert same_distribution(*counts) > LEAST_P


LONG = ("wwcwwwwccw" * 6, "cwwwcwwcccccwwww" * 4)


@pytest.mark.parametrize("masking", MASKINGS)
def test_long_rows_are_masked_as_in_records(masking):
    compiled = draw_compiled(*LONG, masking, 0.15, 18, 4000) >= 0
    dynamic = draw_dynamic(*LONG, masking, 0.15, 18, 4000) >= 0
    counts = [x.sum(axis=1) for x in (compiled, dynamic)]
    assert same_distribution(*counts) > LEAST_P
    if masking == "token":
        assert (counts[1] == 18).all()  # of 127 pieces, 19 but for the most
    # The share of each position: two binomials.
    both = (compiled.mean(axis=0) + dynamic.mean(axis=0)) / 2
    scale = np.sqrt(np.maximum(both * (1 - both) * 2 / len(compiled), 1e-12))
    z = (compiled.mean(axis=0) - dynamic.mean(axis=0)) / scale
    assert np.abs(z).max() < 4.7  # of 127 normal numbers, once in 3000
    # The lengths of runs of neighbours.
    runs = []
    for x in (compiled, dynamic):
        edges = np.diff(np.pad(x, [(0, 0), (1, 1)]).astype(int), axis=1)
        starts, ends = np.nonzero(edges == 1), np.nonzero(edges == -1)
        runs.append(ends[1] - starts[1])
    # One run of a row says something about the others: a wider bound.
    assert same_distribution(*runs) > LEAST_P / 10


def test_single_pieces_are_chosen_with_equal_chance():
    chosen = draw_dynamic("wcww", "ww", "token", 0.35, 20, 20_000) >= 0
    codes = chosen @ (1 << np.arange(chosen.shape[1]))
    _, counts = np.unique(codes, return_counts=True)
    assert len(counts) == 20  # three of six
    assert scipy.stats.chisquare(counts).pvalue > LEAST_P


@pytest.mark.parametrize("masking", MASKINGS)
def test_eight_of_ten_are_masked_and_other_pieces_are_uniform(masking):
    vocab = dict(list(VOCAB.items())[:50])
    a, b = "w" * 20, "w" * 20
    features = batch_of([row_of(a, b)] * 5000)
    found = DynamicMasking(vocab, 6, 0.15, masking)(features, (5, 6))
    shown = shown_where_masked(found)
    counts = np.bincount(shown[shown >= 0], minlength=50)
    others = np.delete(counts, [MASK, WORD])
    total = counts.sum()
    assert total == 5000 * 6
    # Spans have one fate: at most as if there were six times fewer.
    effective = total / (6 if masking == "span" else 1)
    shares = {MASK: 0.8 + 0.1 / 50, WORD: 0.1 + 0.1 / 50}
    for piece, share in shares.items():
        scale = np.sqrt(share * (1 - share) / effective)
        assert abs(counts[piece] / total - share) < 4 * scale
    assert scipy.stats.chisquare(others).pvalue > LEAST_P


@pytest.mark.parametrize("masking", ["token", "whole_word"])
def test_rows_and_seeds_are_independent(masking):
    a, b = "w" * 20, "w" * 21
    draws = {
        seed: draw_dynamic(a, b, masking, 0.25, 20, 4000, seed) >= 0
        for seed in ((3, 4), (3, 5), (4, 4), (4, 3))
    }
    first = draws[3, 4]
    pairs = [(first[::2], first[1::2]), *((first, draws[x]) for x in list(draws)[1:])]
    for one, other in pairs:
        common = np.bincount((one & other).sum(axis=1), minlength=12)[:8]
        expected = scipy.stats.hypergeom.pmf(np.arange(8), 41, 11, 11) * len(one)
        expected *= common.sum() / expected.sum()
        assert scipy.stats.chisquare(common, expected).pvalue > LEAST_P


@pytest.mark.parametrize("masking", MASKINGS)
@pytest.mark.parametrize(("length", "most"), [(128, 20), (9, 3), (7, 1), (6, 30)])
def test_what_must_never_happen(masking, length, most):
    texts, features = random_rows(300, length, seed=length)
    for share in (0.0, 0.15, 1.0):
        found = DynamicMasking(VOCAB, most, share, masking)(features, (length, 1))
        found = {name: x.numpy() for name, x in found.items()}
        np.testing.assert_array_equal(put_back(found), features["input_ids"])
        for name in ("input_mask", "segment_ids", "next_sentence_labels"):
            np.testing.assert_array_equal(found[name], features[name])
        chosen = shown_where_masked(found) >= 0
        for row, (a, b) in enumerate(texts):
            weights = found["masked_lm_weights"][row]
            count = int(weights.sum())
            np.testing.assert_array_equal(weights, np.arange(most) < count)
            positions = found["masked_lm_positions"][row]
            assert (np.diff(positions[:count]) > 0).all()
            assert not positions[count:].any()
            assert not found["masked_lm_ids"][row, count:].any()
            groups = groups_of(a, b, masking)
            pieces = sum(map(len, groups))
            wanted = min(most, max(1, round((pieces + 3) * share)), pieces)
            whole = [chosen[row, group].all() for group in groups]
            assert [chosen[row, group].any() for group in groups] == whole
            # Nothing else, and no word left that would have fitted.
            assert chosen[row].sum() == count <= wanted
            left = [len(x) for x, all_ in zip(groups, whole, strict=True) if not all_]
            assert sum(map(len, groups)) - sum(left) == count
            assert not count < wanted or min(left) > wanted - count
            if masking == "token":
                assert count == wanted


def plainly_chosen(groups, wanted, order, lengths, middle, masking):
    """The span or 0 that positions are in, one after the other, as a dictionary.

    Args:
      groups: The positions of each word.
      wanted: How many to choose.
      order: Positions in random order; a word's first stands for it in whole_word.
      lengths: Words of each span.
      middle: The position between the segments.
    """
    chosen: dict[int, int] = {}
    count = 0
    for position in order:
        [first] = [i for i, group in enumerate(groups) if position in group]
        if len(chosen) >= wanted or position in chosen:
            continue
        words = lengths[count] if masking == "span" else 1
        span: list[int] = []
        for group in groups[first : first + words]:
            taken = group[0] in chosen
            full = len(chosen) + len(span) + len(group) > wanted
            crosses = (group[0] > middle) != (groups[first][0] > middle)
            if taken or full or (span and crosses):
                break
            span += group
        chosen.update(dict.fromkeys(span, count))
        count += bool(span)
    return chosen


@pytest.mark.parametrize("masking", MASKINGS)
@pytest.mark.parametrize("length", [6, 17, 64])
def test_all_rows_at_once_are_one_after_the_other(masking, length):
    """The same random numbers, in a plain loop."""
    rows = 200
    rng = np.random.default_rng(length)
    texts, features = random_rows(rows, length, seed=length + 1)
    ids = features["input_ids"]
    candidates = ids > MASK
    goes_on = ids == GOES_ON
    if masking == "span":
        goes_on[:, 1:] &= candidates[:, :-1]
    draws = rng.permuted(np.tile(np.arange(length), (rows, 1)), axis=1)
    draws = draws.astype(np.int32)
    wanted = rng.integers(0, candidates.sum(axis=1, keepdims=True) + 1, dtype=np.int32)
    lengths = rng.integers(1, 6, (rows, length), dtype=np.int32)
    words = words_of(candidates, goes_on)
    if masking == "token":
        positions = draw_pieces(candidates, wanted, draws, length)
    elif masking == "whole_word":
        found = draw_words(candidates, wanted, draws, words).numpy()
    else:
        found = draw_spans(candidates, wanted, draws, words, lengths).numpy()
    for row, (a, b) in enumerate(texts):
        groups = groups_of(a, b, masking)
        keys = {position: draws[row, position] for x in groups for position in x}
        if masking == "whole_word":
            # A word's number is its place in `draws`; 0 is what goes on with nothing.
            number = int(not a.startswith("c"))
            keys = {x[0]: draws[row, i] for i, x in enumerate(groups, number)}
        order = sorted(keys, key=lambda position: -keys[position])
        expected = plainly_chosen(
            groups, wanted[row, 0], order, lengths[row], len(a) + 1, masking
        )
        if masking == "token":
            got = [x for x in positions[row].numpy() if x < length]
            assert got == sorted(expected)
        elif masking == "whole_word":
            assert np.flatnonzero(found[row]).tolist() == sorted(expected)
        else:
            at = np.flatnonzero(found[row] >= 0)
            assert dict(zip(at.tolist(), found[row, at], strict=True)) == expected


def put_back(features) -> np.ndarray:
    """The pieces of masked records as they were, by numpy."""
    ids = np.array(features["input_ids"])
    rows, columns = np.nonzero(features["masked_lm_weights"])
    places = np.array(features["masked_lm_positions"])[rows, columns]
    ids[rows, places] = np.array(features["masked_lm_ids"])[rows, columns]
    return ids


def golden(testdata, name) -> dict[str, np.ndarray]:
    """Google's records, masked."""
    arrays = np.load(testdata / f"pretraining_data_{name}.npz")
    return {key.removeprefix("0/"): arrays[key] for key in arrays}


@pytest.mark.parametrize("masking", MASKINGS)
@pytest.mark.parametrize("name", ["default", "whole_word_mask"])
def test_googles_masks_are_taken_off_first(testdata, name, masking):
    records = golden(testdata, name)
    vocab = load_vocab(str(testdata / "vocab_uncased.txt"))
    for most in (5, 30):
        masks = DynamicMasking(vocab, most, masking=masking)
        found = masks(records, (1, 2))
        assert sorted(found) == sorted(records)
        np.testing.assert_array_equal(put_back(found), put_back(records))
        for feature, values in found.items():
            assert values.dtype == records[feature].dtype
        assert found["masked_lm_ids"].shape == (len(records["input_ids"]), most)
        # What they were masked with before makes no difference.
        plain = {x: records[x] for x in unmasked_features(1)}
        plain["input_ids"] = put_back(records)
        for feature, values in masks(plain, (1, 2)).items():
            np.testing.assert_array_equal(values, found[feature])


@pytest.mark.parametrize("masking", MASKINGS)
def test_a_pipeline_draws_what_a_call_draws(testdata, masking):
    records = golden(testdata, "default")
    length, most = records["input_ids"].shape[1], records["masked_lm_ids"].shape[1]
    spec = pretraining_features(length, most)
    masks = DynamicMasking(
        load_vocab(str(testdata / "vocab_uncased.txt")), 12, masking=masking
    )
    batches = (
        tf.data.Dataset.from_tensor_slices(encode_records(records, spec))
        .batch(50, drop_remainder=True)
        .map(lambda serialized: parse_records(serialized, spec))
        .enumerate()
        .map(lambda step, x: masks(x, tf.stack([9, step])), num_parallel_calls=2)
    )
    for name, x in batches.element_spec.items():
        width = {"next_sentence_labels": 1}.get(name, length)
        width = 12 if name.startswith("masked_lm") else width
        assert x.shape == (50, width), name
    seen = []
    for step, batch in enumerate(batches):
        part = {name: x[50 * step : 50 * (step + 1)] for name, x in records.items()}
        for name, expected in masks(part, (9, step)).items():
            np.testing.assert_array_equal(batch[name], expected)
        seen.append(batch["masked_lm_positions"].numpy())
    assert len(seen) == 2 and (seen[0] != seen[1]).any(axis=1).mean() > 0.9


def test_batches_of_any_length_are_masked():
    """As length buckets cut them: a graph that does not know B and S."""
    masks = DynamicMasking(VOCAB, 4, masking="span")
    unknown = tf.TensorSpec([None, None], tf.int32)
    _, features = random_rows(3, 12, seed=0)
    spec = dict.fromkeys(features, unknown)
    called = tf.function(lambda *taken: masks(*taken)).get_concrete_function(
        spec, tf.TensorSpec(2, tf.int32)
    )
    # TensorFlow ops alone, in its loops too: a remote host can run it.
    graph = called.graph.as_graph_def()
    nodes = [*graph.node, *(x for f in graph.library.function for x in f.node_def)]
    assert nodes and not [node.op for node in nodes if "PyFunc" in node.op]
    for length in (6, 12, 128):
        _, features = random_rows(20, length, seed=length)
        found = called(
            {name: tf.constant(x) for name, x in features.items()}, tf.constant([1, 2])
        )
        for name, x in masks(features, (1, 2)).items():
            np.testing.assert_array_equal(found[name], x)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masking": "word"}, "one of token, whole_word, span, got word"),
        ({"max_predictions_per_seq": 0}, "at least 1, got 0"),
    ],
)
def test_other_masks_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        DynamicMasking(**{"vocab": VOCAB, "max_predictions_per_seq": 20, **changes})
