"""Loss scaling: exact where nothing overflows, a skipped step where something does."""

import numpy as np
import pytest
import tensorflow as tf

from bert_tf import ConfigError, create_optimizer
from bert_tf.tasks.classification import ClassificationTask
from bert_tf.training.distribution import create_strategy
from bert_tf.training.trainer import Trainer
from tests.training.test_trainer import CONFIG, train


def make_trainer(precision: str, dynamic_loss_scale: bool = True, **options) -> Trainer:
    task = ClassificationTask("test", CONFIG, None, ["a", "b"], 8, False)
    strategy = create_strategy("one_device")
    tf.keras.utils.set_random_seed(1)
    with strategy.scope():
        model = task.create_model(dtype=precision)
        optimizer = create_optimizer(1e-2, 8, 2, dynamic_loss_scale)
        optimizer.build(model.trainable_variables)
    return Trainer(task, model, strategy, optimizer, random_seed=7, **options)


def state(trainer) -> dict[str, np.ndarray]:
    variables = {v.path: v for v in trainer.model.variables} | trainer.optimizer.slots()
    return {
        name: v.numpy()
        for name, v in variables.items()
        if name not in ("current_loss_scale", "good_steps")
    }


@pytest.mark.parametrize("options", [{}, {"micro_batch_size": 2}], ids=str)
def test_a_power_of_two_changes_no_bit_in_float32(options):
    scaled = make_trainer("float32", **options)
    plain = make_trainer("float32", dynamic_loss_scale=False, **options)
    one, other = train(scaled, 6, 3), train(plain, 6, 3)
    for (step, _, with_scale), (_, _, without) in zip(one, other, strict=True):
        for name, values in without.items():
            np.testing.assert_allclose(
                with_scale[name], values, rtol=1e-6, err_msg=f"{name} at {step}"
            )
    for a, b in zip(state(scaled).values(), state(plain).values(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_step_that_overflows_changes_only_the_scale():
    trainer = make_trainer("mixed_float16")
    loss_scale = trainer.optimizer.loss_scale
    loss_scale.scale.assign(2.0**60)
    before = state(trainer)
    ((_, _, scalars),) = train(trainer, 3, 3)
    assert not np.isfinite(scalars["gradient_norm"]).any()
    assert np.isfinite(scalars["loss"]).all()
    np.testing.assert_array_equal(scalars["loss_scale"], 2.0 ** np.array([59, 58, 57]))
    assert trainer.step == 3  # the batch of a step stays that of the step
    for name, value in state(trainer).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_the_scale_grows_again():
    trainer = make_trainer("mixed_float16")
    loss_scale = trainer.optimizer.loss_scale
    loss_scale.scale.assign(64.0)
    loss_scale.good_steps.assign(1998)
    ((_, _, scalars),) = train(trainer, 3, 3)
    np.testing.assert_array_equal(scalars["loss_scale"], [64, 128, 128])
    assert int(loss_scale.good_steps) == 1


def test_a_scale_below_one_ends_the_run():
    """Then it is no longer the scale that makes the gradients overflow."""
    trainer = make_trainer("mixed_float16")
    trainer.optimizer.loss_scale.scale.assign(1.0)
    kernel = trainer.model.bert.pooler.kernel
    weights = trainer.model.output_weights
    kernel.assign(kernel * 0)
    weights.assign(np.float32([[1e38], [-1e38]]) * np.ones_like(weights))
    with pytest.raises(ConfigError, match=r"finite .* step 1"):
        train(trainer, 1, 1)


def test_float16_gradients_are_those_of_float32():
    """Unscaled, they would be below what float16 can hold for the most part."""
    half, single = make_trainer("mixed_float16"), make_trainer("float32")
    ((_, _, low),), ((_, _, high),) = train(half, 4, 4), train(single, 4, 4)
    np.testing.assert_allclose(low["loss"], high["loss"], rtol=5e-3)
    np.testing.assert_allclose(low["gradient_norm"], high["gradient_norm"], rtol=2e-2)
