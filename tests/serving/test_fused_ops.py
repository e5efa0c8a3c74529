"""What TensorFlow's graph optimizer makes of an export on a CPU."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from bert_tf import BertClassifier
from bert_tf.serving.inference import inference_model
from bert_tf.tasks.servable import ROW_FEATURES
from tests.serving.inference_models import CONFIG, batch, shaken

LAYERS = CONFIG.num_hidden_layers


def cpu_flags():
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    lines = [line for line in text.splitlines() if line.startswith("flags")]
    return set(lines[0].split()) if lines else set()


# TensorFlow uses oneDNN by itself only on such CPUs, and in bfloat16 on fewer.
ONEDNN = {"avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile"}


def skip_without_onednn(precision):
    flags = cpu_flags()
    if not flags & ONEDNN:
        pytest.skip(f"needs a CPU with one of {sorted(ONEDNN)}, which oneDNN is for")
    if precision == "bfloat16" and "avx512f" not in flags:
        pytest.skip("needs a CPU with avx512f, for oneDNN in bfloat16")


def create(**options):
    return BertClassifier(CONFIG, 3, **options)


@pytest.fixture(scope="module")
def classifier():
    return shaken(create())


def export(model, folder, **options):
    module = tf.Module()
    module.model = inference_model(create, model, **options)

    @tf.function
    def logits(**features):
        return {"logits": module.model(features)}

    @tf.function
    def probabilities(**features):
        return {"probabilities": tf.nn.softmax(module.model(features))}

    specs = {name: tf.TensorSpec([None, None], tf.int32, name) for name in ROW_FEATURES}
    tf.saved_model.save(
        module,
        str(folder),
        signatures={
            "serving_default": logits.get_concrete_function(**specs),
            "probabilities": probabilities.get_concrete_function(**specs),
        },
    )
    return str(folder)


def fused(graphs):
    """Counts the ops that stand for several of the model's, by what they stand for."""
    found = Counter()
    for node in itertools.chain(*(graph.node for graph in graphs)):
        parts = [part.decode() for part in node.attr["fused_ops"].list.s]
        if parts or "LayerNorm" in node.op or "BatchNorm" in node.op:
            op = node.op.removeprefix("_Mkl").removeprefix("Native").removeprefix("_")
            found["+".join([op, *parts])] += 1
    return found


def in_session(folder, features):
    """Runs an export as TF Serving does; returns logits, and what was fused."""
    v1 = tf.compat.v1
    metadata = v1.RunMetadata()
    with v1.Session(graph=tf.Graph()) as session:
        signature = v1.saved_model.load(session, ["serve"], folder).signature_def[
            "serving_default"
        ]
        logits = session.run(
            signature.outputs["logits"].name,
            {signature.inputs[name].name: x for name, x in features.items()},
            options=v1.RunOptions(output_partition_graphs=True),
            run_metadata=metadata,
        )
    return logits, fused(metadata.partition_graphs)


def in_tensorflow_2(folder, features):
    """The same, as Python does."""
    signature = tf.saved_model.load(folder).signatures["serving_default"]
    context.context().enable_run_metadata()
    try:
        logits = signature(**{n: tf.constant(x) for n, x in features.items()})["logits"]
        metadata = context.context().export_run_metadata()
    finally:
        context.context().disable_run_metadata()
    graphs = (graph.post_optimization_graph for graph in metadata.function_graphs)
    return logits, fused(graphs)


@pytest.mark.parametrize(
    ("precision", "freeze"),
    [("bfloat16", True), ("bfloat16", False), ("float32", True)],
)
def test_ops_are_fused(classifier, tmp_path, precision, freeze):
    skip_without_onednn(precision)
    folder = export(
        classifier, tmp_path, precision=precision, freeze=freeze, target="cpu"
    )
    features = batch(4, 16)
    for run in (in_session, in_tensorflow_2):
        logits, found = run(folder, features)
        np.testing.assert_allclose(
            logits, classifier(features), atol=1e-5 if precision == "float32" else 0.1
        )
        # Query, key, value and one of a layer's two outputs; the other one with what is
        # added to it.
        assert found.pop("FusedMatMul+BiasAdd") >= 4 * LAYERS
        assert found == {
            "FusedMatMul+BiasAdd+GeluApproximate": LAYERS,
            "FusedMatMul+BiasAdd+Add": LAYERS,
            "FusedMatMul+BiasAdd+Tanh": 1,
            "FusedBatchMatMulV2+Mul+Add": LAYERS,
            "LayerNorm": 2 * LAYERS + 1,
        }


def test_constants_are_written_once(classifier, tmp_path):
    folder = export(classifier, tmp_path, precision="bfloat16", freeze=True)
    size = (Path(folder) / "saved_model.pb").stat().st_size
    # Two signatures, and a graph of some 100 KB.
    weights = 2 * classifier.count_params()
    assert weights < size < 1.7 * weights
