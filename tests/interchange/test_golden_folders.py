"""Folders that other packages wrote compute here what they computed there."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_tf import interchange
from bert_tf.checkpoint import CheckpointReader, load_checkpoint
from bert_tf.config import BertConfig
from bert_tf.modeling import (
    BertClassifier,
    BertModel,
    BertPretrainer,
    BertSpanLabeler,
    BertTokenClassifier,
)
from bert_tf.run_folder import read_labels, read_note
from bert_tf.tools import export_model
from tests.interchange.peers import LABELS, PIECES, inputs

ENCODERS = ("tf_models_encoder", "tf_models_model")
TORCH = ("distilbert", "spanbert", "pretraining", "sequence", "tokens", "answers")


@pytest.fixture
def golden(testdata) -> Path:
    return testdata / "interchange"


def loaded(model_class: Any, folder: Path, *more: Any, fresh: tuple = ()) -> Any:
    model = model_class(
        BertConfig.from_json_file(str(folder / "bert_config.json")), *more
    )
    report = load_checkpoint(model, str(folder))
    assert all(name.startswith(fresh) for name in report.fresh), report.fresh
    return model


def pretrained(folder: Path, fresh: tuple = ()) -> dict[str, np.ndarray]:
    """Returns both heads' logits, those of words at every position."""
    model = loaded(BertPretrainer, folder, fresh=fresh)
    places = np.tile(np.arange(9, dtype=np.int32), (3, 1))
    outputs = model({**inputs(), "masked_lm_positions": places})
    return {name: x.numpy() for name, x in outputs.items()}


def assert_close(ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def ours(name: str, folder: Path) -> dict[str, np.ndarray]:
    """Returns what our model says of a converted folder, by transformers' names."""
    if name in ("distilbert", "spanbert"):
        found = pretrained(folder, fresh=("bert/pooler", "cls/seq_relationship"))
        return {"logits": found["masked_lm_logits"]}
    if name == "pretraining":
        found = pretrained(folder)
        return {
            "prediction_logits": found["masked_lm_logits"],
            "seq_relationship_logits": found["next_sentence_logits"],
        }
    if name == "answers":
        return loaded(BertSpanLabeler, folder)(inputs())
    kind = {"sequence": BertClassifier, "tokens": BertTokenClassifier}[name]
    return {"logits": loaded(kind, folder, len(LABELS))(inputs())}


@pytest.mark.parametrize("name", TORCH)
def test_outputs_of_transformers(golden, tmp_path, name):
    interchange.convert(str(golden / name), str(tmp_path / "google"))
    with np.load(golden / name / "outputs.npz") as theirs:
        found = ours(name, tmp_path / "google")
        assert sorted(found) == sorted(theirs)
        for key, value in found.items():
            assert_close(value, theirs[key])
    vocab = (tmp_path / "google/vocab.txt").read_text()
    assert vocab == "".join(f"{piece}\n" for piece in PIECES)


@pytest.mark.parametrize("name", ENCODERS)
def test_outputs_of_tf_models_official(golden, tmp_path, name):
    interchange.convert(str(golden / name), str(tmp_path / "google"), "tf_models")
    found = loaded(BertModel, tmp_path / "google")(inputs())
    with np.load(golden / name / "outputs.npz") as theirs:
        for key in ("sequence_output", "pooled_output"):
            assert_close(found[key], theirs[key])
        if "mlm_logits" in theirs:
            words = pretrained(tmp_path / "google", fresh=("cls/seq_relationship",))
            assert_close(words["masked_lm_logits"][:, [1, 4]], theirs["mlm_logits"])


@pytest.mark.parametrize("target", ["huggingface", "tf_models"])
@pytest.mark.parametrize("name", [*TORCH, *ENCODERS])
def test_there_and_back_the_same_bytes(golden, tmp_path, name, target):
    source = "tf_models" if name in ENCODERS else "huggingface"
    interchange.convert(str(golden / name), str(tmp_path / "one"), source)
    interchange.convert(str(tmp_path / "one"), str(tmp_path / "two"), "google", target)
    interchange.convert(str(tmp_path / "two"), str(tmp_path / "three"), target)
    first, last = (CheckpointReader(str(tmp_path / x)) for x in ("one", "three"))
    lost = set(first.shapes) - set(last.shapes)
    if target == "huggingface":
        assert not lost
        assert (tmp_path / "one/run_config.json").read_bytes() == (
            tmp_path / "three/run_config.json"
        ).read_bytes()
    assert all(not name.startswith(("bert/", "cls/predictions/")) for name in lost)
    for each in last.shapes:
        assert first.read(each).tobytes() == last.read(each).tobytes(), each
    for file in ("bert_config.json", "vocab.txt"):
        one, three = (tmp_path / x / file for x in ("one", "three"))
        assert one.read_bytes() == three.read_bytes()


def test_googles_own_checkpoint_there_and_back(testdata, tmp_path):
    """Pretraining heads, 62 tensors, and sizes that tell all axes apart."""
    source = tmp_path / "source"
    source.mkdir()
    for path in testdata.glob("bert_model.ckpt.*"):
        (source / path.name).write_bytes(path.read_bytes())
    for name, file in (("vocab_uncased", "vocab.txt"), ("bert_config", "")):
        path = next(testdata.glob(f"{name}.*"))
        (source / (file or path.name)).write_bytes(path.read_bytes())
    interchange.convert(str(source), str(tmp_path / "there"), "google", "huggingface")
    interchange.convert(str(tmp_path / "there"), str(tmp_path / "back"))
    first, last = (CheckpointReader(str(x)) for x in (source, tmp_path / "back"))
    assert first.shapes == last.shapes
    for each in first.shapes:
        assert first.read(each).tobytes() == last.read(each).tobytes(), each


def test_the_checkpoint_written_for_tf_models_has_their_names(golden, tmp_path):
    source = golden / "tf_models_encoder"
    interchange.convert(str(source), str(tmp_path / "out"), "tf_models", "tf_models")
    theirs, written = (
        CheckpointReader(str(x), object_graph=True).shapes
        for x in (source, tmp_path / "out")
    )
    assert {k: x for k, x in theirs.items() if not k.startswith("save_counter")} == {
        k: x for k, x in written.items() if not k.startswith("save_counter")
    }


def test_a_classifier_brings_its_task_along(golden, tmp_path):
    def note(name: str, **options: Any) -> tuple[dict[str, Any], list[str]]:
        folder = str(tmp_path / f"{name}{len(options)}")
        interchange.convert(str(golden / name), folder, **options)
        labels = [] if name == "answers" else read_labels(folder)
        return read_note(folder), labels

    found, labels = note("sequence")
    assert labels == list(LABELS.values())
    assert (found["task_name"], found["label_kind"]) == ("custom", "single")
    assert (found["is_pair"], found["do_lower_case"]) == (False, True)
    assert found["max_seq_length"] == 16
    assert note("sequence", is_pair=True)[0]["is_pair"] is True
    found, labels = note("tokens")
    assert (found["task_name"], labels) == ("tagging", list(LABELS.values()))
    assert note("answers")[0]["task_name"] == "squad"
    assert "task_name" not in read_note_of_encoder(golden, tmp_path)


def read_note_of_encoder(golden: Path, tmp_path: Path) -> dict[str, Any]:
    interchange.convert(str(golden / "spanbert"), str(tmp_path / "spanbert"))
    note = read_note(str(tmp_path / "spanbert"))
    assert note["do_lower_case"] is False
    return note


def test_the_report_says_what_became_of_each_tensor(golden, tmp_path):
    folder = str(golden / "distilbert")
    read, written = interchange.convert(folder, str(tmp_path / "distilbert"))
    assert list(read.created) == ["bert/embeddings/token_type_embeddings"]
    assert len(read.transposed) == 2 * 6 + 1
    assert len(written.mapped) == len(read.mapped) + len(read.transposed) + 1
    text = str(read)
    assert "DistilBERT has no segments" in text and "gelu_erf" in text
    read, _ = interchange.convert(str(golden / "spanbert"), str(tmp_path / "spanbert"))
    assert sum("pair_target_predictions" in name for name in read.dropped) == 2
    assert "there is no pooler" in str(read)


@pytest.mark.parametrize("name", ["sequence", "tokens", "answers"])
def test_a_converted_classifier_can_be_exported(golden, tmp_path, name):
    """Nothing else than its folder has to be named."""
    folder, export = tmp_path / "google", tmp_path / "export"
    interchange.convert(str(golden / name), str(folder))
    # The vocabulary that stands for a lower-cased one here has capitals.
    args = [f"--model_dir={folder}", f"--export_dir={export}", "--nocheck_casing"]
    assert export_model.main(args) == 0
    assert (export / "1" / "saved_model.pb").exists()
