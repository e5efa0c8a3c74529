"""Google's tokenizer in plain Python: text -> words -> WordPieces -> ids.

The classes and functions of the release's tokenization.py keep their names and
results. Beyond it, `FullTokenizer` encodes whole inputs, decodes ids, and tells which
characters of the text each piece came from.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from bert_tf.errors import ConfigError, DataError
from bert_tf.tokenization import rules
from bert_tf.tokenization.conversion import (
    convert_by_vocab,
    convert_to_unicode,
    whitespace_tokenize,
)
from bert_tf.tokenization.vocabulary import load_vocab

# Words repeat, and looking one up is ten times as fast as splitting it again. When
# the cache is full it starts afresh, which bounds memory at some ten megabytes.
_CACHED_WORDS = 50_000

_TRUNCATIONS = (True, "longest_first", "only_first", "only_second", False)
_SKIPPED_BY_DECODE = frozenset(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))


class BasicTokenizer:
    """Splits text into words and single punctuation marks and ideographs.

    Source: `BasicTokenizer` in tokenization.py.
    """

    def __init__(self, do_lower_case: bool = True):
        """Args: do_lower_case: whether to lower-case and strip accents."""
        self.do_lower_case = do_lower_case
        self._rows = rules.CharacterRows(do_lower_case)

    def tokenize(self, text: str | bytes) -> list[str]:
        """Returns the words of a text, in order."""
        text = convert_to_unicode(text)
        spelled = text.translate(self._rows)
        if rules.IN_CONTEXT in spelled:
            spans = rules.normalize(text, self.do_lower_case)
            spelled = "".join(char for char, _, _ in spans)
        return whitespace_tokenize(spelled)

    def tokenize_with_offsets(
        self, text: str | bytes
    ) -> list[tuple[str, list[tuple[int, int]]]]:
        """Returns each word with the (start, end) of each of its characters."""
        text = convert_to_unicode(text)
        words: list[tuple[str, list[tuple[int, int]]]] = []
        chars: list[str] = []
        offsets: list[tuple[int, int]] = []
        spans = rules.normalize(text, self.do_lower_case)
        for char, start, end in (*spans, (" ", len(text), len(text))):
            if char != " ":
                chars.append(char)
                offsets.append((start, end))
            elif chars:
                words.append(("".join(chars), offsets))
                chars, offsets = [], []
        return words


class WordpieceTokenizer:
    """Splits words into the longest pieces that a vocabulary holds, left to right.

    Source: `WordpieceTokenizer` in tokenization.py.
    """

    def __init__(
        self,
        vocab: Mapping[str, int],
        unk_token: str = "[UNK]",
        max_input_chars_per_word: int = 200,
    ):
        """Initializes the tokenizer.

        Args:
          vocab: the pieces; those inside a word begin with `##`. Read once: pieces
            added later may be missed.
          unk_token: what becomes of a word that has no split.
          max_input_chars_per_word: longer words become `unk_token`.
        """
        self.vocab = vocab
        self.unk_token = unk_token
        self.max_input_chars_per_word = max_input_chars_per_word
        self._longest_piece = max(map(len, vocab), default=0)
        self._cache: dict[str, list[str]] = {}

    def tokenize(self, text: str | bytes) -> list[str]:
        """Returns the pieces of a text whose words are separated by whitespace."""
        cache = self._cache
        pieces: list[str] = []
        for word in whitespace_tokenize(convert_to_unicode(text)):
            split = cache.get(word)
            if split is None:
                split = self._split(word)
                if len(word) <= self.max_input_chars_per_word:
                    if len(cache) >= _CACHED_WORDS:
                        cache.clear()
                    cache[word] = split
            pieces += split
        return pieces

    def _split(self, word: str) -> list[str]:
        length = len(word)
        if length > self.max_input_chars_per_word:
            return [self.unk_token]
        pieces = []
        start = 0
        prefix = ""
        while start < length:
            # No piece is longer than the longest, "##" included.
            longest = min(length, start + self._longest_piece - len(prefix))
            for end in range(longest, start, -1):
                piece = prefix + word[start:end]
                if piece in self.vocab:
                    break
            else:
                return [self.unk_token]
            pieces.append(piece)
            start = end
            prefix = "##"
        return pieces


class FullTokenizer:
    """Google's end-to-end tokenizer.

    Attributes:
      vocab: piece -> id.
      inv_vocab: id -> piece.

    Source: `FullTokenizer` in tokenization.py; `encode`, `decode` and
    `tokenize_with_offsets` go beyond it.
    """

    def __init__(self, vocab_file: str, do_lower_case: bool = True):
        """Initializes the tokenizer.

        Args:
          vocab_file: one piece a line.
          do_lower_case: whether to lower-case and strip accents; as the model was
            pretrained.

        Raises:
          DataError: the vocabulary cannot be read.
        """
        self.vocab = load_vocab(vocab_file)
        self.inv_vocab = {index: piece for piece, index in self.vocab.items()}
        self.basic_tokenizer = BasicTokenizer(do_lower_case=do_lower_case)
        self.wordpiece_tokenizer = WordpieceTokenizer(vocab=self.vocab)

    def tokenize(self, text: str | bytes) -> list[str]:
        """Returns the WordPieces of a text, without special pieces.

        Nothing in the text is special: "[CLS]" is split like any other text.
        """
        words = self.basic_tokenizer.tokenize(text)
        return self.wordpiece_tokenizer.tokenize(" ".join(words))

    def convert_tokens_to_ids(self, tokens: Iterable[str]) -> list[int]:
        """Looks up the ids of pieces; raises `DataError` for an unknown one."""
        return convert_by_vocab(self.vocab, tokens)

    def convert_ids_to_tokens(self, ids: Iterable[int]) -> list[str]:
        """Looks up the pieces of ids; raises `DataError` for an unknown one."""
        return convert_by_vocab(self.inv_vocab, (int(index) for index in ids))

    def tokenize_with_offsets(self, text: str | bytes) -> list[tuple[str, int, int]]:
        """Tokenizes and tells where each piece stands in the text.

        Args:
          text: any text; offsets count characters (of the decoded text, for bytes).

        Returns:
          `(piece, start, end)`, the pieces being those of `tokenize`. `[start, end)`
          runs over all that the piece came from, stripped accents included; an
          unknown word's `[UNK]` covers the whole word.
        """
        result = []
        for word, offsets in self.basic_tokenizer.tokenize_with_offsets(text):
            pieces = self.wordpiece_tokenizer.tokenize(word)
            if pieces == [self.wordpiece_tokenizer.unk_token]:
                lengths = [len(word)]
            else:
                lengths = [
                    len(piece) - 2 * (number > 0) for number, piece in enumerate(pieces)
                ]
            first = 0
            for piece, length in zip(pieces, lengths, strict=True):
                covered = offsets[first : first + length]
                start = min(begin for begin, _ in covered)
                result.append((piece, start, max(end for _, end in covered)))
                first += length
        return result

    def _pieces(
        self, text: str | bytes, with_offsets: bool
    ) -> list[tuple[str, int, int]]:
        if with_offsets:
            return self.tokenize_with_offsets(text)
        return [(piece, 0, 0) for piece in self.tokenize(text)]

    def encode(
        self,
        text_a: str | bytes,
        text_b: str | bytes | None = None,
        max_length: int | None = None,
        padding: bool | str = False,
        truncation: bool | str = True,
        return_offsets: bool = False,
    ) -> dict[str, list[Any]]:
        """Makes a model's input from one text or a pair.

        `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`; a second text without any piece
        counts as none, as in the release.

        Args:
          text_a: the first text.
          text_b: the second text, if any.
          max_length: most pieces of the result, special ones included; None for any.
          padding: "max_length" fills up with id 0, as the release does.
          truncation: how a longer input is cut. True or "longest_first" takes pieces
            off the end of the longer text, off the second if both are equal, as the
            release does; "only_first" and "only_second" cut one text; False raises.
          return_offsets: whether to add `offsets`.

        Returns:
          Lists of equal length: `input_ids`, `input_mask` (1 for pieces, 0 for
          padding), `segment_ids` (1 for the second text and its `[SEP]`), and
          `offsets` on request: (start, end) in the piece's own text, (0, 0) for
          special pieces and padding.

        Raises:
          ConfigError: arguments that contradict each other.
          DataError: a text that is too long and may not be cut.

        Source: `convert_single_example` in run_classifier.py.
        """
        if padding not in (False, "max_length"):
            raise ConfigError(
                f'Expected padding=False or padding="max_length", but got {padding!r}.'
            )
        if truncation not in _TRUNCATIONS:
            raise ConfigError(
                f"Expected truncation to be one of {_TRUNCATIONS}, but got "
                f"{truncation!r}."
            )
        if padding and max_length is None:
            raise ConfigError(
                'padding="max_length" needs a max_length, but none was given.'
            )
        pieces_a = self._pieces(text_a, return_offsets)
        pieces_b = [] if text_b is None else self._pieces(text_b, return_offsets)
        if max_length is not None:
            specials = 3 if pieces_b else 2
            if max_length < specials:
                raise ConfigError(
                    f"Expected max_length to leave room for the {specials} special "
                    f"pieces, but got max_length={max_length}."
                )
            keep_a, keep_b = _kept_lengths(
                len(pieces_a), len(pieces_b), max_length - specials, truncation
            )
            pieces_a, pieces_b = pieces_a[:keep_a], pieces_b[:keep_b]
        first = [("[CLS]", 0, 0), *pieces_a, ("[SEP]", 0, 0)]
        second = [*pieces_b, ("[SEP]", 0, 0)] if pieces_b else []
        pieces = first + second
        length = len(pieces)
        fill = max_length - length if padding and max_length is not None else 0
        ids = self.convert_tokens_to_ids(piece for piece, _, _ in pieces)
        encoded: dict[str, list[Any]] = {
            "input_ids": ids + [0] * fill,
            "input_mask": [1] * length + [0] * fill,
            "segment_ids": [0] * len(first) + [1] * len(second) + [0] * fill,
        }
        if return_offsets:
            offsets = [(start, end) for _, start, end in pieces]
            encoded["offsets"] = offsets + [(0, 0)] * fill
        return encoded

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """Joins the pieces of ids into text, words separated by single spaces.

        Args:
          ids: ids of the vocabulary.
          skip_special_tokens: whether to leave out `[PAD]`, `[UNK]`, `[CLS]`,
            `[SEP]` and `[MASK]`.

        Returns:
          The text, as far as it can be told: case, accents and spacing are gone.

        Raises:
          DataError: an id that the vocabulary does not have.
        """
        text = ""
        for piece in self.convert_ids_to_tokens(ids):
            if skip_special_tokens and piece in _SKIPPED_BY_DECODE:
                continue
            if piece.startswith("##") and len(piece) > 2:
                text += piece[2:]
            else:
                text += " " + piece if text else piece
        return text


def _kept_lengths(
    length_a: int, length_b: int, budget: int, truncation: bool | str
) -> tuple[int, int]:
    # How many pieces of each text are left when both have to fit into `budget`.
    surplus = length_a + length_b - budget
    if surplus <= 0:
        return length_a, length_b
    if truncation is False:
        raise DataError(
            f"Expected at most {budget} pieces beside the special ones, but the text "
            f"has {length_a + length_b}; raise max_length or allow truncation."
        )
    if truncation in ("only_first", "only_second"):
        length = length_a if truncation == "only_first" else length_b
        if surplus > length:
            raise DataError(
                f'Expected truncation="{truncation}" to free {surplus} places, but '
                f"that text has {length} pieces; raise max_length or use "
                f'truncation="longest_first".'
            )
        if truncation == "only_first":
            return length_a - surplus, length_b
        return length_a, length_b - surplus
    # The outcome of dropping the last piece of the longer text, of the second if
    # both are equal, until the rest fits.
    return (
        min(length_a, max(budget - length_b, budget - budget // 2)),
        min(length_b, max(budget - length_a, budget // 2)),
    )
