"""The Python tokenizer: Google's outputs, inputs for models, offsets."""

import itertools
import subprocess
import sys

import pytest

from bert_tf import tokenization
from bert_tf.errors import ConfigError, DataError
from bert_tf.tokenization import BasicTokenizer, FullTokenizer, WordpieceTokenizer


@pytest.fixture(scope="module")
def uncased(golden_vocabs) -> FullTokenizer:
    return FullTokenizer(golden_vocabs[True], do_lower_case=True)


def test_equals_google_on_golden_texts(golden_texts, golden_vocabs, uncased):
    cased = FullTokenizer(golden_vocabs[False], do_lower_case=False)
    for case in golden_texts:
        text = case["text"]
        assert BasicTokenizer(True).tokenize(text) == case["basic_uncased"]
        assert BasicTokenizer(False).tokenize(text) == case["basic_cased"]
        assert uncased.tokenize(text) == case["uncased"]
        assert cased.tokenize(text) == case["cased"]


def test_wordpiece_is_greedy_and_all_or_nothing():
    vocab = {p: i for i, p in enumerate(["[UNK]", "un", "una", "##aff", "##ff", "##a"])}
    tokenizer = WordpieceTokenizer(vocab, max_input_chars_per_word=8)
    # "una" is longer than "un", although "un ##aff" would be shorter.
    assert tokenizer.tokenize("unaff  unaffx") == ["una", "##ff", "[UNK]"]
    assert tokenizer.tokenize("una" + 5 * "a") == ["una"] + 5 * ["##a"]
    assert tokenizer.tokenize("una" + 6 * "a") == ["[UNK]"]
    assert tokenizer.tokenize("") == []


def test_conversions(uncased):
    pieces = uncased.tokenize("the quick brown fox")
    ids = uncased.convert_tokens_to_ids(pieces)
    assert ids == [uncased.vocab[piece] for piece in pieces]
    assert uncased.convert_ids_to_tokens(ids) == pieces
    assert tokenization.convert_tokens_to_ids({"a": 3}, ["a", "a"]) == [3, 3]
    assert tokenization.convert_ids_to_tokens({3: "a"}, [3]) == ["a"]
    with pytest.raises(DataError, match="'zzz' is not in it"):
        tokenization.convert_by_vocab({"a": 3}, ["zzz"])
    assert tokenization.convert_to_unicode(b"caf\xc3\xa9\xff") == "café"
    assert tokenization.printable_text("é") == "é"
    with pytest.raises(ValueError, match="got int"):
        tokenization.convert_to_unicode(3)


def _release_truncation(a: list, b: list, budget: int) -> None:
    while len(a) + len(b) > budget:
        (a if len(a) > len(b) else b).pop()


def test_encode_cuts_pairs_as_the_release(uncased):
    words = ["the", "a", "of", "to", "in", "it", "is", "and", "fox", "dog"]
    for n_a, n_b, max_length in itertools.product(range(6), range(6), range(3, 14)):
        a, b = words[:n_a], words[4 : 4 + n_b]
        encoded = uncased.encode(" ".join(a), " ".join(b), max_length=max_length)
        a, b = uncased.tokenize(" ".join(a)), uncased.tokenize(" ".join(b))
        if b:
            _release_truncation(a, b, max_length - 3)
        else:
            a = a[: max_length - 2]
        pieces = ["[CLS]", *a, "[SEP]"]
        segments = [0] * len(pieces)
        if b:
            pieces += [*b, "[SEP]"]
            segments += [1] * (len(b) + 1)
        assert uncased.convert_ids_to_tokens(encoded["input_ids"]) == pieces
        assert encoded["segment_ids"] == segments
        assert encoded["input_mask"] == [1] * len(pieces)


def test_encode_options(uncased):
    a, b = "the of to", "it is and dog"
    whole = uncased.encode(a, b)
    length = len(whole["input_ids"])
    padded = uncased.encode(a, b, max_length=length + 3, padding="max_length")
    assert padded == {
        "input_ids": whole["input_ids"] + [0] * 3,
        "input_mask": [1] * length + [0] * 3,
        "segment_ids": whole["segment_ids"] + [0] * 3,
    }
    first = uncased.encode(a, b, max_length=length - 2, truncation="only_first")
    second = uncased.encode(a, b, max_length=length - 2, truncation="only_second")
    assert first["segment_ids"].count(1) == whole["segment_ids"].count(1)
    assert second["segment_ids"].count(0) == whole["segment_ids"].count(0)
    assert len(first["input_ids"]) == len(second["input_ids"]) == length - 2
    assert uncased.encode("the", "")["segment_ids"] == [0, 0, 0]
    # Special pieces in a text are ordinary text.
    assert uncased.vocab["[CLS]"] not in uncased.encode("[CLS]")["input_ids"][1:]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"padding": "max_length"}, ConfigError, "needs a max_length"),
        ({"padding": "longest"}, ConfigError, "got 'longest'"),
        ({"truncation": "first"}, ConfigError, "got 'first'"),
        ({"max_length": 2}, ConfigError, "max_length=2"),
        ({"max_length": 5, "truncation": False}, DataError, "allow truncation"),
        ({"max_length": 4, "truncation": "only_first"}, DataError, "longest_first"),
    ],
)
def test_encode_refuses(uncased, arguments, error, message):
    with pytest.raises(error, match=message):
        uncased.encode("the of", "it is and", **arguments)


def test_decode(uncased):
    text = "the quick brown fox jumped over the lazy dog ."
    ids = uncased.encode(text, max_length=60, padding="max_length")["input_ids"]
    assert uncased.decode(ids, skip_special_tokens=True) == text
    assert uncased.decode(ids[:2]) == "[CLS] the"
    with pytest.raises(DataError, match="-1 is not in it"):
        uncased.decode([-1])


def test_offsets_of_plain_text_are_the_pieces(uncased, golden_texts):
    text = golden_texts[0]["text"] + " (Unaffable, isn't it?)"
    pieces = uncased.tokenize_with_offsets(text)
    assert [piece for piece, _, _ in pieces] == uncased.tokenize(text)
    for piece, start, end in pieces:
        if piece != "[UNK]":
            assert text[start:end].lower() == piece.removeprefix("##")


def test_offsets_are_in_the_original_text(tmp_path):
    pieces = ["[UNK]", "cafe", "##s", "中", "!", "οδος", "i", "##stanbul"]
    pieces += ["ᄒ", "##ᅡ", "##ᆫ"]
    vocab_file = tmp_path / "vocab.txt"
    vocab_file.write_text("\n".join(pieces), "utf-8")
    tokenizer = FullTokenizer(str(vocab_file))
    text = "\0CAF\u00c9s \ufffdcafe\u0301s中x! ΟΔ\u00adΟΣ, İstanbul zz\u0301z 한"
    found = [(p, text[s:e]) for p, s, e in tokenizer.tokenize_with_offsets(text)]
    assert found == [
        ("cafe", "CAFÉ"),
        ("##s", "s"),
        ("cafe", "cafe\u0301"),
        ("##s", "s"),
        ("中", "中"),
        ("[UNK]", "x"),
        ("!", "!"),
        ("οδος", "ΟΔ\u00adΟΣ"),
        ("[UNK]", ","),
        ("i", "İ"),
        ("##stanbul", "stanbul"),
        ("[UNK]", "zz\u0301z"),
        ("ᄒ", "한"),
        ("##ᅡ", "한"),
        ("##ᆫ", "한"),
    ]
    encoded = tokenizer_with_specials(tmp_path, pieces).encode(
        "cafe", "x Cafés", max_length=8, padding="max_length", return_offsets=True
    )
    none = (0, 0)
    assert encoded["offsets"] == [
        none, (0, 4), none, (0, 1), (2, 6), (6, 7), none, none
    ]  # fmt: skip


def tokenizer_with_specials(tmp_path, pieces) -> FullTokenizer:
    vocab_file = tmp_path / "special.txt"
    vocab_file.write_text("\n".join([*pieces, "[CLS]", "[SEP]"]), "utf-8")
    return FullTokenizer(str(vocab_file))


def test_offsets_agree_with_tokenize(uncased, random_texts):
    for text in random_texts[:4000]:
        found = uncased.tokenize_with_offsets(text)
        assert [piece for piece, _, _ in found] == uncased.tokenize(text)
        assert all(0 <= start < end <= len(text) for _, start, end in found)


def test_importing_it_does_not_import_tensorflow():
    code = (
        "import sys, bert_tf.tokenization as t; t.BasicTokenizer().tokenize('a b');"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
