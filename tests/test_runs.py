"""What a run is computed to take, against models and by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks.cluster import Cluster, simulate
from benchmarks.devices import DEVICES
from benchmarks.gpu import forward_flops
from benchmarks.models import pretraining_batch
from benchmarks.runs import (
    DAY,
    EVIDENCE,
    Phase,
    Run,
    fine_tuning,
    gradient_elements,
    pretraining,
    run_seconds,
    step_seconds,
    train_flops,
    utilisations,
)
from bert_tf import (
    BertClassifier,
    BertConfig,
    BertPretrainer,
    BertSpanLabeler,
)
from bert_tf.naming import by_google_name
from bert_tf.optimization import Gradients

CONFIG = BertConfig(
    vocab_size=30522,
    hidden_size=6,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=10,
    max_position_embeddings=16,
    type_vocab_size=2,
)


@pytest.mark.parametrize(
    "task, make",
    [
        ("pretraining", BertPretrainer),
        ("classification", lambda config: BertClassifier(config, 3)),
        ("squad", BertSpanLabeler),
    ],
)
def test_gradients_are_those_of_the_model(task, make):
    model = make(CONFIG)
    batch = pretraining_batch(2, 10, 3)
    with tf.GradientTape() as tape:
        outputs = keras.tree.flatten(model(batch))
        loss = tf.add_n([tf.reduce_sum(x**2) for x in outputs])
    variables = [each.value for each in model.trainable_variables]
    dense = Gradients.of(tape.gradient(loss, variables)).dense
    found = sum(int(np.prod(x.shape)) for x in dense if x is not None)
    assert gradient_elements(CONFIG, task) == found


def test_flops_of_the_masked_words():
    weights = by_google_name(BertPretrainer(CONFIG).variables)
    products = (
        weights["cls/predictions/transform/dense/kernel"],
        weights["bert/embeddings/word_embeddings"],
    )
    head = sum(2 * 3 * int(np.prod(each.shape)) for each in products)
    both = 3 * (forward_flops(CONFIG, 10) + head)
    assert train_flops(CONFIG, Phase(1, 1, 10, 3)) == both
    assert train_flops(CONFIG, Phase(1, 1, 10)) == 3 * forward_flops(CONFIG, 10)


def test_steps_are_the_publisheds():
    base = pretraining("Base")
    assert sum(phase.steps for phase in base.phases) == 1_000_000
    assert {phase.batch for phase in base.phases} == {256}
    mnli = fine_tuning("Base")["MNLI"].phases[0]
    assert mnli.steps * mnli.batch == pytest.approx(3 * 392_702, rel=1e-4)


def test_seconds_of_a_run_are_those_of_its_simulated_steps():
    run, device = pretraining("Base"), DEVICES["A100"]
    total = 0.0
    for phase in run.phases:
        compute, reduce = step_seconds(run, phase, device, 16, 0.4)
        rows = phase.batch / 16
        cluster = Cluster(16, device.per_host, rows, compute, reduce)
        total += phase.steps * simulate(cluster).step
    assert run_seconds(run, device, 16, 0.4) == pytest.approx(total)


def test_a_step_by_hand():
    run, device = Run("Base", "pretraining", (Phase(1, 64, 128, 20),)), DEVICES["V100"]
    compute, reduce = step_seconds(run, run.phases[0], device, 2, 0.5)
    size = 4 * 110_106_428  # Base with its heads, as its checkpoint has it
    assert run.gradient_bytes == size
    flops = 3 * (forward_flops(run.config, 128) + 20 * 2 * 768 * (768 + 30522))
    assert compute == pytest.approx(32 * flops / 62.5e12 + 7 * size / 900e9)
    assert reduce == pytest.approx(size / 150e9 + 2 * 3e-6)


def test_evidence_explains_itself():
    for each in EVIDENCE:
        device = DEVICES[each.device]
        share = each.utilisation(device)
        assert 0 < share < 1
        seconds = run_seconds(each.run, device, each.count, share)
        assert seconds == pytest.approx(each.seconds)


def test_shares_are_of_the_device_or_of_those_it_is_like():
    found = utilisations(DEVICES)
    assert {name: x.kind for name, x in found.items() if x.kind != "assumed"} == {
        "TPU v2": "published",
        "V100": "published",
        "A100": "published",
        "2 CPU cores": "measured",
    }
    google = run_seconds(
        pretraining("Base"), DEVICES["TPU v2"], 16, found["TPU v2"].high
    )
    assert google == pytest.approx(4 * DAY)
    assert (found["TPU v4"].low, found["TPU v4"].high) == (
        found["TPU v2"].low,
        found["A100"].high,
    )
