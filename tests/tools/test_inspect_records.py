"""What is printed and drawn of records is what lies in their files."""

import json
import re
import shutil
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import tensorflow as tf

from bert_tf.data import metadata
from bert_tf.data.record_figure import draw_summary
from bert_tf.data.record_summary import RecordSummary
from bert_tf.data.records import (
    classification_features,
    pretraining_features,
    unmasked_features,
    write_records,
)
from bert_tf.tokenization import load_vocab
from bert_tf.tools import inspect_records
from tests.programs import run


class Place:
    """A folder of records in shards, with metadata and the vocabulary."""

    def __init__(self, root: Path, testdata: Path):
        self.root = root
        self.vocab = root / "vocab.txt"
        shutil.copyfile(testdata / "vocab_cased.txt", self.vocab)
        with np.load(testdata / "pretraining_data_cased_two_outputs.npz") as arrays:
            self.shards = [
                {k.split("/")[1]: arrays[k] for k in arrays if k[0] == str(i)}
                for i in range(2)
            ]
        self.spec = pretraining_features(32, 5)
        for i, rows in enumerate(self.shards):
            self.write(f"records/{i}.tfrecord", rows)
        self.write_metadata()

    def write(self, name: str, rows, spec=None) -> str:
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        write_records(str(path), [rows], spec or self.spec)
        return str(path)

    def write_metadata(self, **settings) -> None:
        settings = {
            "max_seq_length": 32,
            "max_predictions_per_seq": 5,
            "unmasked": False,
            "vocab": metadata.vocabulary(str(self.vocab)),
            **settings,
        }
        metadata.write(str(self.root / "records"), {"settings": settings})

    def rows(self) -> dict[str, np.ndarray]:
        return {
            name: np.concatenate([rows[name] for rows in self.shards])
            for name in self.shards[0]
        }


@pytest.fixture
def place(tmp_path, testdata, monkeypatch) -> Place:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("COLUMNS", "72")
    return Place(tmp_path, testdata)


def test_a_set_of_records(place, capsys):
    assert inspect_records.main([f"{place.root}/records/*"]) == 0
    out = capsys.readouterr().out
    legend, _, *lines = out.splitlines()
    assert legend.startswith("Masked: [MASK]→x hides x")
    heads = [line for line in lines if re.match(r"[01]\.tfrecord \d+: ", line)]
    pieces = list(load_vocab(str(place.vocab)))
    for i, head in enumerate(heads):
        row = {name: values[i] for name, values in place.shards[0].items()}
        assert head == (
            f"0.tfrecord {i}: {row['input_mask'].sum()} pieces, "
            f"{row['masked_lm_weights'].sum():.0f} masked, "
            f"{'random' if row['next_sentence_labels'][0] else 'actual'} next"
        )
        assert f"→{pieces[row['masked_lm_ids'][0]]}" in out
    assert len(heads) == 5
    assert sum(line.startswith("  A  [CLS] ") for line in lines) == 5
    assert sum(line.startswith("  B  ") for line in lines) == 5

    rows = place.rows()
    lengths = rows["input_mask"].sum(axis=1)
    masks = rows["masked_lm_weights"].sum(axis=1)
    random = rows["next_sentence_labels"].mean()
    summary = lines[-7:]
    assert summary[:4] == [
        "records       134 in 2 files",
        f"length        mean {lengths.mean():.1f}, median {np.median(lengths):g}, "
        f"{np.mean(lengths < 32):.1%} shorter than 32",
        f"next segment  {random:.1%} random",
        f"masks         {masks.mean():.1f} per record, from {masks.min():.0f} to "
        f"{masks.max():.0f}",
    ]
    shares = [float(each) for each in re.findall(r"([\d.]+)%", summary[4])]
    assert len(shares) == 3 and sum(shares) == pytest.approx(100, abs=0.15)
    assert summary[6] == "records.png"
    assert matplotlib.image.imread("records.png").shape[:2] == (792, 1056)


def test_more_records_than_one_file_has(place, capsys):
    arguments = ["--num_records=70", f"{place.root}/records/*.tfrecord"]
    assert inspect_records.main(arguments) == 0
    heads = re.findall(r"^(\d).tfrecord (\d+): ", capsys.readouterr().out, re.M)
    expected = [("0", str(i)) for i in range(67)] + [("1", str(i)) for i in range(3)]
    assert heads == expected


def test_the_summary_alone_and_where_to_draw(place, capsys):
    path = place.root / "new/all.png"
    one = str(place.root / "records/1.tfrecord")
    # A file that is named twice counts once.
    arguments = ["--num_records=0", f"--output={path}", one, one]
    assert inspect_records.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "records       67 in 1 file"
    assert lines[-1] == str(path)
    assert [each.name for each in path.parent.iterdir()] == ["all.png"]


def test_records_that_are_masked_while_training(place, capsys):
    spec = unmasked_features(32)
    for i, rows in enumerate(place.shards):
        place.write(f"records/{i}.tfrecord", rows, spec)
    place.write("records/empty.tfrecord", {k: v[:0] for k, v in rows.items()}, spec)
    place.write_metadata(unmasked=True)
    assert inspect_records.main([f"{place.root}/records/*.tfrecord"]) == 0
    out = capsys.readouterr().out
    assert "masks         none yet" in out and "→" not in out.split("\n", 1)[1]
    assert "records       134 in 3 files" in out
    assert matplotlib.image.imread("records.png").shape[:2] == (396, 1584)


def test_the_figure_holds_the_counts(place):
    vocab = load_vocab(str(place.vocab))
    rows = place.rows()
    figure = draw_summary(RecordSummary.of_batch(rows, vocab))
    lengths, masks, actual, random = figure.axes[:4]
    for panel, numbers, longest in (
        (lengths, rows["input_mask"].sum(axis=1), 32),
        (masks, rows["masked_lm_weights"].sum(axis=1), 5),
    ):
        heights = [bar.get_height() for bar in panel.patches]
        assert (
            heights == np.bincount(numbers.astype(int), minlength=longest + 1).tolist()
        )
    labels = rows["next_sentence_labels"]
    for panel, name, count in (
        (actual, "actual next", np.sum(labels == 0)),
        (random, "random next", np.sum(labels == 1)),
    ):
        assert panel.get_title() == f"{name}: {count / 134:.1%} of all"
        assert panel.collections[0].get_array().sum() == count


def test_long_records_are_drawn_in_fewer_bars(place):
    rows = {
        "input_ids": np.full((9, 512), 7),
        "input_mask": np.arange(512) < np.array([[512]] * 5 + [[1]] * 2 + [[300]] * 2),
        "segment_ids": np.zeros((9, 512), int),
        "next_sentence_labels": np.zeros((9, 1), int),
    }
    rows["input_mask"] = rows["input_mask"].astype(int)
    figure = draw_summary(RecordSummary.of_batch(rows, load_vocab(str(place.vocab))))
    bars = figure.axes[0].patches
    assert len(bars) <= 64
    heights = [bar.get_height() for bar in bars]
    assert heights[0] == 2 and heights[-1] == 5 and sum(heights) == 9
    assert bars[-1].get_x() + bars[-1].get_width() == 512.5


def test_without_matplotlib(place, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert inspect_records.main([f"{place.root}/records/*"]) == 0
    captured = capsys.readouterr()
    assert "records       134 in 2 files" in captured.out
    [line] = captured.err.splitlines()
    assert "pip install 'bert-tf[plots]'" in line
    assert not Path("records.png").exists()


def test_a_terminal_without_arrows(place):
    out = run(
        "-m",
        "bert_tf.tools.main",
        "inspect_records",
        str(place.root / "records/0.tfrecord"),
        f"--output={place.root}/records.png",
        PYTHONIOENCODING="ascii",
    )
    assert out.startswith("Masked: [MASK]?x hides x")


def test_another_vocabulary_is_taken_with_a_warning(place, testdata, capsys):
    arguments = [f"{place.root}/records/*", "--num_records=0"]
    vocab = place.root / "other.txt"
    vocab.write_text(place.vocab.read_text().replace("\n##s\n", "\n##ş\n"))
    assert vocab.read_bytes() != place.vocab.read_bytes()
    assert inspect_records.main([*arguments, f"--vocab_file={vocab}"]) == 0
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("WARNING: Expected the vocabulary that ")
    assert inspect_records.main([*arguments, f"--vocab_file={place.vocab}"]) == 0
    assert capsys.readouterr().err == ""


# Each function spoils something and returns the arguments and what the line must hold.


def no_such_file(place):
    path = f"{place.root}/none.tfrecord"
    return [path], [f"nothing is called {path};"]


def glob_without_matches(place):
    return [f"{place.root}/records/*.tf_record"], ["nothing is called", "*.tf_record"]


def a_folder(place):
    return [f"{place.root}/records"], [f"{place.root}/records is a folder"]


def no_record_file(place):
    return [str(place.vocab)], ["TFRecord", "record at 0", str(place.vocab)]


def truncated(place):
    path = place.root / "records/1.tfrecord"
    path.write_bytes(path.read_bytes()[:-5])
    return [f"{place.root}/records/*"], ["truncated record at ", str(path)]


def damaged(place):
    path = place.root / "records/0.tfrecord"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return [str(path)], ["corrupted record at ", str(path)]


def classifier_records(place):
    spec = classification_features(8)
    shapes = {name: [4, *feature.shape] for name, feature in spec.items()}
    rows = {name: np.ones(shape, int) for name, shape in shapes.items()}
    path = place.write("train.tf_record", rows, spec)
    return [path], [
        "segment_ids, next_sentence_labels, found input_ids [8], input_mask [8], "
        f"is_real_example [1], label_ids [1], segment_ids [8] in {path};"
    ]


def half_masked_records(place):
    spec = {k: v for k, v in place.spec.items() if k != "masked_lm_ids"}
    return [place.write("a", place.shards[0], spec)], ["masked_lm_ids", "found"]


def records_of_something_else(place):
    path = str(place.root / "texts")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(b"\xffno Example")
    return [path], [f"found no features in {path};"]


def other_lengths_in_one_file(place):
    path = f"{place.root}/records/0.tfrecord"
    longer = {k: np.tile(v, (1, 2)) for k, v in place.shards[1].items()}
    other = place.write("longer", longer, pretraining_features(64, 10))
    first = Path(path).read_bytes()
    Path(path).write_bytes(first + Path(other).read_bytes())
    return [path], ["lengths of the first", f"in {path};"]


def other_lengths_in_another_file(place):
    rows = {name: values[:, :16] for name, values in place.shards[0].items()}
    path = place.write("short/a", rows, pretraining_features(16, 5))
    first = f"{place.root}/records/0.tfrecord"
    return [first, path], [
        f"32 pieces and 5 predictions in all files, as in {first}",
        f"found 16 pieces and 5 predictions in {path};",
    ]


def nothing_in_the_files(place):
    rows = {name: values[:0] for name, values in place.shards[0].items()}
    return [place.write("empty", rows)], ["found none in", "empty;"]


def small_vocabulary(place):
    (place.root / "records/metadata.json").unlink()  # which would bring a warning
    path = place.root / "small.txt"
    pieces = place.vocab.read_text().split("\n")[:1000]
    path.write_text("\n".join(pieces) + "\n")
    arguments = [f"--vocab_file={path}", f"{place.root}/records/0.tfrecord"]
    return arguments, ["ids from 0 to 999", str(path), "--vocab_file"]


def missing_vocabulary(place):
    arguments = ["--vocab_file=none.txt", f"{place.root}/records/0.tfrecord"]
    return arguments, ["none.txt does not exist"]


def no_vocabulary(place):
    (place.root / "records/metadata.json").unlink()
    return [f"{place.root}/records/*"], ["Expected --vocab_file", "metadata.json"]


def vocabulary_gone(place):
    place.vocab.unlink()
    return [f"{place.root}/records/*"], [f"{place.vocab}, which ", "metadata.json"]


def vocabulary_changed(place):
    with place.vocab.open("a") as file:
        file.write("ş\n")
    return [f"{place.root}/records/*"], [f"found {place.vocab} to have other content"]


def metadata_of_other_records(place):
    place.write_metadata(max_predictions_per_seq=6)
    return [f"{place.root}/records/*"], [
        "32 pieces and 6 predictions, as ",
        "found 32 pieces and 5 predictions",
    ]


def metadata_of_unmasked_records(place):
    place.write_metadata(unmasked=True)
    return [f"{place.root}/records/*"], ["Expected records of 32 pieces, unmasked, as"]


def metadata_without_settings(place):
    path = place.root / "records/metadata.json"
    path.write_text(json.dumps({"format_version": 1}))
    return [f"{place.root}/records/*"], [str(path), "KeyError('settings')"]


def mask_of_something_else(place):
    place.shards[0]["input_mask"][7, 3] = 5
    path = place.write("records/0.tfrecord", place.shards[0])
    return [path], [f"Expected input_mask from 0 to 1, found 5 in {path};"]


def masked_beyond_the_end(place):
    place.shards[0]["masked_lm_positions"][7, 0] = 32
    path = place.write("records/0.tfrecord", place.shards[0])
    return [path], ["Expected masked_lm_positions from 0 to 31, found 32 in "]


def a_negative_number(place):
    arguments = ["--num_records=-1", f"{place.root}/records/*"]
    return arguments, ["--num_records=-1", "non-negative"]


def a_folder_as_picture(place):
    folder = place.root / "folder.png"
    folder.mkdir()
    arguments = [f"--output={folder}", f"{place.root}/records/*"]
    return arguments, [f"Expected a PNG file as --output, got {str(folder)!r}"]


def a_picture_over_records(place):
    [record, *_] = sorted(map(str, (place.root / "records").iterdir()))
    return [f"--output={record}", record], ["ends with .png", repr(record)]


def no_files(place):
    return [], ["Expected FILES..., got none"]


@pytest.mark.parametrize(
    "spoil",
    [
        no_such_file,
        glob_without_matches,
        a_folder,
        no_record_file,
        truncated,
        damaged,
        classifier_records,
        half_masked_records,
        records_of_something_else,
        other_lengths_in_one_file,
        other_lengths_in_another_file,
        nothing_in_the_files,
        small_vocabulary,
        missing_vocabulary,
        no_vocabulary,
        vocabulary_gone,
        vocabulary_changed,
        metadata_of_other_records,
        metadata_of_unmasked_records,
        metadata_without_settings,
        mask_of_something_else,
        masked_beyond_the_end,
        a_negative_number,
        a_folder_as_picture,
        a_picture_over_records,
        no_files,
    ],
)
def test_bad_input_ends_in_one_sentence(place, capsys, spoil):
    arguments, says = spoil(place)
    assert inspect_records.main(arguments) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("inspect_records: ")
    for part in says:
        assert part in line
    assert not Path("records.png").exists()


def test_what_googles_program_wrote(real_data, tmp_path, capsys):
    path = real_data / "reference_outputs/create_pretraining_data_sample_text.tfrecord"
    vocab = real_data / "vocab/uncased_vocab.txt"
    output = tmp_path / "records.png"
    arguments = [str(path), f"--vocab_file={vocab}", f"--output={output}"]
    assert inspect_records.main(arguments) == 0
    out = capsys.readouterr().out
    pieces = vocab.read_text("utf-8").split("\n")
    lengths, masks, labels, shown = [], [], [], {"[MASK]": 0, "itself": 0, "random": 0}
    for record in tf.data.TFRecordDataset(str(path)):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        ids, mask, positions, was, label = (
            features[name].int64_list.value
            for name in (
                "input_ids",
                "input_mask",
                "masked_lm_positions",
                "masked_lm_ids",
                "next_sentence_labels",
            )
        )
        weights = features["masked_lm_weights"].float_list.value
        lengths.append(sum(mask))
        masks.append(int(sum(weights)))
        labels.append(label[0])
        for position, piece in list(zip(positions, was, strict=True))[: masks[-1]]:
            stands = pieces[ids[position]]
            kept = ids[position] == piece
            shown["itself" if kept else stands if stands == "[MASK]" else "random"] += 1
            if len(lengths) <= 5:
                mark = f"={stands}" if kept else f"{stands}→{pieces[piece]}"
                assert mark in out
    total = sum(masks)
    assert f"records       {len(lengths)} in 1 file\n" in out
    assert f"mean {np.mean(lengths):.1f}, median {np.median(lengths):g}, " in out
    assert f"{np.mean(np.array(lengths) < 128):.1%} shorter than 128\n" in out
    assert f"next segment  {np.mean(labels):.1%} random\n" in out
    assert f"{np.mean(masks):.1f} per record, from {min(masks)} to {max(masks)}" in out
    assert (
        f"masks show    {shown['[MASK]'] / total:.1%} [MASK], "
        f"{shown['itself'] / total:.1%} the piece itself, "
        f"{shown['random'] / total:.1%} a random one\n"
    ) in out
    assert out.endswith(f"\n{output}\n") and output.stat().st_size > 10_000
