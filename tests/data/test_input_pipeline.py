"""Batches: every record once an epoch, in an order that the seed fixes."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.data.input_pipeline import (
    Share,
    check_length_buckets,
    evaluation_batches,
    training_batches,
)
from bert_tf.data.records import classification_features, count_records, write_records
from bert_tf.errors import ConfigError, DataError

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


# Length buckets.

BUCKETS = (3, 8)
WIDE = classification_features(12)
# One record of 12 tokens: it waits over several epochs for others of its bucket.
TOKENS = [3, 1, 8, 5, 12, 2, 3, 4, 8, 7, 1, 2, 6, 3, 9, 2, 8, 5, 3, 10, 1, 2, 0]


def wide_rows(tokens=TOKENS):
    """Records whose real tokens are none of them 0; the label is the row."""
    count = len(tokens)
    mask = (np.arange(12) < np.array(tokens)[:, None]).astype(np.int64)
    return {
        "input_ids": (100 + np.arange(count * 12).reshape(count, 12)) * mask,
        "input_mask": mask,
        "segment_ids": (np.arange(12) % 3 + 1) * mask,
        "label_ids": np.arange(count),
        "is_real_example": np.ones(count, np.int64),
    }


@pytest.fixture
def wide_file(tmp_path):
    path = str(tmp_path / "wide.tf_record")
    write_records(path, [wide_rows()], WIDE)
    return path


def bucket_of(row):
    return next(b for b in (*BUCKETS, 12) if TOKENS[row] <= b)


def simulated(orders, batch_size):
    """The batches of all epochs, one record after the other."""
    left = []
    for order in orders:
        waiting = {}
        for row in [*left, *order]:
            queue = waiting.setdefault(bucket_of(row), [])
            queue.append(int(row))
            if len(queue) == batch_size:
                yield bucket_of(row), list(queue)
                queue.clear()
        left = []
        for bucket in sorted(waiting):
            left = [*waiting[bucket], *left]
            if len(left) >= batch_size:
                batch, left = left[:batch_size], left[batch_size:]
                yield max(map(bucket_of, batch)), batch


def bucketed(path, steps, **settings):
    settings = {"batch_size": 4, "random_seed": 1, **settings}
    batches = training_batches(path, WIDE, length_buckets=BUCKETS, **settings)
    return list(batches.take(steps).as_numpy_iterator())


def summary(batches):
    return [(b["input_ids"].shape[1], list(b["label_ids"])) for b in batches]


def assert_only_padding_was_cut(batch):
    rows, length = wide_rows(), batch["input_ids"].shape[1]
    real = batch["is_real_example"] == 1
    labels = batch["label_ids"][real]
    for name, spec in WIDE.items():
        whole = rows[name][labels]
        if spec.shape:
            assert batch[name].shape[1] == length and not whole[:, length:].any()
            whole = whole[:, :length]
        np.testing.assert_array_equal(batch[name][real], whole, name)
        assert not batch[name][~real].any()


def test_without_buckets_the_epochs_follow_each_other_whole(record_file):
    """What a run that was begun by an earlier version goes on with."""
    epochs = [
        tf.random.experimental.stateless_shuffle(
            tf.range(COUNT), seed=tf.constant([1, epoch], tf.int64)
        )
        for epoch in range(3)
    ]
    expected = np.concatenate(epochs)[: 17 * 4]
    np.testing.assert_array_equal(labels(record_file, 17), expected)


@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_a_bucket_gives_a_batch_when_it_is_full(wide_file, batch_size):
    epochs = 9
    one_by_one = training_batches(wide_file, WIDE, batch_size=1, random_seed=1)
    rows = [int(b["label_ids"][0]) for b in one_by_one.take(epochs * len(TOKENS))]
    orders = np.reshape(rows, [epochs, -1])
    expected = list(simulated(orders, batch_size))
    batches = bucketed(wide_file, len(expected), batch_size=batch_size)
    assert summary(batches) == expected
    assert len({bucket for bucket, _ in expected}) == 3
    for batch in batches:
        assert_only_padding_was_cut(batch)


def test_every_record_comes_once_an_epoch_but_for_those_that_wait(wide_file):
    epochs = 6
    for batch_size in (4, len(TOKENS) - 1):  # of the latter, no bucket fills one
        steps = len(TOKENS) * epochs // batch_size
        seen = np.concatenate(
            [b["label_ids"] for b in bucketed(wide_file, steps, batch_size=batch_size)]
        )
        times = np.bincount(seen, minlength=len(TOKENS))
        assert times.sum() == steps * batch_size
        assert times.max() <= epochs
        assert times.min() >= epochs - 2


def test_a_bucketed_run_can_start_at_any_step(wide_file):
    whole = summary(bucketed(wide_file, 30))
    for start in (1, 5, 6, 17, 29):
        rest = bucketed(wide_file, 30 - start, start_step=start)
        assert summary(rest) == whole[start:]


def test_the_seed_decides_the_bucketed_order(wide_file):
    one = summary(bucketed(wide_file, 20))
    tf.random.set_seed(99)
    assert summary(bucketed(wide_file, 20)) == one
    assert summary(bucketed(wide_file, 20, random_seed=2)) != one


def test_bucketed_epochs_have_nothing_to_do_with_each_other(tmp_path):
    count, path = 2000, str(tmp_path / "many.tf_record")
    write_records(path, [wide_rows([3] * count)], WIDE)
    seen = [b["label_ids"] for b in bucketed(path, 40, batch_size=100)]
    first, second = np.argsort(np.reshape(seen, [2, count]), axis=1)
    pairs = [(first, second), (first, np.arange(count)), (first[1:], first[:-1])]
    for one, other in pairs:
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(count)


@pytest.mark.parametrize("batch_size", [1, 4, 50])
def test_bucketed_evaluation_holds_every_row_once(wide_file, batch_size):
    batches = list(
        evaluation_batches(
            wide_file, WIDE, batch_size=batch_size, length_buckets=BUCKETS
        ).as_numpy_iterator()
    )
    seen = []
    for batch in batches:
        assert {x.dtype for x in batch.values()} == {np.dtype(np.int32)}
        assert {len(x) for x in batch.values()} == {batch_size}
        assert_only_padding_was_cut(batch)
        rows = batch["row"][batch["is_real_example"] == 1]
        assert list(rows) == list(batch["label_ids"][: len(rows)])
        assert {bucket_of(row) for row in rows} == {batch["input_ids"].shape[1]}
        seen.extend(rows)
    assert sorted(seen) == list(range(len(TOKENS)))
    counts = np.bincount([bucket_of(row) for row in range(len(TOKENS))])
    assert len(batches) == sum(-(-n // batch_size) for n in counts)


def test_hosts_make_their_rows_of_each_batch(wide_file):
    """Cut to the length that the whole batch is cut to."""
    buckets = {"batch_size": 4, "length_buckets": BUCKETS}

    def made(**share):
        train = training_batches(wide_file, WIDE, random_seed=1, **buckets, **share)
        evaluation = evaluation_batches(wide_file, WIDE, **buckets, **share)
        return [
            *train.take(12).as_numpy_iterator(),
            *evaluation.as_numpy_iterator(),
        ]

    halves = zip(made(share=Share(0, 2)), made(share=Share(1, 2)), strict=True)
    for whole, (one, other) in zip(made(), halves, strict=True):
        for name, rows in whole.items():
            np.testing.assert_array_equal(
                np.concatenate([one[name], other[name]]), rows
            )


def test_only_the_sequence_dimension_is_open(wide_file):
    train = training_batches(
        wide_file, WIDE, batch_size=4, random_seed=1, length_buckets=BUCKETS
    )
    evaluation = evaluation_batches(
        wide_file, WIDE, batch_size=4, length_buckets=BUCKETS
    )
    sequence, scalar = (tf.TensorSpec(s, tf.int32) for s in ([4, None], [4]))
    expected = {name: sequence if f.shape else scalar for name, f in WIDE.items()}
    assert train.element_spec == expected
    assert evaluation.element_spec == {**expected, "row": scalar}


def test_features_of_other_lengths_stay_whole(tmp_path):
    spec = {
        "input_ids": tf.io.FixedLenFeature([12], tf.int64),
        "input_mask": tf.io.FixedLenFeature([12], tf.int64),
        "positions": tf.io.FixedLenFeature([5], tf.int64),
        "weights": tf.io.FixedLenFeature([12], tf.float32),
        "table": tf.io.FixedLenFeature([12, 2], tf.int64),
    }
    rows = {
        "input_ids": np.ones([4, 12], np.int64),
        "input_mask": wide_rows([2, 2, 2, 2])["input_mask"],
        "positions": np.ones([4, 5], np.int64),
        "weights": np.ones([4, 12], np.float32),
        "table": np.ones([4, 12, 2], np.int64),
    }
    path = str(tmp_path / "other.tf_record")
    write_records(path, [rows], spec)
    (batch,) = training_batches(
        path, spec, batch_size=4, random_seed=1, length_buckets=[3]
    ).take(1)
    assert {name: x.shape[1:] for name, x in batch.items()} == {
        "input_ids": [3],
        "input_mask": [3],
        "positions": [5],
        "weights": [12],
        "table": [12, 2],
    }


def test_a_token_behind_a_masked_one_is_not_cut(tmp_path):
    rows, path = wide_rows([6] * 4), str(tmp_path / "gap.tf_record")
    rows["input_mask"][:, 1:5] = 0
    write_records(path, [rows], WIDE)
    (batch,) = bucketed(path, 1)
    np.testing.assert_array_equal(np.max(batch["input_mask"] * np.arange(8), axis=1), 5)


def test_the_records_own_length_is_the_last_bucket():
    assert check_length_buckets([], 128) == ()
    assert check_length_buckets([32, 64], 128) == (32, 64, 128)
    assert check_length_buckets([32, 128], 128) == (32, 128)
    assert check_length_buckets((32, 64, 512), 128) == (32, 64, 128)
    assert check_length_buckets([512], 128) == (128,)


@pytest.mark.parametrize("bad", [[64, 32], [32, 32], [0, 32], [-1]])
def test_buckets_that_do_not_ascend_are_refused(record_file, bad):
    settings = {"batch_size": 4, "length_buckets": bad}
    with pytest.raises(ConfigError, match=rf"^Expected .*, got {bad[0]}.*; name"):
        training_batches(record_file, SPEC, random_seed=1, **settings)
    with pytest.raises(ConfigError, match=rf"^Expected .*, got {bad[0]}.*; name"):
        evaluation_batches(record_file, SPEC, **settings)


def test_a_file_without_records_is_refused(tmp_path):
    path = str(tmp_path / "empty.tf_record")
    write_records(path, [], SPEC)
    with pytest.raises(DataError, match=r"^Expected records in .*, found none; "):
        evaluation_batches(path, SPEC, batch_size=4)
