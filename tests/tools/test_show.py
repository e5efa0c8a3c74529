"""What is shown of a checkpoint is what its files hold."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.checkpoint import write_tensors
from bert_tf.config import BertConfig
from bert_tf.interchange.summary import summarize
from bert_tf.modeling import BertClassifier
from bert_tf.tools import show


@pytest.fixture
def folder(testdata, tmp_path) -> Path:
    for path in testdata.glob("bert_model.ckpt.*"):
        shutil.copy(path, tmp_path)
    shutil.copy(testdata / "bert_config.json", tmp_path)
    shutil.copy(testdata / "vocab_uncased.txt", tmp_path / "vocab.txt")
    return tmp_path


def shown(capsys, *arguments: object) -> str:
    assert show.main([str(x) for x in arguments]) == 0
    return capsys.readouterr().out


def number(text: str, row: str) -> int:
    return int(
        re.search(rf"^{re.escape(row)} +([\d,]+)", text, re.M)[1].replace(",", "")
    )


@pytest.mark.parametrize("name", ["", "bert_model.ckpt", "bert_model.ckpt.index"])
def test_parameters_by_part(folder, capsys, name):
    text = shown(capsys, folder / name)
    reader = tf.train.load_checkpoint(str(folder / "bert_model.ckpt"))
    sizes = {
        each: int(np.prod(shape, dtype=int))
        for each, shape in reader.get_variable_to_shape_map().items()
    }
    config = json.loads((folder / "bert_config.json").read_text())
    width, layers = config["hidden_size"], config["num_hidden_layers"]

    def of(*beginnings: str) -> int:
        return sum(n for each, n in sizes.items() if each.startswith(beginnings))

    assert number(text, "all parameters") == sum(sizes.values())
    assert number(text, "encoder, embeddings, pooler") == of("bert/")
    assert number(text, "encoder") == of("bert/encoder/")
    assert number(text, f"  each of {layers} layers") == of("bert/encoder/layer_0/")
    assert number(text, "masked-LM head") == of("cls/predictions/")
    formula = config["vocab_size"] * width + 12 * layers * width**2
    assert number(text, "V*H + 12*L*H^2") == formula
    assert f"num_attention_heads {config['num_attention_heads']}" in text
    assert "config: fits" in text and "vocabulary: fits" in text
    assert "fill [MASK]" in text and "go on with its training" not in text


def test_the_state_of_a_training(folder, testdata, capsys):
    for path in testdata.glob("trained.ckpt.*"):
        shutil.copy(path, folder)
    text = shown(capsys, folder / "trained.ckpt")
    reader = tf.train.load_checkpoint(str(folder / "trained.ckpt"))
    shapes = reader.get_variable_to_shape_map()
    slots = [x for each, x in shapes.items() if re.search("/adam_|global_step", each)]
    state = sum(int(np.prod(shape, dtype=int)) for shape in slots)
    assert number(text, "state of a training") == state
    assert "go on with its training" in text and "step 8" in text


def test_a_classifier_and_its_labels(folder, testdata, capsys):
    for path in testdata.glob("classifier_trained.ckpt.*"):
        shutil.copy(path, folder)
    (folder / "labels.json").write_text('["no", "yes"]')
    text = shown(capsys, folder / "classifier_trained.ckpt")
    assert "classify texts or words" in text
    assert text.endswith("labels: no, yes\n")


def test_what_does_not_fit_is_said(folder, capsys):
    config = json.loads((folder / "bert_config.json").read_text())
    changed = {**config, "intermediate_size": config["intermediate_size"] + 1}
    (folder / "bert_config.json").write_text(json.dumps(changed))
    (folder / "vocab.txt").write_text("[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    text = shown(capsys, folder)
    assert (
        "config: does NOT fit: bert/encoder/layer_0/intermediate/dense/kernel" in text
    )
    assert "vocabulary: does NOT fit: Expected" in text and "4 lines" in text
    fewer = {**config, "num_hidden_layers": config["num_hidden_layers"] - 1}
    (folder / "bert_config.json").write_text(json.dumps(fewer))
    assert "1 layers more" in shown(capsys, folder)
    more = {**config, "num_hidden_layers": config["num_hidden_layers"] + 1}
    (folder / "bert_config.json").write_text(json.dumps(more))
    assert "is not there" in shown(capsys, folder)


def test_a_checkpoint_alone(folder, capsys):
    (folder / "bert_config.json").unlink()
    (folder / "vocab.txt").rename(folder / "words")
    text = shown(capsys, folder)
    assert "config: none beside" in text and "vocabulary: none beside" in text
    assert "num_attention_heads" not in text
    text = shown(capsys, folder, f"--vocab_file={folder / 'words'}")
    assert "vocabulary: fits" in text


def test_a_hugging_face_folder(testdata, capsys):
    text = shown(capsys, testdata / "interchange" / "sequence")
    assert "convert it first" in text and "gelu_erf" in text
    assert "3 labels" in text and "labels: no, maybe, yes" in text


def test_every_published_size_is_what_the_formula_says():
    """Within what it leaves out: positions, segments, biases, norms, the pooler."""
    for name in ("uncased_L-2_H-128_A-2", "uncased_L-4_H-256_A-4"):
        model = BertClassifier(BertConfig.from_name(name), 2)
        shapes = {v.google_name: tuple(v.shape) for v in model.variables}
        summary = summarize(shapes, name)
        assert summary.total == model.count_params()
        assert 0.97 < summary.formula / summary.model < 1.0


def test_bad_input(folder, testdata, tmp_path, capsys):
    for arguments, says in (
        ([], "Expected CHECKPOINT"),
        ([tmp_path, tmp_path], "Expected one checkpoint"),
        ([tmp_path / "none"], "Expected a checkpoint with the prefix"),
        ([testdata / "interchange" / "tf_models_model"], "--from=tf_models"),
        ([folder, f"--bert_config_file={tmp_path / 'no.json'}"], "bert_config.json"),
    ):
        assert show.main([str(x) for x in arguments]) == 1
        error = capsys.readouterr().err
        assert says in error.strip().split("\n")[-1] and "Traceback" not in error


def test_a_checkpoint_of_something_else(tmp_path, capsys):
    write_tensors(str(tmp_path / "x.ckpt"), {"dense/kernel": np.ones((3, 2))})
    assert show.main([str(tmp_path)]) == 1
    assert "Expected a BERT encoder" in capsys.readouterr().err
