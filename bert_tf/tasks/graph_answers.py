"""The best answer to each question as TensorFlow ops, for exports.

As `answers.py` finds it, but for ties and for contexts in which the words of the answer
occur twice: here the answer is where its pieces are.

Letters in shape comments: n texts, w words and p pieces of all of them, r rows.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from bert_tf.tasks.answers import Rules
from bert_tf.tasks.squad_files import WHITESPACE
from bert_tf.tokenization import GraphTokenizer
from bert_tf.tokenization.word_windows import WordWindows


def split_context(context: tf.Tensor) -> tf.RaggedTensor:
    """Returns the words of contexts `[n]`, as the release splits them, `[n, None]`."""
    spaced = tf.strings.regex_replace(context, f"[{WHITESPACE}]", " ")
    words = tf.strings.split(spaced, sep=" ")
    return tf.ragged.boolean_mask(words, tf.strings.length(words) > 0)


class GraphAnswers:
    """Finds the best answer by the logits of its ends.

    Args:
      rules: What can be one.
      tokenizer: Of the vocabulary that the pieces are of.
    """

    def __init__(self, rules: Rules, tokenizer: GraphTokenizer):
        self.rules = rules
        lengths = np.zeros(max(tokenizer.vocab.values()) + 1, np.int32)
        for piece, index in tokenizer.vocab.items():
            lengths[index] = len(piece.removeprefix("##"))
        # Nobody knows what it stands for: no sum with it is that of a text.
        lengths[tokenizer.vocab["[UNK]"]] = -(2**20)
        self._lengths = lengths

    def __call__(
        self, words: tf.RaggedTensor, windows: WordWindows, outputs: dict[str, Any]
    ) -> dict[str, tf.Tensor]:
        """Returns `answer`, string `[n]`, `score`, and if it may be none `null_odds`.

        Args:
          words: string `[n, None]`, of the contexts.
          windows: The rows made of them.
          outputs: `start_logits` and `end_logits`, `[r, S]`.
        """
        count = words.nrows(out_type=tf.int32)
        score, begin, stop = self._best_spans(windows, outputs)
        best = tf.math.unsorted_segment_max(score, windows.text, count)
        is_best = score == tf.gather(best, windows.text)
        rows = tf.range(tf.size(score))
        row = tf.math.unsorted_segment_min(
            tf.where(is_best, rows, tf.int32.max), windows.text, count
        )
        known = best > outputs["start_logits"].dtype.min
        row = tf.where(known, row, 0)
        # One more, so that there is something to gather where there is no row.
        first, last = (tf.gather(tf.pad(x, [[0, 1]]), row) for x in (begin, stop))
        text = self._text(words, windows, first, last)
        found = {"answer": tf.where(known, text, ""), "score": best}
        if not self.rules.version_2_with_negative:
            return found
        null = outputs["start_logits"][:, 0] + outputs["end_logits"][:, 0]
        null = tf.math.unsorted_segment_min(null, windows.text, count)
        odds = tf.where(known, null - best, null.dtype.max)
        none = odds > self.rules.null_score_diff_threshold
        return found | {
            "answer": tf.where(none, "", found["answer"]),
            "null_odds": odds,
        }

    def _best_spans(
        self, windows: WordWindows, outputs: dict[str, Any]
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns of each row the best score `[r]`, and the pieces at its ends."""
        starts, ends = outputs["start_logits"], outputs["end_logits"]
        size = tf.minimum(self.rules.n_best_size, tf.shape(starts)[1])
        starts, begin = tf.math.top_k(starts, size)
        ends, stop = tf.math.top_k(ends, size)
        begin, stop = begin[:, :, tf.newaxis], stop[:, tf.newaxis, :]
        offset = windows.offset[:, tf.newaxis, tf.newaxis]
        length = windows.length[:, tf.newaxis, tf.newaxis]
        allowed = (begin >= offset) & (stop < offset + length) & (begin <= stop)
        allowed &= stop - begin < self.rules.max_answer_length
        # The same places, among the pieces of all texts.
        shift = tf.gather(windows.splits, windows.text) + windows.start
        shift = shift[:, tf.newaxis, tf.newaxis] - offset
        best_row = tf.pad(windows.best_row, [[0, 1]], constant_values=-1)
        places = tf.where(allowed, begin + shift, tf.size(windows.best_row))
        rows = tf.range(tf.shape(starts)[0])[:, tf.newaxis, tf.newaxis]
        allowed &= tf.gather(best_row, places) == rows
        scores = starts[:, :, tf.newaxis] + ends[:, tf.newaxis, :]
        scores = tf.where(allowed, scores, scores.dtype.min)
        scores = tf.reshape(scores, [-1, size * size])
        best = tf.argmax(scores, axis=1, output_type=tf.int32)

        def at_best(x: tf.Tensor) -> tf.Tensor:
            flat = tf.reshape(tf.broadcast_to(x, tf.shape(allowed)), [-1, size * size])
            return tf.gather(flat, best, batch_dims=1)

        return (
            tf.reduce_max(scores, axis=1),
            at_best(begin + shift),
            at_best(stop + shift),
        )

    def _text(
        self,
        words: tf.RaggedTensor,
        windows: WordWindows,
        first: tf.Tensor,
        last: tf.Tensor,
    ) -> tf.Tensor:
        """Returns what the contexts say from one piece to another, string `[n]`."""
        # One more, so that there is something to gather where there is no piece.
        word = tf.pad(windows.word, [[0, 1]])
        before = tf.cast(words.row_splits[:-1], tf.int32)
        first_word, last_word = tf.gather(word, first), tf.gather(word, last)
        places = tf.ragged.range(before + first_word, before + last_word + 1)
        here = tf.gather(tf.concat([words.values, [""]], axis=0), places)
        text = tf.strings.reduce_join(here, axis=1, separator=" ")
        # Of its first and last words, what the answer's own pieces are of.
        lengths = tf.gather(self._lengths, tf.pad(windows.pieces, [[0, 1]]))
        sums = tf.concat([[0], tf.cumsum(lengths)], axis=0)
        global_word = word + tf.gather(
            tf.pad(before, [[0, 1]]), self._text_of_piece(windows)
        )
        from_word = tf.searchsorted(global_word[:-1], before + first_word)
        to_word = tf.searchsorted(global_word[:-1], before + last_word, side="right")
        skipped = tf.gather(sums, first) - tf.gather(sums, from_word)
        dropped = tf.gather(sums, to_word) - tf.gather(sums, last + 1)
        bare = tf.strings.regex_replace(text, " ", "")
        all_of_them = tf.gather(sums, to_word) - tf.gather(sums, from_word)
        # Else the tokenizer does more than change characters one by one.
        one_by_one = all_of_them == tf.strings.length(bare, unit="UTF8_CHAR")
        length = tf.strings.length(text, unit="UTF8_CHAR")
        return tf.strings.substr(
            text,
            tf.where(one_by_one, skipped, 0),
            tf.where(one_by_one, length - skipped - dropped, length),
            unit="UTF8_CHAR",
        )

    def _text_of_piece(self, windows: WordWindows) -> tf.Tensor:
        """Returns the text that each piece is of, and one more, `[p + 1]`."""
        pieces = tf.range(tf.size(windows.pieces) + 1)
        return tf.searchsorted(windows.splits[1:], pieces, side="right")
