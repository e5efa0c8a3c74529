"""The release's output line by line; the other formats hold the same numbers."""

import io
import json
import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.checkpoint import CheckpointReader, write_tensors
from bert_tf.files import staging_path
from bert_tf.serving import features as library
from bert_tf.tools import extract_features as tool

HIDDEN = 48


@pytest.fixture
def flags(testdata, tmp_path) -> dict[str, str]:
    """The flags of the release's run; all files lie in a folder of their own."""
    golden = "extract_features_input.txt", "bert_config.json", "vocab_uncased.txt"
    for path in [*map(testdata.joinpath, golden), *testdata.glob("bert_model.ckpt.*")]:
        shutil.copy(path, tmp_path)
    given = json.loads((testdata / "extract_features_args.json").read_text())
    return {
        "input_file": f"{tmp_path}/extract_features_input.txt",
        "output_file": f"{tmp_path}/output",
        "bert_config_file": f"{tmp_path}/bert_config.json",
        "vocab_file": f"{tmp_path}/vocab_uncased.txt",
        "init_checkpoint": f"{tmp_path}/bert_model.ckpt",
        **{name: str(value) for name, value in given.items()},
    }


def run(flags: dict[str, str]) -> int:
    return tool.main([f"--{name}={value}" for name, value in flags.items()])


def lines(path) -> list:
    return [json.loads(line) for line in open(path, encoding="utf-8")]


def without_values(value):
    """Returns all of a JSON value but the numbers of its vectors."""
    if isinstance(value, dict):
        return {
            name: len(x) if name == "values" else without_values(x)
            for name, x in value.items()
        }
    return list(map(without_values, value)) if isinstance(value, list) else value


def vectors(line) -> np.ndarray:
    return np.array(
        [[x["values"] for x in piece["layers"]] for piece in line["features"]]
    )


def test_the_releases_output(flags, testdata, measured, capsys):
    assert run(flags) == 0
    found = lines(flags["output_file"])
    golden = lines(testdata / "extract_features_output.jsonl")
    assert without_values(found) == without_values(golden)
    assert [*found[0]] == ["linex_index", "features"]
    worst = max(
        np.abs(vectors(one) - vectors(other)).max()
        for one, other in zip(found, golden, strict=True)
    )
    measured("features against extract_features.py's", float(worst), at_most=1e-5)
    every = np.concatenate([vectors(line).ravel() for line in found]).tolist()
    assert every == [round(x, 6) for x in every]
    err = capsys.readouterr().err
    assert "1 of 4 lines fill all 24 pieces: what was beyond is left out" in err
    assert f"features of 4 lines: {flags['output_file']}" in err


@pytest.fixture
def expected(flags) -> list[library.TextFeatures]:
    """What the library makes of the lines."""
    extractor = library.FeatureExtractor(
        flags["bert_config_file"],
        flags["vocab_file"],
        flags["init_checkpoint"],
        layers=(-1, -2, 1),
        max_seq_length=24,
    )
    return list(extractor.extract(tool._texts(flags["input_file"])))


def test_arrays_of_pieces(flags, expected):
    assert run({**flags, "format": "npz"}) == 0
    with np.load(flags["output_file"]) as arrays:
        assert len(arrays) == 1 + 2 * len(expected)
        assert arrays["layers"].tolist() == [-1, -2, 1]
        for row, features in enumerate(expected):
            assert arrays[f"{row}/tokens"].tolist() == features.tokens
            assert arrays[f"{row}/values"].dtype == np.float32
            np.testing.assert_array_equal(arrays[f"{row}/values"], features.values)


def test_bfloat16(flags, expected):
    assert run({**flags, "format": "npz", "precision": "bfloat16"}) == 0
    with np.load(flags["output_file"]) as arrays:
        for row, features in enumerate(expected):
            found = arrays[f"{row}/values"]
            assert found.dtype == np.float32
            apart = np.abs(found - features.values).max()
            assert 1e-4 < apart < 0.1, apart


def records(path, **spec) -> list:
    return [
        tf.io.parse_single_example(record, spec)
        for record in tf.data.TFRecordDataset(path)
    ]


def test_records_of_pieces(flags, expected):
    assert run({**flags, "format": "tfrecord"}) == 0
    found = records(
        flags["output_file"],
        linex_index=tf.io.FixedLenFeature([], tf.int64),
        layers=tf.io.FixedLenFeature([3], tf.int64),
        tokens=tf.io.RaggedFeature(tf.string),
        values=tf.io.RaggedFeature(tf.float32),
    )
    for row, (one, features) in enumerate(zip(found, expected, strict=True)):
        assert one["linex_index"] == row
        assert one["layers"].numpy().tolist() == [-1, -2, 1]
        assert [token.decode() for token in one["tokens"].numpy()] == features.tokens
        values = one["values"].numpy().reshape(-1, 3, HIDDEN)
        np.testing.assert_array_equal(values, features.values)


def test_one_vector_per_line_in_each_format(flags, expected):
    """Of the mean of layers; of the last one alone if none are named."""
    flags["pooling"] = "mean"
    means = np.array([each.values.mean(axis=(0, 1)) for each in expected])
    assert run({**flags, "format": "npz"}) == 0
    with np.load(flags["output_file"]) as arrays:
        assert set(arrays) == {"layers", "values"}
        assert arrays["values"].dtype == np.float32
        np.testing.assert_allclose(arrays["values"], means, atol=1e-5)
    assert run({**flags, "format": "tfrecord"}) == 0
    found = records(
        flags["output_file"],
        linex_index=tf.io.FixedLenFeature([], tf.int64),
        values=tf.io.FixedLenFeature([HIDDEN], tf.float32),
    )
    assert [int(each["linex_index"]) for each in found] == [0, 1, 2, 3]
    np.testing.assert_allclose([each["values"] for each in found], means, atol=1e-5)
    del flags["layers"]
    assert run(flags) == 0
    found = lines(flags["output_file"])
    assert [[*each] for each in found] == [["linex_index", "values"]] * 4
    last = [each.values[:, 0].mean(axis=0) for each in expected]
    np.testing.assert_allclose([each["values"] for each in found], last, atol=2e-5)


def test_lines_as_the_release_reads_them(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_bytes("a ||| b ||| c\r\n\n|||\u3000\n x|||y \nü ||| ".encode())
    assert list(tool._texts(str(path))) == [
        ("a ||| b", "c"),
        ("", None),
        ("|||", None),
        ("x|||y", None),
        ("ü |||", None),
    ]
    assert tool._count_lines(str(path)) == 5


def test_a_bar_on_a_terminal_and_flags_of_tpus_without_one(flags, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    flags |= {"num_tpu_cores": "4"}
    assert run(flags) == 0
    shown = terminal.getvalue()
    assert "features: 100%" in shown and "4.00/4.00" in shown
    assert "--num_tpu_cores ignored: --use_tpu is not set" in shown


# Each function spoils something and returns what the line must hold.


def no_input(flags, folder):
    flags["input_file"] = f"{folder}/none.txt"
    return [f"a file at --input_file={folder}/none.txt, found none"]


def no_flag(flags, folder):
    del flags["init_checkpoint"]
    return ["Expected --init_checkpoint, got none"]


def an_empty_input(flags, folder):
    (folder / "extract_features_input.txt").write_bytes(b"")
    return ["lines of text", "an empty file"]


def no_utf8(flags, folder):
    (folder / "extract_features_input.txt").write_bytes(b"a\nb\xff\n")
    return ["Expected UTF-8, found the byte 0xff in line 2 of"]


def no_output_folder(flags, folder):
    flags["output_file"] = f"{folder}/new/output"
    return [f"there is no {folder}/new; make it"]


def a_folder_as_output(flags, folder):
    flags["output_file"] = str(folder)
    return [f"{folder} is a folder"]


def the_input_as_output(flags, folder):
    flags["output_file"] = f"{folder}/./extract_features_input.txt"
    return ["than --input_file", "as both"]


def the_vocabulary_as_output(flags, folder):
    (folder / "link").symlink_to(flags["vocab_file"])
    flags["output_file"] = f"{folder}/link"
    return ["than --vocab_file", "as both"]


def no_numbers(flags, folder):
    flags["layers"] = "-1,last"
    return ["whole numbers with commas between as --layers", "'-1,last'"]


def no_such_layer(flags, folder):
    flags["layers"] = "-1,-2,-3,-4"
    return ["layers from -3 to 2, as the model has 3, got -4"]


def too_long(flags, folder):
    flags["max_seq_length"] = "128"
    return ["max_seq_length from 3 to max_position_embeddings=80, got 128"]


def another_vocabulary(flags, folder):
    path = folder / "vocab_uncased.txt"
    path.write_text("\n".join(path.read_text().split("\n")[:99]))
    return ["Expected 1600 pieces", "has 99 lines"]


def another_casing(flags, folder):
    flags["do_lower_case"] = "false"
    return ["--do_lower_case=False keeps upper-case letters"]


def no_checkpoint(flags, folder):
    flags["init_checkpoint"] = f"{folder}/other.ckpt"
    return [f"a checkpoint with the prefix {folder}/other.ckpt"]


def a_checkpoint_that_lacks_weights(flags, folder):
    reader = CheckpointReader(flags["init_checkpoint"])
    names = [name for name in reader.shapes if "word_embeddings" not in name]
    flags["init_checkpoint"] = f"{folder}/part.ckpt"
    write_tensors(flags["init_checkpoint"], {name: reader.read(name) for name in names})
    return ["Expected the encoder in", "lacks bert/embeddings/word_embeddings, without"]


def two_devices(flags, folder):
    flags |= {"use_tpu": "true", "distribution_strategy": "mirrored"}
    return ["--distribution_strategy=tpu (or auto) beside --use_tpu, got mirrored"]


def no_format(flags, folder):
    flags["format"] = "csv"
    return ["--format=csv", "jsonl"]


@pytest.mark.parametrize(
    "spoil",
    [
        no_input,
        no_flag,
        an_empty_input,
        no_utf8,
        no_output_folder,
        a_folder_as_output,
        the_input_as_output,
        the_vocabulary_as_output,
        no_numbers,
        no_such_layer,
        too_long,
        another_vocabulary,
        another_casing,
        no_checkpoint,
        a_checkpoint_that_lacks_weights,
        two_devices,
        no_format,
    ],
)
def test_a_mistake_ends_in_one_sentence(flags, tmp_path, capsys, spoil):
    says = spoil(flags, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert run({**flags, "verbosity": "-1"}) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("extract_features: ")
    for part in says:
        assert part in line
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_written_to(flags, monkeypatch, capsys):
    monkeypatch.setattr(tool.os, "access", lambda path, mode: False)
    assert run(flags) == 1
    assert "found that " in capsys.readouterr().err


@pytest.mark.parametrize("file_format", ["jsonl", "npz", "tfrecord"])
def test_what_was_there_stays_until_all_is_written(
    flags, tmp_path, monkeypatch, capsys, file_format
):
    extract = library.FeatureExtractor.extract
    output = tmp_path / "output"
    output.write_text("before")

    def interrupted(self, texts, on_progress):
        yield from list(extract(self, texts, on_progress))[:2]
        assert tmp_path.joinpath(staging_path("output")).exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(library.FeatureExtractor, "extract", interrupted)
    assert run({**flags, "format": file_format}) == 130
    assert "interrupted; the output file is as it was." in capsys.readouterr().err
    assert output.read_text() == "before"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
