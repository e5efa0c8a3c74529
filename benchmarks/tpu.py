"""The steps of every task, compiled by the TPU's own compiler; no TPU is needed.

    pip install 'jax[tpu]'
    python -m benchmarks.tpu [--topology=v5e:2x2]

Prints what each compiled step takes of a core's memory. Google's compiler for TPUs
comes with the package libtpu and works on any Linux machine; JAX has the door to it.
What TensorFlow hands over is the program that it would hand to a TPU, lowered on a CPU.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

from absl import flags

from benchmarks.results import markdown
from bert_tf.config import BertConfig
from bert_tf.errors import ConfigError
from bert_tf.tools.command_line import Group, run_tool

# A tokenizer that nothing is asked of.
_NO_WORDS: Any = SimpleNamespace(vocab={})
_LABELS = ["a", "b", "c"]
_PREDICTIONS = 20
# Name, rows, length and precision of what is compiled: Google's first phase of
# pretraining has 32 rows on each core of its sixteen chips, fine-tuning has 32 in all.
_COMPILED = (
    ("pretraining", 32, 128, "float32"),
    ("pretraining", 32, 128, "bfloat16"),
    ("pretraining", 128, 128, "bfloat16"),
    ("classification", 32, 128, "float32"),
    ("classification", 32, 128, "bfloat16"),
    ("squad", 32, 384, "bfloat16"),
    ("tagging", 32, 128, "bfloat16"),
)


def _classification(label_kind: str) -> Callable[[BertConfig, int], Any]:
    def make(config: BertConfig, length: int) -> Any:
        from bert_tf.tasks.classification import ClassificationTask

        return ClassificationTask(
            label_kind, config, _NO_WORDS, _LABELS, length, False, label_kind
        )

    return make


def _pretraining(config: BertConfig, length: int) -> Any:
    from bert_tf.tasks.pretraining import PretrainingTask

    return PretrainingTask(config, length, min(_PREDICTIONS, length // 4))


def _squad(config: BertConfig, length: int) -> Any:
    from bert_tf.tasks.answers import Rules
    from bert_tf.tasks.squad import SquadTask

    return SquadTask(
        config, _NO_WORDS, Rules(), max_seq_length=length, doc_stride=length // 3
    )


def _tagging(config: BertConfig, length: int) -> Any:
    from bert_tf.tasks.tagging import TaggingTask

    return TaggingTask(config, _NO_WORDS, _LABELS, max_seq_length=length)


# Name -> what makes such a task of an architecture and a length of rows.
TASKS: dict[str, Callable[[BertConfig, int], Any]] = {
    "pretraining": _pretraining,
    "classification": _classification("single"),
    "several labels": _classification("multi"),
    "regression": _classification("regression"),
    "squad": _squad,
    "tagging": _tagging,
}


class Steps(NamedTuple):
    """What a TPU would be given of a task.

    Attributes:
      trainer: With a model that looks words up as on TPUs.
      batch: Some batch of a replica, `[B, ...]`.
      train: A step on such a batch, with the update.
      predict: What evaluation and prediction keep of such a batch.
    """

    trainer: Any
    batch: dict[str, Any]
    train: Callable[[dict[str, Any]], Any]
    predict: Callable[[dict[str, Any]], Any]


def steps_of(task: Any, rows: int, precision: str = "float32") -> Steps:
    """Returns the steps of a task for batches of so many rows per replica."""
    import tensorflow as tf

    from bert_tf.modeling.kernels import POLICIES
    from bert_tf.optimization import create_optimizer
    from bert_tf.training.distribution import create_strategy
    from bert_tf.training.trainer import Trainer

    strategy = create_strategy("one_device")
    with strategy.scope():
        model = task.create_model(
            dtype=POLICIES[precision], use_one_hot_embeddings=True
        )
        optimizer = create_optimizer(1e-4, num_train_steps=100, num_warmup_steps=10)
        optimizer.build(model.trainable_variables)
    trainer = Trainer(task, model, strategy, optimizer)
    batch = {
        name: tf.ones([rows, *feature.shape], _as_batched(feature.dtype))
        for name, feature in task.feature_spec.items()
    }

    def predict(batch: dict[str, Any]) -> dict[str, Any]:
        return task.per_example(model(batch, training=False), batch)

    return Steps(trainer, batch, trainer._replica_step, predict)


def _as_batched(dtype: Any) -> Any:
    """Returns the type that `parse_records` makes of a record's."""
    import tensorflow as tf

    return tf.int32 if dtype == tf.int64 else dtype


def lowered(step: Callable[..., Any], batch: dict[str, Any]) -> bytes:
    """Returns a step as XLA's HLO, serialized: all shapes known, no op of a host's."""
    import tensorflow as tf

    compiled = tf.function(step, jit_compile=True)
    return compiled.experimental_get_compiler_ir(batch)(stage="hlo_serialized")


class TpuCompiler:
    """Google's compiler for TPUs.

    Args:
      topology: Generation and chips, such as `v5e:2x2`.

    Raises:
      ConfigError: JAX or libtpu is not installed, or knows no such topology.
    """

    def __init__(self, topology: str):
        # Nobody is to be asked what TPU this machine has.
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
        try:
            from jax.experimental import topologies

            described = topologies.get_topology_desc(topology, "tpu")
        except ImportError as error:
            raise ConfigError(
                f"Expected jax and libtpu to be installed ({error}); run pip install "
                "'jax[tpu]'."
            ) from error
        except Exception as error:  # of several kinds, by what is missing
            raise ConfigError(
                f"Expected a TPU that libtpu knows at --topology, such as v5e:2x2, got "
                f"{topology} ({str(error).splitlines()[0]}); is libtpu installed?"
            ) from error
        self._device = described.devices[0]

    def compile(self, hlo: bytes) -> Any:
        """Returns JAX's statistics of a compiled program's memory, in bytes."""
        import numpy as np
        from jax._src import compiler
        from jax._src.interpreters import mlir
        from jax._src.lib import xla_client
        from jaxlib.mlir import ir

        computation = xla_client.XlaComputation(hlo)
        converted = xla_client._xla.mlir.xla_computation_to_mlir_module(computation)
        with mlir.make_ir_context():
            module = ir.Module.parse(converted)
            text = module.operation.get_asm(enable_debug_info=False)
            # What TensorFlow returns unchanged; JAX's door takes it by another name.
            text = re.sub(
                r"= mhlo\.copy (%\S+) :", r"= stablehlo.optimization_barrier \1 :", text
            )
            options = compiler.get_compile_options(
                num_replicas=1,
                num_partitions=1,
                device_assignment=np.array([[self._device.id]]),
            )
            program = self._device.client.compile(
                ir.Module.parse(text), xla_client.DeviceList((self._device,)), options
            )
        return program.get_compiled_memory_stats()


def rows_of(topology: str) -> Iterator[dict[str, Any]]:
    """Compiles BERT-Base's steps; yields a row of the table for each."""
    compiler = TpuCompiler(topology)
    config = BertConfig(vocab_size=30522)
    for name, rows, length, precision in _COMPILED:
        steps = steps_of(TASKS[name](config, length), rows, precision)
        for what in ("train", "predict"):
            hlo = lowered(getattr(steps, what), steps.batch)
            start = time.monotonic()
            stats = compiler.compile(hlo)
            weights = stats.argument_size_in_bytes
            yield {
                "step": f"{name}, {what}",
                "rows x length": f"{rows} x {length}",
                "precision": precision,
                "weights and slots, GB": f"{weights / 1e9:.2f}",
                "besides, GB": f"{stats.temp_size_in_bytes / 1e9:.2f}",
                "compiled in, s": f"{time.monotonic() - start:.0f}",
            }


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "topology",
        "v5e:2x2",
        "Generation and chips of the TPU to compile for.",
        flag_values=values,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program with the given arguments, this process's if None."""

    def compile_all(values: flags.FlagValues) -> None:
        found: list[list[str]] = []
        for row in rows_of(values.topology):
            found = found or [[*row]]
            found.append([*row.values()])
            print(", ".join(f"{name} {value}" for name, value in row.items()))
        print(f"\n{markdown(found)}", end="")

    return run_tool(
        "benchmarks.tpu",
        "Compiles the steps of every task for a TPU, without one.",
        (Group("What to compile for", _define),),
        compile_all,
        argv,
    )


if __name__ == "__main__":
    sys.exit(main())
