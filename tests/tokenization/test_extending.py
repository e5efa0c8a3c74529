"""New words get the ids of [unusedN] or those behind all, and no piece moves."""

import pytest

from bert_tf.errors import DataError
from bert_tf.tokenization.extending import NewPiece, extend_vocabulary

PIECES = [
    *("[PAD]", "[unused10]", "[unused2]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *("a", "b", "ab", "##a", "##b", "##ab", "[unused1]", "##c"),
]
VOCAB = {piece: index for index, piece in enumerate(PIECES)}


def test_unused_lines_are_filled_in_the_order_of_their_numbers():
    extended = extend_vocabulary(VOCAB, ["abab", "##bc", "x", "ba", "##x"])
    assert extended.new == [
        NewPiece("abab", 13, "[unused1]", ("ab", "##ab")),
        NewPiece("##bc", 2, "[unused2]", ("##b", "##c")),
        NewPiece("x", 1, "[unused10]", ("[UNK]",)),
        NewPiece("ba", 15, None, ("b", "##a")),
        NewPiece("##x", 16, None, ("[UNK]",)),
    ]
    assert (extended.size, extended.known) == (17, [])


def test_unused_lines_may_be_kept():
    extended = extend_vocabulary(VOCAB, ["abab", "ba"], keep_unused=True)
    assert [(new.index, new.replaced) for new in extended.new] == [
        (15, None),
        (16, None),
    ]
    assert extended.size == 17


def test_what_is_known_is_told_and_left_out():
    extended = extend_vocabulary(VOCAB, ["ab", "bb", "##a", "bb"])
    assert [new.piece for new in extended.new] == ["bb"]
    assert extended.known == ["ab", "##a", "bb"]
    assert extended.size == len(PIECES)


def test_casing_is_the_models():
    [new] = extend_vocabulary(VOCAB, ["Ünï"], do_lower_case=False).new
    assert new.piece == "Ünï"


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("don't", r"""got "don't" in the words, which it splits into "don ' t";"""),
        ("雪山", "which it splits into '雪 山'"),
        ("a b", "which it splits into 'a b'"),
        ("[ENT]", r"which it splits into '\[ ent \]'"),
        ("##b!", "which it splits into 'b !'"),
        ("Covid", "turns into 'covid' with --do_lower_case=True; give that instead"),
        ("café", "turns into 'cafe'"),
        ("\ufeffa", "turns into 'a'"),
        ("a" * 201, "which is longer than 200 characters or 256 bytes; leave it out"),
        ("##" + "a" * 200, "which is longer than 200 characters"),
        ("ส" * 86, "which is longer than 200 characters or 256 bytes"),
        ("", "got '' in the words, which holds no character"),
        ("##", "which holds no character"),
        ("[CLS]", r"got '\[CLS\]' in the words, which is a special piece"),
        ("[unused5]", "which is a special piece"),
    ],
)
def test_words_that_no_text_would_match(word, says):
    with pytest.raises(DataError, match=f"^Expected words .*{says}") as raised:
        extend_vocabulary(VOCAB, ["good", word])
    assert "\n" not in str(raised.value)
