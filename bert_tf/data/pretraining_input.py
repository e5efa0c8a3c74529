"""Files of pretraining records to batches: order by seed and epoch, from any step on.

Nothing but the place of the records is held in memory (`record_index.py`), so that
there may be billions of them.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from bert_tf.data.input_pipeline import ALL_ROWS, Share, filled_up, finish
from bert_tf.data.record_index import RecordIndex
from bert_tf.data.records import FeatureSpec, parse_records

Masking = Callable[[dict[str, tf.Tensor], tf.Tensor, int, int], dict[str, tf.Tensor]]

# Blocks whose records are shuffled together: 8,192 records, some 7 MB at 128 pieces.
_GROUP_SIZE = 64
# Groups read ahead of the one that batches are taken from.
_GROUPS_AHEAD = 2
# What evaluations fold into the seed of their masks, where training has the step.
_EVALUATION = 2**31 - 1


def training_batches(
    index: RecordIndex,
    spec: FeatureSpec,
    *,
    batch_size: int,
    vocab_size: int,
    random_seed: int,
    start_step: int = 0,
    masking: Masking | None = None,
    share: Share = ALL_ROWS,
) -> tf.data.Dataset:
    """Returns the endless batches of a training run, from one of its steps on.

    Each epoch takes every record once: its blocks in an order that is a function of
    (`random_seed`, epoch), and in each group of 64 of them all records in an order that
    is a function of (`random_seed`, epoch, group). An epoch's last records and the
    first of the next share a batch. So the batch of a step is known without those
    before it, and to go on from a step takes the reading of one group.

    Args:
      index: The records.
      spec: Their features.
      batch_size: Records per batch, over all replicas.
      vocab_size: How many ids there are.
      random_seed: The run's seed.
      start_step: The step whose batch comes first.
      masking: Draws masks of some rows of a batch, as a function of an integer seed
        `[2]`, made of (`random_seed`, step), the place of the first row and the size
        of the batch.
      share: The rows of each batch to parse. What is read is the whole batch.

    Returns:
      A dataset of dictionaries of `[share, ...]`. To iterate it raises an
      InvalidArgumentError where a record is not as `spec` and `vocab_size` say.
    """
    order = _Order(index, random_seed)
    epoch, group, skipped = order.place_of(start_step * batch_size)

    def groups(epoch: tf.Tensor) -> tf.data.Dataset:
        blocks = tf.data.Dataset.from_tensor_slices(order.groups(epoch))
        return blocks.enumerate().map(lambda group, row: (epoch, group, row))

    def read(epoch: tf.Tensor, group: tf.Tensor, blocks: tf.Tensor) -> tf.Tensor:
        records = index.read(tf.boolean_mask(blocks, blocks >= 0))
        seed = _seed(random_seed, epoch)
        seed = tf.random.experimental.stateless_fold_in(seed, group)
        return tf.random.experimental.stateless_shuffle(records, seed)

    def features(step: tf.Tensor, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        own = share.of(serialized, batch_size)
        batch = _parse(own, spec, vocab_size)
        if masking is None:
            return batch
        seed = _seed(random_seed, step)
        return masking(batch, seed, share.first(batch_size), batch_size)

    records = (
        tf.data.Dataset.range(epoch, tf.int64.max)
        .flat_map(groups)
        .skip(group)
        .map(read, num_parallel_calls=_GROUPS_AHEAD, deterministic=True)
        .unbatch()
        .skip(skipped)
        .batch(batch_size, drop_remainder=True)
    )
    return finish(
        records.enumerate(start_step).map(
            features, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
    )


def evaluation_batches(
    index: RecordIndex,
    spec: FeatureSpec,
    *,
    batch_size: int,
    max_steps: int,
    vocab_size: int,
    random_seed: int,
    masking: Masking | None = None,
    share: Share = ALL_ROWS,
) -> tf.data.Dataset:
    """Returns the records in order, in batches that are all of one size.

    Args:
      index: The records.
      spec: Their features.
      batch_size: Records per batch.
      max_steps: How many batches; if there are not so many, the records are repeated,
        as in the release. 0 for every record once: the last batch is then filled up
        with rows of zeros, whose `is_real_example` is 0.
      vocab_size, random_seed, masking, share: As in training, but masks are those of
        the batch: the same in every evaluation.

    Source: `input_fn_builder` in run_pretraining.py of the release.
    """

    def features(batch: tf.Tensor, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        own = share.of(serialized, batch_size)
        columns = _parse(own, spec, vocab_size)
        if masking is not None:
            seed = _seed(random_seed, batch)
            seed = tf.random.experimental.stateless_fold_in(seed, _EVALUATION)
            columns = masking(columns, seed, share.first(batch_size), batch_size)
        columns["is_real_example"] = tf.ones_like(own, tf.int32)
        return filled_up(columns, share.size(batch_size))

    blocks = np.arange(len(index.counts))
    records = (
        tf.data.Dataset.from_tensor_slices(blocks)
        .map(lambda block: index.read(block[tf.newaxis]))
        .unbatch()
    )
    if max_steps:
        records = records.repeat().batch(batch_size).take(max_steps)
    else:
        records = records.batch(batch_size)
    return finish(records.enumerate().map(features, num_parallel_calls=2))


def _seed(random_seed: int, number: tf.Tensor) -> tf.Tensor:
    """Returns the seed, int64 `[2]`, of an epoch, a step or a batch (int64)."""
    return tf.stack([tf.constant(random_seed, tf.int64), number])


def _parse(
    serialized: tf.Tensor, spec: FeatureSpec, vocab_size: int
) -> dict[str, tf.Tensor]:
    """Parses records, and stops at what a model would take for something else.

    Behind this, only a CPU's ops would raise: a GPU takes zeros for an id that is too
    large, and any device takes another row's piece for a position that is.
    """
    batch = parse_records(serialized, spec)
    (length,) = spec["input_ids"].shape
    ends = {
        "input_ids": vocab_size,
        "masked_lm_ids": vocab_size,
        "masked_lm_positions": length,
        "next_sentence_labels": 2,
    }
    checks = [
        check
        for name in ends.keys() & batch.keys()
        for check in (
            tf.debugging.assert_non_negative(batch[name], name),
            tf.debugging.assert_less(batch[name], ends[name], name),
        )
    ]
    with tf.control_dependencies(checks):
        return {name: tf.identity(x) for name, x in batch.items()}


class _Order:
    """The order of blocks in epochs."""

    def __init__(self, index: RecordIndex, random_seed: int):
        self._index = index
        self._random_seed = random_seed

    def groups(self, epoch: tf.Tensor) -> tf.Tensor:
        """Returns an epoch's blocks, int32 `[groups, 64]`, -1 where there is none.

        Args:
          epoch: int64 scalar.
        """
        blocks = tf.random.experimental.stateless_shuffle(
            tf.range(len(self._index.counts)),
            seed=_seed(self._random_seed, epoch),
        )
        missing = -len(self._index.counts) % _GROUP_SIZE
        blocks = tf.pad(blocks, [[0, missing]], constant_values=-1)
        return tf.reshape(blocks, [-1, _GROUP_SIZE])

    def place_of(self, record: int) -> tuple[int, int, int]:
        """Returns epoch, group and place in the group of a record of the run."""
        epoch, place = divmod(record, self._index.num_records)
        groups = self.groups(tf.constant(epoch, tf.int64)).numpy()
        counts = np.where(groups >= 0, self._index.counts[groups], 0).sum(axis=1)
        ends = np.cumsum(counts)
        group = int(np.searchsorted(ends, place, side="right"))
        return epoch, group, place - int(ends[group] - counts[group])
