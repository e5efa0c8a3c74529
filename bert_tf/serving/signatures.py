"""All that an export can be asked: with strings, with rows of ids, for pieces."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from bert_tf.config import BertConfig
from bert_tf.tasks.servable import (
    DEFAULT_SIGNATURE,
    ROW_FEATURES,
    Servable,
    Signature,
)


def all_signatures(servable: Servable) -> dict[str, Signature]:
    """Returns those of the servable, and those that every export has.

    `ids` takes rows of pieces, int32 `[n, S]`; `tf_example` the same as serialized
    `tf.Example`s `[n]`, of any length each; `pieces` returns what texts are split into.
    """
    rows = [tf.TensorSpec([None, None], tf.int32, name=name) for name in ROW_FEATURES]
    examples = [tf.TensorSpec([None], tf.string, name="examples")]
    texts = servable.signatures[DEFAULT_SIGNATURE].inputs

    def of_rows(model: Any, *inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        features = dict(zip(ROW_FEATURES, inputs, strict=True))
        return servable.serve_rows(model, _checked(features, servable.config))

    def of_examples(model: Any, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        # Checked before they are cut to what int32 holds.
        features = _checked(_parsed(examples), servable.config)
        features = {name: tf.cast(x, tf.int32) for name, x in features.items()}
        return servable.serve_rows(model, features)

    def pieces(model: Any, *inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        found = {}
        for spec, strings in zip(texts, inputs, strict=True):
            ids = servable.tokenize(strings)
            split = ids.with_values(servable.tokenizer.pieces(ids.values))
            found[f"{spec.name}_pieces"] = split.to_tensor()
        return found

    return {
        **servable.signatures,
        "ids": Signature(rows, of_rows),
        "tf_example": Signature(examples, of_examples),
        "pieces": Signature(texts, pieces),
    }


def _parsed(examples: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns the features of serialized `tf.Example`s, int64 `[n, S]`."""
    parsed = tf.io.parse_example(
        examples, {name: tf.io.RaggedFeature(tf.int64) for name in ROW_FEATURES}
    )
    lengths = [row.row_lengths() for row in parsed.values()]
    same = tf.reduce_all([tf.reduce_all(each == lengths[0]) for each in lengths])
    expected = f"Expected {', '.join(ROW_FEATURES)} of one length in each tf.Example."
    with tf.control_dependencies([tf.debugging.Assert(same, [expected])]):
        return {name: row.to_tensor() for name, row in parsed.items()}


def _checked(
    features: Mapping[str, tf.Tensor], config: BertConfig
) -> dict[str, tf.Tensor]:
    """Returns rows that the model can take: of others it would say anything."""
    shape, most = tf.shape(features["input_ids"]), config.max_position_embeddings
    expected = [
        (
            (shape[1] >= 1) & (shape[1] <= most),
            f"Expected rows of 1 to {most} pieces.",
        )
    ]
    ends = (config.vocab_size, 2, config.type_vocab_size)
    for name, end in zip(ROW_FEATURES, ends, strict=True):
        x = features[name]
        expected += [
            (
                tf.reduce_all(tf.shape(x) == shape),
                f"Expected {name} of the shape of input_ids.",
            ),
            (
                tf.reduce_all((x >= 0) & (x < end)),
                f"Expected {name} from 0 to {end - 1}.",
            ),
        ]
    asserted = [tf.debugging.Assert(holds, [text]) for holds, text in expected]
    with tf.control_dependencies(asserted):
        return {name: tf.identity(x) for name, x in features.items()}
