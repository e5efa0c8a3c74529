"""What TensorFlow's graph optimizer makes of an export on a CPU."""

import dataclasses
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.eager import context

from bert_tf import GraphTokenizer
from bert_tf.serving.export import ExportOptions, export
from bert_tf.tasks.classification import ClassificationTask
from tests.serving.inference_models import CONFIG, batch, shaken

FLOATS = (tf.float32.as_datatype_enum, tf.bfloat16.as_datatype_enum)
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


@pytest.fixture(scope="module")
def task(testdata):
    tokenizer = GraphTokenizer(str(testdata / "vocab_uncased.txt"))
    config = dataclasses.replace(CONFIG, vocab_size=len(tokenizer.vocab))
    return ClassificationTask("mine", config, tokenizer, ["a", "b", "c"], 32, False)


@pytest.fixture(scope="module")
def classifier(task):
    return shaken(task.create_model())


def fused(graphs):
    """Counts the ops that stand for several of the model's, by what they stand for."""
    found = Counter()
    for node in itertools.chain(*(graph.node for graph in graphs)):
        parts = [part.decode() for part in node.attr["fused_ops"].list.s]
        if parts or "LayerNorm" in node.op or "BatchNorm" in node.op:
            op = node.op.removeprefix("_Mkl").removeprefix("Native").removeprefix("_")
            found["+".join([op, *parts])] += 1
    return found


def in_session(folder, name, features):
    """Runs an export as TF Serving does; returns its answer, and what was fused."""
    v1 = tf.compat.v1
    metadata = v1.RunMetadata()
    with v1.Session(graph=tf.Graph()) as session:
        signature = v1.saved_model.load(session, ["serve"], folder).signature_def[name]
        answer = session.run(
            signature.outputs["probabilities"].name,
            {signature.inputs[key].name: x for key, x in features.items()},
            options=v1.RunOptions(output_partition_graphs=True),
            run_metadata=metadata,
        )
    return answer, fused(metadata.partition_graphs)


def in_tensorflow_2(folder, name, features):
    """The same, as Python does."""
    signature = tf.saved_model.load(folder).signatures[name]
    context.context().enable_run_metadata()
    try:
        answer = signature(**{key: tf.constant(x) for key, x in features.items()})
        metadata = context.context().export_run_metadata()
    finally:
        context.context().disable_run_metadata()
    graphs = (graph.post_optimization_graph for graph in metadata.function_graphs)
    return answer["probabilities"], fused(graphs)


TEXTS = np.array(["the fog came down over the bay", "dark", "the lamp"] * 2, object)


@pytest.mark.parametrize(
    ("precision", "freeze"),
    [("bfloat16", True), ("bfloat16", False), ("float32", True)],
)
def test_ops_are_fused(task, classifier, tmp_path, precision, freeze):
    skip_without_onednn(precision)
    options = ExportOptions(precision, freeze, target="cpu")
    version = export(task, classifier, str(tmp_path), options)
    rows = batch(4, 16)
    of_rows = tf.nn.softmax(classifier(rows))
    of_texts = task.serve(classifier, tf.constant(TEXTS))["probabilities"]
    for run, (name, inputs, expected) in itertools.product(
        (in_session, in_tensorflow_2),
        (("ids", rows, of_rows), ("serving_default", {"text_a": TEXTS}, of_texts)),
    ):
        answer, found = run(version, name, inputs)
        apart = 1e-5 if precision == "float32" else 0.05
        np.testing.assert_allclose(answer, expected, atol=apart)
        # Query, key and value at once, and one of a layer's two outputs; the other one
        # with what is added to it. And the logits, which may be of other ops.
        assert found.pop("FusedMatMul+BiasAdd") - 2 * LAYERS in (0, 1)
        assert found == {
            "FusedMatMul+BiasAdd+GeluApproximate": LAYERS,
            "FusedMatMul+BiasAdd+Add": LAYERS,
            "FusedMatMul+BiasAdd+Tanh": 1,
            "FusedBatchMatMulV2+Mul+Add": LAYERS,
            "LayerNorm": 2 * LAYERS + 1,
        }


def test_constants_are_written_once(task, classifier, tmp_path):
    """Although every signature computes with them."""
    options = ExportOptions("bfloat16", freeze=True)
    version = export(task, classifier, str(tmp_path), options)
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((Path(version) / "saved_model.pb").read_bytes())
    [meta_graph] = saved.meta_graphs
    functions = meta_graph.graph_def.library.function
    nodes = [*meta_graph.graph_def.node, *(n for f in functions for n in f.node_def)]
    constants = [node.attr["value"].tensor for node in nodes if node.op == "Const"]
    size = sum(x.ByteSize() for x in constants if x.dtype in FLOATS)
    weights = 2 * classifier.count_params()
    assert weights < size < 1.1 * weights
