"""What holds for the models beyond the golden numbers."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from bert_tf import (
    BertClassifier,
    BertConfig,
    BertModel,
    BertPretrainer,
    BertSpanLabeler,
    ConfigError,
    DataError,
    load_checkpoint,
    save_checkpoint,
)
from bert_tf.checkpoint import CheckpointReader
from bert_tf.modeling import kernels

CONFIG = BertConfig(
    vocab_size=50,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=32,
    max_position_embeddings=12,
    type_vocab_size=2,
)
IDS = np.arange(1, 9, dtype=np.int32).reshape(2, 4)


def test_mask_and_segments_default_to_ones_and_zeros():
    model = BertModel(CONFIG)
    features = {"input_ids": IDS, "input_mask": IDS * 0 + 1, "segment_ids": IDS * 0}
    np.testing.assert_array_equal(
        model({"input_ids": IDS})["pooled_output"], model(features)["pooled_output"]
    )


def test_padding_changes_nothing():
    model = BertModel(CONFIG)
    padded = {
        "input_ids": np.pad(IDS, [(0, 0), (0, 5)], constant_values=7),
        "input_mask": np.pad(IDS * 0 + 1, [(0, 0), (0, 5)]),
    }
    np.testing.assert_allclose(
        model({"input_ids": IDS})["sequence_output"],
        model(padded)["sequence_output"][:, :4],
        atol=1e-6,
    )


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_words_looked_up_by_a_matmul(dtype):
    """The same numbers, and a table's gradient that is dense, with each row's sum."""
    ids = tf.constant([[3, 5, 3, 1], [2, 3, 9, 49]])
    found = {}
    for by_matmul in (False, True):
        keras.utils.set_random_seed(1)
        model = BertModel(CONFIG, use_one_hot_embeddings=by_matmul, dtype=dtype)
        table = model.bert.embeddings.word_embeddings.value
        with tf.GradientTape() as tape:
            output = model({"input_ids": ids})["embedding_output"]
            loss = tf.reduce_sum(tf.cast(output, tf.float32) ** 3)
        found[by_matmul] = output, tape.gradient(loss, table)
    np.testing.assert_array_equal(*(output for output, _ in found.values()))
    slices, dense = (gradient for _, gradient in found.values())
    assert isinstance(slices, tf.IndexedSlices) and isinstance(dense, tf.Tensor)
    np.testing.assert_allclose(tf.convert_to_tensor(slices), dense, atol=1e-5)
    # The release clips by these norms, which differ where a word occurs twice.
    norms = [float(tf.norm(x)) for x in (slices.values, dense)]
    assert norms[0] != pytest.approx(norms[1], rel=1e-3)


def test_activations_are_the_named_formulas():
    x = np.linspace(-4, 4, 101).astype(np.float32)
    cubic = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    exact = np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x])
    for name, expected in (
        ("gelu", 0.5 * x * (1 + np.tanh(cubic))),
        ("gelu_erf", exact),
        ("relu", np.maximum(x, 0)),
        ("tanh", np.tanh(x)),
    ):
        np.testing.assert_allclose(kernels.activation(name)(x), expected, atol=1e-6)
    assert kernels.activation("linear") is None
    # Wide enough apart for the two forms to be told from each other.
    assert np.abs(kernels.activation("gelu")(x) - exact).max() > 1e-4


def test_dropout_is_a_function_of_seed_and_place():
    x = tf.ones([200, 200])
    seed = kernels.dropout_seed(1, 5, 0)
    drop = kernels.Dropout(0.3, "a")
    first = drop(x, seed).numpy()
    np.testing.assert_array_equal(first, drop(x, seed))
    others = [
        kernels.Dropout(0.3, "b")(x, seed),
        drop(x, kernels.dropout_seed(2, 5, 0)),
        drop(x, kernels.dropout_seed(1, 6, 0)),
        drop(x, kernels.dropout_seed(1, 5, 1)),
    ]
    for other in others:
        # Two independent masks agree on 0.3 * 0.3 + 0.7 * 0.7 of the units.
        assert abs(np.mean((first == 0) == (other.numpy() == 0)) - 0.58) < 0.02
    assert abs(np.mean(first == 0) - 0.3) < 0.01
    np.testing.assert_allclose(first[first != 0], 1 / 0.7, rtol=1e-6)
    assert drop(x, None) is x


@pytest.mark.parametrize("seed", [0, 12345, 2**31 - 1, 2**40 + 3])
def test_dropout_seeds_are_never_negative(seed):
    for replica in (0, 1, 255):
        assert (
            (kernels.dropout_seed(seed, tf.constant(7, tf.int64), replica) >= 0)
            .numpy()
            .all()
        )


def test_training_drops_and_inference_does_not():
    model = BertClassifier(CONFIG, 3)
    features = {"input_ids": IDS}
    plain = model(features).numpy()
    np.testing.assert_array_equal(plain, model(features))
    seed = kernels.dropout_seed(1, 1, 0)
    dropped = model(features, training=True, dropout_seed=seed).numpy()
    np.testing.assert_array_equal(
        dropped, model(features, training=True, dropout_seed=seed)
    )
    assert np.abs(plain - dropped).max() > 1e-5
    # Without a seed, each call draws its own.
    one, two = (model(features, training=True).numpy() for _ in range(2))
    assert np.abs(one - two).max() > 1e-6


def test_masked_words_are_gathered_before_the_table():
    """No tensor of the graph has both the sequence and the vocabulary."""
    model = BertPretrainer(CONFIG)
    spec = tf.TensorSpec([3, 11], tf.int32)
    positions = tf.TensorSpec([3, 2], tf.int32)

    @tf.function
    def run(ids, masked):
        return model({"input_ids": ids, "masked_lm_positions": masked})

    graph = run.get_concrete_function(spec, positions).graph
    shapes = [
        t.shape.as_list()
        for op in graph.get_operations()
        for t in op.outputs
        if t.shape.rank is not None
    ]
    assert [3, 2, 50] in shapes
    assert not [s for s in shapes if 50 in s and (11 in s or 33 in s)]


def test_span_labeler_has_the_releases_variables(tmp_path):
    model = BertSpanLabeler(CONFIG)
    save_checkpoint(model, tmp_path / "model.ckpt")
    reader = CheckpointReader(tmp_path / "model.ckpt")
    heads = {k: list(x) for k, x in reader.shapes.items() if not k.startswith("bert/")}
    assert heads == {
        "cls/squad/output_weights": [2, CONFIG.hidden_size],
        "cls/squad/output_bias": [2],
    }
    # Truncated at two standard deviations of 0.02, as in the release.
    assert 0 < np.abs(reader.read("cls/squad/output_weights")).max() <= 0.04
    model.squad.output_bias.assign([1.0, -1.0])
    save_checkpoint(model, tmp_path / "model.ckpt")
    other = BertSpanLabeler(CONFIG)
    load_checkpoint(other, tmp_path / "model.ckpt")
    found, expected = other({"input_ids": IDS}), model({"input_ids": IDS})
    hidden = model.bert(IDS, IDS * 0 + 1, IDS * 0)["sequence_output"].numpy()
    weights = reader.read("cls/squad/output_weights")
    for number, name in enumerate(("start_logits", "end_logits")):
        np.testing.assert_array_equal(found[name], expected[name])
        by_hand = hidden @ weights[number] + [1.0, -1.0][number]
        np.testing.assert_allclose(found[name], by_hand, atol=1e-5)


def test_span_labeler_in_bfloat16():
    exact = BertSpanLabeler(CONFIG)
    model = BertSpanLabeler(CONFIG, dtype="mixed_bfloat16")
    model.set_weights(exact.get_weights())
    found, expected = model({"input_ids": IDS}), exact({"input_ids": IDS})
    for name, logits in found.items():
        assert logits.dtype == tf.float32 and logits.shape == IDS.shape
        np.testing.assert_allclose(logits, expected[name], atol=0.01)


def test_functional_model_and_keras_file(tmp_path):
    inputs = {"input_ids": keras.Input([None], dtype="int32", name="input_ids")}
    bert = BertModel(CONFIG)
    logits = keras.layers.Dense(3, name="head")(bert(inputs)["pooled_output"])
    model = keras.Model(inputs, logits)
    expected = model({"input_ids": IDS}).numpy()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded({"input_ids": IDS}), expected, atol=1e-6)

    model.save_weights(tmp_path / "model.weights.h5")
    for variable in model.variables:
        variable.assign(variable * 0)
    model.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_allclose(model({"input_ids": IDS}), expected, atol=1e-6)


def test_wrong_inputs_are_named():
    model = BertModel(CONFIG)
    with pytest.raises(ConfigError, match="max_position_embeddings=12 tokens, got 13"):
        model({"input_ids": np.ones([1, 13], np.int32)})
    with pytest.raises(DataError, match="input_ids"):
        model({"ids": IDS})
    with pytest.raises(DataError, match="masked_lm_positions"):
        BertPretrainer(CONFIG)({"input_ids": IDS})
    with pytest.raises(ConfigError, match="BertConfig"):
        BertModel("bert_config.json")
