"""Learned vocabularies are the learner's, for the words that the tokenizers see."""

import collections
import random

import pytest
import tensorflow as tf
from tensorflow_text.tools.wordpiece_vocab.bert_vocab_from_dataset import (
    bert_vocab_from_dataset,
)

from bert_tf.errors import ConfigError, DataError
from bert_tf.tokenization import BasicTokenizer, FullTokenizer, GraphTokenizer
from bert_tf.tokenization.learning import (
    count_words,
    learn_vocabulary,
    unknown_share,
)
from bert_tf.tokenization.vocabulary import check_casing, check_vocab

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="module")
def lines(testdata) -> list[bytes]:
    return (testdata / "corpus.txt").read_bytes().split(b"\n")


@pytest.fixture(scope="module", params=[True, False], ids=["uncased", "cased"])
def casing(request) -> bool:
    return request.param


def plain_counts(texts, do_lower_case: bool) -> collections.Counter:
    basic = BasicTokenizer(do_lower_case)
    return collections.Counter(word for text in texts for word in basic.tokenize(text))


def longer(pieces) -> list[str]:
    """Returns the learned pieces: neither special nor single characters."""
    return [
        piece
        for piece in pieces
        if not piece.startswith("[") and len(piece.removeprefix("##")) > 1
    ]


def test_words_are_those_of_the_basic_tokenizer(lines, casing):
    counted = count_words([lines[:7], [], lines[7:]], casing)
    assert counted == plain_counts(lines, casing)


def test_words_of_random_texts(random_texts, casing):
    texts = [text for text in random_texts[:3000] if len(text) < 200]
    counted = count_words([[text.encode() for text in texts]], casing)
    assert counted == plain_counts(texts, casing)


def test_overlong_words_are_unknown():
    counted = count_words([[b"a" * 201 + b" b b"]])
    assert counted == {"[UNK]": 1, "b": 2}
    assert unknown_share(counted, [*SPECIAL, "b"]) == pytest.approx(1 / 3)


def test_what_is_counted_is_told():
    told = []
    count_words([[b"a b", b""], [b"c"]], on_texts=lambda *counts: told.append(counts))
    assert told == [(2, 3), (1, 1)]


def test_an_error_of_the_texts_is_passed_on():
    def texts():
        yield [b"a"]
        raise DataError("Expected nothing.")

    with pytest.raises(DataError, match="Expected nothing"):
        count_words(texts())


def test_pieces_are_the_learners(lines):
    # Of plain ASCII, TensorFlow Text's own words are the same.
    ascii_lines = [line for line in lines if line.isascii()]
    counts = count_words([ascii_lines])
    sizes = []
    for threshold in (12, 11, 10, 9):
        theirs = bert_vocab_from_dataset(
            tf.data.Dataset.from_tensor_slices(ascii_lines).batch(16),
            vocab_size=0,
            reserved_tokens=SPECIAL,
            bert_tokenizer_params={"lower_case": True},
            learn_params={"lower_thresh": threshold, "upper_thresh": threshold},
        )
        # Theirs have "##." and its like, which no word holds.
        useless = {f"##{c}" for c in theirs if len(c) == 1 and not c.isalnum()}
        theirs = [piece for piece in theirs if piece not in useless]
        sizes.append(len(theirs))
        ours = learn_vocabulary(counts, len(theirs), min_count=1)
        assert longer(ours.pieces) == longer(theirs)
        assert set(ours.pieces) == set(theirs)
        assert (ours.filled, ours.characters_left_out) == (0, 0)
        # Of pieces between two thresholds, the rarest are left out.
        fewer = learn_vocabulary(counts, len(theirs) - 1, min_count=1)
        assert longer(fewer.pieces) == longer(theirs)[:-1]
    assert sizes == sorted(set(sizes))


def test_both_tokenizers_read_it(lines, casing, tmp_path):
    counts = count_words([lines], casing)
    learned = learn_vocabulary(counts, 700, num_unused=3, min_count=1)
    assert learned.pieces[:5] == ["[PAD]", *(f"[unused{i}]" for i in range(3)), "[UNK]"]
    assert learned.pieces[5:8] == ["[CLS]", "[SEP]", "[MASK]"]
    assert len(set(learned.pieces)) == 700

    path = tmp_path / "vocab.txt"
    path.write_text("".join(f"{piece}\n" for piece in learned.pieces), "utf-8")
    assert list(check_vocab(str(path), 700)) == learned.pieces
    check_casing(check_vocab(str(path)), casing, str(path))
    full = FullTokenizer(str(path), casing)
    pieces = [full.tokenize(line) for line in lines]
    assert not any("[UNK]" in row for row in pieces)
    assert sum(map(len, pieces)) < 2 * counts.total()
    ids = GraphTokenizer(str(path), casing).tokenize(lines).to_list()
    assert ids == [full.convert_tokens_to_ids(row) for row in pieces]
    assert unknown_share(counts, learned.pieces) == 0


def test_rare_characters_are_left_out(lines):
    counts = count_words([lines])
    learned = learn_vocabulary(counts, 300, min_count=10)
    times = collections.Counter()
    for word, count in counts.items():
        times.update({char: word.count(char) * count for char in word})
    kept = {char for char in times if times[char] >= 10}
    assert {piece for piece in learned.pieces if len(piece) == 1} == kept
    assert learned.characters == len(kept)
    assert learned.characters_left_out == len(times) - len(kept)
    unknown = sum(n for word, n in counts.items() if not kept.issuperset(word))
    share = unknown_share(counts, learned.pieces)
    assert share == pytest.approx(unknown / counts.total()) and share > 0


def test_the_order_of_the_words_does_not_matter(lines):
    counts = list(count_words([lines]).items())
    learned = learn_vocabulary(dict(counts), 300)
    random.Random(5).shuffle(counts)
    assert learn_vocabulary(dict(counts), 300) == learned


def test_too_little_text_is_filled_up():
    learned = learn_vocabulary({"ab": 10, "ba": 1, "!": 10}, 20, num_unused=1)
    assert learned.pieces[:6] == ["[PAD]", "[unused0]", *SPECIAL[1:]]
    assert learned.pieces[6:12] == ["!", "a", "b", "##a", "##b", "ab"]
    assert learned.pieces[12:] == [f"[unused{i}]" for i in range(1, 9)]
    assert learned.filled == 8


def test_reserved_pieces_stand_behind_the_special_ones(lines):
    counts = count_words([lines])
    plain = learn_vocabulary(counts, 300, num_unused=2, min_count=2).pieces
    # Some that are learned anyway: a character, one inside a word, a longer piece.
    learned = ["e", "##e", next(p for p in plain if p.isalpha() and len(p) > 2)]
    assert set(learned) < set(plain)
    reserved = ["[ENT]", "Ünicode", *learned]
    found = learn_vocabulary(counts, 302, 2, 2, reserved)
    assert found.pieces[:7] == plain[:7]
    assert found.pieces[7:12] == reserved
    rest = [piece for piece in plain[7:] if piece not in reserved]
    assert found.pieces[12:] == rest
    assert found.filled == 0


@pytest.mark.parametrize(
    ("reserved", "says"),
    [
        (["[ENT]", ""], "got '', which is empty"),
        (["[A B]"], r"got '\[A B\]', which is empty or holds whitespace"),
        (["a\u2028"], "which is empty or holds whitespace"),
        (["[X]", "[Y]", "[X]"], r"got '\[X\]', which is there twice"),
        (["[PAD]"], r"got '\[PAD\]', which stands in every vocabulary"),
        (["[MASK]"], r"got '\[MASK\]', which stands in every vocabulary"),
        (["[unused7]"], r"got '\[unused7\]', .* --num_unused"),
        (["ส" * 86], "which is longer than 200 characters or 256 bytes"),
    ],
)
def test_pieces_that_cannot_be_reserved(reserved, says):
    with pytest.raises(ConfigError, match=f"in --reserved_pieces, .*{says}"):
        learn_vocabulary({"ab": 10}, 100, reserved=reserved)


def test_ideographs_take_one_line_each(tmp_path):
    counts = count_words([["東京 東京都、カタカナ".encode()]])
    learned = learn_vocabulary(counts, 5 + 4 + 3 * 2, min_count=1)
    assert {"東", "京", "都", "、"} < set(learned.pieces)
    assert {piece for piece in learned.pieces if piece.startswith("##")} == {
        "##カ",
        "##タ",
        "##ナ",
    }


def test_too_few_lines_for_the_characters():
    counts = {"ab": 10, "!": 10}
    with pytest.raises(ConfigError, match=r"at least 10, .* got 9;"):
        learn_vocabulary(counts, 9)
    with pytest.raises(ConfigError, match=r"at least 11, for 6 special .* got 10;"):
        learn_vocabulary(counts, 10, reserved=["[ENT]"])
    assert learn_vocabulary(counts, 10).pieces[5:] == ["!", "a", "b", "##a", "##b"]


@pytest.mark.parametrize("counts", [{}, {"a" * 51: 20}, {"[UNK]": 3}])
def test_no_words(counts):
    with pytest.raises(DataError, match="Expected words"):
        learn_vocabulary(counts, 100)
