"""The character rules against a second, literal reading of the release."""

import itertools
import unicodedata

import pytest
import tensorflow as tf

from bert_tf.tokenization import BasicTokenizer, GraphTokenizer, rules

_IDEOGRAPHS = [
    range(0x4E00, 0xA000),
    range(0x3400, 0x4DC0),
    range(0x20000, 0x2A6E0),
    range(0x2A700, 0x2B740),
    range(0x2B740, 0x2B820),
    range(0x2B820, 0x2CEB0),
    range(0xF900, 0xFB00),
    range(0x2F800, 0x2FA20),
]


def _reference_punctuation(char: str) -> bool:
    ascii_symbol = char in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
    return ascii_symbol or unicodedata.category(char)[0] == "P"


def _reference_words(text: str, do_lower_case: bool) -> list[str]:
    """One stage after the other, on whole strings, as the release goes about it."""
    cleaned = ""
    for char in text:
        category = unicodedata.category(char)
        if char in "\t\n\r" or category == "Zs":
            cleaned += " "
        elif ord(char) not in (0, 0xFFFD) and category not in ("Cc", "Cf"):
            cleaned += char
    spaced = ""
    for char in cleaned:
        # The first range test is only there for speed.
        ideograph = ord(char) >= 0x3400 and any(ord(char) in r for r in _IDEOGRAPHS)
        spaced += f" {char} " if ideograph else char
    words = []
    for word in spaced.split():
        if do_lower_case:
            word = unicodedata.normalize("NFD", word.lower())
            word = "".join(c for c in word if unicodedata.category(c) != "Mn")
        for char in word:
            words.append(f" {char} " if _reference_punctuation(char) else char)
        words.append(" ")
    return "".join(words).split()


@pytest.fixture(scope="module", params=[True, False], ids=["uncased", "cased"])
def casing(request) -> bool:
    return request.param


def _graph_words(tokenizer: GraphTokenizer, texts: list[str]) -> list[list[str]]:
    words, splits = tokenizer._split_words(tf.constant([t.encode() for t in texts]))
    decoded = [word.decode("utf-8") for word in words.numpy()]
    splits = splits.numpy()
    return [decoded[first:last] for first, last in itertools.pairwise(splits)]


def _assert_all_equal(texts, expected, actual):
    different = [
        i
        for i, pair in enumerate(zip(expected, actual, strict=True))
        if pair[0] != pair[1]
    ]
    i = different[0] if different else 0
    assert not different, (ascii(texts[i]), ascii(expected[i]), ascii(actual[i]))


def test_every_code_point(casing, golden_vocabs, all_characters):
    basic = BasicTokenizer(casing)
    expected = [_reference_words(text, casing) for text in all_characters]
    actual = [basic.tokenize(text) for text in all_characters]
    _assert_all_equal(all_characters, expected, actual)
    graph = GraphTokenizer(golden_vocabs[casing], casing)
    for first in range(0, len(all_characters), 4096):
        batch = slice(first, first + 4096)
        words = _graph_words(graph, all_characters[batch])
        _assert_all_equal(all_characters[batch], expected[batch], words)


def test_planes_left_out_are_left_alone(casing):
    table = rules.compile_table(casing)
    rest = [*range(0x40000, 0xE0000), *range(0xF0000, 0x110000)]
    assert {unicodedata.category(chr(code_point)) for code_point in rest} == {
        "Cn",
        "Co",
    }
    private_use = table.blocks[0xE000 >> rules.BLOCK_BITS]
    assert {table.blocks[c >> rules.BLOCK_BITS] for c in rest} == {private_use}
    assert set(table.entries[private_use]) == {rules.DELTA_BIAS << rules.PAYLOAD_SHIFT}


def test_random_texts(casing, golden_vocabs, random_texts):
    # The graph replaces words of over 200 characters at once.
    random_texts = [text for text in random_texts if len(text) < 200]
    basic = BasicTokenizer(casing)
    expected = [_reference_words(text, casing) for text in random_texts]
    _assert_all_equal(random_texts, expected, [basic.tokenize(t) for t in random_texts])
    words = _graph_words(GraphTokenizer(golden_vocabs[casing], casing), random_texts)
    _assert_all_equal(random_texts, expected, words)
    with_offsets = [
        [word for word, _ in basic.tokenize_with_offsets(text)] for text in random_texts
    ]
    _assert_all_equal(random_texts, expected, with_offsets)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ΟΔΟΣ ΣΑΣ ΑΣΣ Σ", ["οδος", "σας", "ασς", "σ"]),
        ("ΑΣ\u0301\u00ad ΑΣ\0Α ΑΣ.Α ΑΣ中", ["ας", "ασα", "ασ", ".", "α", "ας", "中"]),
        ("Ⅰ\u302e\U0001d165 x", ["ⅰ\U0001d165\u302e", "x"]),
        ("\U0001d15e\u1b44", ["\U0001d157\u1b44\U0001d165"]),
        ("İstanbul ǅ Å", ["istanbul", "ǆ", "a"]),
        ("a\u2028b\u2029c\x85d\x0be", ["a", "b", "cde"]),
        ("a≮b\u037ec", ["a", "<", "b", ";", "c"]),
    ],
)
def test_known_traps(text, words, golden_vocabs):
    assert _reference_words(text, True) == words
    assert BasicTokenizer(True).tokenize(text) == words
    assert _graph_words(GraphTokenizer(golden_vocabs[True], True), [text]) == [words]


def test_rows_say_what_normalize_says():
    rows = rules.CharacterRows(True)
    assert [rows[ord(c)] for c in "Aé!東\t\x07"] == ["a", "e", " ! ", " 東 ", " ", ""]
    assert rows[ord("Σ")] == rules.IN_CONTEXT
