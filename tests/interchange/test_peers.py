"""What is written for other packages computes there what it computes here.

Run by `make acceptance` where these packages are installed: those of the extra `bench`,
and tf_keras with gin-config for tf-models-official.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_tf import interchange
from bert_tf.checkpoint import CheckpointReader, load_checkpoint, save_checkpoint
from bert_tf.config import BertConfig
from bert_tf.interchange import keras_hub
from bert_tf.modeling import (
    BertClassifier,
    BertModel,
    BertPretrainer,
    BertSpanLabeler,
    BertTokenClassifier,
)
from bert_tf.run_folder import read_labels, read_note, write_note
from bert_tf.tokenization import FullTokenizer
from tests.interchange import peers

pytestmark = pytest.mark.acceptance

SIZES = {k: x for k, x in peers.BERT.items() if k != "attn_implementation"}
LABELS = list(peers.LABELS.values())
PLACES = np.tile(np.arange(9, dtype=np.int32), (3, 1))
TEXTS = ["abc ABC, bad!", "Ab é word1 [MASK] 漢a", "", "a" * 60]
MODELS: dict[str, tuple[Any, tuple, dict[str, Any]]] = {
    "encoder": (BertModel, (), {}),
    "pretraining": (BertPretrainer, (), {}),
    "sequence": (
        BertClassifier,
        (3,),
        {"task_name": "custom", "label_kind": "single", "is_pair": False},
    ),
    "tokens": (BertTokenClassifier, (3,), {"task_name": "tagging"}),
    "answers": (BertSpanLabeler, (), {"task_name": "squad"}),
}
CLASSES = {
    "encoder": "BertModel",
    "pretraining": "BertForPreTraining",
    "sequence": "BertForSequenceClassification",
    "tokens": "BertForTokenClassification",
    "answers": "BertForQuestionAnswering",
}
# Ours -> transformers'.
OUTPUTS = {
    "sequence_output": "last_hidden_state",
    "pooled_output": "pooler_output",
    "masked_lm_logits": "prediction_logits",
    "next_sentence_logits": "seq_relationship_logits",
    "start_logits": "start_logits",
    "end_logits": "end_logits",
}


def google_folder(
    folder: Path, name: str, hidden_act: str = "gelu", lower: bool = True
) -> tuple[Path, dict[str, np.ndarray]]:
    """Writes a checkpoint of random numbers, and returns what our model computes."""
    kind, more, note = MODELS[name]
    config = BertConfig.from_dict({**SIZES, "hidden_act": hidden_act})
    model = kind(config, *more)
    rng = np.random.default_rng(len(name))
    model.set_weights([x + rng.normal(0, 0.15, x.shape) for x in model.get_weights()])
    target = folder / "google"
    save_checkpoint(model, str(target / "bert_model.ckpt"))
    (target / "bert_config.json").write_text(config.to_json_string())
    (target / "vocab.txt").write_text("".join(f"{x}\n" for x in peers.PIECES))
    write_note(str(target), {**note, "do_lower_case": lower}, LABELS if more else None)
    outputs = model({**peers.inputs(), "masked_lm_positions": PLACES})
    if not isinstance(outputs, dict):
        outputs = {"logits": outputs}
    return target, {
        name: x.numpy() for name, x in outputs.items() if hasattr(x, "numpy")
    }


def written(folder: Path, source: Path, target: str) -> Path:
    interchange.convert(str(source), str(folder / target), "google", target)
    return folder / target


@pytest.mark.parametrize("hidden_act", ["gelu", "gelu_erf", "relu"])
@pytest.mark.parametrize("name", MODELS)
def test_transformers(tmp_path, name, hidden_act, measured):
    transformers = pytest.importorskip("transformers")
    source, ours = google_folder(tmp_path, name, hidden_act)
    folder = written(tmp_path, source, "huggingface")
    kind = getattr(transformers, CLASSES[name])
    model, loading = kind.from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager"
    )
    assert not loading["missing_keys"]
    # Kept for the way back; these two classes have no pooler.
    kept = loading["unexpected_keys"]
    assert bool(kept) == (name in ("tokens", "answers"))
    assert all(key.startswith("bert.pooler") for key in kept)
    theirs = peers.transformers_outputs(model.eval())
    shared = {k: OUTPUTS.get(k, k) for k in ours if OUTPUTS.get(k, k) in theirs}
    assert shared
    apart = max(np.abs(ours[k] - theirs[t]).max() for k, t in shared.items())
    measured(f"transformers, {name}, {hidden_act}", float(apart), at_most=1e-5)
    if name in ("sequence", "tokens"):
        assert model.config.id2label == peers.LABELS


@pytest.mark.parametrize("lower", [True, False])
def test_the_tokenizer_of_transformers(tmp_path, lower):
    transformers = pytest.importorskip("transformers")
    source, _ = google_folder(tmp_path, "encoder", lower=lower)
    folder = written(tmp_path, source, "huggingface")
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    ours = FullTokenizer(str(source / "vocab.txt"), lower)
    for text in TEXTS:
        # What looks like a special piece is one there, and text in the release.
        text = text.replace("[MASK]", "")
        tokens = ours.tokenize(text)
        assert theirs.tokenize(text) == tokens
        ids = ours.convert_tokens_to_ids(["[CLS]", *tokens, "[SEP]"])
        assert theirs(text)["input_ids"] == ids


@pytest.mark.parametrize("name", peers.FOLDERS)
def test_folders_written_by_the_transformers_of_here(tmp_path, name):
    """The same as those that are kept with the tests, by whatever version there is."""
    pytest.importorskip("transformers")
    from tests.interchange.test_golden_folders import assert_close, ours

    source = tmp_path / name
    source.mkdir()
    peers.FOLDERS[name](source)
    interchange.convert(str(source), str(tmp_path / "google"))
    with np.load(source / "outputs.npz") as theirs:
        for key, value in ours(name, tmp_path / "google").items():
            assert_close(value, theirs[key])


def test_shards_and_pytorch_files(tmp_path):
    """Both ways to save, each as one file and as several, give the same checkpoint."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    model = peers.transformers_model("BertForPreTraining", peers.BERT)
    state = model.state_dict()
    peers.save_transformers(model, tmp_path / "one")
    peers.save_transformers(model, tmp_path / "shards", max_shard_size="5KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    for name, zipped in (("new", True), ("old", False)):
        peers.save_transformers(model, tmp_path / name)
        (tmp_path / name / "model.safetensors").unlink()
        path = tmp_path / name / "pytorch_model.bin"
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
    parts = tmp_path / "parts"
    peers.save_transformers(model, parts)
    (parts / "model.safetensors").unlink()
    names = list(state)
    half = {"a.bin": names[:20], "b.bin": names[20:]}
    for file, held in half.items():
        torch.save({name: state[name].half().float() for name in held}, parts / file)
    places = {name: file for file, held in half.items() for name in held}
    index = {"metadata": {}, "weight_map": places}
    (parts / "pytorch_model.bin.index.json").write_text(json.dumps(index))

    def read(name: str) -> dict[str, np.ndarray]:
        interchange.convert(str(tmp_path / name), str(tmp_path / f"{name} google"))
        reader = CheckpointReader(str(tmp_path / f"{name} google"))
        return {each: reader.read(each) for each in reader.shapes}

    expected = read("one")
    for name in ("shards", "new", "old"):
        found = read(name)
        assert found.keys() == expected.keys()
        assert all(found[x].tobytes() == expected[x].tobytes() for x in found)
    for each, value in read("parts").items():
        np.testing.assert_allclose(value, expected[each], rtol=1e-3, atol=1e-6)


HUB = {
    "encoder": ("BertBackbone", {"sequence_output", "pooled_output"}),
    "pretraining": ("BertMaskedLM", {"masked_lm_logits"}),
    "sequence": ("BertTextClassifier", {"logits"}),
}


def hub_outputs(model: Any) -> dict[str, np.ndarray]:
    """Returns what an object of KerasHub says of `inputs()`, by our names."""
    given = peers.inputs()
    features: dict[str, Any] = {
        "token_ids": given["input_ids"],
        "padding_mask": given["input_mask"],
        "segment_ids": given["segment_ids"],
    }
    if type(model).__name__ == "BertMaskedLM":
        said = model({**features, "mask_positions": PLACES})
        return {"masked_lm_logits": np.asarray(said)}
    said = model(features)
    if isinstance(said, dict):
        return {name: np.asarray(x) for name, x in said.items()}
    return {"logits": np.asarray(said)}


def comparable(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the same without rows of padding, which KerasHub's masks leave open."""
    real = peers.inputs()["input_mask"].astype(bool)
    return {name: x[real] if x.ndim == 3 else x for name, x in outputs.items()}


@pytest.mark.parametrize("name", HUB)
def test_keras_hub(tmp_path, name, measured):
    keras_nlp = pytest.importorskip("keras_nlp")
    source, ours = google_folder(tmp_path, name)
    folder = written(tmp_path, source, "keras_hub")
    kind, _ = HUB[name]
    options = {} if kind == "BertBackbone" else {"load_weights": True}
    model = getattr(keras_nlp.models, kind).from_preset(str(folder), **options)
    if kind == "BertMaskedLM":
        as_it_is = hub_outputs(model)["masked_lm_logits"]
        assert np.abs(as_it_is - ours["masked_lm_logits"]).max() < 5e-3
        keras_hub.as_google(model)
    theirs, expected = comparable(hub_outputs(model)), comparable(ours)
    shared = theirs.keys() & expected.keys()
    assert shared
    apart = max(np.abs(theirs[k] - expected[k]).max() for k in shared)
    measured(f"KerasHub, {name}", float(apart), at_most=1e-5)
    # And back, from the preset and from the object.
    interchange.convert(str(folder), str(tmp_path / "back"), "keras_hub")
    weights, _ = keras_hub.weights_of(model, (source / "vocab.txt").read_bytes())
    if name == "sequence":
        assert read_note(str(tmp_path / "back"))["task_name"] == "custom"
        assert len(read_labels(str(tmp_path / "back"))) == 3
    reader = CheckpointReader(str(tmp_path / "back"))
    given = CheckpointReader(str(source))
    assert set(reader.shapes) == set(weights.tensors)
    lost = set(given.shapes) - set(reader.shapes)
    assert all(x.startswith("cls/seq_relationship/") for x in lost)
    for each in reader.shapes:
        assert reader.read(each).tobytes() == given.read(each).tobytes(), each
        assert weights.tensors[each].tobytes() == given.read(each).tobytes()


def test_the_tokenizer_of_keras_hub(tmp_path):
    keras_nlp = pytest.importorskip("keras_nlp")
    source, _ = google_folder(tmp_path, "encoder")
    folder = written(tmp_path, source, "keras_hub")
    tokenizer = keras_nlp.models.BertTokenizer.from_preset(str(folder))
    ours = FullTokenizer(str(source / "vocab.txt"), True)
    for text in TEXTS[:1] + TEXTS[2:]:
        ids = ours.convert_tokens_to_ids(ours.tokenize(text))
        assert np.asarray(tokenizer(text)).tolist() == ids


def test_presets_written_by_keras_hub(tmp_path):
    keras_nlp = pytest.importorskip("keras_nlp")
    vocab = tmp_path / "vocabulary.txt"
    vocab.write_text("".join(f"{x}\n" for x in peers.PIECES))
    models = keras_nlp.models
    backbone = models.BertBackbone(
        vocabulary_size=peers.V,
        num_layers=peers.LAYERS,
        num_heads=peers.N,
        hidden_dim=peers.H,
        intermediate_dim=peers.INNER,
        max_sequence_length=peers.P,
    )
    rng = np.random.default_rng(4)
    backbone.set_weights(
        [x + rng.normal(0, 0.15, x.shape) for x in backbone.get_weights()]
    )
    backbone.save_to_preset(str(tmp_path / "preset"))
    tokenizer = models.BertTokenizer(str(vocab), lowercase=False)
    tokenizer.save_to_preset(str(tmp_path / "preset"))
    interchange.convert(str(tmp_path / "preset"), str(tmp_path / "google"), "keras_hub")
    config = BertConfig.from_json_file(str(tmp_path / "google/bert_config.json"))
    model = BertModel(config)
    assert not load_checkpoint(model, str(tmp_path / "google")).fresh
    outputs = model(peers.inputs())
    ours = comparable({k: outputs[k].numpy() for k in HUB["encoder"][1]})
    theirs = comparable(hub_outputs(backbone))
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name], atol=1e-5)
    note = json.loads((tmp_path / "google/run_config.json").read_text())
    assert note["do_lower_case"] is False


OFFICIAL = """
import sys, numpy as np, tensorflow as tf
from tests.interchange import peers
encoder = peers.official_encoder(functional=sys.argv[2] == "functional")
pretrainer = peers.official_pretrainer(encoder) if sys.argv[2] == "all" else None
items = pretrainer.checkpoint_items if pretrainer else {"encoder": encoder}
status = tf.train.Checkpoint(**items).read(sys.argv[1] + "/bert_model.ckpt")
status.expect_partial().assert_existing_objects_matched()
np.savez(sys.argv[1] + "/outputs.npz", **peers.official_outputs(encoder, pretrainer))
"""


@pytest.mark.parametrize("what", ["encoder", "all"])
def test_tf_models_official(tmp_path, what, measured):
    pytest.importorskip("tf_keras")
    source, ours = google_folder(
        tmp_path, {"encoder": "encoder", "all": "pretraining"}[what]
    )
    folder = written(tmp_path, source, "tf_models")
    done = subprocess.run(
        [sys.executable, "-c", OFFICIAL, str(folder), what],
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    if what == "all":
        ours = {"mlm_logits": ours["masked_lm_logits"][:, [1, 4]]}
    with np.load(folder / "outputs.npz") as theirs:
        shared = [name for name in ours if name in theirs]
        assert shared
        apart = max(np.abs(ours[k] - theirs[k]).max() for k in shared)
    measured(f"tf-models-official, {what}", float(apart), at_most=1e-5)


def test_real_checkpoints_there_and_back(real_data, tmp_path, measured):
    """Google's BERT-Tiny, of 46 tensors, comes back byte by byte."""
    source = real_data / "checkpoints/splade_tiny_uncased_L-2_H-128_A-2"
    there, back = tmp_path / "there", tmp_path / "back"
    interchange.convert(str(source), str(there), "google", "huggingface")
    interchange.convert(str(there), str(back))
    first, last = (CheckpointReader(str(x)) for x in (source, back))
    differing = [
        name
        for name in first.shapes
        if name not in last.shapes
        or first.read(name).tobytes() != last.read(name).tobytes()
    ]
    measured("BERT-Tiny to Hugging Face and back: tensors", len(last.shapes))
    measured("of these, not the same bytes", len(differing), at_most=0)
    assert (back / "vocab.txt").read_bytes() == (source / "vocab.txt").read_bytes()
