"""The character rules as TensorFlow ops.

Most characters become one other character, whatever stands beside them: two gathers.
The exceptions are rewritten first, each only in batches that have it.

Letters in shape comments: n texts, c characters.
"""

import tensorflow as tf

from bert_tf.tokenization import rules

_NOT_ONE_TO_ONE = rules.SIGMA | rules.LONG | rules.MARK | rules.VOID


class GraphNormalizer(tf.Module):
    """Cleans, lower-cases, decomposes and strips a batch of texts."""

    def __init__(self, do_lower_case: bool):
        """Args: do_lower_case: whether to lower-case and strip accents."""
        super().__init__(name="graph_normalizer")
        table = rules.compile_table(bool(do_lower_case))
        # Characters are looked up on the host, where the strings are.
        with tf.init_scope(), tf.device("/CPU:0"):
            self._blocks = tf.constant(table.blocks << rules.BLOCK_BITS)
            self._entries = tf.constant(table.entries.reshape(-1))
            self._long_values = tf.constant(table.long_values)
            self._long_splits = tf.constant(table.long_splits)
            self._marks = tf.constant(table.marks)
            self._mark_classes = tf.constant(table.mark_classes)

    def __call__(self, strings: tf.Tensor) -> tf.Tensor:
        """Cleans, lower-cases, decomposes and strips; all but spacing.

        Args:
          strings: string [n], UTF-8; bad bytes are left out.

        Returns:
          string [n], in which only spaces and what stands alone separate words.
        """
        decoded = tf.strings.unicode_decode(strings, "UTF-8", errors="ignore")
        chars, splits = decoded.values, decoded.row_splits  # int32 [c], int64 [n + 1]
        entries = self._look_up(chars)
        chars, splits, entries = tf.cond(
            tf.reduce_any(entries & _NOT_ONE_TO_ONE != 0),
            lambda: self._make_one_to_one(chars, splits, entries),
            lambda: (chars, splits, entries),
        )
        chars += tf.bitwise.right_shift(entries, rules.PAYLOAD_SHIFT) - rules.DELTA_BIAS
        return tf.strings.unicode_encode(
            tf.RaggedTensor.from_row_splits(chars, splits, validate=False), "UTF-8"
        )

    def _look_up(self, chars: tf.Tensor) -> tf.Tensor:
        blocks = tf.gather(
            self._blocks, tf.bitwise.right_shift(chars, rules.BLOCK_BITS)
        )
        return tf.gather(self._entries, blocks + (chars & 2**rules.BLOCK_BITS - 1))

    def _make_one_to_one(
        self, chars: tf.Tensor, splits: tf.Tensor, entries: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Rewrites texts so that the table has one character for each of theirs.

        Args:
          chars: int32 [c], code points.
          splits: int64 [n + 1], where each text begins.
          entries: int32 [c], what the table says of them.

        Returns:
          The same three, rewritten.
        """
        state = (chars, splits, entries)
        for flag, rewrite in (
            (rules.SIGMA, self._end_words_with_final_sigma),
            (rules.LONG, self._spell_out_long_rows),
            (rules.MARK, self._sort_marks),
            (rules.VOID, _remove_void),
        ):
            state = tf.cond(
                tf.reduce_any(state[2] & flag != 0),
                lambda rewrite=rewrite, state=state: rewrite(*state),
                lambda state=state: state,
            )
        return state

    def _end_words_with_final_sigma(
        self, chars: tf.Tensor, splits: tf.Tensor, entries: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        # A sigma is final if, looking past transparent characters, a cased one stands
        # before it and none behind it.
        row = tf.ragged.row_splits_to_segment_ids(splits)
        opaque = tf.cast(
            entries & (rules.TRANSPARENT | rules.CASED) != rules.TRANSPARENT, tf.int32
        )
        where = tf.where(opaque > 0)[:, 0]
        count = tf.size(where)
        # Sigmas themselves are opaque: `rank` is each one's place among the opaque.
        rank = tf.cumsum(opaque) - 1
        sigma = tf.where(entries & rules.SIGMA != 0)[:, 0]
        sigma_rank = tf.gather(rank, sigma)

        def is_cased(neighbour: tf.Tensor) -> tf.Tensor:
            place = tf.gather(where, tf.clip_by_value(neighbour, 0, count - 1))
            cased = tf.gather(entries, place) & rules.CASED != 0
            same_text = tf.gather(row, place) == tf.gather(row, sigma)
            return (neighbour >= 0) & (neighbour < count) & cased & same_text

        final = is_cased(sigma_rank - 1) & ~is_cased(sigma_rank + 1)
        final = tf.boolean_mask(sigma, final)
        chars = tf.tensor_scatter_nd_update(
            chars,
            final[:, tf.newaxis],
            tf.fill(tf.shape(final), ord(rules.FINAL_SIGMA)),
        )
        return chars, splits, self._look_up(chars)

    def _spell_out_long_rows(
        self, chars: tf.Tensor, splits: tf.Tensor, entries: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        is_long = entries & rules.LONG != 0
        row = tf.where(is_long, tf.bitwise.right_shift(entries, rules.PAYLOAD_SHIFT), 0)
        begin = tf.gather(self._long_splits, row)
        length = tf.where(is_long, tf.gather(self._long_splits, row + 1) - begin, 1)
        total = tf.cumsum(length)
        source = tf.repeat(tf.range(tf.size(chars)), length)
        offset = tf.range(tf.size(source)) - tf.gather(total - length, source)
        spelled = tf.gather(
            self._long_values,
            tf.where(tf.gather(is_long, source), tf.gather(begin, source) + offset, 0),
        )
        chars = tf.where(tf.gather(is_long, source), spelled, tf.gather(chars, source))
        total = tf.cast(tf.concat([[0], total], axis=0), tf.int64)
        return chars, tf.gather(total, splits), self._look_up(chars)

    def _sort_marks(
        self, chars: tf.Tensor, splits: tf.Tensor, entries: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        # Marks that stay are sorted by their class within their run. Marks that are
        # stripped, and dropped characters, may come to stand anywhere in it.
        is_mark = entries & rules.MARK != 0
        index = tf.searchsorted(self._marks, chars)
        mark_class = tf.gather(
            self._mark_classes, tf.minimum(index, tf.size(self._marks) - 1)
        )
        mark_class = tf.where(is_mark, mark_class, 0)
        ends_run = tf.cast(entries & rules.JOINS == 0, tf.int64)
        run = tf.cumsum(ends_run) + tf.ragged.row_splits_to_segment_ids(splits)
        # A run's base has class 0 and comes first, so that it stays in front.
        order = tf.argsort(run * 256 + tf.cast(mark_class, tf.int64), stable=True)
        return tf.gather(chars, order), splits, tf.gather(entries, order)


def _remove_void(
    chars: tf.Tensor, splits: tf.Tensor, entries: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    kept = tf.where(entries & rules.VOID == 0)[:, 0]
    splits = tf.searchsorted(kept, splits, out_type=tf.int64)
    return tf.gather(chars, kept), splits, tf.gather(entries, kept)
