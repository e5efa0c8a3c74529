"""What is said of a vocabulary is what it holds, and what its tokenizer does."""

import unicodedata

import pytest
import tensorflow as tf

from bert_tf.tokenization import FullTokenizer, GraphTokenizer
from bert_tf.tokenization.matching import Kind
from bert_tf.tokenization.vocabulary import read_lines
from bert_tf.tokenization.vocabulary_report import describe_vocabulary, describe_words

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def test_every_figure():
    lines = [*SPECIAL, "[unused7]", "[ENT]", "<S>", "the", "##ing", "дом", "雪", "1"]
    lines += ["##1", "Ab", "x y", " z", "q\r", "", "  ", "the"]
    report = describe_vocabulary(lines, do_lower_case=True)
    assert report.pieces[-5:] == ["z", "q", "", "", "the"]
    assert report.special == {piece: i for i, piece in enumerate(SPECIAL)}
    assert (report.unused, report.marks, report.inside) == (1, ["[ENT]", "<S>"], 2)
    # t h e i n g д о м 雪 1 A b x " " y z q
    assert (report.characters, report.characters_alone) == (18, 4)
    assert report.characters_inside == 1
    assert report.casing == (13, 1, True) and report.casing.is_cased
    assert report.scripts == {
        "Latin": 7,
        "no letter": 4,
        "Cyrillic": 1,
        "CJK": 1,
    }
    assert report.longest == "the"
    found = {kind: [x for x, _ in some] for kind, some in report.unmatched.items()}
    assert found == {Kind.CHANGED: ["Ab"], Kind.SPLIT: ["x y"], Kind.BLANK: ["", ""]}
    assert (report.blank, report.padded) == ([19, 20], [17, 18])
    assert report.repeated == {"the": [9, 21], "": [19, 20]}


@pytest.mark.parametrize(
    ("pieces", "lower"), [(["a"], True), (["A", "b"], False), (["雪", "1"], True)]
)
def test_the_casing_is_that_of_the_letters(pieces, lower):
    report = describe_vocabulary([*SPECIAL[1:], *pieces])
    assert report.do_lower_case == lower
    assert report.casing.has_case == (pieces[0] != "雪")
    assert report.special["[PAD]"] is None


def test_what_becomes_of_words():
    vocab = {x: i for i, x in enumerate([*SPECIAL, "a", "##b", "##c", "ab", "bc"])}
    counts = {"ab": 5, "abc": 2, "abcb": 1, "abb": 1, "x": 3, "ax": 1, "[UNK]": 2}
    report = describe_words(counts, vocab, examples=2)
    assert (report.words, report.unknown) == (15, 6)
    assert report.pieces == 5 + 2 * 2 + 3 + 2 + 6
    assert report.commonest_unknown == [("x", 3), ("[UNK]", 2)]
    assert report.most_pieces == [
        ("abcb", ["ab", "##c", "##b"]),
        ("abb", ["ab", "##b"]),
    ]


def stands_alone(char: str) -> bool:
    name = unicodedata.name(char, "")
    ascii_symbol = char.isascii() and not char.isalnum()
    is_ideograph = name.startswith(("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH"))
    return ascii_symbol or unicodedata.category(char)[0] == "P" or is_ideograph


@pytest.mark.parametrize(
    ("name", "lower"), [("cased", False), ("chinese", True), ("multi_cased", False)]
)
def test_unmatched_pieces_of_google(real_data, name, lower):
    path = str(real_data / "vocab" / f"{name}_vocab.txt")
    report = describe_vocabulary(read_lines(path))
    assert report.do_lower_case == lower
    unmatched = {x for found in report.unmatched.values() for x, _ in found}
    assert len(unmatched) == sum(map(len, report.unmatched.values()))
    # As pieces of their own: what the other tokenizer makes of them as texts.
    vocab = FullTokenizer(path).vocab
    whole = [x for x in vocab if not x.startswith("##") and x[:1] + x[-1:] != "[]"]
    whole = [x for x in whole if x not in ("<S>", "<T>")]
    ids = GraphTokenizer(path, lower).tokenize(tf.constant(whole)).to_list()
    expected = {x for x, row in zip(whole, ids, strict=True) if row != [vocab[x]]}
    # Inside a word there is nothing that stands alone.
    inside = {x[2:] for x in vocab if x.startswith("##")}
    expected |= {f"##{x}" for x in inside if not x or any(map(stands_alone, x))}
    assert unmatched == expected
