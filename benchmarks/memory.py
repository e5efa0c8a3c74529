"""Peak memory of training, measured in fresh processes and estimated.

    python -m benchmarks.memory           # all settings, about half an hour
    python -m benchmarks.memory Tiny      # those whose name holds "Tiny"

Prints a table in MB: the peak of the whole process, the estimate, and their quotient;
then the largest batches that the estimate gives for 12 GB.
"""

import dataclasses
import json
import sys
from typing import Any

from benchmarks import fresh_process
from bert_tf.config import BertConfig

_STEPS = 3
_DTYPES = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}
_SETTINGS: list[tuple[str, dict[str, Any]]] = [
    *(
        (name, {"rows": rows, "length": length})
        for name, rows, length in (
            ("BERT-Tiny", 128, 128),
            ("BERT-Mini", 64, 128),
            ("BERT-Mini", 8, 512),
            ("BERT-Small", 1, 128),
            ("BERT-Small", 32, 128),
            ("BERT-Small", 16, 256),
            ("BERT-Medium", 32, 128),
            ("BERT-Medium", 4, 512),
        )
    ),
    *(
        (name, {"rows": rows, "length": length, **lever})
        for name, rows, length, part in (
            ("BERT-Tiny", 128, 128, 16),
            ("BERT-Small", 32, 128, 4),
            ("BERT-Medium", 4, 512, 1),
        )
        for lever in (
            {"recompute": True},
            {"micro_batch_size": part},
            {"micro_batch_size": part, "recompute": True},
            {"precision": "bfloat16"},
            {"precision": "bfloat16", "recompute": True},
        )
    ),
    *(
        (name, {"rows": rows, "length": 128, "num_predictions": 20, **lever})
        for name, rows in (("BERT-Mini", 32), ("BERT-Small", 32))
        for lever in (
            {},
            {"recompute": True},
            {"micro_batch_size": 4},
            {"precision": "bfloat16"},
        )
    ),
    *(
        ("BERT-Base", {"rows": rows, "length": length, **lever})
        for rows, length, part in ((32, 128, 8), (6, 512, 2))
        for lever in (
            {},
            {"micro_batch_size": part},
            {"recompute": True},
            {"micro_batch_size": part, "recompute": True},
            {"precision": "bfloat16"},
            {"precision": "bfloat16", "recompute": True},
        )
    ),
]


def measure(name: str, **options: Any) -> dict[str, int]:
    """Trains in a fresh process; returns bytes `held` before and at the `peak`.

    Args:
      name: A published model, as for `BertConfig.from_name`.
      **options: Of `bert_tf.training.memory.Workload`.
    """
    return fresh_process.measure("benchmarks.memory", [name, options])


def workload(name: str, options: dict[str, Any]) -> Any:
    """Returns the `Workload` of a setting."""
    from bert_tf.training.memory import Workload

    return Workload(BertConfig.from_name(name), **options)


def train(work: Any) -> None:
    """Takes a few steps on random rows and prints what memory they took."""
    import numpy as np
    import tensorflow as tf

    from bert_tf.host import held_by_process
    from bert_tf.optimization import create_optimizer
    from bert_tf.tasks.classification import ClassificationTask
    from bert_tf.tasks.pretraining import PretrainingTask
    from bert_tf.training.distribution import create_strategy, make_repeatable
    from bert_tf.training.trainer import Trainer

    make_repeatable()
    strategy = create_strategy("one_device")
    task: Any
    if work.num_predictions:
        task = PretrainingTask(work.config, work.length, work.num_predictions)
    else:
        labels = [str(label) for label in range(work.num_labels)]
        no_tokenizer: Any = None  # features are not texts
        task = ClassificationTask(
            "", work.config, no_tokenizer, labels, work.length, False
        )
    draw = np.random.default_rng(0)
    rows = {
        feature: draw.integers(0, 2, [work.rows, *spec.shape]).astype(
            "float32" if spec.dtype == tf.float32 else "int32"
        )
        for feature, spec in task.feature_spec.items()
    }
    # Of all the table's rows: that many gradients are to be added up.
    rows["input_ids"] = draw.integers(
        0, work.config.vocab_size, rows["input_ids"].shape, "int32"
    )
    held = held_by_process()
    with strategy.scope():
        model = task.create_model(
            dtype=_DTYPES[work.precision], recompute=work.recompute
        )
        optimizer = create_optimizer(
            1e-4, _STEPS, 1, dynamic_loss_scale=work.precision == "float16"
        )
        optimizer.build(model.trainable_variables)
    trainer = Trainer(
        task, model, strategy, optimizer, micro_batch_size=work.micro_batch_size
    )
    trainer.train(
        lambda share: (
            tf.data.Dataset.from_tensor_slices(rows)
            .batch(work.rows, drop_remainder=True)
            .repeat()
        ),
        num_train_steps=_STEPS,
        steps_per_call=1,
        on_progress=lambda step, scalars: None,
    )
    print(json.dumps({"held": held, "peak": fresh_process.peak()}))


def _largest_batches(room: float = 12 * 2**30) -> None:
    from bert_tf.training.memory import Workload, estimate

    lengths = (64, 128, 256, 320, 384, 512)
    print(f"\n{'batch for 12 GB':45}", *(f"{length:5}" for length in lengths))
    for name in ("BERT-Base", "BERT-Large"):
        for options in (
            {},
            {"recompute": True},
            {"precision": "bfloat16"},
            {"precision": "bfloat16", "recompute": True},
        ):
            largest = []
            for length in lengths:
                rows = 0
                work = Workload(BertConfig.from_name(name), 1, length, **options)
                while estimate(dataclasses.replace(work, rows=rows + 1)).total <= room:
                    rows += 1
                largest.append(rows)
            print(f"{_label(name, options):45}", *(f"{rows:5}" for rows in largest))


def _label(name: str, options: dict[str, Any]) -> str:
    shown = {
        "rows": "x",
        "length": "",
        "num_predictions": "P=",
        "micro_batch_size": "/",
    }
    return " ".join(
        [name, *(f"{shown.get(k, k + '=')}{v}" for k, v in options.items())]
    )


def main(pattern: str = "") -> None:
    """Prints the tables."""
    from bert_tf.training.memory import estimate

    print(
        f"{'MB':60} {'peak':>7} {'estimate':>8}  estimate/peak, without what was held"
    )
    for name, options in _SETTINGS:
        label = _label(name, options)
        if pattern not in label:
            continue
        found = measure(name, **options)
        held, peak = found["held"], found["peak"]
        total = estimate(workload(name, options), held).total
        print(
            f"{label:60} {peak // 10**6:7} {total // 10**6:8}  {total / peak:.2f}  "
            f"{(total - held) / (peak - held):.2f}",
            flush=True,
        )
    _largest_batches()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        train(workload(*json.loads(sys.argv[2])))
    else:
        main(*sys.argv[1:])
