"""What an export computes is what the model does, however it is stored and spelled."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from bert_tf import (
    BertClassifier,
    BertModel,
    BertPretrainer,
    BertSpanLabeler,
    ConfigError,
)
from bert_tf.serving import inference
from bert_tf.serving.inference import inference_model
from bert_tf.tasks.servable import ROW_FEATURES
from tests.serving.inference_models import CONFIG, batch, shaken

KINDS = [
    {"freeze": freeze, "target": target}
    for freeze, target in itertools.product((False, True), ("any", "cpu"))
]


def create(**options):
    return BertClassifier(CONFIG, 3, **options)


@pytest.fixture(scope="module")
def classifier():
    return shaken(create())


@pytest.mark.parametrize("kind", KINDS)
def test_float32_is_the_model(classifier, kind):
    served = inference_model(create, classifier, **kind)
    # On CPUs, those of query, key and value are one kernel and one bias in each layer.
    merged = 4 * CONFIG.num_hidden_layers if kind["target"] == "cpu" else 0
    of_layers = len(classifier.variables) - merged
    assert len(served.variables) == (0 if kind["freeze"] else of_layers)
    for shape in ((3, 16), (1, 5), (0, 4)):
        features = batch(*shape)
        expected = classifier(features)
        np.testing.assert_allclose(served(features), expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_as_exact_as_training_in_it(kind):
    exact = shaken(BertModel(CONFIG))
    mixed = BertModel(CONFIG, dtype="mixed_bfloat16")
    mixed.set_weights(exact.get_weights())
    served = inference_model(
        lambda **options: BertModel(CONFIG, **options),
        exact,
        precision="bfloat16",
        **kind,
    )
    features = batch(8, 32)
    real = features["input_mask"].astype(bool)

    def error(model):
        """Returns the root of the mean square, of what is real."""
        found, expected = (
            tf.cast(outputs["sequence_output"], tf.float32).numpy()[real]
            for outputs in (model(features), exact(features))
        )
        return np.sqrt(np.mean((found - expected) ** 2))

    # Spelled for CPUs, LayerNorm's weights are rounded as well.
    assert error(mixed) / 2 < error(served) < error(mixed) * 1.5


def test_bfloat16_takes_half_the_space_and_leaves_logits_exact(classifier):
    served = inference_model(create, classifier, precision="bfloat16")
    dtypes = {
        variable.name.removesuffix(":0"): variable.dtype
        for variable in served.variables
    }
    exact = {"gamma", "beta", "output_weights", "output_bias"}
    assert {name for name, d in dtypes.items() if d == tf.float32} == exact
    assert set(dtypes) - exact == {
        "kernel",
        "bias",
        "word_embeddings",
        "token_type_embeddings",
        "position_embeddings",
    }
    assert served(batch(2, 8)).dtype == tf.float32


def test_int64_and_features_of_others_are_taken(classifier):
    features = {name: tf.cast(x, tf.int64) for name, x in batch(2, 8).items()}
    served = inference_model(create, classifier)
    np.testing.assert_allclose(
        served({**features, "label_ids": tf.constant([0, 1])}),
        classifier(batch(2, 8)),
        atol=1e-5,
    )


def test_other_heads():
    def spans(**options):
        return BertSpanLabeler(CONFIG, **options)

    def pretrainer(**options):
        return BertPretrainer(CONFIG, **options)

    features = batch(2, 8)
    positions = {"masked_lm_positions": np.array([[1], [3]], np.int32)}
    kind = {"freeze": True, "target": "cpu"}
    for create_model, names in (
        (spans, ROW_FEATURES),
        (pretrainer, (*ROW_FEATURES, "masked_lm_positions")),
    ):
        model = shaken(create_model())
        found = inference_model(create_model, model, names, **kind)(
            {**features, **positions}
        )
        for name, expected in model({**features, **positions}).items():
            np.testing.assert_allclose(found[name], expected, atol=1e-4, rtol=1e-5)


def test_it_keeps_the_weights_it_was_made_with():
    model = shaken(create())
    served = inference_model(create, model)
    before = served(batch(2, 8)).numpy()
    model.output_bias.assign([5.0, 6.0, 7.0])
    np.testing.assert_array_equal(served(batch(2, 8)), before)


def test_what_cannot_be_made_is_named(classifier, monkeypatch):
    with pytest.raises(ConfigError, match="float32, bfloat16, got 'float16'"):
        inference_model(create, classifier, precision="float16")
    with pytest.raises(ConfigError, match="any, cpu, got 'gpu'"):
        inference_model(create, classifier, target="gpu")
    monkeypatch.setattr(inference, "_MOST_CONSTANT_BYTES", 400_000)
    with pytest.raises(ConfigError, match=r"got 0\.00 GB; .*--nofreeze or --pr"):
        inference_model(create, classifier, freeze=True)
    # Half as large it fits.
    inference_model(create, classifier, freeze=True, precision="bfloat16")
