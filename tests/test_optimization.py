"""The optimizer makes Google's updates, over whole training runs."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from bert_tf import (
    BertClassifier,
    BertConfig,
    BertPretrainer,
    create_optimizer,
    load_checkpoint,
    losses,
    save_checkpoint,
)
from bert_tf.checkpoint import CheckpointReader
from bert_tf.optimization import WarmupLinearDecay


def largest_difference(one, other):
    """Returns the largest difference between two checkpoints with the same names."""
    one, other = CheckpointReader(one), CheckpointReader(other)
    assert one.shapes == other.shapes
    return max(
        float(np.abs(one.read(name) - other.read(name)).max()) for name in one.shapes
    )


def test_eight_pretraining_steps(testdata, tmp_path, measured):
    golden = json.loads((testdata / "training.json").read_text())
    stored = np.load(testdata / "pretraining_data_default.npz")
    features = {n[2:]: stored[n] for n in stored.files if n.startswith("0/")}
    model = BertPretrainer(BertConfig.from_json_file(testdata / "bert_config.json"))
    load_checkpoint(model, testdata / "bert_model.ckpt")
    optimizer = create_optimizer(
        golden["init_learning_rate"],
        golden["num_train_steps"],
        golden["num_warmup_steps"],
    )
    for expected in golden["steps"]:
        rows = slice(4 * expected["step"], 4 * expected["step"] + 4)
        batch = {name: x[rows] for name, x in features.items()}
        np.testing.assert_allclose(
            optimizer.learning_rate, expected["learning_rate"], rtol=1e-6
        )
        with tf.GradientTape() as tape:
            computed = losses.pretraining_loss(model(batch), batch)
        gradients = tape.gradient(computed["loss"], model.trainable_variables)
        for name, key in (
            ("loss", "total_loss"),
            ("masked_lm_loss", "masked_lm_loss"),
            ("next_sentence_loss", "next_sentence_loss"),
        ):
            np.testing.assert_allclose(computed[name], expected[key], rtol=1e-5)
        np.testing.assert_allclose(
            tf.linalg.global_norm(gradients), expected["global_norm"], rtol=1e-5
        )
        optimizer.apply(gradients, model.trainable_variables)
    save_checkpoint(model, tmp_path / "trained.ckpt", optimizer)
    measured(
        "weights, slots and step after 8 pretraining steps",
        largest_difference(tmp_path / "trained.ckpt", testdata / "trained.ckpt"),
        at_most=2e-5,
    )


def test_six_classification_steps(testdata, tmp_path, measured):
    """Here the embeddings' gradient is sparse, and clipped before rows are summed."""
    golden = json.loads((testdata / "classifier.json").read_text())
    outputs = np.load(testdata / "classifier_outputs.npz")
    stored = np.load(testdata / "classifier_features.npz")
    prefix = "MRPC/train/"
    features = {
        n.removeprefix(prefix): stored[n] for n in stored.files if n.startswith(prefix)
    }
    model = BertClassifier(BertConfig.from_json_file(testdata / "bert_config.json"), 2)
    load_checkpoint(model, testdata / "classifier_init.ckpt")
    optimizer = create_optimizer(
        golden["init_learning_rate"],
        golden["num_train_steps"],
        golden["num_warmup_steps"],
    )
    for step, expected in enumerate(outputs["train_losses"]):
        batch = {name: x[3 * step : 3 * step + 3] for name, x in features.items()}
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(losses.cross_entropy(model(batch), batch["label_id"]))
        gradients = tape.gradient(loss, model.trainable_variables)
        assert any(isinstance(g, tf.IndexedSlices) for g in gradients)
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
        optimizer.apply(gradients, model.trainable_variables)
    save_checkpoint(model, tmp_path / "classifier.ckpt")
    measured(
        "weights after 6 classification steps",
        largest_difference(
            tmp_path / "classifier.ckpt", testdata / "classifier_trained.ckpt"
        ),
        at_most=2e-5,
    )


def test_continuing_from_googles_training_checkpoint(testdata):
    model = BertPretrainer(BertConfig.from_json_file(testdata / "bert_config.json"))
    optimizer = create_optimizer(1e-3, 20, 3)
    report = load_checkpoint(model, testdata / "trained.ckpt", optimizer)
    assert not report.fresh and not report.unused
    assert int(optimizer.iterations) == 8
    np.testing.assert_allclose(optimizer.learning_rate, 1e-3 * (1 - 8 / 20), rtol=1e-6)
    slot = "bert/embeddings/word_embeddings/adam_v"
    np.testing.assert_array_equal(
        optimizer.slots()[slot],
        CheckpointReader(testdata / "trained.ckpt").read(slot),
    )


def test_learning_rate():
    schedule = WarmupLinearDecay(2e-4, num_train_steps=10, num_warmup_steps=4)
    expected = [2e-4 * step / 4 for step in range(4)]
    expected += [2e-4 * (1 - step / 10) for step in range(4, 10)]
    expected += [0.0, 0.0]
    np.testing.assert_allclose(
        [float(schedule(step)) for step in range(12)], expected, rtol=1e-6, atol=1e-12
    )
    assert float(WarmupLinearDecay(2e-4, 10, 0)(0)) == np.float32(2e-4)


def test_decay_leaves_biases_and_layer_norms_alone():
    """With a gradient of zero, decay is all that moves a weight."""
    config = BertConfig(
        vocab_size=9,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=4,
    )
    model = BertClassifier(config, 2)
    before = {}
    for variable in model.variables:
        variable.assign(variable * 0 + 1)
        before[variable.google_name] = variable.numpy()
    optimizer = create_optimizer(0.1, 100, 0)
    zeros = [tf.zeros(v.shape) for v in model.trainable_variables]
    optimizer.apply(zeros, model.trainable_variables)
    still = {
        v.google_name
        for v in model.variables
        if (v.numpy() == before[v.google_name]).all()
    }
    assert still == {name for name in before if "LayerNorm" in name or "bias" in name}
    moved = model.bert.pooler.kernel.numpy()
    np.testing.assert_allclose(moved, 1 - 0.1 * 0.01, rtol=1e-6)


def by_numpy(weight, gradients, rate, decay):
    """Returns a weight and its slots after some steps of AdamWeightDecay."""
    m, v = np.zeros_like(weight), np.zeros_like(weight)
    for gradient in gradients:
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        weight = weight - rate * (m / (np.sqrt(v) + 1e-6) + decay * weight)
    return weight, m, v


@pytest.mark.parametrize("shape", [(600, 500), (60, 50)], ids=["compiled", "op by op"])
@pytest.mark.parametrize("strategy", ["one device", "mirrored"])
def test_a_weight_of_any_size(shape, strategy):
    rng = np.random.default_rng(3)
    start = rng.normal(size=shape)
    gradients = rng.normal(size=(3, *shape)) * 1e-4  # their norm is below 1
    scope = {
        "one device": tf.distribute.OneDeviceStrategy("cpu:0"),
        "mirrored": tf.distribute.MirroredStrategy(["cpu:0"]),
    }[strategy]
    with scope.scope():
        weights = [
            keras.Variable(start.astype(np.float32), name=name)
            for name in ("kernel", "bias")
        ]
        optimizer = create_optimizer(0.01, 10**9, 0)
        optimizer.build(weights)

    @tf.function
    def step(gradient):
        scope.run(lambda x: optimizer.apply([x, x], weights), (gradient,))

    for gradient in gradients:
        step(tf.constant(gradient, tf.float32))
    slots = optimizer.slots()
    for weight, decay in zip(weights, (0.01, 0.0), strict=True):
        found = (weight, *(slots[f"{weight.path}/adam_{x}"] for x in "mv"))
        expected = by_numpy(start, gradients, 0.01, decay)
        # What float32 leaves of a difference of numbers of their size.
        for *pair, rounding in zip(found, expected, (1e-6, 1e-10, 0.0), strict=True):
            np.testing.assert_allclose(*pair, rtol=2e-5, atol=rounding)
