"""Which pieces texts can match: what the tokenizers' own rules keep whole.

Both tokenizers turn a text into words before they look up a piece. One that these rules
would split or change stands in no word, whatever the vocabulary says.
"""

import enum
from typing import NamedTuple

from bert_tf.tokenization.full_tokenizer import BasicTokenizer
from bert_tf.tokenization.graph_tokenizer import MAX_BYTES_PER_PIECE
from bert_tf.tokenization.graph_words import MAX_CHARS_PER_WORD

LONGEST_PIECE = f"{MAX_CHARS_PER_WORD} characters or {MAX_BYTES_PER_PIECE} bytes"
# Any letter: what goes on with a word has one before it.
_LETTER = "a"


class Kind(enum.Enum):
    """Why no text matches a piece."""

    BLANK = "without a character"
    LONG = f"longer than {LONGEST_PIECE}"
    CHANGED = "with what texts lose before (case, accents, control characters)"
    SPLIT = "that texts have split before (at punctuation, ideographs, spaces)"


class Obstacle(NamedTuple):
    """What keeps texts from matching a piece.

    Attributes:
      kind: Of what kind it is.
      words: What the tokenizer makes of the piece instead, for `CHANGED` and `SPLIT`.
    """

    kind: Kind
    words: list[str]


def is_too_long(piece: str) -> bool:
    """Returns whether a piece is longer than words, or than TF Text's op takes."""
    letters = piece.removeprefix("##")
    # A word that a piece goes on with has a character more.
    chars = len(letters) + (letters != piece)
    return chars > MAX_CHARS_PER_WORD or len(letters.encode()) > MAX_BYTES_PER_PIECE


def obstacle(piece: str, tokenizer: BasicTokenizer) -> Obstacle | None:
    """Returns what keeps all texts from matching a piece; None if some can.

    Args:
      piece: Of a vocabulary; `##` says that it goes on with a word.
      tokenizer: What splits texts into words.
    """
    letters = piece.removeprefix("##")
    if not letters:
        return Obstacle(Kind.BLANK, [])
    if is_too_long(piece):
        return Obstacle(Kind.LONG, [])
    before = "" if letters == piece else _LETTER
    words = tokenizer.tokenize(before + letters)
    if words == [before + letters]:
        return None
    kind = Kind.SPLIT if len(words) > 1 else Kind.CHANGED
    parts = [words[0].removeprefix(before), *words[1:]] if words else []
    return Obstacle(kind, [part for part in parts if part])
