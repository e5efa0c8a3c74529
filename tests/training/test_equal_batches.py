"""Whole, in parts, recomputed, on two devices: the same gradients and weights."""

import json

import pytest

from tests.programs import run
from tests.training.equal_batches import EQUAL

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def figures():
    return json.loads(run("-m", "tests.training.equal_batches"))


@pytest.mark.parametrize(
    ("reference", "way"), [(r, way) for r, ways in EQUAL.items() for way in ways]
)
def test_the_same_after_eight_golden_steps(figures, measured, reference, way):
    found = figures[way]
    measured(f"8 steps, {way} = {reference}", found["weights"], at_most=1e-6)
    assert found["key biases"] < 2e-5
    assert found["scalars"] < 1e-5


@pytest.mark.parametrize(
    ("reference", "way"), [(r, way) for r, ways in EQUAL.items() for way in ways]
)
def test_the_same_gradients(figures, measured, reference, way):
    found = figures[way]
    what = f"classification gradients, {way} = {reference}"
    measured(what, found["gradients"], at_most=1e-6)
    assert found.get("norm", 0) < 1e-6


def test_the_trainer_makes_googles_steps(figures):
    assert figures["google"] < 2e-5


def test_replicas_of_their_own_are_another_computation(figures):
    """So the equalities above are not those of a trainer that ignores its options."""
    assert figures["reductions differ"] > 1e-3
