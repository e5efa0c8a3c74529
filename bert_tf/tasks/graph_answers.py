"""The best answer to each question as TensorFlow ops, for exports.

As `answers.py` finds it, but for ties and for contexts in which the words of the answer
occur twice: here the answer is where its pieces are.

Letters in shape comments: n texts, w words and p pieces of all of them, r rows.
"""

from typing import Any

import tensorflow as tf

from bert_tf.tasks.answers import NO_NULL_SCORE, Rules
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
        self.tokenizer = tokenizer

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
        # One more, so that there is something to gather where there is no row.
        row = tf.where(known, row, tf.size(score))
        first, last = (tf.gather(tf.pad(x, [[0, 1]]), row) for x in (begin, stop))
        text = self._text(words, windows, first, last)
        found = {"answer": tf.where(known, text, ""), "score": best}
        if not self.rules.version_2_with_negative:
            return found
        null = outputs["start_logits"][:, 0] + outputs["end_logits"][:, 0]
        null = tf.math.unsorted_segment_min(null, windows.text, count)
        odds = tf.where(known, null - best, NO_NULL_SCORE)
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
        # The word, among those of all texts, of each piece; one more, to be gathered.
        before = tf.cast(words.row_splits[:-1], tf.int32)
        own = tf.RaggedTensor.from_row_splits(windows.word, windows.splits)
        word = windows.word + tf.gather(before, own.value_rowids())
        padded = tf.pad(word, [[0, 1]])
        first_word, last_word = tf.gather(padded, first), tf.gather(padded, last)
        places = tf.ragged.range(first_word, last_word + 1)
        here = tf.gather(tf.concat([words.values, [""]], axis=0), places.values)
        text = tf.strings.reduce_join(places.with_values(here), axis=1, separator=" ")
        # The pieces of these words, q of all texts, and which are the answer's.
        pieces, lengths = self.tokenizer.tokenize_with_lengths(text)
        row = tf.cast(pieces.value_rowids(), tf.int32)  # [q]
        begins = tf.cast(pieces.row_starts(), tf.int32)
        begins += first - tf.searchsorted(word, first_word)
        number = tf.range(tf.size(row))
        is_before = number < tf.gather(begins, row)
        is_behind = number > tf.gather(begins + last - first, row)
        is_unknown = pieces.values == self.tokenizer.vocab["[UNK]"]
        is_unknown &= ~(is_before | is_behind)

        def total(of_pieces: tf.Tensor) -> tf.Tensor:
            return tf.math.unsorted_segment_sum(of_pieces, row, tf.size(text))

        # As the release has it: all of the words, where the answer's are not known, or
        # where the tokenizer does more than change characters one by one.
        bare = tf.strings.regex_replace(text, " ", "")
        is_whole = total(tf.cast(is_unknown, tf.int32)) > 0
        is_whole |= total(lengths.values) != _characters(bare)
        skipped, dropped = (
            tf.where(is_whole, 0, total(tf.where(others, lengths.values, 0)))
            for others in (is_before, is_behind)
        )
        rest = _characters(text) - skipped - dropped
        return tf.strings.substr(text, skipped, rest, unit="UTF8_CHAR")


def _characters(text: tf.Tensor) -> tf.Tensor:
    return tf.strings.length(text, unit="UTF8_CHAR")
