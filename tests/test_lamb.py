"""LAMB makes the updates of its paper, wherever it runs."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from bert_tf import (
    BertClassifier,
    BertConfig,
    BertPretrainer,
    ConfigError,
    create_optimizer,
    load_checkpoint,
    losses,
    save_checkpoint,
)
from bert_tf.checkpoint import CheckpointReader
from bert_tf.optimization import AdamWeightDecay, Lamb, WarmupLinearDecay
from tests.programs import run

STEPS = 9
SHAPES = {
    "layer/kernel": (6, 5),
    "layer/bias": (5,),
    "layer/LayerNorm/gamma": (5,),
    "from_zero": (4, 3),
    "without_gradient": (3, 2),
    "first_without_slope": (2, 2),
}


def draw() -> tuple[dict[str, np.ndarray], list[dict[str, np.ndarray | None]]]:
    """Returns weights, and the gradients of each step."""
    random = np.random.default_rng(5)
    weights = {n: random.normal(size=s).astype("float32") for n, s in SHAPES.items()}
    weights["from_zero"][:] = 0
    steps: list[dict] = []
    for step in range(STEPS):
        size = (0.01, 1.0, 5.0)[step % 3]
        gradients = {
            n: (size * random.normal(size=s)).astype("float32")
            for n, s in SHAPES.items()
        }
        gradients["without_gradient"] = None
        if not step:
            gradients["first_without_slope"][:] = 0
        steps.append(gradients)
    return weights, steps


def by_the_paper(weights, steps, rates, decay, clip_norm, beta_1=0.9, beta_2=0.999):
    """Algorithm 2 of arXiv 1904.00962 in float64; returns weights, m, v and ratios."""
    weights = {name: w.astype("float64") for name, w in weights.items()}
    m = {name: np.zeros_like(w) for name, w in weights.items()}
    v = {name: np.zeros_like(w) for name, w in weights.items()}
    ratios = []
    for t, (gradients, rate) in enumerate(zip(steps, rates, strict=True), 1):
        there = {n: g.astype("float64") for n, g in gradients.items() if g is not None}
        norm = np.sqrt(sum(np.sum(g**2) for g in there.values()))
        if not np.isfinite(norm):
            continue
        for name, g in there.items():
            g = g * min(1.0, clip_norm / norm)
            m[name] = beta_1 * m[name] + (1 - beta_1) * g
            v[name] = beta_2 * v[name] + (1 - beta_2) * g**2
            m_hat, v_hat = m[name] / (1 - beta_1**t), v[name] / (1 - beta_2**t)
            r = m_hat / (np.sqrt(v_hat) + 1e-6)
            ratio = 1.0
            if "bias" not in name and "LayerNorm" not in name:
                r = r + decay * weights[name]
                norms = np.linalg.norm(weights[name]), np.linalg.norm(r)
                if all(norms):
                    ratio = norms[0] / norms[1]
                ratios.append(ratio)
            weights[name] = weights[name] - rate * ratio * r
    return weights, m, v, ratios


def as_variables(weights) -> list[keras.Variable]:
    variables = []
    for name, values in weights.items():
        variable = keras.Variable(values, name=name.replace("/", "_"))
        variable.google_name = name
        variables.append(variable)
    return variables


def apply(optimizer, variables, steps, in_graph=True) -> None:
    names = [v.google_name for v in variables]
    there = [n for n in names if steps[0][n] is not None]

    def step(gradients):
        found = dict(zip(there, gradients, strict=True))
        optimizer.apply([found.get(name) for name in names], variables)

    step = tf.function(step) if in_graph else step
    for gradients in steps:
        step([tf.constant(gradients[name]) for name in there])


def error(found, expected) -> float:
    """Returns the largest difference, of numbers in the order of 1."""
    return max(
        float(np.abs(f - e).max() / max(1.0, np.abs(e).max()))
        for f, e in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("in_graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("decay", [0.0, 0.01, 0.5])
@pytest.mark.parametrize("clip_norm", [1.0, 1e6], ids=["clipped", "unclipped"])
def test_the_papers_algorithm(measured, in_graph, decay, clip_norm):
    weights, steps = draw()
    rates = [0.1 * t / 4 for t in range(4)] + [0.1 * (1 - t / 10) for t in range(4, 9)]
    expected, m, v, ratios = by_the_paper(weights, steps, rates, decay, clip_norm)
    # The case that divides by nothing, and others far from it.
    assert 1.0 in ratios and max(ratios) > 1.5 and min(ratios) < 0.5
    variables = as_variables(weights)
    optimizer = Lamb(
        WarmupLinearDecay(0.1, 10, 4), weight_decay_rate=decay, clip_norm=clip_norm
    )
    optimizer.build(variables)
    apply(optimizer, variables, steps, in_graph)
    measured(
        "weights after 9 steps of LAMB against the paper in float64",
        error([x.numpy() for x in variables], expected.values()),
        at_most=2e-6,
    )
    slots = optimizer.slots()
    assert set(slots) == {
        f"{n}/{slot}" for n in SHAPES for slot in ("adam_m", "adam_v")
    }
    for name in SHAPES:
        for slot, values in (("adam_m", m[name]), ("adam_v", v[name])):
            np.testing.assert_allclose(
                slots[f"{name}/{slot}"], values, rtol=2e-5, atol=1e-7, err_msg=name
            )
    kept = variables[list(SHAPES).index("without_gradient")]
    np.testing.assert_array_equal(kept, weights["without_gradient"])


def test_the_lamb_of_keras(measured):
    """Without decay, on weights that all take the trust ratio, it is the same."""
    weights, steps = draw()
    names = ["layer/kernel", "from_zero"]
    weights = {name: weights[name] for name in names}
    steps = [{name: gradients[name] for name in names} for gradients in steps]
    schedule = WarmupLinearDecay(0.1, 10, 4)
    results = []
    for optimizer in (
        Lamb(schedule, weight_decay_rate=0.0, clip_norm=1e6),
        keras.optimizers.Lamb(schedule, epsilon=1e-6),
    ):
        variables = as_variables(weights)
        optimizer.build(variables)
        apply(optimizer, variables, steps)
        results.append([v.numpy() for v in variables])
    measured("LAMB against Keras' own", error(*results), at_most=1e-6)


def test_a_step_that_overflowed_changes_nothing():
    weights, steps = draw()
    steps[4]["layer/bias"][2] = np.inf
    variables = as_variables(weights)
    optimizer = Lamb(0.05, dynamic_loss_scale=True)
    optimizer.build(variables)

    def state():
        return [x.numpy() for x in [*variables, *optimizer.slots().values()]]

    apply(optimizer, variables, steps[:4])
    before = state()
    apply(optimizer, variables, steps[4:5])
    for one, other in zip(state(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    apply(optimizer, variables, steps[5:])
    expected, *_ = by_the_paper(weights, steps, [0.05] * STEPS, 0.01, 1.0)
    assert error([v.numpy() for v in variables], expected.values()) < 2e-6
    assert int(optimizer.iterations) == STEPS


def without_dropout(testdata) -> BertConfig:
    values = json.loads((testdata / "bert_config.json").read_text())
    values |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return BertConfig.from_dict(values)


def test_a_run_goes_on_from_a_checkpoint(testdata, tmp_path):
    stored = np.load(testdata / "pretraining_data_default.npz")
    features = {n[2:]: stored[n] for n in stored.files if n.startswith("0/")}

    def start(checkpoint):
        model = BertPretrainer(without_dropout(testdata))
        optimizer = create_optimizer(1e-2, 8, 2, optimizer="lamb")
        return model, optimizer, load_checkpoint(model, checkpoint, optimizer)

    def train(model, optimizer, steps):
        for step in steps:
            batch = {n: x[4 * step : 4 * step + 4] for n, x in features.items()}
            with tf.GradientTape() as tape:
                loss = losses.pretraining_loss(model(batch), batch)["loss"]
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply(gradients, model.trainable_variables)

    model, optimizer, _ = start(testdata / "bert_model.ckpt")
    train(model, optimizer, range(3))
    path = tmp_path / "model.ckpt-3"
    save_checkpoint(model, path, optimizer)
    reader = CheckpointReader(path)
    for name, variable in optimizer.slots().items():
        np.testing.assert_array_equal(reader.read(name), variable.numpy(), name)
    assert "bert/embeddings/word_embeddings/adam_v" in reader.shapes

    resumed, its_optimizer, report = start(path)
    assert not report.fresh and not report.unused
    train(model, optimizer, [3, 4])
    train(resumed, its_optimizer, [3, 4])
    for one, other in zip(model.variables, resumed.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), one.path)


@pytest.mark.acceptance
def test_fit_makes_the_same_steps(testdata):
    stored = np.load(testdata / "classifier_features.npz")
    names = ("input_ids", "input_mask", "segment_ids")
    rows = {name: stored[f"MRPC/train/{name}"][:8] for name in names}
    labels = stored["MRPC/train/label_id"][:8]

    def start():
        model = BertClassifier(without_dropout(testdata), 2)
        model.dropout.rate = 0.0
        load_checkpoint(model, testdata / "classifier_init.ckpt")
        return model, create_optimizer(1e-3, 8, 0, optimizer="lamb")

    fitted, optimizer = start()
    fitted.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    fitted.fit(rows, labels, batch_size=4, epochs=1, shuffle=False, verbose=0)
    model, optimizer = start()
    before = model.bert.pooler.kernel.numpy()
    for half in (slice(0, 4), slice(4, 8)):
        batch = {name: x[half] for name, x in rows.items()}
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(losses.cross_entropy(model(batch), labels[half]))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
    assert np.abs(model.bert.pooler.kernel.numpy() - before).max() > 1e-4
    for one, other in zip(fitted.variables, model.variables, strict=True):
        if "key/bias" not in one.path:  # its gradient is 0 but for rounding
            np.testing.assert_allclose(
                one.numpy(), other.numpy(), atol=1e-6, err_msg=one.path
            )


_TWO_DEVICES = """
import json
import numpy as np
import tensorflow as tf
from bert_tf.optimization import WarmupLinearDecay, Lamb
from tests.test_lamb import STEPS, as_variables, apply, draw, error

[cpu] = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
weights, steps = draw()

def start():
    variables = as_variables(weights)
    # Each replica clips by itself, so that nothing may be clipped.
    optimizer = Lamb(WarmupLinearDecay(0.1, 10, 4), 0.1, clip_norm=1e6)
    optimizer.build(variables)
    return variables, optimizer

with strategy.scope():
    mirrored, optimizer = start()

@tf.function
def step(gradients):
    def replica_step():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        # Their mean is the gradient, and neither is.
        share = tf.cast(replica, tf.float32) + 0.5
        optimizer.apply([g if g is None else g * share for g in gradients], mirrored)
    strategy.run(replica_step)

for gradients in steps:
    step([g if g is None else tf.constant(g) for g in gradients.values()])
single, single_optimizer = start()
apply(single_optimizer, single, steps)
expected = [*single, *single_optimizer.slots().values()]
found = [*mirrored, *optimizer.slots().values()]
replicas = [strategy.experimental_local_results(v.value) for v in found]
assert {len(copies) for copies in replicas} == {2}
print(json.dumps({
    "error": max(
        error([copies[i].numpy() for copies in replicas], [v.numpy() for v in expected])
        for i in (0, 1)
    ),
    "steps": int(optimizer.iterations.numpy()) - STEPS,
}))
"""


@pytest.mark.acceptance
def test_two_devices_equal_one(measured):
    figures = json.loads(run("-c", _TWO_DEVICES).splitlines()[-1])
    measured("LAMB on two devices against one", figures["error"], at_most=1e-6)
    assert figures["steps"] == 0


def test_serialization():
    weights, steps = draw()
    optimizer = Lamb(
        WarmupLinearDecay(0.1, 10, 4),
        0.2,
        0.8,
        0.99,
        1e-5,
        2.0,
        dynamic_loss_scale=True,
    )
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(again) is Lamb and again.name == "lamb"
    results = []
    for each in (optimizer, again):
        variables = as_variables(weights)
        each.build(variables)
        apply(each, variables, steps)
        results.append([v.numpy() for v in variables])
    assert error(*results) == 0
    assert error(results[0], weights.values()) > 0.01
    assert again.loss_scale is not None


def test_optimizers_by_name():
    assert type(create_optimizer(1e-4, 8, 2)) is AdamWeightDecay
    for name, kind in (("adam_weight_decay", AdamWeightDecay), ("lamb", Lamb)):
        optimizer = create_optimizer(1e-4, 8, 2, True, optimizer=name)
        assert type(optimizer) is kind and optimizer.name == name
        assert optimizer.dynamic_loss_scale
    with pytest.raises(ConfigError) as caught:
        create_optimizer(1e-4, 8, 2, optimizer="sgd")
    assert str(caught.value) == (
        "Expected one of the optimizers adam_weight_decay, lamb, got 'sgd'."
    )
