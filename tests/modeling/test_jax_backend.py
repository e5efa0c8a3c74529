"""A forward pass on Keras' JAX backend is the one on TensorFlow's, and without it."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from bert_tf.naming import by_google_name
from tests.modeling.forward_on_jax import FEATURES, arrays, create
from tests.programs import run
from tests.serving.inference_models import shaken

pytest.importorskip("jax")


@pytest.fixture(scope="module")
def jax(tmp_path_factory):
    """What came of the same weights on TensorFlow, and on JAX in its own process."""
    folder = tmp_path_factory.mktemp("jax")
    models = {name: shaken(model) for name, model in create().items()}
    weights = {
        f"{name}/{key}": variable.numpy()
        for name, model in models.items()
        for key, variable in by_google_name(model.variables).items()
    }
    np.savez(folder / "weights.npz", **weights)
    report = run(
        *("-m", "tests.modeling.forward_on_jax", folder),
        KERAS_BACKEND="jax",
        JAX_DISABLE_MOST_OPTIMIZATIONS="1",  # compiled sooner
    )
    return SimpleNamespace(
        expected=arrays({name: model(FEATURES) for name, model in models.items()}),
        found=lambda way: np.load(folder / f"{way}.npz"),
        **json.loads(report.splitlines()[-1]),
    )


@pytest.mark.parametrize("way", ["float32", "eager"])
def test_in_float32(jax, way):
    for name, found in jax.found(way).items():
        np.testing.assert_allclose(found, jax.expected[name], atol=1e-5, err_msg=name)


def test_in_bfloat16(jax):
    for name, found in jax.found("mixed_bfloat16").items():
        expected = jax.expected[name]
        error = np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2))
        assert error < 0.05, name


def test_every_output_is_there(jax):
    for way in ("float32", "mixed_bfloat16"):
        assert set(jax.found(way)) == set(jax.expected)


def test_without_tensorflow(jax):
    assert "jax" in jax.modules and "tensorflow" not in jax.modules


def test_training_is_refused(jax):
    says = "TensorFlow backend for training, got jax; set KERAS_BACKEND=tensorflow"
    assert says in jax.refusal
