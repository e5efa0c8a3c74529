"""What is exported for Keras and as ONNX computes what the model computes."""

import dataclasses
import json
import multiprocessing
import runpy
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bert_tf import BertConfig, ConfigError, FullTokenizer, GraphTokenizer
from bert_tf.serving import formats
from bert_tf.serving.pretrained_servable import PretrainedServable
from bert_tf.tasks.answers import Rules
from bert_tf.tasks.classification import ClassificationTask
from bert_tf.tasks.servable import Servable
from bert_tf.tasks.squad import SquadTask
from bert_tf.tasks.tagging import TaggingTask
from tests import plain_packing

LABELS = ["cold", "so so", "wärm"]


def pretrained(*parts: str) -> Callable[[BertConfig, GraphTokenizer], Servable]:
    return lambda config, tokenizer: PretrainedServable(
        config, tokenizer, parts, max_seq_length=48
    )


# What is exported, by the class that Keras' file holds.
KINDS: dict[str, Callable[[BertConfig, GraphTokenizer], Servable]] = {
    "BertClassifier": lambda config, tokenizer: ClassificationTask(
        "mine", config, tokenizer, LABELS, 48, False, "single"
    ),
    "BertTokenClassifier": lambda config, tokenizer: TaggingTask(
        config, tokenizer, ["O", "B-PER"], max_seq_length=48
    ),
    "BertSpanLabeler": lambda config, tokenizer: SquadTask(
        config, tokenizer, Rules(), max_seq_length=48
    ),
    "BertPretrainer": pretrained("bert/pooler/", "cls/predictions/"),
    "BertModel": pretrained(),
}

# Each with another activation.
ACTIVATIONS = dict(
    zip(KINDS, ["relu", "tanh", "gelu_erf", "gelu", "linear"], strict=True)
)

# Asks the model in each folder, in a process that knows it from its file only.
ASK = """
import sys
from pathlib import Path

assert not [name for name in sys.modules if name.startswith("bert_tf")]
import bert_tf.modeling
import keras
import numpy as np

for path in Path(folder).glob("*/model.keras"):
    model = keras.saving.load_model(path)
    assert type(model).__name__ == path.parent.name
    for rows in path.parent.glob("rows*.npz"):
        with np.load(rows) as features:
            outputs = model(dict(features))
        if not isinstance(outputs, dict):
            outputs = {"logits": outputs}
        np.savez(str(rows).replace("rows", "said"), **outputs)
"""


@pytest.fixture(scope="module")
def make(testdata) -> Callable[[str], tuple[Servable, Any]]:
    """Returns what is exported of a kind, and its model, in which nothing is zero."""
    config = BertConfig.from_json_file(str(testdata / "bert_config.json"))
    tokenizer = GraphTokenizer(str(testdata / "vocab_uncased.txt"))

    def of_kind(kind: str) -> tuple[Servable, Any]:
        changed = dataclasses.replace(config, hidden_act=ACTIVATIONS[kind])
        servable = KINDS[kind](changed, tokenizer)
        model = servable.create_model()
        draw = np.random.default_rng(3)
        model.set_weights(
            [x + draw.normal(0, 0.1, x.shape) for x in model.get_weights()]
        )
        return servable, model

    return of_kind


@pytest.fixture(scope="module")
def batches(testdata) -> list[dict[str, np.ndarray]]:
    """50 texts, most in pairs, in batches of 1, 8 and 41, padded to their longest.

    With 3, no and 2 places of which pieces are asked.
    """
    golden = json.loads((testdata / "tokenization.json").read_text("utf-8"))
    full = FullTokenizer(str(testdata / "vocab_uncased.txt"))
    pieces = [full.tokenize(each["text"])[:30] for each in golden]
    pieces = pieces[:: len(pieces) // 50][:50]
    pairs = [
        (a, b if len(b) % 4 else []) for a, b in zip(pieces, pieces[::-1], strict=True)
    ]
    found = []
    draw = np.random.default_rng(5)
    for start, stop, places in ((0, 1, 3), (1, 9, 0), (9, 50, 2)):
        rows = plain_packing.features(full, pairs[start:stop])
        rows = {name: np.array(values, np.int32) for name, values in rows.items()}
        count, length = rows["input_ids"].shape
        positions = draw.integers(0, length, [count, places], np.int32)
        found.append({**rows, "masked_lm_positions": positions})
    assert len({x["input_ids"].shape[1] for x in found}) == 3
    return found


def asked(servable: Servable, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: batch[name] for name in servable.model_features}


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert expected
    for name, value in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], value, atol=1e-4, err_msg=name)


def test_keras_reads_its_file_where_nothing_else_is_known(make, batches, tmp_path):
    expected = {}
    for kind in KINDS:
        servable, model = make(kind)
        path = formats.write_keras(servable, model, str(tmp_path / kind))
        assert set(zipfile.ZipFile(path).namelist()) == {
            "config.json",
            "metadata.json",
            "model.weights.h5",
        }
        for number, batch in enumerate(batches):
            features = asked(servable, batch)
            np.savez(tmp_path / kind / f"rows{number}.npz", **features)
            expected[kind, number] = servable.model_outputs(model, features)
    (tmp_path / "ask.py").write_text(ASK)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tensorflow", "keras", "tensorflow_text"])
    process = context.Process(
        target=runpy.run_path,
        args=(str(tmp_path / "ask.py"), {"folder": str(tmp_path)}),
    )
    process.start()
    process.join(100)
    assert process.exitcode == 0
    for (kind, number), values in expected.items():
        with np.load(tmp_path / kind / f"said{number}.npz") as said:
            # The public pretrainer returns no vectors.
            shared = {name: values[name] for name in set(values) & set(said)}
            assert_same(dict(said), shared)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("BertClassifier", marks=pytest.mark.acceptance),
        pytest.param("BertTokenClassifier", marks=pytest.mark.acceptance),
        "BertSpanLabeler",
        "BertPretrainer",
        pytest.param("BertModel", marks=pytest.mark.acceptance),
    ],
)
def test_onnx_says_what_the_model_says(make, batches, tmp_path, kind):
    pytest.importorskip("tf2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    servable, model = make(kind)
    path = formats.write_onnx(servable, model, str(tmp_path / "export"))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = [(x.name, x.type, x.shape) for x in session.get_inputs()]
    row = "tensor(int64)", ["batch_size", "sequence_length"]
    places = "tensor(int64)", ["batch_size", "predictions"]
    assert inputs == [
        (name, *(places if name == "masked_lm_positions" else row))
        for name in servable.model_features
    ]
    names = [x.name for x in session.get_outputs()]
    assert sorted(names) == {
        "BertSpanLabeler": ["end_logits", "start_logits"],
        "BertPretrainer": ["masked_lm_logits", "pooled_output", "sequence_output"],
        "BertModel": ["sequence_output"],
    }.get(kind, ["logits"])
    for batch in [*batches, {name: x[:0] for name, x in batches[0].items()}]:
        features = asked(servable, batch)
        said = session.run(names, {k: x.astype(np.int64) for k, x in features.items()})
        expected = servable.model_outputs(model, features)
        assert_same(dict(zip(names, said, strict=True)), expected)
    labels = session.get_modelmeta().custom_metadata_map.get("labels", "null")
    assert json.loads(labels) == servable.labels


def test_a_model_beyond_what_a_file_of_onnx_holds(make, tmp_path, monkeypatch):
    servable, model = make("BertPretrainer")
    config = servable.config
    table = 4 * config.vocab_size * config.hidden_size
    monkeypatch.setattr(formats, "_MOST_BYTES", 4 * model.count_params() + table)
    with pytest.raises(ConfigError, match="Expected a model of less than 2 GB"):
        formats.write_onnx(servable, model, str(tmp_path / "export"))
    assert not (tmp_path / "export").exists()
