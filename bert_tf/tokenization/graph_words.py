"""Google's words as TensorFlow ops: what `BasicTokenizer` does, for a batch of texts.

Letters in shape comments: n texts, w words.
"""

import tensorflow as tf

from bert_tf.tokenization import rules
from bert_tf.tokenization.graph_normalizer import GraphNormalizer

MAX_CHARS_PER_WORD = 200

_PLAIN = r"[\t\n\r -~]*"


class WordSplitter(tf.Module):
    """Splits texts into words and single punctuation marks and ideographs.

    A word of over 200 characters, which has no split into pieces, becomes `[UNK]`.
    """

    def __init__(self, do_lower_case: bool):
        """Args: do_lower_case: whether to lower-case and strip accents."""
        super().__init__(name="word_splitter")
        self._do_lower_case = do_lower_case
        self._standing_alone = f"[{rules.standing_alone()}]"
        self._normalizer = GraphNormalizer(do_lower_case)

    def __call__(self, strings: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Splits texts into normalized words.

        Args:
          strings: string [n], UTF-8; bad bytes are left out.

        Returns:
          string [w], the words of all texts in order, and int64 [n + 1], where the
          words of each text begin.
        """
        # Plain ASCII needs no table, which halves the time for English.
        is_plain = tf.strings.regex_full_match(strings, _PLAIN)
        plain_rows = tf.where(is_plain)
        other_rows = tf.where(~is_plain)
        texts = strings
        if self._do_lower_case:
            texts = tf.tensor_scatter_nd_update(
                texts, plain_rows, tf.strings.lower(tf.gather_nd(strings, plain_rows))
            )
        texts = tf.tensor_scatter_nd_update(
            texts, other_rows, self._normalizer(tf.gather_nd(strings, other_rows))
        )
        texts = tf.strings.regex_replace(texts, self._standing_alone, r" \0 ")
        split = tf.raw_ops.StringSplitV2(input=texts, sep="")
        words = tf.cond(
            tf.reduce_any(tf.strings.length(split.values) > MAX_CHARS_PER_WORD),
            lambda: _replace_long_words(split.values),
            lambda: split.values,
        )
        row = tf.range(tf.size(strings, out_type=tf.int64) + 1)
        return words, tf.searchsorted(split.indices[:, 0], row, out_type=tf.int64)


def _replace_long_words(words: tf.Tensor) -> tf.Tensor:
    # The WordPiece op counts bytes; the release counts characters.
    lengths = tf.strings.length(words, unit="UTF8_CHAR")
    return tf.where(lengths > MAX_CHARS_PER_WORD, "[UNK]", words)
