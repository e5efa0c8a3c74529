"""A real model says the same as ONNX and as a SavedModel."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  the ops of an export

from bert_tf import FullTokenizer
from bert_tf.tools import export_model
from tests import plain_packing
from tests.minilm import fetched


@pytest.mark.acceptance
@pytest.mark.timeout(1200)
def test_onnx_against_the_saved_model(testdata, tmp_path, measured):
    pytest.importorskip("tf2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = fetched(tmp_path)
    for flag, folder in (("onnx", "onnx"), ("saved_model", "saved")):
        flags = [f"--model_dir={model}", f"--export_dir={tmp_path / folder}"]
        assert export_model.main([*flags, f"--format={flag}"]) == 0
    session = onnxruntime.InferenceSession(
        tmp_path / "onnx" / "model.onnx", providers=["CPUExecutionProvider"]
    )
    saved = tf.saved_model.load(str(tmp_path / "saved" / "1")).signatures["ids"]

    golden = json.loads((testdata / "tokenization.json").read_text("utf-8"))
    texts = [each["text"] for each in golden]
    full = FullTokenizer(str(tmp_path / "onnx" / "vocab.txt"))
    pieces = [full.tokenize(text)[:510] for text in texts[:: len(texts) // 50][:50]]
    apart = 0.0
    for start, stop in ((0, 1), (1, 10), (10, 50)):
        rows = plain_packing.features(full, [(each, []) for each in pieces[start:stop]])
        # Vectors of padding mean nothing, and rounding moves them more than others.
        counts = {"sequence_output": np.array(rows["input_mask"]) == 1}
        names = ["sequence_output", "pooled_output"]
        found = session.run(names, {x: np.array(rows[x], np.int64) for x in rows})
        said = saved(**{x: tf.constant(rows[x], tf.int32) for x in rows})
        for name, value in zip(names, found, strict=True):
            differences = np.abs(value - said[name])[counts.get(name, ...)]
            apart = max(apart, float(differences.max()))
    measured(
        "ONNX against the SavedModel, 50 texts, largest difference", apart, at_most=1e-4
    )
