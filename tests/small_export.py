"""An export of a few ops, with a signature of every kind that tasks export."""

import os
from pathlib import Path

import tensorflow as tf

LABELS = ["short", "long"]
# Ids from here on are refused, as beyond a vocabulary.
VOCAB_SIZE = 100


def _texts(*names: str) -> list[tf.TensorSpec]:
    return [tf.TensorSpec([None], tf.string, name) for name in names]


def _ids(*names: str) -> list[tf.TensorSpec]:
    return [tf.TensorSpec([None, None], tf.int32, name) for name in names]


class _Module(tf.Module):
    @tf.function(input_signature=_texts("text_a"))
    def classify(self, text_a):
        lengths = tf.strings.length(text_a, "UTF8_CHAR")
        odds = tf.sigmoid(tf.cast(lengths, tf.float32) / 8 - 1)
        label = tf.gather(LABELS, tf.cast(odds > 0.5, tf.int32))
        rows = tf.shape(text_a)[0]
        return {
            "label": label,
            "labels": tf.tile([LABELS], [rows, 1]),
            "probabilities": tf.stack([1 - odds, odds], axis=1),
        }

    @tf.function(input_signature=_texts("text"))
    def tag(self, text):
        words = tf.strings.split(text).to_tensor("")
        lengths = tf.strings.length(words, "UTF8_CHAR")
        tags = tf.where(lengths > 0, tf.strings.as_string(lengths % 3), "")
        odds = tf.where(lengths > 0, 1 / lengths, 0)
        return {"words": words, "tags": tags, "probabilities": odds}

    @tf.function(input_signature=_texts("question", "context"))
    def answer(self, question, context):
        return {"answer": question + "|" + context}

    @tf.function(input_signature=_texts("text_a"))
    def serialize(self, text_a):
        return {"serialized_bytes": text_a + b"\xff"}

    @tf.function(input_signature=_ids("input_ids", "input_mask", "segment_ids"))
    def sum_ids(self, input_ids, input_mask, segment_ids):
        right = tf.reduce_all((input_ids >= 0) & (input_ids < VOCAB_SIZE))
        message = f"Expected ids from 0 to {VOCAB_SIZE - 1}, got others."
        with tf.control_dependencies([tf.Assert(right, [message])]):
            kept = input_ids * input_mask
        return {"total": tf.reduce_sum(kept + segment_ids, axis=1), "kept": kept}

    @tf.function(input_signature=_texts("examples"))
    def parse(self, examples):
        features = {"input_ids": tf.io.FixedLenFeature([4], tf.int64)}
        return tf.io.parse_example(examples, features)


def write_export(folder: Path, version: int = 1) -> None:
    """Writes the export into `folder/<version>`."""
    module = _Module()
    signatures = {
        "serving_default": module.classify,
        "tags": module.tag,
        "answers": module.answer,
        "serialized": module.serialize,
        "ids": module.sum_ids,
        "tf_example": module.parse,
    }
    tf.saved_model.save(module, os.path.join(folder, str(version)), signatures)
