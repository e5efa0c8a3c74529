"""Losses and their gradients against numpy in float64."""

import numpy as np
import pytest
import tensorflow as tf

from bert_tf import losses


def in_numpy(logits, labels):
    """Returns losses, and the gradients of their sum."""
    logits = np.asarray(logits, "float64")
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    one_hot = np.eye(logits.shape[-1])[labels]
    return -(one_hot * log_probs).sum(axis=-1), np.exp(log_probs) - one_hot


@pytest.mark.parametrize("in_graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("size", [1.0, 1000.0])
@pytest.mark.parametrize("shape", [(7, 2), (4, 5, 300)], ids=str)
def test_cross_entropy(measured, in_graph, dtype, size, shape):
    random = np.random.default_rng(2)
    labels = random.integers(0, shape[-1], shape[:-1], "int32")
    logits = tf.cast(random.normal(0, size, shape), dtype)
    # What is left of them in half precision is what the loss is of, in float32.
    expected, expected_gradient = in_numpy(tf.cast(logits, tf.float64), labels)

    def compute(logits, labels):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            found = losses.cross_entropy(logits, labels)
        return found, tape.gradient(found, logits)

    compute = tf.function(compute) if in_graph else compute
    found, gradient = compute(logits, labels)
    assert found.dtype == tf.float32 and gradient.dtype == logits.dtype
    measured(
        "cross entropy against float64",
        float((np.abs(found - expected) / np.maximum(1.0, expected)).max()),
        at_most=1e-6,
    )
    rounding = {"float32": 1e-6, "bfloat16": 2**-8, "float16": 2**-11}[dtype]
    np.testing.assert_allclose(
        tf.cast(gradient, tf.float64), expected_gradient, atol=rounding
    )


def kl(one, other):
    """Divergence of two softmaxes, from their logits, in float64."""
    p, q = (np.exp(x - x.max(-1, keepdims=True)) for x in (one, other))
    p, q = (x / x.sum(-1, keepdims=True) for x in (p, q))
    return (p * np.log(p / q)).sum(-1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_soft_losses(temperature):
    random = np.random.default_rng(3)
    ours, theirs = random.normal(0, 3, (2, 5, 4)).astype("float32")
    wide = [x.astype("float64") / temperature for x in (theirs, ours)]
    found = losses.soft_cross_entropy(tf.constant(ours), theirs, temperature)
    np.testing.assert_allclose(found, temperature**2 * kl(*wide), rtol=1e-5, atol=1e-5)
    # Each label for itself is a softmax of two.
    pairs = [np.stack([x, np.zeros_like(x)], axis=-1) for x in wide]
    found = losses.soft_sigmoid_cross_entropy(tf.constant(ours), theirs, temperature)
    np.testing.assert_allclose(found, temperature**2 * kl(*pairs), rtol=1e-4, atol=1e-5)
    same = losses.soft_cross_entropy(tf.constant(theirs), theirs, temperature)
    np.testing.assert_allclose(same, np.zeros(5), atol=1e-6)


def test_the_gradient_of_soft_losses_keeps_its_size_at_high_temperatures():
    random = np.random.default_rng(4)
    ours, theirs = (tf.constant(x) for x in random.normal(0, 1, (2, 6, 3)))
    norms = []
    for temperature in (10.0, 1000.0):
        with tf.GradientTape() as tape:
            tape.watch(ours)
            loss = tf.reduce_sum(losses.soft_cross_entropy(ours, theirs, temperature))
        norms.append(float(tf.norm(tape.gradient(loss, ours))))
    assert abs(norms[0] / norms[1] - 1) < 0.2
