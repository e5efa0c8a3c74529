"""Batches: every record once an epoch, in an order that the seed fixes."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.data.input_pipeline import evaluation_batches, training_batches
from bert_tf.data.records import classification_features, count_records, write_records
from bert_tf.errors import DataError

COUNT, LENGTH = 23, 4
SPEC = classification_features(LENGTH)


@pytest.fixture
def record_file(tmp_path):
    rows = np.arange(COUNT)
    batch = {
        "input_ids": rows[:, None] * 10 + np.arange(LENGTH),
        "input_mask": np.ones([COUNT, LENGTH], np.int64),
        "segment_ids": np.zeros([COUNT, LENGTH], np.int64),
        "label_ids": rows,
        "is_real_example": np.ones(COUNT, np.int64),
    }
    path = str(tmp_path / "train.tf_record")
    first, second = (
        {k: v[part] for k, v in batch.items()}
        for part in (slice(0, 10), slice(10, COUNT))
    )
    assert write_records(path, [first, second], SPEC) == COUNT
    return path


def labels(path, steps, **settings):
    settings = {"batch_size": 4, "random_seed": 1, **settings}
    batches = training_batches(path, SPEC, **settings)
    return np.concatenate([b["label_ids"].numpy() for b in batches.take(steps)])


def test_a_record_holds_googles_features(record_file):
    (first, *_) = tf.data.TFRecordDataset(record_file).as_numpy_iterator()
    features = tf.train.Example.FromString(first).features.feature
    assert {n: list(f.int64_list.value) for n, f in features.items()} == {
        "input_ids": [0, 1, 2, 3],
        "input_mask": [1] * 4,
        "segment_ids": [0] * 4,
        "label_ids": [0],
        "is_real_example": [1],
    }


def test_an_epoch_holds_every_record_once(record_file):
    seen = labels(record_file, 2 * COUNT, batch_size=1)
    first, second = seen[:COUNT], seen[COUNT:]
    assert sorted(first) == sorted(second) == list(range(COUNT))
    assert list(first) != list(second) and list(first) != sorted(first)


def test_epochs_have_nothing_to_do_with_each_other(tmp_path):
    """A cheap permutation can mix an epoch well and still resemble the next."""
    count, path = 2000, str(tmp_path / "many.tf_record")
    ones = np.ones([count, LENGTH], np.int64)
    rows = {"input_ids": ones, "input_mask": ones, "segment_ids": ones}
    rows |= {"label_ids": np.arange(count), "is_real_example": ones[:, 0]}
    write_records(path, [rows], SPEC)
    seen = labels(path, 40, batch_size=100).reshape(2, count)
    first, second = np.argsort(seen, axis=1)
    pairs = [(first, second), (first, np.arange(count)), (first[1:], first[:-1])]
    for one, other in pairs:
        # Five standard deviations of what independent orders give.
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(count)


def test_the_seed_decides_the_order(record_file):
    one = labels(record_file, 30)
    np.testing.assert_array_equal(one, labels(record_file, 30))
    assert list(one) != list(labels(record_file, 30, random_seed=2))


def test_the_global_seed_has_no_part_in_it(record_file):
    one = labels(record_file, 10)
    tf.random.set_seed(99)
    np.testing.assert_array_equal(one, labels(record_file, 10))


@pytest.mark.parametrize("start", [1, 5, 6, 17])
def test_a_run_can_start_at_any_step(record_file, start):
    whole = labels(record_file, 25)
    rest = labels(record_file, 25 - start, start_step=start)
    np.testing.assert_array_equal(whole[4 * start :], rest)


def test_evaluation_keeps_order_and_fills_the_last_batch(record_file):
    batches = list(evaluation_batches(record_file, SPEC, batch_size=8))
    assert [b["input_ids"].shape for b in batches] == [(8, LENGTH)] * 3
    assert {x.dtype for b in batches for x in b.values()} == {tf.int32}
    real = np.concatenate([b["is_real_example"] for b in batches])
    assert list(real) == [1] * COUNT + [0]
    ids = np.concatenate([b["input_ids"] for b in batches])
    np.testing.assert_array_equal(ids[:COUNT, 1], np.arange(COUNT) * 10 + 1)
    assert not ids[COUNT:].any()


def test_counting_and_damage(record_file, tmp_path):
    assert count_records(record_file) == COUNT
    with pytest.raises(DataError, match="none"):
        count_records(str(tmp_path / "absent"))
    content = Path(record_file).read_bytes()
    Path(record_file).write_bytes(content[:-5])
    with pytest.raises(DataError, match="damage"):
        count_records(record_file)
