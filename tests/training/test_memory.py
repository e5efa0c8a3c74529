"""The estimate against measured peaks, the levers, and what running out says."""

import dataclasses
import functools
import json
import sys

import pytest
import tensorflow as tf

from benchmarks.memory import measure
from bert_tf import BertConfig, ConfigError, create_optimizer
from bert_tf.tasks.classification import ClassificationTask
from bert_tf.tasks.pretraining import PretrainingTask
from bert_tf.training import memory
from bert_tf.training.memory import Workload, estimate, levers
from tests.programs import run

CONFIG = BertConfig(
    vocab_size=400,
    hidden_size=24,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=60,
    max_position_embeddings=48,
    type_vocab_size=3,
)
TINY, BASE = BertConfig.from_name("BERT-Tiny"), BertConfig.from_name("BERT-Base")
WORK = Workload(TINY, 128, 128)

# Settings whose activations are more than what the process holds anyway.
MEASURED = {
    "whole": WORK,
    "recompute": dataclasses.replace(WORK, recompute=True),
    "in parts": dataclasses.replace(WORK, micro_batch_size=16),
    "pretraining": Workload(TINY, 64, 64, precision="bfloat16", num_predictions=20),
}


@functools.cache
def measured_peak(name: str) -> tuple[int, int]:
    """Returns the bytes held before, and at the peak."""
    options = {
        field.name: getattr(MEASURED[name], field.name)
        for field in dataclasses.fields(Workload)
        if field.name != "config"
    }
    found = measure("BERT-Tiny", **options)
    return found["held"], found["peak"]


@pytest.mark.acceptance
@pytest.mark.parametrize("name", MEASURED)
def test_the_estimate_is_near_the_peak(measured, name):
    held, peak = measured_peak(name)
    ratio = (estimate(MEASURED[name], held).total - held) / (peak - held)
    measured(f"estimated memory / measured, {name}", round(ratio, 2), at_most=1.25)
    measured(f"estimated memory / measured, {name}", round(ratio, 2), at_least=0.75)


@pytest.mark.acceptance
@pytest.mark.parametrize(("lever", "at_most"), [("recompute", 0.75), ("in parts", 0.5)])
def test_levers_lower_the_measured_peak(measured, lever, at_most):
    (held, whole), (held_too, less) = measured_peak("whole"), measured_peak(lever)
    ratio = round((less - held_too) / (whole - held), 2)
    measured(f"measured memory, {lever} / whole", ratio, at_most=at_most)


@pytest.mark.acceptance
def test_tables_of_a_pretrained_model_add_up_in_parts():
    """TensorFlow's memory optimizer once made the second step of this one fail."""
    found = measure(
        "BERT-Mini", rows=4, length=32, num_predictions=5, micro_batch_size=2
    )
    assert found["peak"] > found["held"]


@pytest.mark.parametrize(
    ("task", "head"),
    [
        (ClassificationTask("t", CONFIG, None, ["a", "b", "c"], 8, False), {}),
        (PretrainingTask(CONFIG, 8, 4), {"num_predictions": 4}),
    ],
)
def test_weights_and_slots_are_those_of_the_variables(task, head):
    def size(variables):
        return sum(v.numpy().nbytes for v in variables)

    model, optimizer = task.create_model(), create_optimizer(1e-4, 1, 1)
    optimizer.build(model.trainable_variables)
    found = estimate(Workload(CONFIG, 4, 8, num_labels=3, **head))
    assert found.weights == size(model.variables)
    assert found.slots == size(optimizer.slots().values())


def test_the_parts_are_the_total():
    held = 700 * 10**6
    found = estimate(Workload(BASE, 32, 128), held)
    assert found.total == sum(dataclasses.asdict(found).values())
    assert found.program > held
    assert estimate(Workload(BASE, 32, 128)).program == 0
    assert str(found) == (
        "about 8.2 GB (weights and Adam 1.3, gradients 0.4, activations 5.3, "
        "workspace 0.1, the program 1.0)"
    )


@pytest.mark.parametrize("length", [128, 512])
@pytest.mark.parametrize("num_predictions", [0, 20])
def test_each_lever_and_no_dropout_lower_the_estimate(length, num_predictions):
    work = Workload(BASE, 8, length, num_predictions=num_predictions)
    total = estimate(work, 0).total
    # In the order of the levers.
    changes = {
        "micro_batch_size": 4,
        "recompute": True,
        "precision": "bfloat16",
        "length": length // 2,
        "rows": 7,
        "config": dataclasses.replace(
            BASE, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
        ),
    }
    for name, value in changes.items():
        less = estimate(dataclasses.replace(work, **{name: value}), 0)
        assert less.total < total, name
    found = levers(work, 0)
    assert [lever.flag for lever in found] == [
        "--micro_batch_size=4",
        "--recompute",
        "--precision=bfloat16",
        f"--max_seq_length={length // 2}",
    ]
    by_hand = [
        estimate(dataclasses.replace(work, **{n: changes[n]}), 0) for n in changes
    ]
    assert [lever.total for lever in found] == [x.total for x in by_hand[:4]]


def test_levers_that_are_used_are_not_offered():
    work = Workload(BASE, 8, 128, 1, "bfloat16", recompute=True)
    assert [lever.flag for lever in levers(work)] == ["--max_seq_length=64"]


def test_parts_are_as_large_as_fits():
    work = Workload(BASE, 24, 128)
    assert levers(work)[0].flag == "--micro_batch_size=12"
    for size in (12, 8, 6, 4, 3):
        room = estimate(dataclasses.replace(work, micro_batch_size=size)).total
        lever = levers(work, room=room)[0]
        assert (lever.flag, lever.total) == (f"--micro_batch_size={size}", room)
    assert levers(work, room=0)[0].flag == "--micro_batch_size=1"


def test_the_report_says_whether_there_is_enough(monkeypatch):
    work = Workload(BASE, 32, 128)
    held = 700 * 10**6
    # What the model and the optimizer have taken already is theirs.
    monkeypatch.setattr(memory, "held_by_process", lambda: held + 10**9)
    monkeypatch.setattr(memory, "available", lambda: 14 * 10**9)
    line, enough = memory.report(work, held)
    assert enough and line.endswith("; there are 15.7 GB for it")
    monkeypatch.setattr(memory, "available", lambda: 4 * 10**9)
    line, enough = memory.report(work, held)
    assert not enough
    assert "only 5.7 GB for it" in line and "--micro_batch_size=" in line
    line, enough = memory.report(work)
    assert enough and "for it" not in line


@pytest.mark.parametrize(
    "error", [tf.errors.ResourceExhaustedError(None, None, "OOM"), MemoryError()]
)
def test_running_out_says_what_to_do(error):
    work = Workload(BASE, 32, 128, recompute=True)
    with pytest.raises(ConfigError) as caught, memory.explained(work):
        raise error
    assert str(caught.value).startswith(
        "Expected enough memory to train on 32 rows of 128 pieces, about "
    )
    assert "--micro_batch_size=16 (the same results" in str(caught.value)
    assert "--recompute" not in str(caught.value)
    with pytest.raises(KeyError), memory.explained(work):
        raise KeyError


_STARVED = """
import json, resource, psutil
import tensorflow as tf
from benchmarks.memory import train, workload
from bert_tf import ConfigError
from bert_tf.training import memory

tf.config.list_logical_devices()
limit = psutil.Process().memory_info().vms + 2 * 10**9
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
work = workload("BERT-Tiny", {"rows": 1024, "length": 128})
try:
    with memory.explained(work, memory.held_by_process()):
        train(work)
except ConfigError as error:
    print(json.dumps([str(error), type(error.__cause__).__name__]))
"""


@pytest.mark.acceptance
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps to RLIMIT_AS")
def test_a_process_that_runs_out_of_memory_says_so():
    message, cause = json.loads(run("-c", _STARVED).splitlines()[-1])
    assert cause == "ResourceExhaustedError"
    assert message.startswith("Expected enough memory to train on 1024 rows of 128")
    assert "--micro_batch_size=512" in message and message.endswith("a smaller model.")
