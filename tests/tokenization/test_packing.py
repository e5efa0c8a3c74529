"""What becomes of long texts, against plain Python over `FullTokenizer`'s pieces.

Every text is a run of numbered words, each a piece of its own, so that a row tells
which pieces of which text it holds.
"""

import random

import pytest
import tensorflow as tf

from bert_tf.errors import ConfigError
from bert_tf.tokenization import FullTokenizer, GraphTokenizer

_NAMES = ("input_ids", "input_mask", "segment_ids")
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


def _kept(pieces_a: list, pieces_b: list, max_seq_length: int) -> tuple[int, int]:
    """Returns how many pieces of each text are left, dropping one after the other."""
    length_a, length_b = len(pieces_a), len(pieces_b)
    while length_a + length_b > max_seq_length - (3 if pieces_b else 2):
        if length_a > length_b:
            length_a -= 1
        else:
            length_b -= 1
    return length_a, length_b


def _head_tail(pieces: list, kept: int) -> list:
    if len(pieces) == kept:
        return pieces
    head = (kept + 2) // 4
    return pieces[:head] + pieces[len(pieces) - (kept - head) :]


def _rows(full: FullTokenizer, parts: list[tuple[list, list]]) -> dict[str, list]:
    """Returns the features of rows that hold these pieces, as wide as the longest."""
    rows: dict[str, list] = {name: [] for name in _NAMES}
    for part_a, part_b in parts:
        first = ["[CLS]", *part_a, "[SEP]"]
        second = [*part_b, "[SEP]"] if part_b else []
        rows["input_ids"].append(full.convert_tokens_to_ids(first + second))
        rows["input_mask"].append([1] * len(first + second))
        rows["segment_ids"].append([0] * len(first) + [1] * len(second))
    return rows


def _assert_rows(features, rows: dict[str, list], width: int) -> None:
    """Compares with rows padded to `width`, to the longest one if that is 0."""
    assert set(features) == set(_NAMES)
    width = width or max(map(len, rows["input_ids"]))
    for name in _NAMES:
        assert features[name].dtype == tf.int32
        padded = [row + [0] * (width - len(row)) for row in rows[name]]
        assert features[name].numpy().tolist() == padded


@pytest.mark.parametrize("max_seq_length", [3, 4, *_LENGTHS])
@pytest.mark.parametrize("is_pair", [False, True], ids=["single", "pair"])
def test_head_tail(pair, max_seq_length, is_pair):
    full, graph = pair
    text_a, text_b = _texts(max_seq_length)
    parts = []
    for a, b in zip(text_a, text_b, strict=True):
        pieces_a, pieces_b = full.tokenize(a), full.tokenize(b) if is_pair else []
        kept_a, kept_b = _kept(pieces_a, pieces_b, max_seq_length)
        parts.append((_head_tail(pieces_a, kept_a), _head_tail(pieces_b, kept_b)))
    for pad_to_max in (True, False):
        features = graph.pack(
            text_a,
            text_b if is_pair else None,
            max_seq_length,
            pad_to_max,
            long_text="head_tail",
        )
        _assert_rows(features, _rows(full, parts), max_seq_length if pad_to_max else 0)


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


def test_refusals(pair):
    _, graph = pair
    with pytest.raises(ConfigError, match="'head_tail'\\), got 'tail'; pass one"):
        graph.pack(["w1"], long_text="tail")
