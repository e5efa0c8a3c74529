"""Batches for pretraining: every record once an epoch, from any step on."""

import json

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.data import pretraining_input
from bert_tf.data.dynamic_masking import DynamicMasking
from bert_tf.data.input_pipeline import Share
from bert_tf.data.pretraining_input import evaluation_batches, training_batches
from bert_tf.data.record_index import index_files
from bert_tf.data.records import (
    encode_records,
    pretraining_features,
    unmasked_features,
    write_serialized,
)
from tests.programs import run

LENGTH, PREDICTIONS = 8, 3
SPEC = unmasked_features(LENGTH)
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", "##a", "##b"]
VOCAB = {piece: index for index, piece in enumerate(PIECES)}


def rows(count: int) -> dict[str, np.ndarray]:
    """Features of records, each of which `number_of` tells from the others."""
    numbers = np.arange(count)
    pieces = np.random.default_rng(0).integers(5, len(PIECES), [count, LENGTH])
    pieces[:, 0], pieces[:, -1] = VOCAB["[CLS]"], VOCAB["[SEP]"]
    return {
        "input_ids": pieces,
        "input_mask": np.ones([count, LENGTH], np.int64),
        "segment_ids": numbers[:, None] >> np.arange(0, 3 * LENGTH, 3) & 7,
        "next_sentence_labels": numbers[:, None] % 2,
    }


def number_of(batch) -> np.ndarray:
    digits = np.asarray(batch["segment_ids"])
    return (digits << np.arange(0, 3 * LENGTH, 3)).sum(axis=1)


def indexed(folder, sizes):
    """Writes files of so many records, numbered through; returns where they lie."""
    records = encode_records(rows(sum(sizes)), SPEC).numpy()
    paths = [str(folder / f"{place}") for place in range(len(sizes))]
    ends = np.cumsum(sizes)
    for path, size, end in zip(paths, sizes, ends, strict=True):
        write_serialized(path, [records[end - size : end]])
    return index_files(paths)


SEED = {"random_seed": 1, "vocab_size": len(VOCAB)}


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """20,000 records: two whole groups of blocks and a part of one."""
    sizes = [9001, 5, 0, 128, 129, 10737]
    assert sum(sizes) == 20_000
    return indexed(tmp_path_factory.mktemp("many"), sizes)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """703 records in 9 blocks, some of them of few records."""
    return indexed(tmp_path_factory.mktemp("few"), [300, 1, 2, 400])


def training(index, steps, **settings):
    settings = {"batch_size": 32, **SEED, **settings}
    batches = training_batches(index, SPEC, **settings)
    return list(batches.take(steps).as_numpy_iterator())


def evaluation(index, **settings):
    settings = {"batch_size": 32, **SEED, "max_steps": 0, **settings}
    return list(evaluation_batches(index, SPEC, **settings).as_numpy_iterator())


def numbers(batches) -> np.ndarray:
    return np.concatenate([number_of(batch) for batch in batches])


def assert_equal(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert {n: (x.dtype, x.tobytes()) for n, x in a.items()} == {
            n: (x.dtype, x.tobytes()) for n, x in b.items()
        }


# Training.


def test_an_epoch_takes_every_record_once_in_a_well_mixed_order(many):
    count, batch_size = many.num_records, 160
    seen = numbers(training(many, 2 * count // batch_size, batch_size=batch_size))
    epochs = seen.reshape(2, count)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(count))
        # What an order without any rule gives is a third. 158 blocks stay near it.
        for distance in (epoch - np.arange(count), np.diff(epoch)):
            assert abs(np.abs(distance).mean() / count - 1 / 3) < 0.07
        # Nor do records of one block follow each other: 2 in 128 would by chance.
        assert (np.abs(np.diff(epoch)) < 128).mean() < 0.04
    first, second = np.argsort(epochs, axis=1)
    for one, other in ((first, second), (first, np.arange(count))):
        # Five standard deviations of what independent orders of blocks give.
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(len(many.counts))


@pytest.mark.parametrize("batch_size", [1, 37, 703, 1500])
def test_batches_may_go_over_the_ends_of_epochs(few, batch_size):
    count = few.num_records
    batches = training(few, -(-3 * count // batch_size), batch_size=batch_size)
    assert {len(number_of(batch)) for batch in batches} == {batch_size}
    epochs = numbers(batches)[: 3 * count].reshape(3, count)
    assert (np.sort(epochs, axis=1) == np.arange(count)).all()
    assert (epochs[0] != epochs[1]).any() and (epochs[1] != epochs[2]).any()


def test_what_is_read_is_what_was_written(few):
    expected = rows(few.num_records)
    for batch in training(few, 30):
        for name, values in expected.items():
            found = values[number_of(batch)].astype(np.int32)
            np.testing.assert_array_equal(batch[name], found, strict=True)


def test_the_seed_alone_decides_the_order(few):
    one = training(few, 30)
    tf.random.set_seed(99)
    assert_equal(training(few, 30), one)
    assert list(numbers(training(few, 30, random_seed=2))) != list(numbers(one))


def test_a_run_can_start_at_any_step(few, monkeypatch):
    """With groups of 2 blocks, so that there are many borders of groups."""
    monkeypatch.setattr(pretraining_input, "_GROUP_SIZE", 2)
    assert len(few.counts) == 9
    whole = training(few, 80)  # 3.6 epochs
    epochs = numbers(whole)[: 3 * few.num_records].reshape(3, -1)
    assert (np.sort(epochs, axis=1) == np.arange(few.num_records)).all()
    for start in (1, 4, 7, 8, 9, 16, 21, 22, 43, 44, 66, 78):
        assert_equal(training(few, 2, start_step=start), whole[start : start + 2])


@pytest.mark.parametrize("masking", ["token", "span"])
def test_a_run_with_masks_can_start_at_any_step(many, masking):
    """Near the ends of groups and of epochs, and far in."""
    settings = {
        "batch_size": 500,
        "masking": DynamicMasking(VOCAB, PREDICTIONS, 0.3, masking),
    }
    whole = training(many, 90, **settings)
    assert len({batch["masked_lm_positions"].tobytes() for batch in whole}) == 90
    for start in (16, 39, 85):
        rest = training(many, 3, start_step=start, **settings)
        assert_equal(rest, whole[start : start + 3])


@pytest.mark.parametrize("masking", ["token", "whole_word", "span"])
def test_hosts_make_their_rows_of_each_batch(few, masking):
    """Of the same batches, with the same masks; the last of an evaluation is short."""
    settings = {"masking": DynamicMasking(VOCAB, PREDICTIONS, 0.3, masking)}
    for whole, shares in (
        (
            training(few, 3, start_step=20, **settings),
            [
                training(few, 3, start_step=20, share=Share(host, 4), **settings)
                for host in range(4)
            ],
        ),
        (
            evaluation(few, **settings),
            [evaluation(few, share=Share(host, 4), **settings) for host in range(4)],
        ),
    ):
        joined = [
            {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            for parts in zip(*shares, strict=True)
        ]
        assert_equal(joined, whole)


def test_a_run_can_start_far_in(few):
    count, batch_size = few.num_records, 64
    step = 10**9
    seen = numbers(training(few, 50, batch_size=batch_size, start_step=step))
    first = -step * batch_size % count  # the first record of an epoch
    np.testing.assert_array_equal(np.sort(seen[first:][:count]), np.arange(count))


def test_many_small_files(tmp_path):
    sizes = [3] * 20 + [1] * 15
    index = indexed(tmp_path, sizes)
    seen = numbers(training(index, 3 * sum(sizes), batch_size=1))
    epochs = seen.reshape(3, -1)
    assert (np.sort(epochs, axis=1) == np.arange(sum(sizes))).all()


# Evaluation.


def test_every_record_once_and_rows_of_zeros(few):
    count = few.num_records
    batches = evaluation(few, batch_size=64)
    assert {len(x) for batch in batches for x in batch.values()} == {64}
    real = np.concatenate([batch["is_real_example"] for batch in batches])
    np.testing.assert_array_equal(real, np.arange(704) < count)
    np.testing.assert_array_equal(numbers(batches)[:count], np.arange(count))
    assert not any(values[-1].any() for values in batches[-1].values())


def test_the_records_are_repeated_as_in_the_release(few):
    for batch_size, max_steps in ((64, 3), (300, 7), (1000, 2)):
        batches = evaluation(few, batch_size=batch_size, max_steps=max_steps)
        assert len(batches) == max_steps
        assert all(batch["is_real_example"].all() for batch in batches)
        released = tf.data.TFRecordDataset(few.paths).repeat()
        released = released.batch(batch_size, drop_remainder=True).take(max_steps)
        expected = [
            tf.io.parse_example(each, dict(SPEC))["input_ids"] for each in released
        ]
        found = [batch["input_ids"] for batch in batches]
        np.testing.assert_array_equal(found, expected)


def test_masks_of_evaluations_are_the_same_every_time(few):
    masking = DynamicMasking(VOCAB, PREDICTIONS, 0.3)
    one = evaluation(few, masking=masking)
    assert_equal(evaluation(few, masking=masking), one)
    other = evaluation(few, masking=masking, random_seed=2)
    assert [x["masked_lm_positions"].tobytes() for x in one] != [
        x["masked_lm_positions"].tobytes() for x in other
    ]
    # What is left of the input is what was there.
    expected = rows(few.num_records)["input_ids"]
    for batch in one:
        real = batch["is_real_example"] == 1
        restored = batch["input_ids"].copy()
        row, place = np.nonzero(batch["masked_lm_weights"])
        positions = batch["masked_lm_positions"][row, place]
        restored[row, positions] = batch["masked_lm_ids"][row, place]
        np.testing.assert_array_equal(restored[real], expected[number_of(batch)][real])


def test_no_masks_of_training_are_those_of_an_evaluation(few):
    """The seeds that masks are drawn with; the masks are a function of them."""

    def with_seed(batch, seed, first, batch_size):
        return {
            **batch,
            "seed": tf.tile(seed[None], [tf.shape(batch["input_ids"])[0], 1]),
        }

    seeds = set()
    for batches in (
        training(few, 50, masking=with_seed),
        evaluation(few, masking=with_seed),
    ):
        for batch in batches:
            real = batch["seed"][
                : batch.get("is_real_example", np.ones(32)).sum(dtype=int)
            ]
            assert len(np.unique(real, axis=0)) == 1
            seeds.add(tuple(real[0].tolist()))
    assert len(seeds) == 50 + 22


# Where it runs.


@pytest.mark.parametrize("masking", ["token", "whole_word", "span"])
def test_all_is_of_fixed_size_and_nothing_is_python(few, masking):
    """What a remote host of TPUs needs."""
    settings = {
        "batch_size": 4,
        "random_seed": 1,
        "vocab_size": len(VOCAB),
        "masking": DynamicMasking(VOCAB, PREDICTIONS, masking=masking),
    }
    train = training_batches(few, SPEC, **settings)
    evaluate = evaluation_batches(few, SPEC, max_steps=0, **settings)
    features = pretraining_features(LENGTH, PREDICTIONS)
    expected = {
        name: tf.TensorSpec(
            [4, *feature.shape],
            tf.int32 if feature.dtype == tf.int64 else feature.dtype,
        )
        for name, feature in features.items()
    }
    assert train.element_spec == expected
    expected["is_real_example"] = tf.TensorSpec([4], tf.int32)
    assert evaluate.element_spec == expected
    for dataset in (train, evaluate):
        serialized = tf.raw_ops.DatasetToGraphV2(input_dataset=dataset._variant_tensor)
        graph = tf.compat.v1.GraphDef.FromString(serialized.numpy())
        nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
        ops = {node.op for node in nodes}
        assert {
            "TFRecordDatasetV2",
            "ParseExampleV2",
            "StatelessRandomUniformIntV2",
        } <= ops
        assert not {op for op in ops if "PyFunc" in op or "Generator" in op}


@pytest.mark.acceptance
def test_two_devices_share_each_batch(few, tmp_path):
    settings = {"paths": list(few.paths), "length": LENGTH, "steps": 30}
    (tmp_path / "settings").write_text(json.dumps(settings))
    found = json.loads(run("-m", "tests.data.two_devices_input", tmp_path / "settings"))
    alone = training(few, 30)
    assert found["train"] == [batch["segment_ids"].tolist() for batch in alone]
    alone = evaluation(few)
    assert found["eval"] == [batch["segment_ids"].tolist() for batch in alone]
    assert found["rows"] == [16]
