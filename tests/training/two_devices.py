"""What two mirrored devices compute, held against one device; prints JSON.

A program rather than a test, since a process has its devices for life.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)

from bert_tf import BertClassifier, BertConfig, load_checkpoint  # noqa: E402
from bert_tf.losses import cross_entropy  # noqa: E402
from bert_tf.modeling.kernels import dropout_seed  # noqa: E402
from bert_tf.optimization import AdamWeightDecay  # noqa: E402
from bert_tf.serving.features import FeatureExtractor  # noqa: E402
from bert_tf.tasks.classification import ClassificationTask  # noqa: E402
from bert_tf.training.distribution import create_strategy, distribute  # noqa: E402
from bert_tf.training.trainer import Trainer  # noqa: E402

TESTDATA = Path(__file__).resolve().parents[1] / "testdata"
SEED = 3


class Recorder(AdamWeightDecay):
    """Keeps the gradient that reaches the update in `adam_m`; changes no weight."""

    def update_step(self, gradient, variable, learning_rate):
        self.assign(self.adam_m[self._get_variable_index(variable)], gradient)


def batch() -> dict[str, np.ndarray]:
    stored = np.load(TESTDATA / "classifier_features.npz")
    names = ("input_ids", "input_mask", "segment_ids")
    features = {name: stored[f"MRPC/train/{name}"][:8] for name in names}
    return {
        **features,
        "label_ids": stored["MRPC/train/label_id"][:8],
        "is_real_example": np.ones(8, np.int32),
    }


def make_trainer(strategy, optimizer_class):
    config = BertConfig.from_json_file(TESTDATA / "bert_config.json")
    task = ClassificationTask("mrpc", config, None, ["0", "1"], 40, True)
    with strategy.scope():
        model = task.create_model()
        optimizer = optimizer_class(0.1)
        optimizer.build(model.trainable_variables)
        load_checkpoint(model, TESTDATA / "classifier_init.ckpt")
    return Trainer(task, model, strategy, optimizer, SEED)


def train_one_step(trainer, rows):
    data = tf.data.Dataset.from_tensors(rows)
    seen = {}
    trainer.train(
        lambda share: data,
        num_train_steps=1,
        steps_per_call=1,
        on_progress=lambda step, scalars: seen.update(scalars),
    )
    return seen


def averaged_gradients_error() -> tuple[float, float]:
    """Returns the largest error of gradients under `mirrored`, and of the loss."""
    rows = batch()
    mirrored = make_trainer(create_strategy("mirrored"), Recorder)
    assert mirrored.strategy.num_replicas_in_sync == 2
    scalars = train_one_step(mirrored, rows)

    single = make_trainer(create_strategy("one_device"), Recorder)
    halves, losses = [], []
    for replica in range(2):
        half = {k: v[4 * replica : 4 * replica + 4] for k, v in rows.items()}
        seed = dropout_seed(SEED, 0, replica)
        with tf.GradientTape() as tape:
            outputs = single.model(half, training=True, dropout_seed=seed)
            loss = tf.reduce_mean(cross_entropy(outputs, half["label_ids"]))
        gradients = tape.gradient(loss, single.model.trainable_variables)
        flat = [g.values if isinstance(g, tf.IndexedSlices) else g for g in gradients]
        # Clipped by hand, in numpy, by the norm of the slices as they came.
        norm = np.sqrt(sum(float(np.sum(np.square(g))) for g in flat))
        scale = 1.0 / max(norm, 1.0)
        halves.append([tf.convert_to_tensor(g).numpy() * scale for g in gradients])
        losses.append(float(loss))
    error = 0.0
    for got, one, other in zip(mirrored.optimizer.adam_m, *halves, strict=True):
        error = max(error, float(np.abs(got.numpy() - (one + other) / 2).max()))
    return error, abs(float(scalars["loss"][0]) - sum(losses) / 2)


def fit_error() -> float:
    """Returns how far `fit` under `mirrored` is from the mean of clipped halves."""
    rows = batch()
    labels = rows.pop("label_ids")
    del rows["is_real_example"]
    strategy = create_strategy("mirrored")
    values = json.loads((TESTDATA / "bert_config.json").read_text())
    values |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = BertConfig.from_dict(values)

    def make(loss, optimizer):
        model = BertClassifier(config, 2)
        model.dropout.rate = 0.0
        load_checkpoint(model, TESTDATA / "classifier_init.ckpt")
        model.compile(optimizer=optimizer, loss=loss)
        return model

    with strategy.scope():
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        fitted = make(loss, Recorder(0.1))
    fitted.fit(rows, labels, batch_size=8, epochs=1, verbose=0, shuffle=False)

    single = make(loss, Recorder(0.1))
    halves = []
    for half in (slice(0, 4), slice(4, 8)):
        single.fit(
            {k: v[half] for k, v in rows.items()},
            labels[half],
            batch_size=4,
            epochs=1,
            verbose=0,
        )
        halves.append([slot.numpy() for slot in single.optimizer.adam_m])
    return max(
        float(np.abs(got.numpy() - (one + other) / 2).max())
        for got, one, other in zip(fitted.optimizer.adam_m, *halves, strict=True)
    )


def replicas_differ() -> float:
    """Returns how far gradients of two equal halves differ, by dropout alone."""
    rows = {k: np.concatenate([v[:4], v[:4]]) for k, v in batch().items()}
    trainer = make_trainer(create_strategy("mirrored"), AdamWeightDecay)
    data = distribute(
        trainer.strategy, lambda share: tf.data.Dataset.from_tensors(rows)
    )

    @tf.function
    def gradient(part):
        return trainer.strategy.run(
            lambda x: trainer.gradients(x)[0].dense[-1], (part,)
        )

    one, other = trainer.strategy.experimental_local_results(gradient(next(iter(data))))
    return float(np.abs(one - other).max())


def evaluation_error() -> float:
    """Returns how far 23 rows in batches of 8 differ between two devices and one."""
    rows = {k: np.concatenate([v] * 3) for k, v in batch().items()}
    rows["is_real_example"][23:] = 0
    results = []
    for name in ("mirrored", "one_device"):
        trainer = make_trainer(create_strategy(name), AdamWeightDecay)
        data = tf.data.Dataset.from_tensor_slices(rows).batch(8, drop_remainder=True)
        predicted = trainer.predict(lambda share, data=data: data)
        assert len(predicted["logits"]) == 23, len(predicted["logits"])
        results.append((predicted, trainer.task.metrics(predicted, 8)))
    (one, one_metrics), (other, other_metrics) = results
    error = np.abs(one["logits"] - other["logits"]).max()
    return max(
        float(error), *(abs(one_metrics[k] - other_metrics[k]) for k in one_metrics)
    )


def features_error() -> float:
    """Returns how far features of texts differ between two devices and one."""
    texts = [("the lamp " * count, None) for count in (3, 1, 9, 4, 0)]
    found = []
    for name in ("mirrored", "one_device"):
        with create_strategy(name).scope():
            extractor = FeatureExtractor(
                str(TESTDATA / "bert_config.json"),
                str(TESTDATA / "vocab_uncased.txt"),
                str(TESTDATA / "bert_model.ckpt"),
                pooling="mean",
                max_seq_length=16,
                batch_size=3,
            )
        found.append([features.values for features in extractor.extract(texts)])
    return float(np.abs(np.array(found[0]) - found[1]).max())


if __name__ == "__main__":
    gradient_error, loss_error = averaged_gradients_error()
    json.dump(
        {
            "auto": type(create_strategy("auto")).__name__,
            "gradient_error": gradient_error,
            "loss_error": loss_error,
            "fit_error": fit_error(),
            "replicas_differ": replicas_differ(),
            "evaluation_error": float(evaluation_error()),
            "features_error": features_error(),
        },
        sys.stdout,
    )
