"""What cannot be converted ends in one sentence, and nothing is executed or written."""

import collections
import json
import pickle
import random
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from bert_tf import interchange
from bert_tf.checkpoint import CheckpointReader, write_tensors
from bert_tf.errors import CheckpointError, ConfigError, DataError
from bert_tf.interchange.torch_files import read_torch_file
from bert_tf.tools import convert_checkpoint
from tests.damaged_files import damaged
from tests.interchange.peers import PIECES


@pytest.fixture
def folder(testdata, tmp_path):
    """Copies one of the golden folders, to be damaged."""

    def copy(name: str) -> Path:
        shutil.copytree(testdata / "interchange" / name, tmp_path / name)
        return tmp_path / name

    return copy


def refused(error: type[Exception], says: str, source: Path, *formats: str) -> str:
    """Converts, and returns what the error says."""
    target = source.parent / "converted"
    with pytest.raises(error, match=says) as raised:
        interchange.convert(str(source), str(target), *formats)
    assert not target.exists() and not (source.parent / ".writing-converted").exists()
    return str(raised.value)


class Call:
    """What a pickle would call when it is opened."""

    def __init__(self, function: Any, *arguments: Any):
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("archive", [True, False])
def test_a_pickle_that_would_execute_code(folder, protocol, archive):
    source = folder("tokens")
    proof = source / "executed"
    content = pickle.dumps({"x": Call(open, str(proof), "w")}, protocol=protocol)
    path = source / "pytorch_model.bin"
    if archive:
        with zipfile.ZipFile(path, "w") as writer:
            writer.writestr("archive/data.pkl", content)
    else:
        path.write_bytes(content)
    text = refused(CheckpointError, "nothing of it was executed", source)
    assert "io.open" in text or "the instruction DICT" in text
    assert str(path) in text and not proof.exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (pickle.dumps(Call(eval, "1+1"), 2), "eval"),
        (b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00ls\x85R.", "posix.system"),
        (b"\x80\x02(ios\nsystem\n.", "instruction INST"),
        (b"\x80\x02cbuiltins\ndict\n)\x81.", "instruction NEWOBJ"),
        (b"\x80\x02]q\x00", "damage"),
        (b"\x80\x02N.", "damage"),
        (b"no pickle at all", "damage"),
        (b"", "damage"),
    ],
)
def test_other_pickles(tmp_path, content, says):
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w") as writer:
        writer.writestr("archive/data.pkl", content)
    with pytest.raises(CheckpointError, match=says):
        read_torch_file(str(path))
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{says}|damage"):
        read_torch_file(str(path))


def test_a_compressed_archive_is_not_unpacked(folder):
    source = folder("tokens")
    path = source / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as writer:
        writer.writestr("archive/data.pkl", b"\x80\x02}." + bytes(10**6))
    refused(CheckpointError, "is compressed", source)


@pytest.mark.parametrize("name", ["tokens", "spanbert"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_a_pytorch_file_cut_short(folder, name, share):
    source = folder(name)
    path = source / "pytorch_model.bin"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(CheckpointError, "found damage", source)


def test_a_missing_shard_and_one_outside(folder):
    source = folder("pretraining")
    tensors = safetensors.numpy.load_file(source / "model.safetensors")
    (source / "model.safetensors").unlink()
    names = sorted(tensors)
    halves = {"a.safetensors": names[:20], "b.safetensors": names[20:]}
    for file, held in halves.items():
        safetensors.numpy.save_file({x: tensors[x] for x in held}, source / file)
    index = source / "model.safetensors.index.json"
    places = {name: file for file, held in halves.items() for name in held}
    index.write_text(json.dumps({"weight_map": places}))
    interchange.convert(str(source), str(source / "whole"))
    shutil.rmtree(source / "whole")

    moved = {**places, names[0]: "b.safetensors"}
    index.write_text(json.dumps({"weight_map": moved}))
    refused(CheckpointError, f"Expected {names[0]} in .*b.safetensors", source)
    for outside in ("../a.safetensors", str(source / "a.safetensors")):
        index.write_text(json.dumps({"weight_map": {**places, names[0]: outside}}))
        refused(CheckpointError, "Expected the shard", source)
    index.write_text(json.dumps({"weight_map": [1]}))
    refused(CheckpointError, "weight_map", source)
    index.write_text(json.dumps({"weight_map": places}))
    (source / "b.safetensors").unlink()
    refused(CheckpointError, "Expected the shard b.safetensors", source)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"model_type": "roberta"}, ConfigError, "got roberta"),
        ({"model_type": "albert"}, ConfigError, "got albert"),
        ({"vocab_size": 41}, DataError, "Expected 41 pieces"),
        ({"num_hidden_layers": 3}, CheckpointError, "with 3 layers"),
        ({"num_hidden_layers": 1}, CheckpointError, r"Expected 1 layers.*layer\.1"),
        ({"hidden_size": 15}, CheckpointError, r"the shape \[40, 15\]"),
        ({"id2label": {"x": "y"}}, ConfigError, "id2label"),
    ],
)
def test_another_architecture_or_size(folder, change, error, says):
    source = folder("sequence")
    values = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**values, **change}))
    refused(error, says, source)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"type": "BPE", "vocab": {"a": 0}}, "got BPE"),
        ({"type": "WordPiece"}, "Expected a WordPiece vocabulary"),
        ({"type": "WordPiece", "vocab": {"a": 0, "b": 2}}, "ids from 0 on"),
    ],
)
def test_another_tokenizer(folder, model, says):
    source = folder("distilbert")
    (source / "tokenizer.json").write_text(json.dumps({"model": model}))
    refused(ConfigError, says, source)


def test_weights_of_transformers_own_tensorflow(folder):
    source = folder("sequence")
    (source / "model.safetensors").rename(source / "tf_model.h5")
    refused(CheckpointError, "from_tf=True", source)


def test_albert_in_googles_format(folder, tmp_path):
    source = folder("tf_models_encoder")
    for path in source.glob("bert_model.ckpt*"):
        path.unlink()
    name = (
        "bert/encoder/transformer/group_0/inner_group_0/ffn_1/intermediate/dense/kernel"
    )
    write_tensors(str(source / "bert_model.ckpt"), {name: np.ones((2, 3), np.float32)})
    refused(CheckpointError, "ALBERT's", source, "google", "huggingface")


def test_fewer_layers_than_a_checkpoint_has(folder):
    source = folder("tf_models_encoder")
    interchange.convert(str(source), str(source / "google"), "tf_models")
    path = source / "google" / "bert_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "num_hidden_layers": 1}))
    says = "Expected 1 layers.*layer_1"
    refused(CheckpointError, says, source / "google", "google", "huggingface")


def test_formats_that_are_taken_for_one_another(folder, testdata):
    encoder = folder("tf_models_encoder")
    refused(CheckpointError, "--from=tf_models", encoder, "google", "huggingface")
    interchange.convert(str(encoder), str(encoder / "google"), "tf_models")
    refused(CheckpointError, "--from=google", encoder / "google", "tf_models")
    refused(CheckpointError, "Expected config.json", encoder, "keras_hub")
    refused(ConfigError, "Expected a format of", encoder, "pytorch")


def test_a_preset_that_asks_for_more_than_its_file_holds(folder):
    pytest.importorskip("keras_nlp")
    source = folder("sequence")
    sizes = {
        **{"vocabulary_size": 2**31, "num_layers": 2, "num_heads": 3, "dropout": 0.1},
        **{"hidden_dim": 12, "intermediate_dim": 20, "max_sequence_length": 16},
        "num_segments": 2,
    }
    values = {"class_name": "BertBackbone", "config": sizes}
    (source / "config.json").write_text(json.dumps(values))
    (source / "model.weights.h5").write_bytes(bytes(5000))
    refused(CheckpointError, "5,000 bytes", source, "keras_hub")


@pytest.mark.parametrize("class_name", ["RobertaBackbone", None])
def test_another_preset(folder, class_name):
    source = folder("sequence")
    (source / "config.json").write_text(json.dumps({"class_name": class_name}))
    refused(ConfigError, "BertBackbone", source, "keras_hub")


def test_the_exact_gelu_is_not_lost_on_the_way_to_keras_hub(folder):
    pytest.importorskip("keras_nlp")
    source = folder("sequence")
    refused(ConfigError, "got gelu_erf", source, "huggingface", "keras_hub")


def test_a_head_whose_table_is_its_own_is_left_out(folder, tmp_path):
    source = folder("pretraining")
    path = source / "model.safetensors"
    tensors = safetensors.numpy.load_file(path)
    words = tensors["bert.embeddings.word_embeddings.weight"]
    tensors["cls.predictions.decoder.weight"] = words + 1
    safetensors.numpy.save_file(tensors, path)
    read, _ = interchange.convert(str(source), str(tmp_path / "google"))
    assert "is not the word embeddings" in str(read)
    names = CheckpointReader(str(tmp_path / "google")).shapes
    assert not any(name.startswith("cls/predictions/") for name in names)
    assert "cls/seq_relationship/output_weights" in names


def test_distilberts_classifier_is_left_out(folder, tmp_path):
    source = folder("distilbert")
    path = source / "model.safetensors"
    tensors = safetensors.numpy.load_file(path)
    for name in ("pre_classifier", "classifier"):
        tensors[f"{name}.weight"] = np.ones((12, 12), np.float32)
        tensors[f"{name}.bias"] = np.ones(12, np.float32)
    safetensors.numpy.save_file(tensors, path)
    read, _ = interchange.convert(str(source), str(tmp_path / "google"))
    assert "ReLU" in str(read)
    assert "output_weights" not in CheckpointReader(str(tmp_path / "google")).shapes


def test_flags_that_do_not_go_together(folder, tmp_path, capsys):
    source = folder("pretraining")
    args = [f"--input={source}", f"--output_dir={tmp_path / 'out'}"]
    for more, says in (
        (["--is_pair"], "Expected a classifier for --is_pair"),
        (["--is_pair", "--from=google"], "--is_pair only with --from=huggingface"),
        (["--from=keras"], "--from"),
        (["--to=pytorch"], "--to"),
    ):
        assert convert_checkpoint.main([*args, *more]) == 1
        last = capsys.readouterr().err.strip().split("\n")[-1]
        assert says in last
        assert not (tmp_path / "out").exists()


def test_casing_can_be_said(folder, tmp_path):
    source = folder("spanbert")
    (source / "tokenizer_config.json").unlink()
    for said, lower in (([], False), (["--do_lower_case"], True)):
        target = tmp_path / f"out{lower}"
        args = [f"--input={source}", f"--output_dir={target}", *said]
        assert convert_checkpoint.main(args) == 0
        note = json.loads((target / "run_config.json").read_text())
        assert note["do_lower_case"] is lower
        assert (target / "vocab.txt").read_text().split() == PIECES


@pytest.mark.parametrize("name", ["tokens", "spanbert"])
def test_damaged_pytorch_files(folder, name):
    """Of both formats: read, or refused in a sentence; never more than the file."""
    path = folder(name) / "pytorch_model.bin"
    intact = path.read_bytes()
    ends = collections.Counter()
    for seed in range(300):
        path.write_bytes(damaged(intact, random.Random(seed)))
        try:
            read_torch_file(str(path))
            ends["read"] += 1
        except CheckpointError as error:
            assert "\n" not in str(error)
            ends["refused"] += 1
    assert min(ends.values()) > 20


def test_a_length_beyond_the_file_takes_no_memory(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(b"\x80\x04\x8d" + (2**62).to_bytes(8, "little") + b"abc.")
    with pytest.raises(CheckpointError, match="found damage"):
        read_torch_file(str(path))
