"""Instances -> record files, drawn and encoded on all cores, written in order."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from bert_tf.data import draws
from bert_tf.data.instances import Instances
from bert_tf.data.masking import Rules
from bert_tf.data.pretraining_config import PretrainingDataConfig
from bert_tf.data.record_summary import COUNTED, ShardCounts, count_shard
from bert_tf.data.records import (
    FeatureSpec,
    encode_records,
    pretraining_features,
    unmasked_features,
    write_serialized,
)
from bert_tf.errors import DataError

# Records that are drawn and encoded at a time.
_BLOCK = 512

# Called as `bar(what, total, unit)`; what it returns is called with each advance.
Bar = Callable[[str, int, str], contextlib.AbstractContextManager[Callable[[int], Any]]]


def spec_of(config: PretrainingDataConfig) -> FeatureSpec:
    """Returns the features of a config's records."""
    if config.unmasked:
        return unmasked_features(config.max_seq_length)
    return pretraining_features(config.max_seq_length, config.max_predictions_per_seq)


def write_shards(
    config: PretrainingDataConfig,
    rules: Rules,
    instances: Instances,
    missing: list[int],
    bar: Bar,
) -> ShardCounts:
    """Writes record files, and counts what is in all.

    Args:
      config: What is made.
      rules: What it was drawn by.
      instances: The records to be.
      missing: Which of the config's files to write.
      bar: What shows progress.

    Returns:
      The counts of all files, with those that are there already.

    Raises:
      DataError: A file that is there has another number of records.
    """
    spec = spec_of(config)
    files = config.output_files
    # As the release deals records to files.
    shards = [range(number, instances.count, len(files)) for number in missing]
    # One pipeline for all of them, as making one takes longer than a small file.
    blocks = _records(config, rules, instances, shards, spec)
    found = ShardCounts.none(config.max_seq_length)

    def batches(shard: range) -> Iterator[np.ndarray]:
        nonlocal found
        for records, *batch in itertools.islice(blocks, -(-len(shard) // _BLOCK)):
            yield records
            found += ShardCounts.of_batch(*batch)
            advance(len(records))

    with bar("records", instances.count, "record") as advance:
        for number, path in enumerate(files):
            if number not in missing:
                there = count_shard(path, spec)
                expected = len(range(number, instances.count, len(files)))
                if there.records != expected:
                    raise DataError(
                        f"Expected {expected} records in {path}, found "
                        f"{there.records}; delete it and run the same command again."
                    )
                found += there
                advance(there.records)
        for number, shard in zip(missing, shards, strict=True):
            write_serialized(files[number], batches(shard))
    return found


def _records(
    config: PretrainingDataConfig,
    rules: Rules,
    instances: Instances,
    shards: list[range],
    spec: FeatureSpec,
) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields blocks of serialized records [n] of each shard, and what to count."""
    names = list(spec)
    counted = [name for name in COUNTED if name in spec]
    dtypes = [spec[name].dtype for name in names]

    def draw(place: np.ndarray, start: np.ndarray) -> list[np.ndarray]:
        block = shards[int(place)][int(start) : int(start) + _BLOCK]
        drawn = instances.draw(np.asarray(block, np.int64))
        features = draws.features(rules, *drawn, masked=not config.unmasked)
        return [features[name] for name in names]

    def encode(place: tf.Tensor, start: tf.Tensor) -> tuple[tf.Tensor, ...]:
        batch = tf.numpy_function(draw, [place, start], dtypes)
        features = dict(zip(names, batch, strict=True))
        return encode_records(features, spec), *(features[name] for name in counted)

    lengths = tf.constant([len(shard) for shard in shards], tf.int64)
    blocks = tf.data.Dataset.range(len(shards)).flat_map(
        lambda place: tf.data.Dataset.range(0, lengths[place], _BLOCK).map(
            lambda start: (place, start)
        )
    )
    encoded = blocks.map(encode, num_parallel_calls=config.workers, deterministic=True)
    yield from encoded.prefetch(2).as_numpy_iterator()
