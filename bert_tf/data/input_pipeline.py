"""Record files to batches: order by seed, length buckets, whole batches, padding rows.

A batch is planned as the numbers of its records in the file, `rows`; only then are
these parsed.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from bert_tf.data.records import FeatureSpec, count_records, parse_records
from bert_tf.errors import ConfigError, DataError

# The features with a number for each piece of a sequence.
_SEQUENCES = ("input_ids", "input_mask", "segment_ids", "tag_ids")

# Records parsed at a time when their lengths are looked up: bounded in memory.
_RECORDS_AT_A_TIME = 1024


@dataclasses.dataclass(frozen=True)
class Share:
    """Which rows of each batch a host makes: the first of several the first, and so on.

    Attributes:
      index: Which host it is.
      count: How many there are.
    """

    index: int = 0
    count: int = 1

    def size(self, batch_size: int) -> int:
        """Returns how many rows of a whole batch these are."""
        return batch_size // self.count

    def first(self, batch_size: int) -> int:
        """Returns the place of the first of them."""
        return self.index * self.size(batch_size)

    def of(self, rows: tf.Tensor, batch_size: int) -> tf.Tensor:
        """Returns them, of the rows of a batch that may not be full."""
        first = self.first(batch_size)
        return rows[first : first + self.size(batch_size)]


ALL_ROWS = Share()


def check_length_buckets(
    length_buckets: Sequence[int], max_seq_length: int
) -> tuple[int, ...]:
    """Returns the lengths that batches are cut to, `max_seq_length` the last.

    Args:
      length_buckets: Ascending lengths; those above `max_seq_length` are left out.
        None of them means that nothing is cut.
      max_seq_length: The length of every record.

    Raises:
      ConfigError: They do not ascend, or not from at least 1.
    """
    lengths = list(length_buckets)
    if lengths != sorted({*lengths}) or min(lengths, default=1) < 1:
        raise ConfigError(
            "Expected length buckets that ascend from 1 or more, got "
            f"{','.join(map(str, lengths))}; name each length once, the shortest first."
        )
    if not lengths:
        return ()
    return (*(x for x in lengths if x < max_seq_length), max_seq_length)


def training_batches(
    path: str,
    spec: FeatureSpec,
    *,
    batch_size: int,
    random_seed: int,
    start_step: int = 0,
    length_buckets: Sequence[int] = (),
    share: Share = ALL_ROWS,
) -> tf.data.Dataset:
    """Returns the endless batches of a training run, from one of its steps on.

    Each epoch takes every record once, in an order that is a function of
    (`random_seed`, epoch) alone. In that order records wait, each for the others of
    its bucket; whenever `batch_size` of them are there, they are a batch. At the end
    of an epoch, those that wait join the next longer bucket, so that rare lengths are
    not put off for ever; fewer than a batch go on waiting in the next epoch. The batch
    of a step is therefore known without the steps before it. The serialized records
    are held in memory, some 700 bytes each at 128 tokens: parsed they would be more
    than twice that, and to parse a batch takes a fraction of a millisecond.

    Args:
      path: A record file.
      spec: Its features.
      batch_size: Records per batch, over all replicas.
      random_seed: The run's seed.
      start_step: The step whose batch comes first.
      length_buckets: Ascending lengths. A record belongs to the first that holds its
        tokens, or else to one of its own length; a batch holds records of one
        bucket, its sequence features cut to that length. Without any, all records
        are of one bucket and nothing is cut.
      share: The rows of each batch to parse.

    Returns:
      A dataset of dictionaries of `[share, ...]`; with buckets the sequence features
      are `[share, bucket]`.

    Raises:
      ConfigError: The buckets do not ascend.
      DataError: The file is missing, damaged or empty.
    """
    buckets, features = _read(path, spec, length_buckets)
    count = len(buckets)

    def order(epoch: tf.Tensor) -> tf.Tensor:
        return tf.random.experimental.stateless_shuffle(
            tf.range(count), seed=tf.stack([random_seed, epoch])
        )

    def fill(waiting: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns who waits after an epoch, and its batches `[n, batch_size]`."""
        rows = tf.concat([waiting, rows], axis=0)
        bucket_of_row = tf.gather(buckets, rows)

        def whole_batches(places: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            end = tf.size(places) // batch_size * batch_size
            return tf.reshape(places[:end], [-1, batch_size]), places[end:]

        batches, mixed = [], []
        left = tf.zeros([0], tf.int64)
        for bucket in np.unique(buckets):
            full, own = whole_batches(tf.where(bucket_of_row == bucket)[:, 0])
            batches.append(full)
            full, left = whole_batches(tf.concat([own, left], axis=0))
            mixed.append(full)
        places = tf.concat(batches, axis=0)
        # A batch is full when its last record comes.
        places = tf.gather(places, tf.argsort(places[:, -1]))
        places = tf.concat([places, *mixed], axis=0)
        return tf.gather(rows, left), tf.gather(rows, places)

    rows = (
        tf.data.Dataset.range(tf.int64.max)
        .map(order)
        .scan(np.zeros([0], np.int32), fill)
        .unbatch()
        .skip(start_step)
    )
    return finish(rows.map(lambda row: features(row, share.of(row, batch_size))))


def evaluation_batches(
    path: str,
    spec: FeatureSpec,
    *,
    batch_size: int,
    length_buckets: Sequence[int] = (),
    share: Share = ALL_ROWS,
) -> tf.data.Dataset:
    """Returns a file's records in order, in batches that are all of one size.

    The last batch is filled up with rows of zeros, whose `is_real_example` is 0. The
    serialized records are held in memory, as in `training_batches`.

    With buckets, which are those of `training_batches`, the records of the shortest
    bucket come first, those of each bucket in order and its last batch filled up. One
    more feature, `row` int32 `[share]`, is then the place of a record in the file.

    Raises:
      ConfigError: The buckets do not ascend.
      DataError: The file is missing, damaged or empty.
    """
    buckets, features = _read(path, spec, length_buckets)

    def fill(rows: tf.Tensor) -> dict[str, tf.Tensor]:
        own = share.of(rows, batch_size)
        columns = features(rows, own)
        if length_buckets:
            columns["row"] = own
        return filled_up(columns, share.size(batch_size))

    batches = [
        tf.data.Dataset.from_tensor_slices(
            np.flatnonzero(buckets == bucket).astype(np.int32)
        ).batch(batch_size)
        for bucket in np.unique(buckets)
    ]
    return finish(functools.reduce(tf.data.Dataset.concatenate, batches).map(fill))


def _read(
    path: str, spec: FeatureSpec, length_buckets: Sequence[int]
) -> tuple[np.ndarray, Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]]:
    """Reads a record file into memory.

    Returns:
      The length of each record's bucket, int32 `[n]`, all of them 0 without buckets;
      and what gives the features `[b, ...]` of `own` `[b]`, some of the rows of a
      batch, which are all of one bucket.
    """
    lengths: tuple[int, ...] = ()
    if length_buckets:
        (max_seq_length,) = spec["input_mask"].shape
        lengths = check_length_buckets(length_buckets, max_seq_length)
    count = count_records(path)
    if not count:
        raise DataError(f"Expected records in {path}, found none; make it again.")

    def with_bucket(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if not lengths:
            return serialized, tf.zeros(tf.shape(serialized), tf.int32)
        mask_spec = {"input_mask": spec["input_mask"]}
        mask = parse_records(serialized, mask_spec)["input_mask"]
        # To the last real token, in case some before it are masked.
        ends = tf.where(mask > 0, tf.range(1, max_seq_length + 1), 0)
        tokens = tf.reduce_max(ends, axis=1)
        return serialized, tf.gather(lengths, tf.searchsorted(lengths, tokens))

    chunks = tf.data.TFRecordDataset(path).batch(_RECORDS_AT_A_TIME).map(with_bucket)
    records, buckets = chunks.rebatch(count).get_single_element()

    def features(rows: tf.Tensor, own: tf.Tensor) -> dict[str, tf.Tensor]:
        columns = parse_records(tf.gather(records, own), spec)
        if not lengths:
            return columns
        bucket = tf.reduce_max(tf.gather(buckets, rows))
        return {
            name: x[:, :bucket] if name in _SEQUENCES else x
            for name, x in columns.items()
        }

    return buckets.numpy(), features


def filled_up(columns: dict[str, tf.Tensor], batch_size: int) -> dict[str, tf.Tensor]:
    """Returns features `[b, ...]` with rows of zeros behind, `[batch_size, ...]`."""

    def fill(x: tf.Tensor) -> tf.Tensor:
        missing = batch_size - tf.shape(x)[0]
        padded = tf.pad(x, [[0, missing]] + [[0, 0]] * (x.shape.rank - 1))
        return tf.ensure_shape(padded, [batch_size, *x.shape[1:]])

    return {name: fill(x) for name, x in columns.items()}


def finish(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns batches as a trainer takes them: made ahead, each of all replicas."""
    options = tf.data.Options()
    # Whoever makes them knows its share: a strategy is not to deal out files.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(options)
