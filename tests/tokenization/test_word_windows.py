"""Windows over texts that come as words, against plain Python over lists."""

import random

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.tokenization import FullTokenizer, GraphTokenizer
from bert_tf.tokenization.word_windows import pack_words

# Of one piece, of several, unknown, and of none (control characters are left out).
WORDS = ("w0", "w1", "w2", "w1w2", "w0w1w2", "w3,", "(w4)", "x", "\a", "\u200b", "中文")
MAX_QUERY_LENGTH = 3


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    vocab_file = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"(),中文"]
    pieces += [f"{mark}w{number}" for number in range(5) for mark in ("", "##")]
    vocab_file.write_text("\n".join(pieces), "utf-8")
    return FullTokenizer(str(vocab_file)), GraphTokenizer(str(vocab_file))


def plain_pieces(full, words, every_word) -> list[tuple[int, str]]:
    """Returns the pieces of a text, each with the number of its word."""
    found = []
    for number, word in enumerate(words):
        pieces = full.tokenize(word) or (["[UNK]"] if every_word else [])
        found += [(number, piece) for piece in pieces]
    return found


def plain_windows(count: int, room: int, stride: int) -> list[tuple[int, int]]:
    """Returns where each window over so many pieces begins, and how many it holds."""
    windows = []
    start = 0
    while start < count:
        length = min(count - start, room)
        windows.append((start, length))
        if start + length == count:
            break
        start += min(length, stride)
    return windows


def plain_best_window(windows: list[tuple[int, int]], piece: int) -> int:
    best, highest = -1, -1.0
    for number, (start, length) in enumerate(windows):
        if start <= piece < start + length:
            context = min(piece - start, start + length - 1 - piece)
            if context + 0.01 * length > highest:
                best, highest = number, context + 0.01 * length
    return best


def check(pair, texts, queries, max_seq_length, doc_stride, every_word, pad_to_max):
    full, graph = pair
    found = pack_words(
        graph,
        tf.ragged.constant(texts, tf.string, ragged_rank=1),
        max_seq_length,
        doc_stride,
        queries=None if queries is None else tf.constant(queries, tf.string),
        max_query_length=MAX_QUERY_LENGTH,
        every_word=every_word,
        pad_to_max=pad_to_max,
    )
    rows: dict[str, list] = {"input_ids": [], "input_mask": [], "segment_ids": []}
    expected: dict[str, list] = {
        name: [] for name in found._fields if name != "features"
    }
    expected["splits"] = [0]
    for number, words in enumerate(texts):
        pieces = plain_pieces(full, words, every_word)
        head = ["[CLS]"]
        if queries is not None:
            head += [*full.tokenize(queries[number])[:MAX_QUERY_LENGTH], "[SEP]"]
        room = max_seq_length - len(head) - 1
        stride = max(1, room // 2) if doc_stride is None else doc_stride
        windows = plain_windows(len(pieces), room, stride)
        before = len(expected["text"])
        for start, length in windows:
            held = [piece for _, piece in pieces[start : start + length]]
            tokens = [*head, *held, "[SEP]"]
            rows["input_ids"].append(full.convert_tokens_to_ids(tokens))
            rows["input_mask"].append([1] * len(tokens))
            segments = [0] * len(tokens)
            if queries is not None:
                segments = [0] * len(head) + [1] * (length + 1)
            rows["segment_ids"].append(segments)
            expected["text"].append(number)
            expected["start"].append(start)
            expected["length"].append(length)
            expected["offset"].append(len(head))
        expected["word"] += [word for word, _ in pieces]
        expected["pieces"] += full.convert_tokens_to_ids([x for _, x in pieces])
        expected["best_row"] += [
            before + plain_best_window(windows, piece) for piece in range(len(pieces))
        ]
        expected["splits"].append(len(expected["pieces"]))
    width = (
        max_seq_length if pad_to_max else max(map(len, rows["input_ids"]), default=0)
    )
    for name, each in rows.items():
        assert found.features[name].dtype == tf.int32
        padded = [row + [0] * (width - len(row)) for row in each]
        if padded:
            np.testing.assert_array_equal(found.features[name], padded, name)
        else:
            assert found.features[name].shape[0] == 0
    for name, each in expected.items():
        assert getattr(found, name).dtype == tf.int32
        np.testing.assert_array_equal(getattr(found, name), each, name)


def random_texts(draw: random.Random) -> tuple[list[list[str]], list[str]]:
    """Returns texts, empty ones and such without pieces among them, and queries."""
    lengths = [0, 1, *(draw.randrange(60) for _ in range(6))]
    texts = [draw.choices(WORDS, k=length) for length in lengths]
    texts.insert(draw.randrange(8), ["\a", "\u200b"])
    queries = [" ".join(draw.choices(WORDS, k=draw.randrange(5))) for _ in texts]
    return texts, queries


@pytest.mark.parametrize("doc_stride", [None, 1, 2, 5, 1000])
# The first leaves room for one piece beside the longest query.
@pytest.mark.parametrize("max_seq_length", [MAX_QUERY_LENGTH + 4, 8, 13, 40])
def test_windows(pair, max_seq_length, doc_stride):
    draw = random.Random(max_seq_length)
    for every_word in (False, True):
        texts, queries = random_texts(draw)
        for each in (None, queries):
            pad_to_max = draw.random() < 0.5
            check(pair, texts, each, max_seq_length, doc_stride, every_word, pad_to_max)


@pytest.mark.parametrize("pad_to_max", [False, True])
@pytest.mark.parametrize("texts", [[], [[]], [["\a"], []]])
def test_nothing_to_pack(pair, texts, pad_to_max):
    for queries in (None, ["w1"] * len(texts)):
        check(pair, texts, queries, 8, 2, False, pad_to_max)


def test_a_query_for_each_text(pair):
    words = tf.ragged.constant([["w1"], ["w2"]])
    with pytest.raises(tf.errors.InvalidArgumentError, match="as many queries"):
        pack_words(pair[1], words, 9, queries=tf.constant(["w1"]))


def test_lengths_of_pieces_are_those_of_the_normalized_text(pair):
    """Also of a word that is not known, and of one that holds such a part."""
    _, graph = pair
    texts = ["W1W2, unknown (w0) 中外文", "", "é w1x " + "w0" * 101]
    pieces, lengths = graph.tokenize_with_lengths(texts)
    tf.debugging.assert_equal(pieces.values, graph.tokenize(texts).values)
    assert lengths.to_list() == [[2, 2, 1, 7, 1, 2, 1, 1, 1, 1], [], [1, 3, 5]]
