"""Google's checkpoints: found, read all or not at all, written to the byte."""

import dataclasses
import os
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

import keras
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from bert_tf import checkpoint
from bert_tf.checkpoint import (
    CheckpointReader,
    find_checkpoint,
    keep_newest,
    load_checkpoint,
    save_checkpoint,
)
from bert_tf.config import BertConfig
from bert_tf.errors import CheckpointError
from bert_tf.modeling import BertClassifier, BertModel, BertPretrainer
from bert_tf.naming import by_google_name, google_name
from bert_tf.optimization import AdamWeightDecay, create_optimizer

DATA = ".data-00000-of-00001"


@pytest.fixture(scope="module")
def config(testdata) -> BertConfig:
    return BertConfig.from_json_file(testdata / "bert_config.json")


@pytest.fixture
def golden(testdata, tmp_path):
    """Copies a golden checkpoint into a folder; returns its prefix there."""

    def copy(name: str, folder: str = "", prefix: str | None = None) -> Path:
        target = tmp_path / folder
        target.mkdir(exist_ok=True)
        for suffix in (".index", DATA):
            shutil.copyfile(
                testdata / (name + suffix), target / ((prefix or name) + suffix)
            )
        return target / (prefix or name)

    return copy


def read_all(path) -> dict[str, np.ndarray]:
    """What TensorFlow's own reader finds in a checkpoint."""
    reader = tf.train.load_checkpoint(str(path))
    return {
        name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()
    }


def file_bytes(prefix) -> tuple[bytes, bytes]:
    return Path(f"{prefix}.index").read_bytes(), Path(f"{prefix}{DATA}").read_bytes()


def values(model) -> dict[str, np.ndarray]:
    return {google_name(v): v.numpy() for v in model.variables}


def assert_same(actual: dict, expected: dict) -> None:
    """Names, shapes, dtypes and bits."""
    assert sorted(actual) == sorted(expected)
    for name, value in expected.items():
        assert actual[name].dtype == value.dtype, name
        assert actual[name].shape == value.shape, name
        assert actual[name].tobytes() == value.tobytes(), name


def write_state(folder: Path, *prefixes: str) -> None:
    lines = [f'model_checkpoint_path: "{prefixes[-1]}"']
    lines += [f'all_model_checkpoint_paths: "{prefix}"' for prefix in prefixes]
    (folder / "checkpoint").write_text("\n".join(lines) + "\n")


def save_raw(path, tensors: dict[str, np.ndarray]) -> None:
    names = list(tensors)
    tf.raw_ops.SaveV2(
        prefix=str(path),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(tensors[name]) for name in names],
    )


# Finding.


@pytest.mark.parametrize("named", ["", ".index", ".meta", DATA])
def test_prefix_and_every_file_mean_the_checkpoint(golden, named):
    prefix = golden("bert_model.ckpt")
    assert find_checkpoint(f"{prefix}{named}") == str(prefix)


def test_a_folder_with_one_checkpoint(golden):
    prefix = golden("bert_model.ckpt")
    (prefix.parent / "vocab.txt").write_text("[PAD]\n")
    assert find_checkpoint(str(prefix.parent)) == str(prefix)
    assert find_checkpoint(f"{prefix.parent}/") == str(prefix)


def test_the_state_file_decides(golden):
    for step in (1, 2, 3):
        prefix = golden("bert_model.ckpt", prefix=f"model.ckpt-{step}")
    write_state(prefix.parent, "model.ckpt-1", "model.ckpt-3", "model.ckpt-2")
    assert find_checkpoint(prefix.parent) == str(prefix.parent / "model.ckpt-2")


def test_a_moved_folder_whose_state_holds_the_former_path(golden, tmp_path):
    prefix = golden("bert_model.ckpt", folder="now", prefix="model.ckpt-8")
    write_state(prefix.parent, "/former/place/of/model.ckpt-8")
    assert find_checkpoint(prefix.parent) == str(prefix)
    prefix.parent.rename(tmp_path / "then")
    assert find_checkpoint(tmp_path / "then") == str(tmp_path / "then/model.ckpt-8")


def test_several_checkpoints_without_a_state_file(golden):
    golden("bert_model.ckpt")
    folder = golden("trained.ckpt").parent
    with pytest.raises(CheckpointError, match=r"bert_model\.ckpt, trained\.ckpt"):
        find_checkpoint(folder)


def test_a_folder_without_checkpoint_says_what_it_holds(tmp_path):
    with pytest.raises(CheckpointError, match="found nothing"):
        find_checkpoint(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"found pytorch_model\.bin"):
        find_checkpoint(tmp_path)


def test_a_path_that_does_not_exist(golden, tmp_path):
    golden("bert_model.ckpt")
    with pytest.raises(CheckpointError, match=r"none\.ckpt.*bert_model\.ckpt\.index"):
        find_checkpoint(tmp_path / "none.ckpt")
    with pytest.raises(CheckpointError, match="no such folder"):
        find_checkpoint(tmp_path / "nowhere/model.ckpt")


def test_a_state_file_that_names_what_is_gone(golden):
    folder = golden("bert_model.ckpt").parent
    write_state(folder, "model.ckpt-9")
    with pytest.raises(CheckpointError, match=r"model\.ckpt-9.*found.*bert_model"):
        find_checkpoint(folder)


@pytest.mark.parametrize("content", [b"not a state file", b"", b"\xff\xfe"])
def test_a_damaged_state_file(golden, content):
    folder = golden("bert_model.ckpt").parent
    (folder / "checkpoint").write_bytes(content)
    with pytest.raises(CheckpointError, match="state file"):
        find_checkpoint(folder)


def test_the_leavings_of_a_writer_that_was_killed(golden, config, testdata):
    folder = golden("trained.ckpt", prefix="model.ckpt-8").parent
    write_state(folder, "model.ckpt-8")
    staging = folder / ".writing-model.ckpt-9"
    staging.mkdir()
    for suffix in (".index", DATA):
        (staging / f"model.ckpt-9{suffix}").write_bytes(b"half")
    assert find_checkpoint(folder) == str(folder / "model.ckpt-8")
    (folder / "checkpoint").unlink()
    assert find_checkpoint(folder) == str(folder / "model.ckpt-8")

    model = BertPretrainer(config)
    load_checkpoint(model, testdata / "bert_model.ckpt")
    save_checkpoint(model, folder / "model.ckpt-9")
    assert not staging.exists()
    assert find_checkpoint(folder) == str(folder / "model.ckpt-9")
    assert file_bytes(folder / "model.ckpt-9") == file_bytes(
        testdata / "bert_model.ckpt"
    )


# Loading.


def test_the_report_of_a_published_checkpoint_in_a_classifier(config, testdata):
    path = testdata / "bert_model.ckpt"
    stored, model = read_all(path), BertClassifier(config, 2)
    before = values(model)
    report = load_checkpoint(model, path)
    assert report.loaded == sorted(n for n in stored if n.startswith("bert/"))
    assert len(report.loaded) == 55
    assert report.unused == sorted(n for n in stored if n.startswith("cls/"))
    assert report.fresh == ["output_bias", "output_weights"]
    assert report.path == str(path)
    after = values(model)
    assert_same(
        {n: after[n] for n in report.loaded}, {n: stored[n] for n in report.loaded}
    )
    assert_same(
        {n: after[n] for n in report.fresh}, {n: before[n] for n in report.fresh}
    )
    text = str(report)
    assert (
        f"loaded {len(report.loaded)} variables" in text
        and "output_bias, output_weights" in text
    )
    assert f"unused: {len(report.unused)} (cls/predictions/output_bias" in text


def test_the_report_counts_slots_apart(config, testdata):
    report = load_checkpoint(BertPretrainer(config), testdata / "trained.ckpt")
    slots = [n for n in read_all(testdata / "trained.ckpt") if "/adam_" in n]
    assert len(slots) == 124
    assert report.unused == sorted([*slots, "global_step"])
    assert "unused: " not in str(report)
    assert "unused state of the optimizer: 125" in str(report)
    assert report.fresh == []


def test_slots_and_step_are_loaded_into_an_optimizer(config, testdata):
    model, optimizer = BertPretrainer(config), create_optimizer(1e-4, 8, 2)
    report = load_checkpoint(model, testdata / "trained.ckpt", optimizer)
    assert report.unused == [] and report.fresh == []
    stored = read_all(testdata / "trained.ckpt")
    held = {name: v.numpy() for name, v in optimizer.slots().items()}
    assert_same(held, {n: x for n, x in stored.items() if "/adam_" in n})
    assert int(optimizer.iterations.numpy()) == stored["global_step"] == 8


def test_a_checkpoint_without_slots_leaves_the_optimizer_fresh(config, testdata):
    model, optimizer = BertPretrainer(config), create_optimizer(1e-4, 8, 2)
    report = load_checkpoint(model, testdata / "bert_model.ckpt", optimizer)
    assert report.fresh == sorted([*optimizer.slots(), "global_step"])
    assert len(report.fresh) == 125
    assert not any(slot.numpy().any() for slot in optimizer.slots().values())


def damage_data(prefix: Path, how: str) -> None:
    path = Path(f"{prefix}{DATA}")
    content = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "bit":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.write_bytes(content[: int(len(content) * float(how))])


@pytest.mark.parametrize("how", ["gone", "empty", "0.5", "0.999", "bit"])
def test_all_or_nothing_on_damaged_data(golden, config, how):
    prefix = golden("trained.ckpt")
    damage_data(prefix, how)
    model, optimizer = BertPretrainer(config), create_optimizer(1e-4, 8, 2)
    optimizer.build(model.trainable_variables)
    before = values(model)
    with pytest.raises(CheckpointError, match=r"trained\.ckpt.*fetch") as error:
        load_checkpoint(model, prefix, optimizer)
    assert "\n" not in str(error.value)
    assert_same(values(model), before)
    assert int(optimizer.iterations.numpy()) == 0
    assert not any(slot.numpy().any() for slot in optimizer.slots().values())


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_damaged_index(golden, config, share):
    prefix = golden("bert_model.ckpt")
    index = Path(f"{prefix}.index")
    index.write_bytes(index.read_bytes()[: int(index.stat().st_size * share)])
    model = BertModel(config)
    before = values(model)
    with pytest.raises(CheckpointError, match=r"index cannot be used.*fetch") as error:
        load_checkpoint(model, prefix)
    assert str(prefix) in str(error.value) and "\n" not in str(error.value)
    assert_same(values(model), before)


def test_an_object_graph_is_refused_by_its_name(config, tmp_path):
    written = tf.train.Checkpoint(v=tf.Variable(1.0)).write(str(tmp_path / "tf2.ckpt"))
    with pytest.raises(CheckpointError, match=r"tf2\.ckpt, found an object graph"):
        load_checkpoint(BertModel(config), written)


def test_files_of_other_formats(config, tmp_path):
    tensors = tmp_path / "model.safetensors"
    safetensors.numpy.save_file({"x": np.ones(3, np.float32)}, tensors)
    text = tmp_path / "vocab.txt"
    text.write_text("[PAD]\n[UNK]\n")
    for path in (tensors, text):
        with pytest.raises(CheckpointError, match="not of that format") as error:
            load_checkpoint(BertModel(config), path)
        assert str(path) in str(error.value)


def test_text_called_an_index(config, tmp_path):
    (tmp_path / "x.ckpt.index").write_text("hello, this is not an sstable " * 9)
    with pytest.raises(CheckpointError, match=r"x\.ckpt, but its index"):
        load_checkpoint(BertModel(config), tmp_path / "x.ckpt")


def test_another_hidden_size(config, testdata):
    model = BertModel(dataclasses.replace(config, hidden_size=24))
    before = values(model)
    with pytest.raises(CheckpointError, match=r"\[24\] by the config, found \[48\]"):
        load_checkpoint(model, testdata / "bert_model.ckpt")
    assert_same(values(model), before)


def test_another_number_of_labels(config, testdata):
    with pytest.raises(CheckpointError, match=r"output_bias .*\[3\].*\[2\].*labels"):
        load_checkpoint(BertClassifier(config, 3), testdata / "classifier_trained.ckpt")


def test_more_layers_than_the_checkpoint_has(config, testdata):
    model = BertModel(dataclasses.replace(config, num_hidden_layers=4))
    before = values(model)
    with pytest.raises(CheckpointError, match=r"Expected 4 encoder layers.*found 3"):
        load_checkpoint(model, testdata / "bert_model.ckpt")
    assert_same(values(model), before)


def test_fewer_layers_load_with_a_warning(config, testdata):
    model = BertModel(dataclasses.replace(config, num_hidden_layers=2))
    with unittest.TestCase().assertLogs("absl", "WARNING") as log:
        report = load_checkpoint(model, testdata / "bert_model.ckpt")
    [line] = log.output
    assert "3 encoder layers" in line and "the config has 2" in line
    assert report.fresh == []
    upper = [n for n in report.unused if n.startswith("bert/")]
    assert len(upper) == 16 and all("/layer_2/" in n for n in upper)


@pytest.mark.parametrize(
    "tensors",
    [
        {"resnet/conv1": np.ones(3, np.float32), "global_step": np.int64(3)},
        {"bert/pooler/dense/bias/adam_m": np.ones(48, np.float32)},
        {"global_step": np.int64(3)},
    ],
    ids=["foreign", "only_slots", "only_step"],
)
def test_nothing_that_matches_is_an_error(config, tmp_path, tensors):
    save_raw(tmp_path / "other.ckpt", tensors)
    model, optimizer = BertModel(config), create_optimizer(1e-4, 8, 2)
    with pytest.raises(CheckpointError, match=r"other\.ckpt.*none matches") as error:
        load_checkpoint(model, tmp_path / "other.ckpt", optimizer)
    assert next(iter(tensors)) in str(error.value)
    assert int(optimizer.iterations.numpy()) == 0


def test_several_data_shards(config, testdata, tmp_path):
    stored = read_all(testdata / "bert_model.ckpt")
    names = sorted(stored)
    for part in (0, 1):
        save_raw(tmp_path / f"part{part}", {n: stored[n] for n in names[part::2]})
    prefix = tmp_path / "bert_model.ckpt"
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[str(tmp_path / "part0"), str(tmp_path / "part1")],
        destination_prefix=str(prefix),
    )
    shards = sorted(tmp_path.glob("bert_model.ckpt.data-*"))
    assert [path.name[-5:] for path in shards] == ["00002", "00002"]
    model = BertPretrainer(config)
    report = load_checkpoint(model, shards[1])
    assert report.unused == [] and report.fresh == []
    assert_same(values(model), stored)
    shards[1].unlink()
    fresh = BertPretrainer(config)
    before = values(fresh)
    with pytest.raises(CheckpointError, match="data cannot be read"):
        load_checkpoint(fresh, prefix)
    assert_same(values(fresh), before)


# Writing.


@pytest.mark.parametrize(
    "name", ["bert_model.ckpt", "trained.ckpt", "classifier_trained.ckpt"]
)
def test_loaded_and_saved_files_are_the_same_bytes(
    config, testdata, tmp_path, name, measured
):
    model = (
        BertClassifier(config, 2) if "classifier" in name else BertPretrainer(config)
    )
    optimizer = create_optimizer(1e-4, 8, 2) if name == "trained.ckpt" else None
    load_checkpoint(model, testdata / name, optimizer)
    assert save_checkpoint(model, tmp_path / name, optimizer) == str(tmp_path / name)
    assert_same(read_all(tmp_path / name), read_all(testdata / name))
    pairs = zip(file_bytes(tmp_path / name), file_bytes(testdata / name), strict=True)
    measured(
        f"{name}: files that differ from Google's after load and save",
        sum(ours != theirs for ours, theirs in pairs),
        at_most=0,
    )
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {f"{name}.index", f"{name}{DATA}", "checkpoint"}


def test_a_step_given_by_hand(config, tmp_path):
    model = BertModel(config)
    save_checkpoint(model, tmp_path / "m.ckpt", step=1234)
    stored = read_all(tmp_path / "m.ckpt")
    assert stored["global_step"] == 1234 and stored["global_step"].dtype == np.int64
    assert CheckpointReader(tmp_path / "m.ckpt").step() == 1234
    save_checkpoint(model, tmp_path / "n.ckpt")
    assert "global_step" not in read_all(tmp_path / "n.ckpt")
    assert CheckpointReader(tmp_path / "n.ckpt").step() is None


def test_the_state_file_holds_bare_names(config, tmp_path):
    model, folder = BertModel(config), tmp_path / "new/run"
    for step in (1, 2, 1):
        save_checkpoint(model, folder / f"model.ckpt-{step}")
    assert (folder / "checkpoint").read_text() == (
        'model_checkpoint_path: "model.ckpt-1"\n'
        'all_model_checkpoint_paths: "model.ckpt-2"\n'
        'all_model_checkpoint_paths: "model.ckpt-1"\n'
    )
    folder.rename(tmp_path / "moved")
    newest = tf.train.latest_checkpoint(str(tmp_path / "moved"))
    assert newest == str(tmp_path / "moved/model.ckpt-1")


def test_a_path_relative_to_the_working_folder(config, testdata, tmp_path, monkeypatch):
    model = BertPretrainer(config)
    load_checkpoint(model, testdata / "bert_model.ckpt")
    monkeypatch.chdir(tmp_path)
    save_checkpoint(model, "here.ckpt")
    assert file_bytes("here.ckpt") == file_bytes(testdata / "bert_model.ckpt")
    assert os.path.samefile(f"{find_checkpoint('.')}.index", "here.ckpt.index")


def test_a_folder_is_no_prefix(config, tmp_path):
    with pytest.raises(CheckpointError, match=r"prefix.*got the folder"):
        save_checkpoint(BertModel(config), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("survived", [0, 1, 2])
def test_a_crash_leaves_the_previous_checkpoint(
    config, testdata, tmp_path, monkeypatch, survived
):
    """After each of the three renames: of data, of index, of the state file."""
    model = BertPretrainer(config)
    load_checkpoint(model, testdata / "bert_model.ckpt")
    save_checkpoint(model, tmp_path / "model.ckpt-1")
    rename, renames = tf.io.gfile.rename, []

    def crash(source, target, overwrite=False):
        if len(renames) == survived:
            raise KeyboardInterrupt
        renames.append(target)
        rename(source, target, overwrite=overwrite)

    monkeypatch.setattr(checkpoint.tf.io.gfile, "rename", crash)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(model, tmp_path / "model.ckpt-2")
    monkeypatch.undo()
    order = [str(tmp_path / f"model.ckpt-2{suffix}") for suffix in (DATA, ".index")]
    assert renames == order[:survived]
    assert find_checkpoint(tmp_path) == str(tmp_path / "model.ckpt-1")
    assert file_bytes(tmp_path / "model.ckpt-1") == file_bytes(
        testdata / "bert_model.ckpt"
    )
    save_checkpoint(model, tmp_path / "model.ckpt-2")
    assert find_checkpoint(tmp_path) == str(tmp_path / "model.ckpt-2")
    assert not [p for p in tmp_path.iterdir() if "writing" in p.name]


def test_keep_newest_drops_exactly_the_oldest(golden, tmp_path):
    for step in (1, 10, 2, 3):
        golden("bert_model.ckpt", folder="a [1] b", prefix=f"model.ckpt-{step}")
    folder = tmp_path / "a [1] b"
    write_state(folder, *(f"model.ckpt-{step}" for step in (1, 10, 2, 3)))
    (folder / "model.ckpt-1.meta").write_bytes(b"graph")
    (folder / "model.ckpt-1.notes.txt").write_text("mine")
    keep_newest(str(folder), 3)
    kept = {f"model.ckpt-{s}{x}" for s in (10, 2, 3) for x in (".index", DATA)}
    assert {p.name for p in folder.iterdir()} == {
        *kept,
        "checkpoint",
        "model.ckpt-1.notes.txt",
    }
    assert (folder / "checkpoint").read_text().splitlines() == [
        'model_checkpoint_path: "model.ckpt-3"',
        'all_model_checkpoint_paths: "model.ckpt-10"',
        'all_model_checkpoint_paths: "model.ckpt-2"',
        'all_model_checkpoint_paths: "model.ckpt-3"',
    ]
    before = (folder / "checkpoint").stat().st_mtime_ns
    keep_newest(str(folder), 3)
    assert (folder / "checkpoint").stat().st_mtime_ns == before


# The same names wherever the model stands.


def test_a_second_instance(config, testdata, tmp_path):
    BertPretrainer(config)
    second = BertPretrainer(config)
    assert sorted(by_google_name(second.variables)) == sorted(
        read_all(testdata / "bert_model.ckpt")
    )


def test_inside_a_name_scope(config, testdata, tmp_path):
    with keras.name_scope("outer"), keras.name_scope("inner"):
        model = BertPretrainer(config)
    assert model.variables[0].path.startswith("outer/inner/")
    load_checkpoint(model, testdata / "bert_model.ckpt")
    save_checkpoint(model, tmp_path / "x.ckpt")
    assert file_bytes(tmp_path / "x.ckpt") == file_bytes(testdata / "bert_model.ckpt")


class WithHead(keras.Model):
    """A user's own model around ours."""

    def __init__(self, config: BertConfig, count: int = 1):
        super().__init__(name="mine")
        self.encoders = [BertModel(config, name=f"encoder_{i}") for i in range(count)]
        self.head = keras.layers.Dense(3, name="head")

    def build(self, input_shape=None):
        self.head.build((None, self.encoders[0].config.hidden_size))

    def call(self, features):
        return self.head(self.encoders[0](features)["pooled_output"])


def test_inside_a_users_own_model(config, testdata, tmp_path):
    model = WithHead(config)
    logits = model({"input_ids": np.array([[2, 7, 3]], np.int32)})
    assert logits.shape == (1, 3)
    encoder = sorted(by_google_name(BertModel(config).variables))
    assert sorted(by_google_name(model.variables)) == sorted(
        [*encoder, model.head.kernel.path, model.head.bias.path]
    )
    report = load_checkpoint(model, testdata / "bert_model.ckpt")
    assert report.loaded == encoder
    assert report.fresh == sorted([model.head.kernel.path, model.head.bias.path])
    save_checkpoint(model, tmp_path / "x.ckpt")
    stored, source = (
        read_all(tmp_path / "x.ckpt"),
        read_all(testdata / "bert_model.ckpt"),
    )
    head = {model.head.kernel.path, model.head.bias.path}
    assert_same(
        {n: x for n, x in stored.items() if n not in head},
        {n: x for n, x in source.items() if n.startswith("bert/")},
    )
    again = WithHead(config)
    again({"input_ids": np.array([[2, 7, 3]], np.int32)})
    assert load_checkpoint(again, tmp_path / "x.ckpt").fresh == []
    assert_same(values(again), values(model))


def test_two_of_ours_in_one_model_are_told_apart_by_an_error(config, testdata):
    model = WithHead(config, count=2)
    before = values(model.encoders[1])
    with pytest.raises(ValueError, match=r"encoder_0.*encoder_1.*by itself"):
        load_checkpoint(model, testdata / "bert_model.ckpt")
    assert_same(values(model.encoders[1]), before)
    load_checkpoint(model.encoders[1], testdata / "bert_model.ckpt")
    stored = read_all(testdata / "bert_model.ckpt")
    held = values(model.encoders[1])
    assert_same(held, {name: stored[name] for name in held})


TWO_DEVICES = """
import sys
import tensorflow as tf
from bert_tf.checkpoint import load_checkpoint, save_checkpoint
from bert_tf.config import BertConfig
from bert_tf.modeling import BertPretrainer
from bert_tf.optimization import create_optimizer

source, target = sys.argv[1:]
[cpu] = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
with strategy.scope():
    model = BertPretrainer(BertConfig.from_json_file(source + "/bert_config.json"))
    optimizer = create_optimizer(1e-4, 8, 2)
    report = load_checkpoint(model, source + "/trained.ckpt", optimizer)
assert not report.fresh and not report.unused, report
table = model.bert.embeddings.word_embeddings.value
assert len(strategy.experimental_local_results(table)) == 2
save_checkpoint(model, target, optimizer)
"""


def test_under_a_mirrored_strategy(testdata, tmp_path):
    root = Path(checkpoint.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, testdata, tmp_path / "x.ckpt"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    assert file_bytes(tmp_path / "x.ckpt") == file_bytes(testdata / "trained.ckpt")


@pytest.mark.parametrize("name", ["bias_model", "LayerNorm", "layer_norm_study"])
def test_a_models_own_name_does_not_stop_its_decay(config, testdata, name):
    """With gradients of zero, an update is the decay alone."""
    model = BertPretrainer(config, name=name)
    load_checkpoint(model, testdata / "bert_model.ckpt")
    before = values(model)
    optimizer = AdamWeightDecay(learning_rate=0.5, weight_decay_rate=0.01)
    weights = model.trainable_variables
    optimizer.apply([tf.zeros(v.shape) for v in weights], weights)
    decayed = 0
    for path, after in values(model).items():
        leaf = path.split("/")[-1]
        if leaf in ("gamma", "beta", "bias", "output_bias"):
            np.testing.assert_array_equal(after, before[path], path)
        else:
            decayed += 1
            np.testing.assert_allclose(after, before[path] * 0.995, rtol=1e-6)
            assert np.abs(after - before[path]).max() > 1e-6
    assert decayed == 24  # 3 tables, 6 kernels a block, pooler, transform, NSP


# Files that others wrote.


def listed_tensors(path: Path) -> dict[str, tuple[tuple[int, ...], int, int]]:
    """Reads `name dtype [shape] shard offset size checksum` lines."""
    tensors = {}
    for line in path.read_text().splitlines():
        name, rest = line.split(" ", 1)
        shape, numbers = rest.split("[")[1].split("]")
        _, offset, size, _ = numbers.split()
        dims = tuple(int(n) for n in shape.split(",") if n.strip())
        tensors[name] = (dims, int(offset), int(size))
    return tensors


def test_names_shapes_and_places_of_the_released_bert_tiny(
    real_data, tmp_path, measured
):
    folder = real_data / "checkpoint_index/google_bert_tiny_uncased_L-2_H-128_A-2"
    listed = listed_tensors(folder / "tensors.txt")
    model = BertPretrainer(BertConfig.from_json_file(folder / "bert_config.json"))
    shapes = {name: entry[0] for name, entry in listed.items()}
    assert len(shapes) == 46
    ours = {google_name(v): tuple(v.shape) for v in model.variables}
    measured(
        "names or shapes unlike the released BERT-Tiny's 46",
        len(ours.items() ^ shapes.items()),
        at_most=0,
    )
    assert CheckpointReader(folder / "bert_model.ckpt.index").shapes == shapes
    save_checkpoint(model, tmp_path / "x.ckpt")
    content = Path(f"{tmp_path}/x.ckpt{DATA}").read_bytes()
    assert len(content) == max(offset + size for _, offset, size in listed.values())
    for variable in model.variables:
        _, offset, size = listed[google_name(variable)]
        assert content[offset : offset + size] == variable.numpy().tobytes()


def test_names_and_shapes_of_a_run_of_googles_run_classifier(real_data):
    folder = real_data / "checkpoint_index/bert_tiny_mrpc_finetuned_by_run_classifier"
    model, optimizer = (
        BertClassifier(BertConfig.from_name("BERT-Tiny"), 2),
        create_optimizer(2e-5, 343, 34),
    )
    optimizer.build(model.trainable_variables)
    ours = {google_name(v): tuple(v.shape) for v in model.variables}
    ours |= {name: tuple(v.shape) for name, v in optimizer.slots().items()}
    ours["global_step"] = ()
    assert CheckpointReader(folder / "model.ckpt-343.index").shapes == ours


def test_an_index_with_snappy_compressed_blocks(real_data):
    folder = real_data / "checkpoint_index/CoVBERT_RadhikaSatam"
    shapes = CheckpointReader(folder / "bert_model.ckpt.index").shapes
    assert len(shapes) == 619
    config = BertConfig.from_json_file(folder / "bert_config.json")
    assert shapes["bert/embeddings/word_embeddings"] == (
        config.vocab_size,
        config.hidden_size,
    )
    with pytest.raises(CheckpointError, match="data cannot be read"):
        CheckpointReader(folder).read("bert/pooler/dense/bias")


def test_a_real_object_graph_is_refused_by_its_name(real_data):
    folder = real_data / "checkpoint_index/arabic_SentiBERT_DjebbiAmine"
    with pytest.raises(CheckpointError, match=r"SentiBERT.*found an object graph"):
        CheckpointReader(folder)


def test_a_trained_bert_tiny_comes_back_as_it_was(real_data, tmp_path, measured):
    folder = real_data / "checkpoints/splade_tiny_uncased_L-2_H-128_A-2"
    model = BertPretrainer(BertConfig.from_json_file(folder / "bert_config.json"))
    report = load_checkpoint(model, folder)
    assert report.fresh == [] and report.unused == []
    save_checkpoint(model, tmp_path / "bert_model.ckpt")
    source = folder / "bert_model.ckpt"
    assert_same(read_all(tmp_path / "bert_model.ckpt"), read_all(source))
    pairs = zip(file_bytes(tmp_path / source.name), file_bytes(source), strict=True)
    # The index may list the same tensors in other words; the tensors may not differ.
    measured(
        "BERT-Tiny: files that differ after load and save",
        sum(ours != theirs for ours, theirs in pairs),
        at_most=0,
    )
