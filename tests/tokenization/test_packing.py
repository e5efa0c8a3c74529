"""What becomes of long texts, against plain Python over `FullTokenizer`'s pieces.

Every text is a run of numbered words, each a piece of its own, so that a row tells
which pieces of which text it holds.
"""

import random
import sys

import pytest
import tensorflow as tf

from bert_tf.errors import ConfigError, DataError
from bert_tf.tokenization import FullTokenizer, GraphTokenizer
from tests import plain_packing
from tests.plain_packing import NAMES

_LENGTHS = (5, 6, 7, 8, 13, 64)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    vocab_file = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(5000))]
    vocab_file.write_text("\n".join(pieces))
    return FullTokenizer(str(vocab_file)), GraphTokenizer(str(vocab_file))


def _text(length: int, first: int = 0) -> str:
    return " ".join(f"w{first + number}" for number in range(length))


def _texts(max_seq_length: int) -> tuple[list[str], list[str]]:
    """Returns first and second texts: every meeting of edge lengths, then random."""
    room = max_seq_length - 3
    edges = {0, 1, room // 2, room - room // 2, room // 2 + 1}
    edges |= {room - 1, room, room + 1, room + 2, 2 * room, 2 * room + 1, 9 * room}
    lengths = [(a, b) for a in sorted(edges) for b in sorted(edges)]
    rng = random.Random(max_seq_length)
    for _ in range(100):
        lengths.append((rng.randint(0, 4 * room), rng.randint(0, 4 * room)))
    return (
        [_text(a, rng.randint(0, 1000)) for a, _ in lengths],
        [_text(b, rng.randint(2000, 3000)) for _, b in lengths],
    )


def _assert_rows(features, full: FullTokenizer, parts: list, width: int) -> None:
    """Compares with rows padded to `width`, to the longest one if that is 0."""
    assert set(features) == set(NAMES)
    for name, rows in plain_packing.features(full, parts, width).items():
        assert features[name].dtype == tf.int32
        assert features[name].numpy().tolist() == rows


@pytest.mark.parametrize("max_seq_length", [3, 4, *_LENGTHS])
@pytest.mark.parametrize("is_pair", [False, True], ids=["single", "pair"])
def test_head_tail(pair, max_seq_length, is_pair):
    full, graph = pair
    text_a, text_b = _texts(max_seq_length)
    parts = []
    for a, b in zip(text_a, text_b, strict=True):
        pieces_a, pieces_b = full.tokenize(a), full.tokenize(b) if is_pair else []
        parts += plain_packing.head_tail(pieces_a, pieces_b, max_seq_length)
    for pad_to_max in (True, False):
        features = graph.pack(
            text_a,
            text_b if is_pair else None,
            max_seq_length,
            pad_to_max,
            long_text="head_tail",
        )
        _assert_rows(features, full, parts, max_seq_length if pad_to_max else 0)


def test_head_tail_of_512_is_that_of_the_paper(pair):
    full, graph = pair
    features = graph.pack([_text(1000)], max_seq_length=512, long_text="head_tail")
    pieces = full.convert_ids_to_tokens(features["input_ids"][0].numpy())
    assert pieces[1:129] == [f"w{number}" for number in range(128)]
    assert pieces[129:511] == [f"w{number}" for number in range(1000 - 382, 1000)]


def test_truncate_is_what_pack_does_unasked(pair):
    _, graph = pair
    text_a, text_b = _texts(13)
    features = graph.pack(text_a, text_b, 13, long_text="truncate")
    for name, unasked in graph.pack(text_a, text_b, 13).items():
        tf.debugging.assert_equal(features[name], unasked)


@pytest.mark.parametrize("doc_stride", [None, 1, 2, 3, 20, sys.maxsize])
@pytest.mark.parametrize("max_seq_length", _LENGTHS)
@pytest.mark.parametrize("is_pair", [False, True], ids=["single", "pair"])
def test_windows(pair, max_seq_length, doc_stride, is_pair):
    full, graph = pair
    text_a, text_b = _texts(max_seq_length)
    parts: list[tuple[list, list]] = []
    counts = []
    for a, b in zip(text_a, text_b, strict=True):
        pieces_a, pieces_b = full.tokenize(a), full.tokenize(b) if is_pair else []
        rows = plain_packing.windows(pieces_a, pieces_b, max_seq_length, doc_stride)
        counts.append(len(rows))
        parts += rows
    second = text_b if is_pair else None
    for pad_to_max in (True, False):
        features, windows = graph.pack_windows(
            text_a, second, max_seq_length, doc_stride, pad_to_max
        )
        _assert_rows(features, full, parts, max_seq_length if pad_to_max else 0)
        assert windows.dtype == tf.int32
        assert windows.numpy().tolist() == counts


@pytest.mark.parametrize("doc_stride", [None, 1, 7, 64])
def test_windows_are_full_and_miss_no_piece(pair, doc_stride):
    full, graph = pair
    text_a, text_b = _texts(32)
    features, windows = graph.pack_windows(text_a, text_b, 32, doc_stride)
    row = 0
    for a, b, count in zip(text_a, text_b, windows.numpy(), strict=True):
        rows = slice(row, row + count)
        row += count
        ids = features["input_ids"][rows].numpy()
        found = {piece for each in ids for piece in full.convert_ids_to_tokens(each)}
        assert {*a.split(), *b.split()} == found - {"[CLS]", "[SEP]", "[PAD]"}
        if count > 1:
            assert features["input_mask"][rows].numpy().all()
    assert row == len(features["input_ids"])


def test_texts_that_fit_have_one_window_which_is_that_of_pack(pair):
    _, graph = pair
    text_a, text_b = _texts(13)
    features, windows = graph.pack_windows(text_a, text_b, 512)
    assert windows.numpy().tolist() == [1] * len(text_a)
    for name, packed in graph.pack(text_a, text_b, 512).items():
        tf.debugging.assert_equal(features[name], packed)


def test_windows_of_an_empty_batch(pair):
    _, graph = pair
    for pad_to_max, width in ((True, 8), (False, 2)):
        nothing = tf.constant([], tf.string)
        features, windows = graph.pack_windows(nothing, nothing, 8, None, pad_to_max)
        assert all(features[name].shape == [0, width] for name in NAMES)
        assert windows.shape == [0]


def test_in_functions_and_saved_models(pair, tmp_path):
    _, graph = pair
    text_a, text_b = map(tf.constant, _texts(13))

    class Serving(tf.Module):
        def __init__(self):
            super().__init__()
            self.tokenizer = graph

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)] * 2)
        def head_tail(self, text_a, text_b):
            return self.tokenizer.pack(text_a, text_b, 13, long_text="head_tail")

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)] * 2)
        def windows(self, text_a, text_b):
            features, windows = self.tokenizer.pack_windows(text_a, text_b, 13)
            assert all(features[name].shape == [None, 13] for name in NAMES)
            assert windows.shape == [None]
            return features | {"windows": windows}

    serving = Serving()
    tf.saved_model.save(serving, str(tmp_path / "model"))
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    expected, windows = graph.pack_windows(text_a, text_b, 13)
    cut = graph.pack(text_a, text_b, 13, long_text="head_tail")
    for each in (serving, loaded):
        found = each.windows(text_a, text_b)
        tf.debugging.assert_equal(found["windows"], windows)
        for name in NAMES:
            tf.debugging.assert_equal(found[name], expected[name])
            tf.debugging.assert_equal(each.head_tail(text_a, text_b)[name], cut[name])


def test_refusals(pair):
    _, graph = pair
    with pytest.raises(ConfigError, match="'head_tail'\\), got 'tail'; pass one"):
        graph.pack(["w1"], long_text="tail")
    with pytest.raises(ConfigError, match="at least 1, got 0; raise it, or leave"):
        graph.pack_windows(["w1"], doc_stride=0)
    with pytest.raises(ConfigError, match="3 special pieces and 1 of each text, but"):
        graph.pack_windows(["w1"], ["w2"], max_seq_length=4)
    with pytest.raises(ConfigError, match="2 special pieces and 1 of each text, but"):
        graph.pack_windows(["w1"], max_seq_length=2)
    with pytest.raises(DataError, match="as many second texts"):
        graph.pack_windows(["w1", "w2"], ["w3"])
