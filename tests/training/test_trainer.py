"""The loop: actions at their steps, one trace, batches that devices can share."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from bert_tf import BertConfig, ConfigError, create_optimizer
from bert_tf.data.input_pipeline import evaluation_batches
from bert_tf.data.records import classification_features, write_records
from bert_tf.tasks.classification import ClassificationTask
from bert_tf.training.distribution import create_strategy, distribute
from bert_tf.training.trainer import Action, Trainer

CONFIG = BertConfig(
    vocab_size=40,
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=16,
    max_position_embeddings=8,
)


def make_trainer(
    steps: int, recompute: bool = False, dropout: float = 0.1, **options
) -> Trainer:
    config = dataclasses.replace(
        CONFIG, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout
    )
    task = ClassificationTask("test", config, None, ["a", "b"], 8, False)
    strategy = create_strategy("one_device")
    tf.keras.utils.set_random_seed(1)
    with strategy.scope():
        model = task.create_model(recompute=recompute)
        model.dropout.rate = dropout
        optimizer = create_optimizer(1e-2, steps, 2)
        optimizer.build(model.trainable_variables)
    return Trainer(task, model, strategy, optimizer, random_seed=7, **options)


def batches() -> tf.data.Dataset:
    draw = np.random.default_rng(0)
    rows = {
        "input_ids": draw.integers(0, 40, [64, 8], dtype=np.int32),
        "input_mask": np.ones([64, 8], np.int32),
        "segment_ids": np.zeros([64, 8], np.int32),
        "label_ids": draw.integers(0, 2, [64], dtype=np.int32),
        "is_real_example": np.ones([64], np.int32),
    }
    dataset = tf.data.Dataset.from_tensor_slices(rows)
    return dataset.batch(4, drop_remainder=True).repeat()


def train(trainer: Trainer, steps: int, steps_per_call: int, actions=()):
    progress = []
    trainer.train(
        lambda share: batches(),
        num_train_steps=steps,
        steps_per_call=steps_per_call,
        on_progress=lambda step, scalars: progress.append(
            (step, len(scalars["loss"]), scalars)
        ),
        actions=actions,
    )
    return progress


def test_calls_end_where_actions_are_due():
    done = []
    actions = [
        Action([3, 8], lambda step: done.append(("save", step))),
        Action([5, 8, 12], lambda step: done.append(("epoch", step))),
    ]
    progress = train(make_trainer(12), 12, 4, actions)
    assert [p[:2] for p in progress] == [(3, 3), (5, 2), (8, 3), (12, 4)]
    assert done == [("save", 3), ("epoch", 5), ("save", 8), ("epoch", 8), ("epoch", 12)]


def test_steps_per_call_change_nothing():
    one, four = make_trainer(8), make_trainer(8)
    singles, quads = train(one, 8, 1), train(four, 8, 4)
    for a, b in zip(one.model.variables, four.model.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    losses = [np.concatenate([p[2]["loss"] for p in x]) for x in (singles, quads)]
    np.testing.assert_array_equal(*losses)


def test_one_trace_serves_all_steps():
    trainer = make_trainer(9)
    train(trainer, 9, 4, [Action([5], lambda step: None)])
    assert trainer._train_steps.experimental_get_tracing_count() == 1


def test_predictions_come_in_the_order_of_the_file(tmp_path):
    path, spec = str(tmp_path / "records"), classification_features(8)
    row = next(iter(batches().unbatch().batch(64).as_numpy_iterator()))
    tokens = np.random.default_rng(1).integers(1, 9, [64, 1])
    mask = (np.arange(8) < tokens).astype(np.int32)
    row |= {"input_mask": mask, "input_ids": row["input_ids"] * mask}
    write_records(path, [row], spec)
    trainer = make_trainer(1)
    expected, bucketed = (
        trainer.predict(
            lambda share, buckets=buckets: evaluation_batches(
                path, spec, batch_size=5, length_buckets=buckets
            )
        )
        for buckets in ((), (3, 5))
    )
    assert bucketed.keys() == expected.keys()
    np.testing.assert_array_equal(bucketed["label_ids"], row["label_ids"])
    for name, value in expected.items():
        np.testing.assert_allclose(bucketed[name], value, rtol=1e-5, err_msg=name)


def test_a_loss_that_is_not_finite_stops_before_any_action():
    trainer = make_trainer(8)
    kernel = trainer.model.bert.pooler.kernel
    done = []

    def spoil(step):
        done.append(step)
        kernel.assign(kernel * np.nan)

    with pytest.raises(
        ConfigError, match=r"got nan at step 4 \(.* loss was 0\.\d+\).*learning_rate"
    ):
        train(trainer, 8, 1, [Action([3, 4, 5], spoil)])
    assert done == [3]


def test_a_batch_that_devices_cannot_share_is_refused():
    class ThreeDevices:
        num_replicas_in_sync = 3

        def distribute_datasets_from_function(self, make):
            return make(tf.distribute.InputContext(1, 0, 3))

    with pytest.raises(ConfigError, match="multiple of 3"):
        distribute(ThreeDevices(), lambda share: batches())
