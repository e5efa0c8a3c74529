"""Records against what protocol buffers make of the same features."""

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.data.records import (
    classification_features,
    encode_records,
    pretraining_features,
    unmasked_features,
    write_serialized,
)

ROWS = 7


def batch_of(spec):
    """Values of all lengths that a varint can have, negative ones included."""
    draws = np.random.default_rng(0)
    extremes = [0, 1, 127, 128, 16383, 16384, 2**31 - 1, 2**63 - 1, -1, -(2**63)]
    return {
        name: draws.choice(extremes, size=[ROWS, *feature.shape])
        if feature.dtype == tf.int64
        else draws.normal(size=[ROWS, *feature.shape]).astype(np.float32)
        for name, feature in spec.items()
    }


def as_example(row) -> tf.train.Example:
    example = tf.train.Example()
    for name, values in row.items():
        feature = example.features.feature[name]
        if values.dtype == np.float32:
            feature.float_list.value.extend(np.ravel(values).tolist())
        else:
            feature.int64_list.value.extend(np.ravel(values).tolist())
    return example


@pytest.mark.parametrize(
    "spec",
    [
        pretraining_features(9, 3),
        unmasked_features(5),
        classification_features(4),
        classification_features(4, tf.io.FixedLenFeature([2], tf.float32)),
    ],
)
def test_a_record_is_the_example_that_protocol_buffers_serialize(spec):
    batch = batch_of(spec)
    records = encode_records(batch, spec).numpy()
    for row in range(ROWS):
        expected = as_example({name: values[row] for name, values in batch.items()})
        assert records[row] == expected.SerializeToString(deterministic=True)


def test_no_rows_make_no_records():
    spec = pretraining_features(9, 3)
    batch = {name: values[:0] for name, values in batch_of(spec).items()}
    assert encode_records(batch, spec).shape == [0]


def test_what_fails_half_way_leaves_nothing(tmp_path):
    def batches():
        yield [b"first", b"second"]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        write_serialized(str(tmp_path / "records"), batches())
    assert list(tmp_path.iterdir()) == []
