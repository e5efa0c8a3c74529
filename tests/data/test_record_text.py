"""The text of records: by hand, and read back against the arrays of the release."""

import re

import numpy as np
import pytest

from bert_tf.data.record_text import record_lines
from bert_tf.tokenization import load_vocab

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = [*SPECIAL, "play", "##ing", "##s", "games", "今", "日", "="]


def row(text: str, segments: str, label: int = 0, **masked: str) -> dict:
    """Returns a padded record of pieces; `masked` is `p3="was"`."""
    ids = [PIECES.index(piece) for piece in text.split()]
    slots = [(int(at[1:]), PIECES.index(was), 1.0) for at, was in masked.items()]
    positions, was, weights = np.array([*slots, (0, 0, 0)]).T
    padding = [0, 0]
    return {
        "input_ids": np.array(ids + padding),
        "input_mask": np.array([1] * len(ids) + padding),
        "segment_ids": np.array([int(each) for each in segments] + padding),
        "next_sentence_labels": np.array([label]),
        "masked_lm_positions": positions.astype(int),
        "masked_lm_ids": was.astype(int),
        "masked_lm_weights": weights,
    }


def test_marks_stand_alone_and_words_together():
    record = row(
        "[CLS] ##s play ##ing ##s [SEP] play [MASK] ##s ##s games play games [SEP]",
        "00000011111111",
        1,
        p7="##ing",
        p11="=",
        p12="games",
    )
    assert record_lines(record, PIECES, 80) == [
        "14 pieces, 3 masked, random next",
        "  A  [CLS] ##s playings [SEP]",
        "  B  play [MASK]→##ing ##ss games play→= =games [SEP]",
    ]


def test_pairs_without_masks():
    record = row("[CLS] play [SEP] games [SEP]", "00011")
    record = {key: x for key, x in record.items() if not key.startswith("masked_lm")}
    assert record_lines(record, PIECES, 80) == [
        "5 pieces, actual next",
        "  A  [CLS] play [SEP]",
        "  B  games [SEP]",
    ]


def test_lines_fit_the_width_where_characters_are_wide():
    record = row("[CLS] 今 日 今 日 今 日 [SEP]", "00000000")
    assert record_lines(record, PIECES, 20)[1:] == [
        "  A  [CLS] 今 日 今",
        "     日 今 日 [SEP]",
    ]
    # One column less, and a character less.
    assert record_lines(record, PIECES, 18)[1] == "  A  [CLS] 今 日"
    assert record_lines(record, PIECES, 1)[1:3] == ["  A  [CLS]", "     今"]


@pytest.mark.parametrize("name", ["default", "whole_word_mask"])
def test_the_text_says_what_was_and_what_is(testdata, name):
    pieces = list(load_vocab(str(testdata / "vocab_uncased.txt")))
    with np.load(testdata / f"pretraining_data_{name}.npz") as arrays:
        rows = {key[2:]: arrays[key] for key in arrays}
    for i in range(len(rows["input_ids"])):
        record = {key: values[i] for key, values in rows.items()}
        lines = record_lines(record, pieces, 60)
        # The corpus has a word of 200 letters.
        assert all(len(line) <= 60 or " " not in line.strip() for line in lines)
        words = " ".join(line[5:] for line in lines[1:]).split()
        shown = record["input_ids"][: record["input_mask"].sum()].tolist()
        was = list(shown)
        number = int(record["masked_lm_weights"].sum())
        marked = record["masked_lm_positions"][:number]
        for at, each in zip(marked, record["masked_lm_ids"], strict=False):
            was[at] = each
        found_shown = [re.sub(r"^=(?=.)|→.+", "", word) for word in words]
        found_was = [re.sub(r"^=(?=.)|.+→", "", word) for word in words]
        assert joined(found_shown) == joined(pieces[each] for each in shown)
        assert joined(found_was) == joined(pieces[each] for each in was)
        assert sum("→" in word or word[:1] == "=" != word for word in words) == number


def joined(words) -> str:
    return " ".join(words).replace(" ##", "")
