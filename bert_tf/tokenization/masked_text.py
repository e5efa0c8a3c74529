"""Texts that say [MASK] where a piece is to be found."""

import dataclasses

from bert_tf.errors import DataError
from bert_tf.tokenization import rules
from bert_tf.tokenization.conversion import convert_to_unicode
from bert_tf.tokenization.full_tokenizer import FullTokenizer

MASK = "[MASK]"


@dataclasses.dataclass(frozen=True)
class MaskedText:
    """A text and what stands between its `[MASK]`s.

    The release's tokenizers would split `[MASK]` in a text into `[`, `mask`, `]`.

    Attributes:
      text: The whole, `[MASK]` spelled in capitals.
      parts: What stands before, between and behind the masks, spaces included: one
        more than there are masks.
    """

    text: str
    parts: tuple[str, ...]

    @classmethod
    def of(cls, text: str | bytes) -> "MaskedText":
        """Returns the text, split; a DataError if there is no `[MASK]` in it."""
        text = convert_to_unicode(text)
        if not text.strip():
            raise DataError(f"Expected a text with {MASK} in it, got an empty one.")
        parts = tuple(text.split(MASK))
        if len(parts) == 1:
            raise DataError(
                f"Expected {MASK} in each text, in capitals, found none in "
                f"{text!r:.80}; put it where a word is to be found."
            )
        return cls(text, parts)

    def tokenize(self, tokenizer: FullTokenizer) -> list[str]:
        """Returns the pieces, without `[CLS]` and `[SEP]`.

        The parts are tokenized as texts of their own, so that `[MASK]` separates
        words as punctuation does, with spaces around it or without.
        """
        first, *others = map(tokenizer.tokenize, self.parts)
        pieces = first
        for part in others:
            pieces += [MASK, *part]
        return pieces

    def filled(self, index: int, piece: str) -> str:
        """Returns the text with a piece in place of one mask.

        A piece that goes on with a word (`##`) is joined to the word before, if there
        is one. Elsewhere a space keeps words apart that are two to the model.

        Args:
          index: Which of the masks, from 0.
          piece: Of the vocabulary.
        """
        before = MASK.join(self.parts[: index + 1])
        after = MASK.join(self.parts[index + 1 :])
        if piece.startswith("##") and _in_a_word(before.rstrip()[-1:]):
            before, piece = before.rstrip(), piece[2:]
        elif _in_a_word(before[-1:]) and _in_a_word(piece[:1]):
            before += " "
        if _in_a_word(piece[-1:]) and _in_a_word(after[:1]):
            after = " " + after
        return before + piece + after


def _in_a_word(char: str) -> bool:
    """Returns whether more of a word may follow; not of an empty string."""
    return bool(char) and not (
        rules.is_space(char) or rules.is_punctuation(char) or rules.is_cjk(char)
    )
