"""What several workers take of a training step: devices of a process, or processes.

    python -m benchmarks.workers [--rows=8] [--length=128] [--steps=10]

Pretraining of a model of BERT-Medium's width on CPUs, the same rows per device for one,
two and four of them: virtual devices of one process, and processes that find each other
on this machine. Prints rows a second, and what a step is made of: its gradients, which
are taken again alone, and the rest, which is to add them up and to update the weights.

On a machine with fewer cores than devices, these share the cores: how much is done in
all can then not grow, and what it loses is what the exchange costs.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from absl import flags

from benchmarks.results import markdown
from bert_tf.config import BertConfig
from bert_tf.tools.command_line import Group, run_tool
from tests.programs import free_addresses

# One process is as one device.
_COUNTS = {"devices": (1, 2, 4), "processes": (2, 4)}
_CONFIG = BertConfig(
    vocab_size=30522,
    hidden_size=512,
    num_hidden_layers=8,
    num_attention_heads=8,
    intermediate_size=2048,
)
_WARM_UP = 2


def measure(
    kind: str, count: int, rows: int, length: int, steps: int
) -> dict[str, Any]:
    """Returns seconds a step of so many workers, and of as many that exchange nothing.

    Args:
      kind: `devices` or `processes`.
      count: How many.
      rows, length: Of a batch of each.
      steps: How many to time.
    """
    workers: list[str] = []
    if kind == "processes":
        workers = free_addresses(count)
    settings = {
        "devices": count if kind == "devices" else 1,
        "workers": ",".join(workers),
        **{"rows": rows, "length": length, "steps": steps},
    }
    started = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                __spec__.name,
                "--one",
                json.dumps(settings),
                str(i),
            ],
            stdout=subprocess.PIPE,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            text=True,
        )
        for i in range(len(workers) or 1)
    ]
    outputs = [process.communicate()[0] for process in started]
    return json.loads(outputs[0].splitlines()[-1])


def _one(settings: dict[str, Any], index: int) -> dict[str, float]:
    """Trains as one worker, and returns what a step took."""
    import tensorflow as tf

    from benchmarks.models import pretraining_batch
    from bert_tf.optimization import create_optimizer
    from bert_tf.tasks.pretraining import PretrainingTask
    from bert_tf.training.distribution import create_strategy, make_repeatable
    from bert_tf.training.trainer import Trainer

    make_repeatable()
    devices = [tf.config.LogicalDeviceConfiguration()] * settings["devices"]
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, devices)
    workers = settings["workers"] or None
    strategy = create_strategy(workers=workers, worker_index=index if workers else None)
    task = PretrainingTask(_CONFIG, settings["length"], 20)
    with strategy.scope():
        model = task.create_model()
        optimizer = create_optimizer(1e-6, num_train_steps=1000, num_warmup_steps=10)
        optimizer.build(model.trainable_variables)
    trainer = Trainer(task, model, strategy, optimizer)
    replicas = strategy.num_replicas_in_sync
    made = pretraining_batch(settings["rows"], settings["length"], 20)
    rows = {name: tf.constant(x) for name, x in made.items()}

    def batches(share: Any) -> tf.data.Dataset:
        local = {
            n: tf.concat([x] * (replicas // share.count), 0) for n, x in rows.items()
        }
        return tf.data.Dataset.from_tensors(local).repeat()

    def timed(steps: int) -> float:
        start = time.perf_counter()
        trainer.train(
            batches,
            num_train_steps=trainer.step + steps,
            steps_per_call=steps,
            on_progress=lambda step, scalars: None,
        )
        return (time.perf_counter() - start) / steps

    timed(_WARM_UP)
    step = timed(settings["steps"])

    @tf.function
    def alone() -> Any:
        # Gradients that nobody else is sent.
        return strategy.run(
            lambda: [
                tf.reduce_sum(x)
                for x in trainer.gradients(rows)[0].dense
                if x is not None
            ]
        )

    alone()
    trainer.workers.wait()
    start = time.perf_counter()
    for _ in range(settings["steps"]):
        strategy.experimental_local_results(alone())[0][0].numpy()
    gradients = (time.perf_counter() - start) / settings["steps"]
    trainer.workers.leave()
    return {"step": step, "gradients": gradients}


def _define(values: flags.FlagValues) -> None:
    for name, default, text in (
        ("rows", 8, "Rows that each worker takes."),
        ("length", 128, "Pieces of a row."),
        ("steps", 10, "Steps to time."),
    ):
        flags.DEFINE_integer(name, default, text, lower_bound=1, flag_values=values)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program with the given arguments, this process's if None."""

    def run(values: flags.FlagValues) -> None:
        shown = [
            ["workers", "rows/s", "s/step", "gradients, s", "exchange and update, s"]
        ]
        for kind, counts in _COUNTS.items():
            for count in counts:
                found = measure(kind, count, values.rows, values.length, values.steps)
                step, gradients = found["step"], found["gradients"]
                shown.append(
                    [
                        f"{count} {kind}",
                        f"{count * values.rows / step:.1f}",
                        f"{step:.2f}",
                        f"{gradients:.2f}",
                        f"{step - gradients:.2f}",
                    ]
                )
                print(", ".join(shown[-1]), flush=True)
        print(f"\n{markdown(shown)}", end="")

    return run_tool(
        "benchmarks.workers",
        "Times training by one, two and four workers on this machine.",
        (Group("What to time", _define),),
        run,
        argv,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(_one(json.loads(sys.argv[2]), int(sys.argv[3]))))
    else:
        sys.exit(main())
