"""A piece is said to be matched by texts exactly if some text has it in its pieces."""

import itertools

import pytest

from bert_tf.tokenization import BasicTokenizer
from bert_tf.tokenization.full_tokenizer import WordpieceTokenizer
from bert_tf.tokenization.matching import Kind, is_too_long, obstacle


@pytest.mark.parametrize(
    ("piece", "lower", "kind", "words"),
    [
        ("paris", True, None, []),
        ("##ing", True, None, []),
        ("雪", True, None, []),
        ("…", False, None, []),
        ("Ünï", False, None, []),
        ("##\u0301", False, None, []),  # a mark inside a word that keeps accents
        ("Paris", True, Kind.CHANGED, ["paris"]),
        ("##ARIS", True, Kind.CHANGED, ["aris"]),
        ("ünï", True, Kind.CHANGED, ["uni"]),
        ("##\u0301", True, Kind.CHANGED, []),
        ("한", True, Kind.CHANGED, ["\u1112\u1161\u11ab"]),  # decomposed
        ("\u200b", False, Kind.CHANGED, []),
        ("\uf900", True, Kind.CHANGED, ["\u8c48"]),  # a compatibility ideograph
        ("don't", False, Kind.SPLIT, ["don", "'", "t"]),
        ("[ENT]", False, Kind.SPLIT, ["[", "ENT", "]"]),
        ("雪山", False, Kind.SPLIT, ["雪", "山"]),
        ("##雪", False, Kind.SPLIT, ["雪"]),
        ("##.", False, Kind.SPLIT, ["."]),
        ("a b", False, Kind.SPLIT, ["a", "b"]),
        ("", True, Kind.BLANK, []),
        ("##", True, Kind.BLANK, []),
        ("x" * 200, True, None, []),
        ("x" * 201, True, Kind.LONG, []),
        ("##" + "x" * 199, True, None, []),
        ("##" + "x" * 200, True, Kind.LONG, []),
        ("ส" * 85, True, None, []),
        ("ส" * 86, True, Kind.LONG, []),
    ],
)
def test_kinds(piece, lower, kind, words):
    found = obstacle(piece, BasicTokenizer(lower))
    assert found == (None if kind is None else (kind, words))
    assert is_too_long(piece) == (kind is Kind.LONG)


@pytest.mark.parametrize("lower", [True, False])
def test_every_short_piece_by_trying_all_texts(lower):
    """Of few characters, all texts of three can be tried."""
    alphabet = "aAé\u0301ΣσςI!雪 \u200b"
    tokenizer = BasicTokenizer(lower)
    words = set()
    for text in itertools.product(alphabet, repeat=3):
        words.update(tokenizer.tokenize("".join(text)))
    # What a vocabulary of this piece, and of what comes before it, makes of them.
    for length in (1, 2):
        for letters in map("".join, itertools.product(alphabet, repeat=length)):
            if any(map(str.isspace, letters)):
                continue  # a line of a vocabulary is stripped of them
            by_itself = WordpieceTokenizer({letters: 0})
            assert (obstacle(letters, tokenizer) is None) == any(
                by_itself.tokenize(word) == [letters] for word in words
            ), letters
            if length == 2:
                continue
            piece = f"##{letters}"
            inside = any(
                WordpieceTokenizer({word[0]: 0, piece: 1}).tokenize(word)[1:] == [piece]
                for word in words
                if len(word) == 2
            )
            assert (obstacle(piece, tokenizer) is None) == inside, piece
