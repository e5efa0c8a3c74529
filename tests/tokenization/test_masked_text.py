"""[MASK] in a text is a piece, and what is filled in reads as the model means it."""

import pytest

from bert_tf import DataError, FullTokenizer
from bert_tf.tokenization.masked_text import MaskedText


@pytest.fixture(scope="module")
def tokenizer(testdata):
    return FullTokenizer(str(testdata / "vocab_uncased.txt"))


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("the [MASK] was dark", "the [MASK] was dark"),
        ("the[MASK]was dark", "the [MASK] was dark"),
        (" the  [MASK]\twas Dark\n", "the [MASK] was dark"),
        ("[MASK]", "[MASK]"),
        ("[MASK][MASK]", "[MASK] [MASK]"),
        ("[[MASK]]", "[ [MASK] ]"),
        ("the sto[MASK] ([MASK]).", "the st ##o [MASK] ( [MASK] ) ."),
        (b"the [MASK], the \xffsun", "the [MASK] , the sun"),
    ],
)
def test_the_pieces_of_a_text(tokenizer, text, pieces):
    assert MaskedText.of(text).tokenize(tokenizer) == pieces.split()


def test_the_rest_is_what_the_tokenizer_makes_of_it(tokenizer, testdata):
    """A comma in place of the mask also separates words."""
    for line in (testdata / "corpus.txt").read_text("utf-8").split("\n"):
        for at in range(0, len(line), 7):
            masked = MaskedText.of(f"{line[:at]}[MASK]{line[at:]}")
            commas = tokenizer.tokenize(f"{line[:at]}, ,{line[at:]}")
            found = masked.tokenize(tokenizer)
            where = found.index("[MASK]")
            assert commas == [*found[:where], ",", ",", *found[where + 1 :]]


@pytest.mark.parametrize(
    ("text", "index", "piece", "filled"),
    [
        ("the [MASK] was dark", 0, "night", "the night was dark"),
        ("the [MASK] was dark", 0, "##ory", "theory was dark"),
        ("the[MASK]was dark", 0, "night", "the night was dark"),
        ("the[MASK]was dark", 0, "##ory", "theory was dark"),
        ("the [MASK].", 0, "night", "the night."),
        ("([MASK])", 0, "night", "(night)"),
        ("the[MASK].", 0, ".", "the.."),
        ("[MASK] dark", 0, "##s", "##s dark"),
        ("so, [MASK] dark", 0, "##s", "so, ##s dark"),
        ("[MASK] [MASK]", 1, "##s", "[MASK] ##s"),
        ("[MASK] [MASK]", 0, "so", "so [MASK]"),
        ("a [MASK] b [MASK] c", 1, "x", "a [MASK] b x c"),
        ("我[MASK]你", 0, "爱", "我爱你"),
        ("[MASK]", 0, "##", "##"),
        ("[MASK]", 0, "", ""),
    ],
)
def test_a_text_with_a_piece_filled_in(text, index, piece, filled):
    assert MaskedText.of(text).filled(index, piece) == filled


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "an empty one"),
        (" \n", "an empty one"),
        ("the night", "found none in 'the night'"),
        ("the [mask]", "found none in 'the [mask]'"),
        (5, "got int"),
    ],
)
def test_texts_without_a_mask(text, says):
    with pytest.raises(DataError) as caught:
        MaskedText.of(text)
    assert says in str(caught.value)
