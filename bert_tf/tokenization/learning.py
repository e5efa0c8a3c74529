"""Learns a WordPiece vocabulary from the words of a text.

The learner is TensorFlow Text's. Words are split by this package's own rules, so that
the pieces are those of the words that its tokenizers will ask for.
"""

import collections
import dataclasses
import math
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

import tensorflow as tf
from tensorflow_text.tools.wordpiece_vocab import wordpiece_tokenizer_learner_lib

from bert_tf.errors import ConfigError, DataError
from bert_tf.tokenization import rules
from bert_tf.tokenization.full_tokenizer import WordpieceTokenizer
from bert_tf.tokenization.graph_words import WordSplitter
from bert_tf.tokenization.matching import LONGEST_PIECE, is_too_long
from bert_tf.tokenization.vocabulary import PAD, SPECIAL_PIECES, is_special

# The learner keeps every part of every word in memory, so that the rarer ones beyond
# these would take gigabytes. They hardly change what is learned.
_MOST_WORDS = 500_000
# Longer words are no words.
_MOST_CHARS = 50


@dataclasses.dataclass(frozen=True)
class LearnedVocabulary:
    """A vocabulary in the order of its file.

    Attributes:
      pieces: `[PAD]`, `[unusedN]` as asked for, the other special pieces, those that
        were reserved, characters, the same inside a word, longer pieces from the
        commonest on, and `[unusedN]` for what the text had too few of.
      characters: How many characters are in it.
      characters_left_out: How many of the text's are not, as they are too rare.
      filled: How many `[unusedN]` stand at its end.
    """

    pieces: list[str]
    characters: int
    characters_left_out: int
    filled: int


def count_words(
    batches: Iterable[Sequence[bytes]],
    do_lower_case: bool = True,
    on_texts: Callable[[int, int], None] = lambda count, size: None,
) -> collections.Counter[str]:
    """Counts the words of texts, as both tokenizers split them.

    Args:
      batches: Some texts at a time, UTF-8.
      do_lower_case: Whether to lower-case and strip accents.
      on_texts: Called with how many texts more were counted, and their bytes.

    Returns:
      Word -> how often it occurs. Words of over 200 characters are `[UNK]`.
    """
    split = WordSplitter(do_lower_case)
    # TensorFlow passes only the text of an error on.
    errors: list[Exception] = []

    def source() -> Iterator[Sequence[bytes]]:
        try:
            yield from batches
        except Exception as error:
            errors.append(error)
            raise

    def count(texts: tf.Tensor) -> tuple[tf.Tensor, ...]:
        words, _, counts = tf.unique_with_counts(split(texts)[0])
        return words, counts, tf.size(texts), tf.reduce_sum(tf.strings.length(texts))

    counted = (
        tf.data.Dataset.from_generator(
            source, output_signature=tf.TensorSpec([None], tf.string)
        )
        .map(count, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .prefetch(2)
    )
    total: collections.Counter[bytes] = collections.Counter()
    try:
        for words, counts, texts, size in counted.as_numpy_iterator():
            for word, number in zip(words.tolist(), counts.tolist(), strict=True):
                total[word] += number
            on_texts(int(texts), int(size))
    except tf.errors.OpError:
        if errors:
            raise errors[0] from None
        raise
    return collections.Counter({word.decode(): n for word, n in total.items()})


def learn_vocabulary(
    word_counts: Mapping[str, int],
    vocab_size: int,
    num_unused: int = 0,
    min_count: int = 10,
    reserved: Sequence[str] = (),
) -> LearnedVocabulary:
    """Learns a vocabulary of exactly so many pieces.

    The order of `word_counts` does not matter.

    Args:
      word_counts: Word -> how often it occurs, as `count_words` returns it.
      vocab_size: How many pieces there shall be, special ones included.
      num_unused: How many `[unusedN]` to put behind `[PAD]`.
      min_count: How often a character or a longer piece must occur; of the latter, what
        is part of a still longer one of the vocabulary does not count.

    Raises:
      ConfigError: `vocab_size` is too small for the characters.
      DataError: There are no words to learn from.

    Source: `learn` in TensorFlow Text's wordpiece_tokenizer_learner_lib.py.
    """
    _check_reserved(reserved)
    taken = frozenset(reserved)
    special = [PAD, *_unused(0, num_unused), *SPECIAL_PIECES, *reserved]
    words = {
        word: count
        for word, count in word_counts.items()
        if len(word) <= _MOST_CHARS and word not in SPECIAL_PIECES
    }
    if not words:
        raise DataError(
            f"Expected words of at most {_MOST_CHARS} characters to learn from, found "
            "none; check --input_file."
        )
    char_counts: collections.Counter[str] = collections.Counter()
    for word, count in words.items():
        for char in word:
            char_counts[char] += count
    chars = sorted(char for char, count in char_counts.items() if count >= min_count)
    # What stands alone is never inside a word.
    inside = [f"##{char}" for char in chars if not _stands_alone(char)]
    single = [piece for piece in (*chars, *inside) if piece not in taken]
    room = vocab_size - len(special) - len(single)
    if room < 0:
        raise ConfigError(
            f"Expected --vocab_size to be at least {vocab_size - room}, for "
            f"{len(special)} special pieces, {len(chars)} characters, and "
            f"{len(inside)} of these inside a word, got {vocab_size}; raise it, or "
            "raise --min_count to leave more of the rare characters out."
        )
    allowed = frozenset(chars)
    common = sorted(
        (-count, word) for word, count in words.items() if allowed.issuperset(word)
    )
    longer = _learn_longer(
        [(word, -count) for count, word in common[:_MOST_WORDS]],
        room,
        min_count,
        taken,
    )
    filled = room - len(longer)
    return LearnedVocabulary(
        [*special, *single, *longer, *_unused(num_unused, filled)],
        characters=len(chars),
        characters_left_out=len(char_counts) - len(chars),
        filled=filled,
    )


def unknown_share(word_counts: Mapping[str, int], pieces: Sequence[str]) -> float:
    """Returns what share of the words has no split into pieces, from 0 to 1.

    Args:
      word_counts: Word -> how often it occurs.
      pieces: A vocabulary.
    """
    tokenizer = WordpieceTokenizer({piece: i for i, piece in enumerate(pieces)})
    unknown = sum(
        count
        for word, count in word_counts.items()
        if tokenizer.tokenize(word) == ["[UNK]"]
    )
    return unknown / max(1, sum(word_counts.values()))


def _unused(first: int, count: int) -> list[str]:
    return [f"[unused{number}]" for number in range(first, first + count)]


def _stands_alone(char: str) -> bool:
    return rules.is_punctuation(char) or rules.is_cjk(char)


def _check_reserved(reserved: Sequence[str]) -> None:
    """Raises a ConfigError that names the first piece that cannot be reserved."""
    for place, piece in enumerate(reserved):
        wrong = ""
        if not piece or any(map(str.isspace, piece)):
            wrong = "is empty or holds whitespace, which no line of a vocabulary keeps"
        elif is_special(piece):
            wrong = "stands in every vocabulary, or is counted by --num_unused"
        elif is_too_long(piece):
            wrong = f"is longer than {LONGEST_PIECE}"
        elif piece in reserved[:place]:
            wrong = "is there twice"
        if wrong:
            raise ConfigError(
                "Expected pieces such as [ENT],[NUM] in --reserved_pieces, got "
                f"{piece!r}, which {wrong}; take it out."
            )


def _learn_longer(
    word_counts: list[tuple[str, int]],
    room: int,
    min_count: int,
    taken: Collection[str],
) -> list[str]:
    """Returns at most `room` pieces of several characters, from the commonest on.

    None of them is `taken`.

    The learner finds the pieces that occur so many times or more. They are those of the
    highest such threshold that gives enough, less the rarest.
    """
    pieces: list[str] = []
    # One that gives enough, or is too low to be tried; and one that does not, or is
    # more often than any word occurs.
    low, high = min_count - 1, max((count for _, count in word_counts), default=0) + 1
    while high - low > 1:
        # Their ratio is what the number of pieces goes by.
        threshold = min(max(math.isqrt(low * high), low + 1), high - 1)
        found = [x for x in _pieces_of(word_counts, threshold) if x not in taken]
        if len(found) >= room:
            low, pieces = threshold, found
        else:
            high = threshold
            if len(pieces) < room:
                pieces = found
    return pieces[:room]


def _pieces_of(word_counts: list[tuple[str, int]], threshold: int) -> list[str]:
    pieces = wordpiece_tokenizer_learner_lib.learn(
        word_counts,
        vocab_size=0,
        reserved_tokens=[],
        lower_thresh=threshold,
        upper_thresh=threshold,
        max_input_tokens=-1,
        max_token_length=_MOST_CHARS,
        max_unique_chars=sys.maxunicode,
    )
    return [piece for piece in pieces if len(piece.removeprefix("##")) > 1]
