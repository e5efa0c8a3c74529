"""What a batch gives when it is taken whole, in parts, or by two devices; prints JSON.

A program rather than a test, since a process has its devices for life.
"""

import functools
import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from bert_tf import BertConfig, create_optimizer, load_checkpoint
from bert_tf.checkpoint import CheckpointReader
from bert_tf.naming import by_google_name
from bert_tf.optimization import clip_and_reduce
from bert_tf.tasks.classification import ClassificationTask
from bert_tf.tasks.pretraining import PretrainingTask
from bert_tf.training.distribution import (
    create_strategy,
    distribute,
    make_repeatable,
)
from bert_tf.training.trainer import Trainer

TESTDATA = Path(__file__).resolve().parents[1] / "testdata"
STEPS, BATCH_SIZE = 8, 4
_KEY_BIAS = "key/bias"

# Name -> strategy and options of the trainer; `recompute` is the model's.
WAYS = {
    "whole": ("one_device", {}),
    "in parts": ("one_device", {"micro_batch_size": 1}),
    "recompute": ("one_device", {"recompute": True}),
    "two devices, global": ("mirrored", {"reduction": "global"}),
    "two devices, global, in parts, recompute": (
        "mirrored",
        {"reduction": "global", "micro_batch_size": 1, "recompute": True},
    ),
    "two devices": ("mirrored", {}),
    "two devices, in parts": ("mirrored", {"micro_batch_size": 1}),
}
# Of `two_workers`, which make their strategy themselves.
WORKERS = {"two workers, global": ("", {"reduction": "global"})}
# These compute what the first does.
EQUAL = {"whole": list(WAYS)[1:5], "two devices": ["two devices, in parts"]}


def config() -> BertConfig:
    values = json.loads((TESTDATA / "bert_config.json").read_text())
    values |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return BertConfig.from_dict(values)


def pretraining() -> tuple[PretrainingTask, str, dict[str, np.ndarray]]:
    stored = np.load(TESTDATA / "pretraining_data_default.npz")
    rows = {n[2:]: stored[n][: STEPS * BATCH_SIZE] for n in stored.files if n[0] == "0"}
    rows = {n: x if x.dtype.kind == "f" else x.astype("int32") for n, x in rows.items()}
    return PretrainingTask(config(), 64, 10), "bert_model.ckpt", rows


def classification() -> tuple[ClassificationTask, str, dict[str, np.ndarray]]:
    stored = np.load(TESTDATA / "classifier_features.npz")
    names = ("input_ids", "input_mask", "segment_ids", "label_id")
    rows = {name: stored[f"MRPC/train/{name}"][:BATCH_SIZE] for name in names}
    rows["label_ids"] = rows.pop("label_id")
    task = ClassificationTask("mrpc", config(), None, ["0", "1"], 40, True)
    return task, "classifier_init.ckpt", rows


# As in a real process: collectives of two strategies would get into each other.
strategy_of = functools.cache(create_strategy)


def make_trainer(way, task, init_checkpoint, strategy=None, **schedule):
    name, options = (WAYS | WORKERS)[way]
    options = dict(options)
    strategy = strategy or strategy_of(name)
    with strategy.scope():
        model = task.create_model(recompute=options.pop("recompute", False))
        if hasattr(model, "dropout"):
            model.dropout.rate = 0.0
        optimizer = create_optimizer(
            **{"init_lr": 1e-3, "num_train_steps": 8, "num_warmup_steps": 3, **schedule}
        )
        optimizer.build(model.trainable_variables)
        load_checkpoint(model, TESTDATA / init_checkpoint)
    return Trainer(task, model, strategy, optimizer, **options)


def trained(
    way: str, strategy: tf.distribute.Strategy | None = None
) -> tuple[dict[str, np.ndarray], list[dict[str, np.ndarray]], Trainer]:
    """Returns weights and slots after the golden steps, and each step's scalars."""
    task, init_checkpoint, rows = pretraining()
    trainer = make_trainer(way, task, init_checkpoint, strategy)
    seen = []
    data = tf.data.Dataset.from_tensor_slices(rows)
    data = data.batch(BATCH_SIZE, drop_remainder=True)
    trainer.train(
        lambda share: data.map(
            lambda batch: {n: share.of(x, BATCH_SIZE) for n, x in batch.items()}
        ),
        num_train_steps=STEPS,
        steps_per_call=1,
        on_progress=lambda step, scalars: seen.append(scalars),
    )
    variables = by_google_name(trainer.model.variables) | trainer.optimizer.slots()
    return {name: v.numpy() for name, v in variables.items()}, seen, trainer


def gradients(way: str, task, init_checkpoint, rows) -> tuple[list, float]:
    """Returns what reaches the update at the first step, and the norm."""
    trainer = make_trainer(way, task, init_checkpoint)
    data = tf.data.Dataset.from_tensor_slices(rows).batch(BATCH_SIZE)
    batch = next(iter(distribute(trainer.strategy, lambda share: data.map(static))))

    @tf.function
    def step(batch):
        def replica_step(batch):
            return clip_and_reduce(trainer.gradients(batch)[0], 1.0, trainer.reduction)

        return trainer.strategy.run(replica_step, (batch,))

    def first(value):
        return trainer.strategy.experimental_local_results(value)[0].numpy()

    clipped, norm = step(batch)
    return [first(g) for g in clipped], float(first(norm))


def static(rows):
    return {n: tf.ensure_shape(x, [BATCH_SIZE, *x.shape[1:]]) for n, x in rows.items()}


def apart(one, other) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


def main() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    make_repeatable()
    results = {way: trained(way)[:2] for way in WAYS}
    # Whose embeddings' gradient is slices alone; the steps above are of a tied table.
    found = {way: gradients(way, *classification()) for way in WAYS}
    figures = {}
    for reference, others in EQUAL.items():
        expected, expected_scalars = results[reference]
        for way in others:
            weights, scalars = results[way]
            figures[way] = {
                # The gradient of a key's bias is 0 but for rounding, which Adam
                # divides by its own size.
                name: apart(
                    *(
                        [x for n, x in values.items() if (_KEY_BIAS in n) == key_bias]
                        for values in (weights, expected)
                    )
                )
                for name, key_bias in (("weights", False), ("key biases", True))
            }
            figures[way]["scalars"] = max(
                abs(float(a[name][0] / b[name][0]) - 1)
                for a, b in zip(scalars, expected_scalars, strict=True)
                for name in a
            )
            figures[way]["gradients"] = apart(found[way][0], found[reference][0])
            if reference == "whole":
                norms = found[way][1], found[reference][1]
                figures[way]["norm"] = abs(norms[0] / norms[1] - 1)
    reader = CheckpointReader(TESTDATA / "trained.ckpt")
    whole = results["whole"][0]
    figures["google"] = apart(whole.values(), [reader.read(name) for name in whole])
    figures["reductions differ"] = apart(
        results["two devices"][0].values(), whole.values()
    )
    json.dump(figures, sys.stdout)


if __name__ == "__main__":
    main()
