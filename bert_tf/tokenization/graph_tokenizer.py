"""Google's tokenizer as TensorFlow ops: a batch of strings in, a batch of ids out.

The same rules as the Python tokenizer's, applied to all characters of a batch at
once, so that texts can be tokenized in a `tf.data` pipeline or inside a SavedModel.

Letters in shape comments: n texts, w words, r rows, S sequence.
"""

import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from bert_tf.errors import ConfigError, DataError
from bert_tf.tokenization import packing
from bert_tf.tokenization.core_wordpiece import CoreWordpieceTokenizer
from bert_tf.tokenization.graph_words import MAX_CHARS_PER_WORD, WordSplitter
from bert_tf.tokenization.vocabulary import load_vocab

_OPS = ("tf_text", "core")
MAX_BYTES_PER_PIECE = 256  # a limit of TF Text's WordPiece op

_LONG_TEXT = ("truncate", "head_tail")


class GraphTokenizer(tf.Module):
    """`FullTokenizer` in TensorFlow ops: the same pieces for every string.

    A SavedModel that holds it can be loaded once `tensorflow_text` is imported, or by
    a server built with TF Text's ops; with `ops="core"`, wherever there is TensorFlow.

    Attributes:
      vocab: piece -> id, read-only.
      vocab_file: where it was read.
    """

    # `tf.Module` would search the whole vocabulary for variables, seconds each time.
    _TF_MODULE_IGNORED_PROPERTIES = tf.Module._TF_MODULE_IGNORED_PROPERTIES | {"vocab"}

    def __init__(
        self, vocab_file: str, do_lower_case: bool = True, ops: str = "tf_text"
    ):
        """Initializes the tokenizer.

        Args:
          vocab_file: one piece a line; must hold `[UNK]`.
          do_lower_case: whether to lower-case and strip accents; as the model was
            pretrained.
          ops: what splits words into pieces: "tf_text" TF Text's op; "core" ops of
            TensorFlow itself, which take up to three times as long.

        Raises:
          ConfigError: `ops` is neither of the two.
          DataError: the vocabulary cannot be read, lacks `[UNK]`, or holds a piece of
            over 256 bytes, which TF Text's op does not take.
        """
        if ops not in _OPS:
            raise ConfigError(
                f"Expected ops to be one of {_OPS}, got {ops!r}; pass one of them."
            )
        super().__init__(name="graph_tokenizer")
        # A plain dict would be taken for part of the module, and written with it.
        self.vocab = types.MappingProxyType(load_vocab(vocab_file))
        if "[UNK]" not in self.vocab:
            raise DataError(
                f"Expected the piece [UNK], which stands for words that have no "
                f"split, but {vocab_file} lacks it; add it or pass another "
                f"vocabulary."
            )
        self.vocab_file = vocab_file
        self._split_words = WordSplitter(do_lower_case)
        pieces = [""] * (max(self.vocab.values()) + 1)
        for piece, index in self.vocab.items():
            pieces[index] = piece
        self._piece_lengths = np.array(
            [len(piece.removeprefix("##")) for piece in pieces], np.int32
        )
        with tf.init_scope(), tf.device("/CPU:0"):
            self._pieces = tf.constant(pieces)
        self._wordpiece = (
            CoreWordpieceTokenizer(self.vocab)
            if ops == "core"
            else _tf_text_tokenizer(self.vocab, vocab_file)
        )
        # A graph that tokenizes at several places holds what it takes once.
        self._split_in_graphs = tf.function(
            self._split, [tf.TensorSpec([None], tf.string)], autograph=False
        )

    def tokenize(self, strings: tf.Tensor) -> tf.RaggedTensor:
        """Returns the ids of a batch of texts, without special pieces.

        Args:
          strings: string [n], UTF-8; bad bytes are left out.

        Returns:
          int32 [n, None].
        """
        _, word_splits, pieces = self._words_and_pieces(strings)
        with tf.device("/CPU:0"):
            return _join_words(pieces, word_splits)

    def tokenize_with_lengths(
        self, strings: tf.Tensor
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Returns the ids of a batch of texts, and what each piece stands for.

        Args:
          strings: string [n], UTF-8; bad bytes are left out.

        Returns:
          As `tokenize`; and int32 [n, None], how many characters of the normalized text
          each piece stands for: `[UNK]` for those of its word (of a word of over 200
          characters, for 5).
        """
        words, word_splits, pieces = self._words_and_pieces(strings)
        with tf.device("/CPU:0"):
            of_words = tf.strings.length(words, unit="UTF8_CHAR")
            lengths = tf.where(
                pieces.values == self.vocab["[UNK]"],
                tf.gather(of_words, pieces.value_rowids()),
                tf.gather(self._piece_lengths, pieces.values),
            )
            return (
                _join_words(pieces, word_splits),
                _join_words(pieces.with_values(lengths), word_splits),
            )

    def _words_and_pieces(
        self, strings: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.RaggedTensor]:
        """Returns words as `WordSplitter` does, and ids of each, int32 [w, None]."""
        strings = _as_batch(strings)
        if tf.executing_eagerly():
            return self._split(strings)
        return self._split_in_graphs(strings)

    def _split(
        self, strings: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.RaggedTensor]:
        with tf.device("/CPU:0"):
            words, word_splits = self._split_words(strings)
            return words, word_splits, self._wordpiece.tokenize(words)

    def pieces(self, ids: tf.Tensor) -> tf.Tensor:
        """Returns the pieces that ids stand for, strings of the same shape."""
        with tf.device("/CPU:0"):
            return tf.gather(self._pieces, ids)

    @property
    def special_ids(self) -> tuple[int, int]:
        """The ids of `[CLS]` and `[SEP]`.

        Raises:
          DataError: the vocabulary lacks one of them.
        """
        for piece in ("[CLS]", "[SEP]"):
            if piece not in self.vocab:
                raise DataError(
                    f"Expected the piece {piece}, which every input holds, but "
                    f"{self.vocab_file} lacks it; add it or pass another vocabulary."
                )
        return self.vocab["[CLS]"], self.vocab["[SEP]"]

    def pack(
        self,
        text_a: tf.Tensor,
        text_b: tf.Tensor | None = None,
        max_seq_length: int = 128,
        pad_to_max: bool = True,
        *,
        long_text: str = "truncate",
    ) -> dict[str, tf.Tensor]:
        """Makes a model's input from a batch of texts or pairs.

        `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`, cut and padded as the release
        does: pieces are dropped from the end of the longer text, of the second if
        both are equal. In a row whose second text has no piece there is no second
        segment.

        Args:
          text_a: string [n].
          text_b: string [n], or None.
          max_seq_length: most pieces of a row, special ones included.
          pad_to_max: whether rows are `max_seq_length` long, or only as long as the
            longest row of the batch.
          long_text: which of its pieces a text that is cut keeps: "truncate" the
            first ones, as the release does; "head_tail" its first ones for a
            quarter of the room, (n + 2) // 4 of n, and its last ones for the rest.

        Returns:
          `input_ids`, `input_mask` and `segment_ids`, int32 [n, S].

        Raises:
          ConfigError: `max_seq_length` leaves no room for the special pieces, or
            `long_text` is neither of the two.
          DataError: the vocabulary lacks `[CLS]` or `[SEP]`, or the batches differ
            in size.

        Source: `convert_single_example` in run_classifier.py.
        """
        if long_text not in _LONG_TEXT:
            raise ConfigError(
                f"Expected long_text to be one of {_LONG_TEXT}, got {long_text!r}; "
                f"pass one of them."
            )
        with tf.device("/CPU:0"):
            extracts = self._fit(text_a, text_b, max_seq_length)
            if long_text == "head_tail":
                extracts = [packing.head_and_tail(extract) for extract in extracts]
            return self._arrange(extracts, max_seq_length, pad_to_max)

    def pack_windows(
        self,
        text_a: tf.Tensor,
        text_b: tf.Tensor | None = None,
        max_seq_length: int = 128,
        doc_stride: int | None = None,
        pad_to_max: bool = True,
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Makes a model's input from a batch of texts or pairs without cutting any.

        As `pack`, but a text of which a row holds only n pieces gets several rows, its
        windows: n pieces from the first one on, n pieces from `doc_stride` on, and so
        forth, and the last n. A text that fits is whole in every window of its pair. If
        both texts are too long, each window holds the next part of either, until the
        one with fewer windows stays at its last part.

        Args:
          text_a: string [n].
          text_b: string [n], or None.
          max_seq_length: most pieces of a row, special ones included.
          doc_stride: how many pieces further than the one before a window begins, at
            most n, so that none is missed. None for half of n.
          pad_to_max: whether rows are `max_seq_length` long, or only as long as the
            longest row of the batch.

        Returns:
          `input_ids`, `input_mask` and `segment_ids`, int32 [r, S], a row a window,
          those of one text or pair after the other; and int32 [n], how many windows
          each text or pair has, at least one.

        Raises:
          ConfigError: `max_seq_length` leaves no room for the special pieces and one of
            each text, or `doc_stride` is less than 1.
          DataError: the vocabulary lacks `[CLS]` or `[SEP]`, or the batches differ
            in size.
        """
        if doc_stride is not None:
            if doc_stride < 1:
                raise ConfigError(
                    f"Expected doc_stride to be at least 1, got {doc_stride}; raise "
                    f"it, or leave it out for half of what a window holds."
                )
            doc_stride = min(doc_stride, max_seq_length)  # as sys.maxsize is no int32
        with tf.device("/CPU:0"):
            extracts = self._fit(text_a, text_b, max_seq_length, each_text=1)
            extracts, windows = packing.windows(extracts, doc_stride)
            return self._arrange(extracts, max_seq_length, pad_to_max), windows

    def _fit(
        self,
        text_a: tf.Tensor,
        text_b: tf.Tensor | None,
        max_seq_length: int,
        each_text: int = 0,
    ) -> list[packing.Extract]:
        """Tokenizes texts and keeps the pieces that a row has room for.

        Args:
          text_a: string [n].
          text_b: string [n], or None.
          max_seq_length: most pieces of a row, special ones included.
          each_text: how many pieces of each text a row must have room for.
        """
        texts = [text_a] if text_b is None else [text_a, text_b]
        specials = len(texts) + 1
        if max_seq_length < specials + each_text * len(texts):
            more = f" and {each_text} of each text" if each_text else ""
            raise ConfigError(
                f"Expected max_seq_length to leave room for the {specials} special "
                f"pieces{more}, but got max_seq_length={max_seq_length}; raise it."
            )
        _ = self.special_ids  # raises if there are none
        texts = [_as_batch(text) for text in texts]
        if len(texts) == 2:
            _check_rows(*texts)
        return packing.fit([self.tokenize(text) for text in texts], max_seq_length)

    def _arrange(
        self, extracts: list[packing.Extract], max_seq_length: int, pad_to_max: bool
    ) -> dict[str, tf.Tensor]:
        return packing.arrange(extracts, *self.special_ids, max_seq_length, pad_to_max)


def _join_words(pieces: tf.RaggedTensor, word_splits: tf.Tensor) -> tf.RaggedTensor:
    """Makes of something for each piece of each word, [w, None], rows of texts."""
    row_splits = tf.gather(pieces.row_splits, word_splits)
    return tf.RaggedTensor.from_row_splits(pieces.values, row_splits, validate=False)


def check_piece_lengths(vocab: Mapping[str, int], vocab_file: str) -> None:
    """Checks that TF Text's WordPiece op takes the pieces of a vocabulary.

    Args:
      vocab: piece -> id.
      vocab_file: named in the message.

    Raises:
      DataError: one that words can hold has over 256 bytes.
    """
    for piece, index in vocab.items():
        letters = piece.removeprefix("##")
        if (
            len(letters) <= MAX_CHARS_PER_WORD
            and len(letters.encode()) > MAX_BYTES_PER_PIECE
        ):
            raise DataError(
                f"Expected pieces of at most {MAX_BYTES_PER_PIECE} bytes, but "
                f"{vocab_file} line {index + 1} has {len(letters.encode())}; shorten "
                f"it or use FullTokenizer."
            )


def _tf_text_tokenizer(vocab: Mapping[str, int], vocab_file: str) -> Any:
    # Only here, so that "core" does without TF Text.
    import tensorflow_text as tf_text

    check_piece_lengths(vocab, vocab_file)
    # Strings live on the host, so everything here does.
    with tf.init_scope(), tf.device("/CPU:0"):
        return tf_text.FastWordpieceTokenizer(
            _matchable_pieces(vocab),
            max_bytes_per_word=4 * MAX_CHARS_PER_WORD,
            token_out_type=tf.int32,
            unknown_token="[UNK]",
            no_pretokenization=True,
        )


def _matchable_pieces(vocab: Mapping[str, int]) -> list[str]:
    """Lists what TF Text's WordPiece op should match for each id.

    Some ids get a stand-in that no word equals, as words have no spaces: those of blank
    pieces ("" and "##", which no word contains), of pieces longer than any word, and of
    lines that a later equal line overrides.
    """
    pieces = [f"never {index}" for index in range(max(vocab.values()) + 1)]
    for piece, index in vocab.items():
        letters = piece.removeprefix("##")
        if not letters or len(letters) > MAX_CHARS_PER_WORD:
            continue
        pieces[index] = piece
    return pieces


def _as_batch(strings: tf.Tensor) -> tf.Tensor:
    strings = tf.convert_to_tensor(strings, tf.string)
    if strings.shape.rank not in (1, None):
        raise DataError(
            f"Expected a batch of texts, string [n], got the shape {strings.shape}; "
            "put a single text into a list."
        )
    return strings


def _check_rows(text_a: tf.Tensor, text_b: tf.Tensor) -> None:
    # One second text would otherwise be spread over all of the first ones.
    if not text_a.shape.is_compatible_with(text_b.shape):
        raise DataError(
            f"Expected as many second texts as first ones, but got shapes "
            f"{text_a.shape} and {text_b.shape}."
        )
    tf.debugging.assert_equal(
        tf.size(text_a), tf.size(text_b), "Expected as many second texts as first ones."
    )
