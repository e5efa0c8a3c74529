"""The models' outputs and losses are those that Google's code computed."""

import numpy as np
import pytest
import tensorflow as tf

from bert_tf import (
    BertClassifier,
    BertConfig,
    BertModel,
    BertPretrainer,
    load_checkpoint,
    losses,
)


@pytest.fixture(scope="module")
def config(testdata):
    return BertConfig.from_json_file(testdata / "bert_config.json")


@pytest.fixture(scope="module")
def features(testdata):
    return dict(np.load(testdata / "model_inputs.npz"))


@pytest.fixture(scope="module")
def golden(testdata):
    return np.load(testdata / "model_outputs.npz")


@pytest.mark.parametrize("one_hot", [False, True])
def test_encoder(testdata, config, features, golden, measured, one_hot):
    model = BertModel(config, use_one_hot_embeddings=one_hot)
    load_checkpoint(model, testdata / "bert_model.ckpt")
    outputs = model(features)

    worst = np.abs(outputs["embedding_output"] - golden["embedding_output"]).max()
    for index, layer in enumerate(outputs["encoder_layers"]):
        worst = max(worst, np.abs(layer - golden[f"layer_{index}"]).max())
    worst = max(worst, np.abs(outputs["pooled_output"] - golden["pooled_output"]).max())
    measured("encoder outputs, largest difference", float(worst), at_most=1e-5)
    assert len(outputs["encoder_layers"]) == config.num_hidden_layers
    np.testing.assert_array_equal(
        outputs["sequence_output"], outputs["encoder_layers"][-1]
    )


def test_pretraining_heads_and_losses(testdata, config, features, golden, measured):
    model = BertPretrainer(config)
    load_checkpoint(model, testdata / "bert_model.ckpt")
    outputs = model(features)

    shape = golden["masked_lm_log_probs"].shape
    words = tf.nn.log_softmax(outputs["masked_lm_logits"]).numpy().reshape(shape)
    sentences = tf.nn.log_softmax(outputs["next_sentence_logits"])
    worst = max(
        np.abs(words - golden["masked_lm_log_probs"]).max(),
        np.abs(sentences - golden["next_sentence_log_probs"]).max(),
    )
    measured("MLM and NSP log-probabilities", float(worst), at_most=1e-5)

    computed = losses.pretraining_loss(outputs, features)
    for name, key in (
        ("loss", "total_loss"),
        ("masked_lm_loss", "masked_lm_loss"),
        ("next_sentence_loss", "next_sentence_loss"),
    ):
        np.testing.assert_allclose(computed[name], golden[key], rtol=1e-5)


def test_classifier(testdata, config, measured):
    stored = np.load(testdata / "classifier_features.npz")
    golden = np.load(testdata / "classifier_outputs.npz")
    prefix = "MRPC/train/"
    features = {
        name.removeprefix(prefix): stored[name]
        for name in stored.files
        if name.startswith(prefix)
    }
    model = BertClassifier(config, num_labels=2)
    worst = 0.0
    for when, checkpoint in (("before", "init"), ("after", "trained")):
        load_checkpoint(model, testdata / f"classifier_{checkpoint}.ckpt")
        logits = model(features)
        worst = max(worst, np.abs(logits - golden[f"logits_{when}"]).max())
        loss = tf.reduce_mean(losses.cross_entropy(logits, features["label_id"]))
        np.testing.assert_allclose(loss, golden[f"loss_{when}"], rtol=1e-5)
    measured("classifier logits, largest difference", float(worst), at_most=1e-5)
