"""TFRecord files of Google's features: one writer, one parser.

A record is a `tf.train.Example` whose features are int64 or float lists of fixed
length. On the device, integers are int32, which is all that a TPU knows.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf

from bert_tf.errors import DataError
from bert_tf.files import staged

FeatureSpec = Mapping[str, tf.io.FixedLenFeature]


def _inputs(max_seq_length: int) -> FeatureSpec:
    """What every model takes, by name."""
    names = ("input_ids", "input_mask", "segment_ids")
    return {name: tf.io.FixedLenFeature([max_seq_length], tf.int64) for name in names}


def classification_features(
    max_seq_length: int, label_ids: tf.io.FixedLenFeature | None = None
) -> FeatureSpec:
    """The features of `run_classifier.py`, by name.

    Args:
      max_seq_length: Pieces per example.
      label_ids: Type and shape of the label, if it is not one id.

    Source: `file_based_input_fn_builder` in run_classifier.py of the release.
    """
    scalar = tf.io.FixedLenFeature([], tf.int64)
    return {
        **_inputs(max_seq_length),
        "label_ids": label_ids or scalar,
        "is_real_example": scalar,
    }


def squad_features(max_seq_length: int) -> FeatureSpec:
    """The features of `run_squad.py`, by name; positions of both ends are inclusive.

    Source: `FeatureWriter` in run_squad.py of the release.
    """
    scalar = tf.io.FixedLenFeature([], tf.int64)
    return {
        "unique_ids": scalar,
        **_inputs(max_seq_length),
        "start_positions": scalar,
        "end_positions": scalar,
        "is_impossible": scalar,
        "is_real_example": scalar,
    }


def tagging_features(max_seq_length: int) -> FeatureSpec:
    """The features of texts whose words have tags, by name.

    `tag_ids` holds a word's tag at its first piece, and -1 where none is.
    """
    return {
        **_inputs(max_seq_length),
        "tag_ids": tf.io.FixedLenFeature([max_seq_length], tf.int64),
        "is_real_example": tf.io.FixedLenFeature([], tf.int64),
    }


def pretraining_features(
    max_seq_length: int, max_predictions_per_seq: int
) -> FeatureSpec:
    """The features of `create_pretraining_data.py`, by name.

    Source: `input_fn_builder` in run_pretraining.py of the release.
    """
    predictions = tf.io.FixedLenFeature([max_predictions_per_seq], tf.int64)
    return {
        **_inputs(max_seq_length),
        "masked_lm_positions": predictions,
        "masked_lm_ids": predictions,
        "masked_lm_weights": tf.io.FixedLenFeature(
            [max_predictions_per_seq], tf.float32
        ),
        "next_sentence_labels": tf.io.FixedLenFeature([1], tf.int64),
    }


def unmasked_features(max_seq_length: int) -> FeatureSpec:
    """The features of pairs that are masked while training, by name."""
    features = pretraining_features(max_seq_length, 0)
    return {
        name: feature
        for name, feature in features.items()
        if not name.startswith("masked_lm")
    }


def encode_records(
    batch: Mapping[str, np.ndarray | tf.Tensor], spec: FeatureSpec
) -> tf.Tensor:
    """Returns each row of a batch as a serialized `tf.train.Example`, string [n].

    TensorFlow ops, so that a `tf.data` pipeline can do it beside other work.

    Args:
      batch: Arrays or tensors `[n, ...]`, one per feature of `spec`.
      spec: Which features to write and their types.
    """
    entries = []
    # As a map of protocol buffers is serialized when its bytes are to be the same
    # every time: by key.
    for name in sorted(spec):
        kind = "int64_list" if spec[name].dtype == tf.int64 else "float_list"
        values = tf.cast(tf.convert_to_tensor(batch[name]), spec[name].dtype)
        rows = tf.shape(values)[0]
        values = tf.reshape(values, [rows, -1])
        width = tf.fill([rows, 1], tf.shape(values)[1])
        message = "Int64List" if kind == "int64_list" else "FloatList"
        encoded = _encode(message, width, value=values)
        one = tf.ones([rows, 1], tf.int32)
        feature = _encode("Feature", one, **{kind: encoded[:, None]})
        key = tf.fill([rows, 1], name)
        entries.append(
            _encode(
                "Features.FeatureEntry",
                tf.ones([rows, 2], tf.int32),
                key=key,
                value=feature[:, None],
            )
        )
    count = tf.fill([rows, 1], len(entries))
    features = _encode("Features", count, feature=tf.stack(entries, axis=1))
    return _encode("Example", one, features=features[:, None])


def _encode(message: str, sizes: tf.Tensor, **fields: tf.Tensor) -> tf.Tensor:
    return tf.io.encode_proto(
        sizes=sizes,
        values=list(fields.values()),
        field_names=list(fields),
        message_type=f"tensorflow.{message}",
    )


def write_records(
    path: str, batches: Iterable[Mapping[str, np.ndarray]], spec: FeatureSpec
) -> int:
    """Writes one record per row; the file appears when it is whole.

    Args:
      path: The file to write; an existing one is replaced.
      batches: Dictionaries of arrays `[n, ...]`, one per feature of `spec`.
      spec: Which features to write and their types.

    Returns:
      The number of records.
    """
    return write_serialized(
        path, (encode_records(batch, spec).numpy() for batch in batches)
    )


def write_serialized(path: str, batches: Iterable[Iterable[bytes]]) -> int:
    """Writes batches of serialized records; the file appears when it is whole.

    If that fails, what was written of it is removed.

    Returns:
      The number of records.
    """
    count = 0
    with staged(path) as staging, tf.io.TFRecordWriter(staging) as writer:
        for batch in batches:
            for record in batch:
                writer.write(record)
                count += 1
    return count


def parse_records(serialized: tf.Tensor, spec: FeatureSpec) -> dict[str, tf.Tensor]:
    """Parses serialized examples `[n]` into a dictionary of `[n, ...]`, no int64."""
    features = tf.io.parse_example(serialized, dict(spec))
    return {
        name: tf.cast(x, tf.int32) if x.dtype == tf.int64 else x
        for name, x in features.items()
    }


def count_records(path: str) -> int:
    """Returns the number of records in a file.

    Raises:
      DataError: It is missing, or damaged.
    """
    if not tf.io.gfile.exists(path):
        raise DataError(f"Expected a record file at {path}, found none; make it first.")
    try:
        # By many at a time: a call of the function takes longer than reading a record.
        records = tf.data.TFRecordDataset(path).batch(1024)
        return int(records.reduce(0, lambda count, rows: count + tf.size(rows)))
    except tf.errors.DataLossError as error:
        raise DataError(
            f"Expected a whole TFRecord file at {path}, found damage "
            f"({error.message}); delete it and make it again."
        ) from error
