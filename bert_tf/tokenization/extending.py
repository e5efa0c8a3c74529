"""Adds words to a vocabulary without moving its pieces."""

import dataclasses
from collections.abc import Iterable, Mapping

from bert_tf.errors import DataError
from bert_tf.tokenization.full_tokenizer import BasicTokenizer, WordpieceTokenizer
from bert_tf.tokenization.matching import LONGEST_PIECE, Kind, Obstacle, obstacle
from bert_tf.tokenization.vocabulary import is_special, unused_number


@dataclasses.dataclass(frozen=True)
class NewPiece:
    """A piece that a vocabulary did not have.

    Attributes:
      piece: The word; with `##`, a part of words.
      index: Its id.
      replaced: The `[unusedN]` whose id it has; None if it stands behind all others.
      made_of: The old pieces that the word was cut into; `[UNK]` if it was unknown.
    """

    piece: str
    index: int
    replaced: str | None
    made_of: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class ExtendedVocabulary:
    """A vocabulary with new pieces.

    Attributes:
      size: How many pieces it has.
      new: The new ones, in the order in which they were given.
      known: What was given but is a piece already, or was given before.
    """

    size: int
    new: list[NewPiece]
    known: list[str]


def extend_vocabulary(
    vocab: Mapping[str, int],
    words: Iterable[str],
    do_lower_case: bool = True,
    keep_unused: bool = False,
    source: str = "the words",
) -> ExtendedVocabulary:
    """Gives words an id: that of `[unusedN]`, the least N first, or one behind all.

    Args:
      vocab: Piece -> id, as `check_vocab` returns it.
      words: What texts hold as one word; with `##`, what goes on with a word.
      do_lower_case: Whether texts are lower-cased and their accents stripped.
      keep_unused: Whether to leave each `[unusedN]` as it is.
      source: Where the words come from, for messages.

    Raises:
      DataError: A word that no text would match: the tokenizer splits or changes it, it
        is too long, or a special piece.
    """
    tokenizer = BasicTokenizer(do_lower_case)
    whole = WordpieceTokenizer(vocab)
    # What goes on with a word begins with such a piece too.
    inside = WordpieceTokenizer(
        {
            piece: index
            for name, index in vocab.items()
            if name.startswith("##")
            for piece in (name, name.removeprefix("##"))
        }
    )
    free: list[tuple[int, str]] = []
    if not keep_unused:
        numbers = ((unused_number(piece), piece) for piece in vocab)
        free = sorted((n, piece) for n, piece in numbers if n is not None)
    new: dict[str, NewPiece] = {}
    known = []
    size = len(vocab)
    for word in words:
        _check_word(word, tokenizer, source)
        if word in vocab or word in new:
            known.append(word)
            continue
        if word.startswith("##"):
            first, *others = inside.tokenize(word.removeprefix("##"))
            made_of = (first if first == inside.unk_token else f"##{first}", *others)
        else:
            made_of = tuple(whole.tokenize(word))
        replaced = free.pop(0)[1] if free else None
        if replaced is None:
            index, size = size, size + 1
        else:
            index = vocab[replaced]
        new[word] = NewPiece(word, index, replaced, made_of)
    return ExtendedVocabulary(size, list(new.values()), known)


def _check_word(word: str, tokenizer: BasicTokenizer, source: str) -> None:
    """Raises a DataError if no text would match a word."""
    if is_special(word):
        why, advice = "is a special piece, which texts do not match", "leave it out"
    elif found := obstacle(word, tokenizer):
        why, advice = _reason(found, tokenizer.do_lower_case)
    else:
        return
    raise DataError(
        f"Expected words that the tokenizer leaves whole and as they are, got {word!r} "
        f"in {source}, which {why}; {advice}."
    )


def _reason(found: Obstacle, do_lower_case: bool) -> tuple[str, str]:
    """Returns why no text would match a word, and what to do."""
    becomes = " ".join(found.words)
    match found.kind:
        case Kind.BLANK:
            return "holds no character", "leave it out"
        case Kind.LONG:
            return f"is longer than {LONGEST_PIECE}", "leave it out"
        case Kind.SPLIT:
            return f"it splits into {becomes!r}", "give parts of it, or leave it out"
        case Kind.CHANGED:
            return (
                f"it turns into {becomes!r} with --do_lower_case={do_lower_case}",
                "give that instead, or leave it out",
            )
