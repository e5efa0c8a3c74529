"""What a step may hold to run on any device: types, shapes, one program."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.tpu import TASKS, steps_of
from bert_tf.data.input_pipeline import evaluation_batches, training_batches
from bert_tf.data.records import classification_features, write_records
from bert_tf.tools.run_classifier import main
from bert_tf.training.distribution import distribute
from tests.programs import run
from tests.small_task import as_arguments, write_small_task
from tests.training.test_trainer import CONFIG, batches, make_trainer

# What is computed with: masks are bool, the step is int64 as in Google's checkpoints,
# keys and counters of random numbers are unsigned; the last two stand for variables.
DEVICE_TYPES = {
    *(tf.float32, tf.int32, tf.bool, tf.int64, tf.uint32, tf.uint64),
    *(tf.resource, tf.variant),
}
TYPE_ATTRIBUTES = {"T", "dtype", "Tindices", "Tparams", "SrcT", "DstT", "out_type"}
OPTIONS = {
    "whole": {},
    "in parts": {"micro_batch_size": 2},
    "recompute": {"recompute": True},
    "in parts, recompute": {"micro_batch_size": 2, "recompute": True},
}


@pytest.fixture
def record_file(tmp_path):
    """23 records of 1 to 8 tokens."""
    draw = np.random.default_rng(0)
    mask = (np.arange(8) < draw.integers(1, 9, [23, 1])).astype(np.int64)
    rows = {
        "input_ids": draw.integers(1, 40, [23, 8]) * mask,
        "input_mask": mask,
        "segment_ids": np.zeros([23, 8], np.int64),
        "label_ids": draw.integers(0, 2, [23]),
        "is_real_example": np.ones([23], np.int64),
    }
    path = str(tmp_path / "records")
    write_records(path, [rows], classification_features(8))
    return path


def library_types(function) -> set[tf.DType]:
    """Returns the types of everything that the function and its library compute."""
    definition = function.graph.as_graph_def()
    nodes = list(definition.node)
    for each in definition.library.function:
        nodes += each.node_def
    types = set()
    for node in nodes:
        for name in TYPE_ATTRIBUTES.intersection(node.attr):
            if node.attr[name].type:  # otherwise it is left to the caller
                types.add(tf.as_dtype(node.attr[name].type))
    return types


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_no_string_is_in_a_training_step(options):
    trainer = make_trainer(4, **options)
    batch = next(iter(distribute(trainer.strategy, lambda share: batches())))
    assert {x.dtype for x in batch.values()} == {tf.int32}
    step = tf.function(lambda b: trainer.strategy.run(trainer._replica_step, (b,)))
    types = library_types(step.get_concrete_function(batch))
    assert tf.float32 in types
    assert types <= DEVICE_TYPES


def test_no_string_is_in_an_evaluation_step(record_file):
    trainer = make_trainer(1)
    data = evaluation_batches(record_file, classification_features(8), batch_size=8)
    batch = next(iter(distribute(trainer.strategy, lambda share: data)))
    assert {x.dtype for x in batch.values()} == {tf.int32}
    types = library_types(trainer._predict_step.get_concrete_function(batch))
    assert tf.float32 in types
    assert types <= DEVICE_TYPES


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if "," in name else pytest.mark.acceptance)
        for name in OPTIONS
    ],
)
def test_xla_compiles_the_whole_step(name):
    """With static shapes: forward, backward, clipping, and the update."""
    # Dropout draws other numbers under XLA.
    plain, compiled = (make_trainer(4, dropout=0.0, **OPTIONS[name]) for _ in range(2))
    batch = next(iter(distribute(plain.strategy, lambda share: batches())))
    for trainer, with_xla in ((plain, False), (compiled, True)):
        one = tf.function(trainer._replica_step, jit_compile=with_xla)
        step = tf.function(lambda b, t=trainer, f=one: t.strategy.run(f, (b,)))
        for _ in range(4):
            step(batch)
        assert step.experimental_get_tracing_count() == 1
    assert int(compiled.step) == 4
    for a, b in zip(plain.model.variables, compiled.model.variables, strict=True):
        if not a.path.endswith("key/bias"):  # its gradient is only rounding
            np.testing.assert_allclose(a, b, atol=2e-5, err_msg=a.path)


SUITE = ("pretraining", "squad")  # the rest takes as long again


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in SUITE else pytest.mark.acceptance)
        for name in TASKS
    ],
)
def test_xla_compiles_the_steps_of_every_task(name):
    """As for a TPU, with one-hot embeddings: the same numbers."""
    config = dataclasses.replace(
        CONFIG, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    found = {}
    for with_xla in (False, True):
        tf.keras.utils.set_random_seed(1)
        steps = steps_of(TASKS[name](config, 8), rows=4)
        if hasattr(steps.trainer.model, "dropout"):
            steps.trainer.model.dropout.rate = 0.0
        assert {x.dtype for x in steps.batch.values()} <= {tf.int32, tf.float32}
        train, predict = (
            tf.function(step, jit_compile=with_xla)
            for step in (steps.train, steps.predict)
        )
        for step in (train, predict):
            types = library_types(step.get_concrete_function(steps.batch))
            assert types <= DEVICE_TYPES
        for _ in range(3):
            means, norm = train(steps.batch)
        outputs = [*means.values(), norm, *predict(steps.batch).values()]
        found[with_xla] = [*outputs, *steps.trainer.model.trainable_variables]
    assert steps.trainer.step == 3
    for plain, compiled in zip(*found.values(), strict=True):
        # The gradient of a key's bias is only rounding.
        if not getattr(plain, "path", "").endswith("key/bias"):
            np.testing.assert_allclose(plain, compiled, atol=2e-5)


@pytest.mark.parametrize("buckets", [(), (3, 5)])
def test_one_trace_over_epochs_with_a_ragged_end(record_file, buckets):
    """23 records in batches of 4: no step sees a batch of 3."""
    spec = classification_features(8)
    trainer = make_trainer(17)
    data = training_batches(
        record_file, spec, batch_size=4, random_seed=1, length_buckets=buckets
    )
    assert {x.shape[0] for x in data.element_spec.values()} == {4}
    taken = []
    trainer.train(
        lambda share: data,
        num_train_steps=17,  # three epochs
        steps_per_call=5,
        on_progress=lambda step, scalars: taken.append(step),
    )
    assert taken == [5, 10, 15, 17]
    assert trainer._train_steps.experimental_get_tracing_count() == 1


def test_one_trace_of_evaluation_per_length(record_file):
    spec, trainer = classification_features(8), make_trainer(1)
    for _ in range(2):
        data = evaluation_batches(record_file, spec, batch_size=8)
        assert len(trainer.predict(lambda share, data=data: data)["label_ids"]) == 23
    assert trainer._predict_step.experimental_get_tracing_count() == 1
    for _ in range(2):
        data = evaluation_batches(
            record_file, spec, batch_size=8, length_buckets=(3, 5)
        )
        assert len(trainer.predict(lambda share, data=data: data)["label_ids"]) == 23
    assert trainer._predict_step.experimental_get_tracing_count() <= 1 + 3


TWO_DEVICES = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
devices = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, devices)
from bert_tf.tools.run_classifier import main
from bert_tf.training.distribution import distribute
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_23_rows_on_two_devices_are_those_of_one(tmp_path, testdata):
    """Batches of 8: the last holds 7 rows and is filled up for both devices."""
    flags = write_small_task(tmp_path, testdata, rows=46)
    assert (
        main(as_arguments({**flags, "do_train": "true", "num_train_epochs": "1"})) == 0
    )
    lines = (tmp_path / "train.tsv").read_text().splitlines()[:24]
    for name in ("dev.tsv", "test.tsv"):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    found = {}
    for devices, code in (("one", None), ("two", TWO_DEVICES)):
        output = tmp_path / devices
        arguments = as_arguments(
            {
                **flags,
                "init_checkpoint": flags["output_dir"],
                "output_dir": str(output),
                "do_eval": "true",
                "do_predict": "true",
            }
        )
        if code:
            run("-c", code, *arguments)
        else:
            assert main(arguments) == 0
        rows = np.loadtxt(output / "test_results.tsv", delimiter="\t")
        assert rows.shape == (23, 2)
        results = (output / "eval_results.txt").read_text().splitlines()
        found[devices] = (
            rows,
            {k: float(v) for k, v in (x.split(" = ") for x in results)},
        )
    np.testing.assert_allclose(found["two"][0], found["one"][0], atol=1e-6)
    assert found["one"][1].keys() == found["two"][1].keys()
    for name, value in found["one"][1].items():
        assert found["two"][1][name] == pytest.approx(value, abs=1e-6), name
