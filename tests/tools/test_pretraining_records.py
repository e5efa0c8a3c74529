"""What is said of record files that a pretraining run cannot use."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.config import BertConfig
from bert_tf.data.records import encode_records, unmasked_features, write_serialized
from bert_tf.errors import DataError
from bert_tf.tools.pretraining_flags import PretrainingConfig
from bert_tf.tools.pretraining_records import CheckedRecords

LENGTH, COUNT, VOCAB_SIZE = 8, 300, 50


@pytest.fixture
def config(tmp_path):
    return PretrainingConfig(
        bert_config_file="bert_config.json",
        output_dir=str(tmp_path / "out"),
        input_file=str(tmp_path / "records"),
        max_seq_length=LENGTH,
        dynamic_masking=True,
        skip_corrupt_records=True,
    )


def write(path, **changes):
    """Writes records, some values of which are others: name -> (row, value)."""
    ones = np.ones([COUNT, LENGTH], np.int64)
    rows = {name: ones.copy() for name in ("input_ids", "input_mask", "segment_ids")}
    rows["next_sentence_labels"] = ones[:, :1].copy()
    for name, (row, value) in changes.items():
        rows[name][row] = value
    serialized = encode_records(rows, unmasked_features(LENGTH)).numpy()
    write_serialized(str(path), [serialized])
    return 16 + len(serialized[0])  # bytes of a record in the file


def opened(config):
    bert_config = BertConfig(vocab_size=VOCAB_SIZE)
    return CheckedRecords("input_file", config.input_file, config, bert_config)


def fail():
    raise tf.errors.InvalidArgumentError(None, None, "of the model")


def test_what_was_skipped_is_not_what_went_wrong(config, tmp_path):
    size = write(tmp_path / "records")
    content = bytearray((tmp_path / "records").read_bytes())
    content[5 * size + 20] ^= 1
    (tmp_path / "records").write_bytes(content)
    records = opened(config)
    assert records.index.num_records == COUNT - 1
    theirs = pytest.raises(tf.errors.InvalidArgumentError, match="of the model")
    with theirs, records.explained():
        fail()
    strict = dataclasses.replace(config, skip_corrupt_records=False)
    with pytest.raises(DataError, match=rf"corrupt one at byte {5 * size};"):
        opened(strict)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("input_ids", VOCAB_SIZE, "Expected ids from 0 to 49, .*found 50"),
        ("segment_ids", 2, "Expected segment_ids from 0 to 1, found 2"),
    ],
)
def test_bad_values_are_found_at_once_or_once_they_did_harm(
    config, tmp_path, name, value, expected
):
    message = rf"^{expected} .*{tmp_path}/records;"
    write(tmp_path / "records", **{name: (3, value)})
    with pytest.raises(DataError, match=message):
        opened(config)
    write(tmp_path / "records", **{name: (COUNT - 1, value)})
    records = opened(config)
    with pytest.raises(DataError, match=message), records.explained():
        fail()


def test_a_file_that_is_damaged_later_is_named(config, tmp_path):
    write(tmp_path / "records")
    records = opened(config)
    content = (tmp_path / "records").read_bytes()
    (tmp_path / "records").write_bytes(content[:-3] + b"xxx")
    message = rf"corrupted record .* in {tmp_path}/records;"
    with pytest.raises(DataError, match=message), records.explained():
        fail()
