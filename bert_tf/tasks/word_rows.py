"""Rows of examples that come as words, some at a time: of questions, of sentences."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bert_tf.tokenization import GraphTokenizer
from bert_tf.tokenization.word_windows import WordWindows, pack_words

# Enough to keep the cores busy, small in memory.
_EXAMPLES_AT_A_TIME = 512


class WordRows:
    """Packs the words of examples.

    Args:
      tokenizer: Of the vocabulary.
      words: Returns the words of an example.
      query: Returns what stands before each row of an example; None if nothing does.
      **options: Of `pack_words`.
    """

    def __init__(
        self,
        tokenizer: GraphTokenizer,
        words: Callable[[Any], Sequence[str]],
        query: Callable[[Any], str] | None = None,
        **options: Any,
    ):
        self._tokenizer = tokenizer
        self._words = words
        self._query = query
        self._options = options

    def count(self, examples: Sequence[Any]) -> np.ndarray:
        """Returns how many rows each example has, int32 `[n]`."""
        counts = [
            np.bincount(windows.text, minlength=len(part))
            for part, windows in self.of(examples)
        ]
        return np.concatenate(counts).astype(np.int32)

    def of(
        self, examples: Sequence[Any]
    ) -> Iterator[tuple[Sequence[Any], WordWindows]]:
        """Yields some examples and their rows, as numpy arrays, in order."""
        for start in range(0, len(examples), _EXAMPLES_AT_A_TIME):
            part = examples[start : start + _EXAMPLES_AT_A_TIME]
            words = [self._words(example) for example in part]
            queries = [self._query(example) for example in part] if self._query else []
            windows = self._pack(
                as_strings(word for each in words for word in each),
                tf.constant([len(each) for each in words], tf.int64),
                as_strings(queries),
            )
            yield part, tf.nest.map_structure(lambda x: x.numpy(), windows)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string),
            tf.TensorSpec([None], tf.int64),
            tf.TensorSpec([None], tf.string),
        ],
        autograph=False,
    )
    def _pack(
        self, words: tf.Tensor, lengths: tf.Tensor, queries: tf.Tensor
    ) -> WordWindows:
        return self.pack(tf.RaggedTensor.from_row_lengths(words, lengths), queries)

    def pack(
        self,
        words: tf.RaggedTensor,
        queries: tf.Tensor | None = None,
        pad_to_max: bool = True,
    ) -> WordWindows:
        """Returns the rows of texts, as `pack_words` makes them.

        Args:
          words: string `[n, None]`.
          queries: string `[n]`, if there are any.
          pad_to_max: As for `pack_words`.
        """
        return pack_words(
            self._tokenizer,
            words,
            queries=queries if self._query else None,
            pad_to_max=pad_to_max,
            **self._options,
        )


def as_strings(texts: Iterable[str]) -> tf.Tensor:
    """Returns string `[n]`; a lone surrogate, which UTF-8 cannot hold, is dropped."""
    encoded = [text.encode("utf-8", "ignore") for text in texts]
    return tf.constant(encoded, tf.string, [len(encoded)])
