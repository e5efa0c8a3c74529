"""Two virtual devices do what Google's TPU code does with two cores."""

import json

import pytest

from tests.programs import run


@pytest.fixture(scope="module")
def figures():
    return json.loads(run("-m", "tests.training.two_devices"))


def test_clipped_gradients_are_averaged(figures, measured):
    measured(
        "mirrored gradients against the mean of two clipped halves",
        figures["gradient_error"],
        at_most=1e-6,
    )
    assert figures["loss_error"] < 1e-6


def test_fit_clips_and_averages_alike(figures):
    """One device's `fit` is the reference: there Keras scales nothing."""
    assert figures["fit_error"] < 1e-6


def test_replicas_drop_different_units(figures, measured):
    measured(
        "gradients of two equal halves, apart by dropout",
        figures["replicas_differ"],
        at_least=1e-4,
    )


def test_evaluation_is_that_of_one_device(figures):
    assert figures["evaluation_error"] < 1e-6


def test_features_are_those_of_one_device(figures):
    assert figures["features_error"] < 1e-5


def test_auto_takes_all_devices(figures):
    assert figures["auto"] == "MirroredStrategy"
