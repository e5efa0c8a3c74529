"""Record files to batches: order by seed, whole batches, padding rows."""

import tensorflow as tf

from bert_tf.data.records import FeatureSpec, count_records, parse_records


def training_batches(
    path: str,
    spec: FeatureSpec,
    *,
    batch_size: int,
    random_seed: int,
    start_step: int = 0,
) -> tf.data.Dataset:
    """Returns the endless batches of a training run, from one of its steps on.

    Each epoch takes every record once, in an order that is a function of
    (`random_seed`, epoch) alone; a batch may reach from one epoch into the next. The
    batch of a step is therefore known without the steps before it. The serialized
    records are held in memory, some 700 bytes each at 128 tokens.

    Args:
      path: A record file.
      spec: Its features.
      batch_size: Records per batch, over all replicas.
      random_seed: The run's seed.
      start_step: The step whose batch comes first.

    Returns:
      A dataset of dictionaries of `[batch_size, ...]`.
    """
    count = count_records(path)
    records = tf.data.TFRecordDataset(path).batch(count).get_single_element()
    first_epoch, offset = divmod(start_step * batch_size, count)

    def order(epoch: tf.Tensor) -> tf.data.Dataset:
        rows = tf.random.experimental.stateless_shuffle(
            tf.range(count), seed=tf.stack([random_seed, epoch])
        )
        return tf.data.Dataset.from_tensor_slices(rows)

    rows = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(order)
    rows = rows.skip(offset).batch(batch_size, drop_remainder=True)
    return _finish(rows.map(lambda x: parse_records(tf.gather(records, x), spec)))


def evaluation_batches(
    path: str, spec: FeatureSpec, *, batch_size: int
) -> tf.data.Dataset:
    """Returns a file's records in order, in batches that are all of one size.

    The last batch is filled up with rows of zeros, whose `is_real_example` is 0.
    """

    def fill(rows: tf.Tensor) -> dict[str, tf.Tensor]:
        features = parse_records(rows, spec)
        missing = batch_size - tf.shape(rows)[0]
        return {
            name: tf.ensure_shape(
                tf.pad(x, [[0, missing]] + [[0, 0]] * (x.shape.rank - 1)),
                [batch_size, *x.shape[1:]],
            )
            for name, x in features.items()
        }

    return _finish(tf.data.TFRecordDataset(path).batch(batch_size).map(fill))


def _finish(dataset: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    # Batches are global ones: a strategy splits each, it does not deal out files.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(options)
