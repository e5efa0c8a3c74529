"""Bad input ends in one sentence that names it; nothing on the disk has changed."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from bert_tf.tools import run_classifier

DATA = ".data-00000-of-00001"
TEXTS = (
    "The compiler reads the source file from top to bottom.",
    "She said that the light had kept him company.",
    "Jokes are hard and poems are hardest of all.",
    "One winter the supply boat did not arrive.",
)


def table(count: int, labels: str = "no yes") -> str:
    names = labels.split()
    return "".join(
        f"{TEXTS[i % len(TEXTS)]} {i}\t{names[i % len(names)]}\n" for i in range(count)
    )


@dataclasses.dataclass
class Place:
    """A folder with all that a run needs, and the flags of a good run."""

    root: Path
    flags: dict[str, str | None]

    def path(self, name: str) -> Path:
        return self.root / name

    def write(self, name: str, content: str | bytes) -> str:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def change_config(self, **values) -> None:
        path = self.path("bert_config.json")
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    def edit_vocab(self, change: Callable[[list[str]], list[str]]) -> str:
        path = self.path("vocab.txt")
        lines = path.read_text().split("\n")[:-1]
        path.write_text("".join(f"{line}\n" for line in change(lines)))
        return str(path)

    def run(self) -> int:
        return run_classifier.main(
            [f"--{k}={v}" for k, v in self.flags.items() if v is not None]
        )

    def everything(self) -> dict[str, bytes | None]:
        return {
            str(path): path.read_bytes() if path.is_file() else None
            for path in self.root.rglob("*")
        }


def make_place(root: Path, testdata: Path) -> Place:
    place = Place(root, {})
    for name in ("bert_config.json", "bert_model.ckpt.index", f"bert_model.ckpt{DATA}"):
        shutil.copyfile(testdata / name, root / name)
    shutil.copyfile(testdata / "vocab_uncased.txt", root / "vocab.txt")
    place.write("data/train.tsv", table(12))
    place.write("data/dev.tsv", table(6))
    place.write("data/test.tsv", table(5))
    place.flags = {
        "task_name": "custom",
        "data_dir": str(root / "data"),
        "text_a": "0",
        "label": "1",
        "bert_config_file": str(root / "bert_config.json"),
        "vocab_file": str(root / "vocab.txt"),
        "init_checkpoint": str(root / "bert_model.ckpt"),
        "output_dir": str(root / "out"),
        "max_seq_length": "24",
        "train_batch_size": "4",
        "num_train_epochs": "1",
        "do_train": "true",
        "do_eval": "true",
    }
    return place


@pytest.fixture
def place(tmp_path, testdata) -> Place:
    """The output folder holds the work of someone else."""
    place = make_place(tmp_path, testdata)
    place.write("out/eval_results.txt", "eval_accuracy = 1.0\n")
    place.write("out/notes/mine.txt", "mine\n")
    return place


@pytest.fixture(scope="module")
def finished(tmp_path_factory, testdata) -> Path:
    """The output folder of a good run; made once."""
    place = make_place(tmp_path_factory.mktemp("finished"), testdata)
    place.change_config(num_hidden_layers=1)  # takes half the time of three
    assert place.run() == 0
    return place.path("out")


def last_line(capsys) -> str:
    stderr = capsys.readouterr().err
    assert "Traceback" not in stderr
    return stderr.rstrip("\n").split("\n")[-1]


def assert_refused(place: Place, capsys, *says: str) -> None:
    before = place.everything()
    capsys.readouterr()
    assert place.run() == 1
    line = last_line(capsys)
    assert line.startswith("run_classifier: ")
    for part in says:
        assert part in line
    after = place.everything()
    assert sorted(after) == sorted(before)
    assert after == before


def test_the_good_run_is_good(finished):
    """Without this, the tests below could pass for another reason."""
    names = {path.name for path in finished.iterdir()}
    assert {"model.ckpt-3.index", "checkpoint", "train.tf_record"} <= names
    assert "global_step = 3" in (finished / "eval_results.txt").read_text()


# Each function spoils something and returns what the sentence must hold.


def missing_checkpoint(place):
    place.flags["init_checkpoint"] = str(place.path("none.ckpt"))
    return [str(place.path("none.ckpt"))]


def truncated_data_file(place):
    path = place.path(f"bert_model.ckpt{DATA}")
    path.write_bytes(path.read_bytes()[:100_000])
    return [str(place.path("bert_model.ckpt")), "bert/", "fetch"]


def truncated_index(place):
    path = place.path("bert_model.ckpt.index")
    path.write_bytes(path.read_bytes()[:500])
    return [str(place.path("bert_model.ckpt")), "index", "fetch"]


def missing_data_file(place):
    place.path(f"bert_model.ckpt{DATA}").unlink()
    return [str(place.path("bert_model.ckpt")), "data cannot be read"]


def safetensors_as_checkpoint(place):
    path = place.path("model.safetensors")
    safetensors.numpy.save_file({"x": np.ones(3)}, path)
    place.flags["init_checkpoint"] = str(path)
    return [str(path), "not of that format", "convert_checkpoint"]


def object_graph(place):
    path = place.path("tf2.ckpt")
    tf.train.Checkpoint(v=tf.Variable(1.0)).write(str(path))
    place.flags["init_checkpoint"] = str(path)
    return [str(path), "object graph"]


def nothing_matches(place):
    path = place.path("other.ckpt")
    tf.raw_ops.SaveV2(
        prefix=str(path),
        tensor_names=["resnet/conv1"],
        shape_and_slices=[""],
        tensors=[tf.ones(3)],
    )
    place.flags["init_checkpoint"] = str(path)
    return [str(path), "resnet/conv1", "none matches"]


def no_checkpoint_and_no_training(place):
    place.flags |= {"init_checkpoint": None, "do_train": "false"}
    place.write("out/labels.json", '["no", "yes"]')
    return [str(place.path("out")), "--init_checkpoint"]


def unknown_best_metric(place):
    place.flags |= {"best_metric": "eval_f2"}
    return ["--best_metric", "eval_f1, eval_matthews", "'eval_f2'"]


def best_metric_of_another_kind(place):
    place.flags |= {"best_metric": "eval_pearson"}
    return ["--best_metric", "eval_accuracy", "'eval_pearson'"]


def buckets_that_descend(place):
    place.flags |= {"length_buckets": "16,8"}
    return ["ascend", "16,8"]


def damaged_evaluations(place):
    place.flags |= {"best_metric": "eval_loss"}
    path = place.write("out/evaluations.json", '{"3": 5}')
    return [path, "damage", "--output_dir"]


def best_model_that_was_not_kept(place):
    place.flags |= {"best_metric": "eval_loss", "do_train": "false"}
    place.write("out/labels.json", '["no", "yes"]')
    return [str(place.path("out/best")), "--best_metric"]


def config_of_another_width(place):
    place.change_config(hidden_size=24)
    return ["[24]", "[48]", str(place.path("bert_model.ckpt")), "bert_config.json"]


def config_of_another_depth(place):
    place.change_config(num_hidden_layers=4)
    return ["4 encoder layers", "found 3", str(place.path("bert_model.ckpt"))]


def config_with_a_bad_value(place):
    place.change_config(hidden_dropout_prob=1.5)
    return [str(place.path("bert_config.json")), "hidden_dropout_prob", "1.5"]


def config_without_vocab_size(place):
    place.write("bert_config.json", '{"hidden_size": 48}')
    return [str(place.path("bert_config.json")), "vocab_size"]


def config_that_is_no_json(place):
    place.write("bert_config.json", "vocab_size: 1600\n")
    return [str(place.path("bert_config.json")), "JSON"]


def vocabulary_as_config(place):
    place.flags["bert_config_file"] = place.flags["vocab_file"]
    return [str(place.path("vocab.txt")), "--bert_config_file"]


def vocabulary_too_short(place):
    return [place.edit_vocab(lambda v: v[:-1]), "1600", "1599 lines"]


def vocabulary_too_long(place):
    return [place.edit_vocab(lambda v: [*v, "[extra]"]), "1600", "1601 lines"]


def vocabulary_with_a_piece_twice(place):
    return [place.edit_vocab(lambda v: [*v[:-1], v[99]]), "lines 100 and 1600"]


def vocabulary_without_unk(place):
    return _vocabulary_without(place, "[UNK]")


def vocabulary_without_cls(place):
    return _vocabulary_without(place, "[CLS]")


def vocabulary_without_sep(place):
    return _vocabulary_without(place, "[SEP]")


def vocabulary_without_mask(place):
    return _vocabulary_without(place, "[MASK]")


def _vocabulary_without(place, piece):
    path = place.edit_vocab(lambda v: ["[unused]" if p == piece else p for p in v])
    return [path, f"lacks {piece}"]


def empty_vocabulary(place):
    return [place.write("vocab.txt", ""), "empty"]


def vocabulary_that_is_not_utf8(place):
    content = place.path("vocab.txt").read_bytes().replace(b"[MASK]", b"[MASK\xff")
    return [place.write("vocab.txt", content), "line 5", "0xff"]


def length_beyond_the_positions(place):
    place.flags["max_seq_length"] = "81"
    return ["--max_seq_length", "max_position_embeddings=80", "81"]


def cased_vocabulary_for_lower_case(place, testdata=Path(__file__).parents[1]):
    cased = (testdata / "testdata/vocab_cased.txt").read_bytes()
    return [place.write("vocab.txt", cased), "--do_lower_case", "--nocheck_casing"]


def lower_cased_vocabulary_with_case_kept(place):
    place.flags["do_lower_case"] = "false"
    return ["--do_lower_case=False", str(place.path("vocab.txt")), "--nocheck_casing"]


def checkpoint_whose_folder_says_cased(place):
    folder = place.path("cased_L-12_H-768_A-12")
    folder.mkdir()
    for suffix in (".index", DATA):
        place.path(f"bert_model.ckpt{suffix}").rename(
            folder / f"bert_model.ckpt{suffix}"
        )
    place.flags["init_checkpoint"] = str(folder / "bert_model.ckpt")
    return ["--init_checkpoint", "cased_L-12_H-768_A-12", "--do_lower_case=False"]


def no_train_file(place):
    place.path("data/train.tsv").unlink()
    return [str(place.path("data/train.tsv")), "--train_file"]


def no_dev_file(place):
    place.path("data/dev.tsv").unlink()
    return [str(place.path("data/dev.tsv")), "--dev_file", "--dev_fraction"]


def named_file_that_is_missing(place):
    place.flags["dev_file"] = str(place.path("nowhere.tsv"))
    return [str(place.path("nowhere.tsv"))]


def empty_train_file(place):
    return [place.write("data/train.tsv", ""), "empty"]


def only_a_header(place):
    place.flags |= {"text_a": "text", "label": "label"}
    return [place.write("data/train.tsv", "text\tlabel\n"), "below the header"]


def only_a_header_in_glue(place):
    place.flags |= {"task_name": "mrpc", "text_a": None, "label": None}
    row = "1\t2\t3\tone text\tanother\n"
    place.write("data/train.tsv", "header\n" + 8 * row)
    place.write("data/dev.tsv", "header\n")
    return ["to eval mrpc", str(place.path("data"))]


def unknown_label_in_dev(place):
    path = place.write("data/dev.tsv", table(3) + "a text\tperhaps\n")
    return [f"{path}, line 4", "'perhaps'", "no, yes"]


def unknown_label_in_glue(place):
    place.flags |= {"task_name": "MRPC", "text_a": None, "label": None}
    row = "1\t2\t3\tone text\tanother\n"
    path = place.write("data/train.tsv", "header\n" + 7 * row + "2" + row[1:])
    place.write("data/dev.tsv", "header\n" + row)
    return [f"{path}, line 9", "'2'", "0, 1"]


def only_one_label(place):
    return [place.write("data/train.tsv", table(8, "yes")), "two labels", "'yes'"]


def short_row(place):
    path = place.write("data/train.tsv", table(5) + "no label here\n" + table(2))
    return [f"{path}, line 6", "--label"]


def short_row_in_dev(place):
    path = place.write("data/dev.tsv", table(5) + "no label here\n")
    return [f"{path}, line 6", "--label"]


def invalid_utf8(place):
    path = place.write("data/train.tsv", table(5).encode() + b"caf\xe9\tno\n")
    return [f"{path}, line 6", "\\xe9", "UTF-8"]


def unknown_column(place):
    place.flags["text_a"] = "sentence"
    place.write("data/train.tsv", "text\tlabel\n" + table(8))
    return ["'sentence'", "text, label", str(place.path("data/train.tsv")), "--text_a"]


def line_that_is_no_json(place):
    place.path("data/train.tsv").unlink()
    place.flags |= {"text_a": "text", "label": "label"}
    rows = 5 * '{"text": "a", "label": 1}\n'
    path = place.write("data/train.jsonl", rows + '{"text": "a", "label"}\n')
    return [f"{path}, line 6", "JSON"]


def fewer_examples_than_a_batch(place):
    place.flags["train_batch_size"] = "13"
    return ["13", "12 examples", "--train_batch_size"]


def output_dir_that_is_a_file(place):
    place.flags["output_dir"] = place.write("file", "mine")
    return [f"--output_dir={place.path('file')}, found the file"]


def output_dir_below_a_file(place):
    place.write("file", "mine")
    place.flags["output_dir"] = str(place.path("file/run"))
    return [
        f"--output_dir={place.path('file/run')}, found the file {place.path('file')}"
    ]


def export_dir_that_is_a_file(place):
    place.flags["export_dir"] = place.write("file", "mine")
    return [f"--export_dir={place.path('file')}, found the file"]


def damaged_state_file(place):
    place.write("out/checkpoint", "")
    return [str(place.path("out/checkpoint")), "state file"]


def state_file_that_names_what_is_gone(place):
    place.write("out/checkpoint", 'model_checkpoint_path: "model.ckpt-7"\n')
    return ["model.ckpt-7", str(place.path("out"))]


def damaged_run_config(place):
    return [place.write("out/run_config.json", "{"), "--output_dir"]


def run_config_that_is_a_list(place):
    return [place.write("out/run_config.json", "[]"), "--output_dir"]


def damaged_labels(place):
    place.flags |= {"do_train": "false"}
    return [place.write("out/labels.json", "no\nyes\n"), "JSON list"]


def labels_that_are_no_list(place):
    place.flags |= {"do_train": "false"}
    return [place.write("out/labels.json", '"noyes"'), "JSON list"]


def nothing_says_the_labels(place):
    place.flags |= {"do_train": "false"}
    return [str(place.path("out/labels.json")), "--output_dir"]


def contradictory_devices(place):
    place.flags |= {"use_tpu": "true", "distribution_strategy": "mirrored"}
    return ["--distribution_strategy=tpu", "--use_tpu", "mirrored"]


def contradictory_dev_sets(place):
    place.flags["dev_fraction"] = "0.5"
    return [str(place.path("data/dev.tsv")), "--dev_fraction"]


def dev_fraction_that_leaves_nothing(place):
    place.path("data/dev.tsv").unlink()
    place.flags["dev_fraction"] = "0.01"
    return ["--dev_fraction=0.01", "12 training examples"]


def remote_tpu_and_local_paths(place):
    place.flags |= {"use_tpu": "true", "tpu_name": "my-tpu"}
    return ["--output_dir", "gs://", str(place.path("out"))]


def number_that_is_none(place):
    path = place.write("data/train.tsv", table(11, "1.5 2") + "a text\tnan\n")
    return [f"{path}, line 12", "finite number", "'nan'"]


def number_in_dev_that_is_none(place):
    place.write("data/train.tsv", table(12, "1.5 2"))
    path = place.write("data/dev.tsv", table(3, "1.5 2") + "a text\thigh\n")
    return [f"{path}, line 4", "finite number", "'high'"]


def text_among_the_scores_of_stsb(place):
    place.flags |= {"task_name": "stsb", "text_a": None, "label": None}
    row = "0\tg\tf\ty\t0\ts\ts\tone text\tanother\t"
    place.write("data/train.tsv", "header\n" + 8 * f"{row}3.800\n")
    path = place.write("data/dev.tsv", f"header\n{row}1.5\n{row}rather alike\n")
    return [f"{path}, line 3", "finite number", "'rather alike'"]


def training_on_the_diagnostic_set(place):
    place.flags |= {"task_name": "diagnostic", "text_a": None, "label": None}
    return ["--do_predict", "a model of mnli", "--do_train", "leave it out"]


def language_without_a_training_file(place):
    place.flags |= {"task_name": "xnli", "text_a": None, "label": None}
    place.flags["xnli_language"] = "sw"
    for language in ("de", "zh"):
        place.write(f"data/multinli/multinli.train.{language}.tsv", "header\n")
    return ["'sw'", "multinli.train.sw.tsv", "those of de, zh;", "--xnli_language"]


def language_without_dev_rows(place):
    place.flags |= {"task_name": "xnli", "text_a": None, "label": None}
    place.flags |= {"xnli_language": "sw", "do_train": "false"}
    path = place.write("data/xnli.dev.tsv", "language\nde\nzh\n")
    return ["'sw'", path, "found de, zh;", "--xnli_language"]


def model_of_other_labels(place):
    place.flags |= {"task_name": "mnli-mm", "text_a": None, "label": None}
    place.flags["do_train"] = "false"
    place.write("run_config.json", '{"labels": ["neutral", "no", "yes"]}')
    row = "0\tp\tp\tg\tb\tb\tp\tp\tone text\tanother\tneutral\n"
    place.write("data/dev_mismatched.tsv", "header\n" + row)
    weights = place.flags["init_checkpoint"]
    return ["'entailment'", f"{weights} was left by", "'yes'", "--task_name"]


def unknown_label_among_several(place):
    place.write("data/train.tsv", table(12, "no|yes yes"))
    path = place.write("data/dev.tsv", table(3) + "a text\tyes|perhaps\n")
    return [f"{path}, line 4", "'perhaps'", "no, yes"]


def list_where_one_label_is_said(place):
    place.flags |= {"text_a": "text", "label": "label", "label_kind": "single"}
    place.path("data/train.tsv").unlink()
    rows = 5 * '{"text": "a", "label": "no"}\n'
    path = place.write("data/train.jsonl", rows + '{"text": "a", "label": ["yes"]}\n')
    return [f"{path}, line 6", "['yes']", "--label_kind=multi"]


def balanced_numbers(place):
    place.flags["class_weights"] = "balanced"
    for name in ("train", "dev"):
        place.write(f"data/{name}.tsv", table(12, "1.5 2"))
    return ["--class_weights=balanced", "regression"]


def balanced_label_that_does_not_occur(place):
    place.flags |= {"task_name": "mrpc", "text_a": None, "label": None}
    place.flags["class_weights"] = "balanced"
    for name in ("train", "dev"):
        place.write(f"data/{name}.tsv", "header\n" + 8 * "1\t2\t3\tone text\tanother\n")
    return ["none of '0'", "--class_weights"]


def label_kind_of_a_glue_task(place):
    place.flags |= {"task_name": "mrpc", "text_a": None, "label": None}
    place.flags["label_kind"] = "multi"
    return ["--label_kind", "--task_name=custom", "mrpc"]


def separator_that_is_none(place):
    place.flags["label_separator"] = " "
    return ["--label_separator", "' '"]


def note_of_a_kind_that_is_none(place):
    place.flags |= {"do_train": "false"}
    place.write("run_config.json", '{"label_kind": "ordinal"}')
    return ["'ordinal'", "run_config.json"]


def note_of_a_length_that_is_none(place):
    place.flags |= {"do_train": "false", "max_seq_length": None}
    place.write("run_config.json", '{"max_seq_length": "long"}')
    return ["'long'", "run_config.json", "--max_seq_length"]


def note_of_an_unknown_way_with_long_texts(place):
    place.flags |= {"do_train": "false"}
    place.write("run_config.json", '{"long_text": "middle"}')
    return ["--long_text", "'middle'", "truncate, head_tail, windows"]


def windows_that_hold_nothing(place):
    place.flags |= {"long_text": "windows", "max_seq_length": "4"}
    return ["max_seq_length=4", "room"]


def fewer_windows_than_a_batch(place):
    place.flags |= {"long_text": "windows", "train_batch_size": "1000"}
    return ["1000", "12 texts in ", " windows", "--train_batch_size"]


CASES = (
    missing_checkpoint,
    truncated_data_file,
    truncated_index,
    missing_data_file,
    safetensors_as_checkpoint,
    object_graph,
    nothing_matches,
    no_checkpoint_and_no_training,
    unknown_best_metric,
    best_metric_of_another_kind,
    buckets_that_descend,
    damaged_evaluations,
    best_model_that_was_not_kept,
    config_of_another_width,
    config_of_another_depth,
    config_with_a_bad_value,
    config_without_vocab_size,
    config_that_is_no_json,
    vocabulary_as_config,
    vocabulary_too_short,
    vocabulary_too_long,
    vocabulary_with_a_piece_twice,
    vocabulary_without_unk,
    vocabulary_without_cls,
    vocabulary_without_sep,
    vocabulary_without_mask,
    empty_vocabulary,
    vocabulary_that_is_not_utf8,
    length_beyond_the_positions,
    cased_vocabulary_for_lower_case,
    lower_cased_vocabulary_with_case_kept,
    checkpoint_whose_folder_says_cased,
    no_train_file,
    no_dev_file,
    named_file_that_is_missing,
    empty_train_file,
    only_a_header,
    only_a_header_in_glue,
    unknown_label_in_dev,
    unknown_label_in_glue,
    only_one_label,
    short_row,
    short_row_in_dev,
    invalid_utf8,
    unknown_column,
    line_that_is_no_json,
    fewer_examples_than_a_batch,
    output_dir_that_is_a_file,
    output_dir_below_a_file,
    export_dir_that_is_a_file,
    damaged_state_file,
    state_file_that_names_what_is_gone,
    damaged_run_config,
    run_config_that_is_a_list,
    damaged_labels,
    labels_that_are_no_list,
    nothing_says_the_labels,
    contradictory_devices,
    contradictory_dev_sets,
    dev_fraction_that_leaves_nothing,
    remote_tpu_and_local_paths,
    number_that_is_none,
    number_in_dev_that_is_none,
    text_among_the_scores_of_stsb,
    training_on_the_diagnostic_set,
    language_without_a_training_file,
    language_without_dev_rows,
    model_of_other_labels,
    unknown_label_among_several,
    list_where_one_label_is_said,
    balanced_numbers,
    balanced_label_that_does_not_occur,
    label_kind_of_a_glue_task,
    separator_that_is_none,
    note_of_a_kind_that_is_none,
    note_of_a_length_that_is_none,
    note_of_an_unknown_way_with_long_texts,
    windows_that_hold_nothing,
    fewer_windows_than_a_batch,
)


@pytest.mark.parametrize("spoil", CASES, ids=lambda function: function.__name__)
def test_bad_input_is_one_sentence_and_changes_nothing(place, capsys, spoil):
    assert_refused(place, capsys, *spoil(place))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"max_seq_length": "32"}, ["max_seq_length=32", "max_seq_length=24"]),
        ({"do_lower_case": "false", "check_casing": "false"}, ["do_lower_case=False"]),
        ({"data_dir": "others"}, ["labels", "'no'", "'maybe'"]),
        ({"vocab_file": "vocab.txt"}, ["vocab_sha256"]),
        ({"bert_config_file": "wide.json"}, ["bert_config.intermediate_size=64", "96"]),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
def test_a_folder_that_another_run_left(place, finished, capsys, change, says):
    place.change_config(num_hidden_layers=1)
    shutil.rmtree(place.path("out"))
    shutil.copytree(finished, place.path("out"))
    if "data_dir" in change:
        place.write("others/train.tsv", table(12, "maybe yes"))
        place.write("others/dev.tsv", table(6, "maybe yes"))
    if "vocab_file" in change:
        place.edit_vocab(lambda v: [*v[:-2], v[-1], v[-2]])
    if "bert_config_file" in change:
        config = json.loads(place.path("bert_config.json").read_text())
        place.write("wide.json", json.dumps({**config, "intermediate_size": 64}))
    for name, value in change.items():
        is_path = name in ("data_dir", "vocab_file", "bert_config_file")
        place.flags[name] = str(place.path(value)) if is_path else value
    assert_refused(place, capsys, *says, str(place.path("out")), "--output_dir")


def test_a_run_killed_before_its_first_checkpoint_does_not_stand_in_the_way(
    place, finished
):
    """Its config and records are there, but no weights."""
    for name in ("run_config.json", "labels.json", "train.tf_record"):
        shutil.copyfile(finished / name, place.path(f"out/{name}"))
    place.write("out/.writing-train.tf_record", b"half a record")
    place.flags["do_eval"] = "false"
    place.change_config(num_hidden_layers=1)
    assert place.run() == 0
    ours = tf.train.load_checkpoint(str(place.path("out")))
    theirs = tf.train.load_checkpoint(str(finished))
    shapes = ours.get_variable_to_shape_map()
    assert shapes == theirs.get_variable_to_shape_map()
    for name in shapes:
        np.testing.assert_allclose(
            ours.get_tensor(name), theirs.get_tensor(name), atol=1e-5, err_msg=name
        )
    assert not place.path("out/.writing-train.tf_record").exists()


@pytest.mark.parametrize("check_casing", ["true", "false"])
def test_a_casing_contradiction_can_be_overridden(
    place, testdata, capsys, check_casing
):
    shutil.copyfile(testdata / "vocab_cased.txt", place.path("vocab.txt"))
    place.write("out/labels.json", '["no", "yes"]')
    place.flags |= {"do_train": "false", "check_casing": check_casing}
    if check_casing == "true":
        assert_refused(place, capsys, "upper-case", "--nocheck_casing")
    else:
        assert place.run() == 0
        assert "eval_loss" in place.path("out/eval_results.txt").read_text()


@pytest.mark.parametrize("form", ["bom", "crlf"])
def test_byte_order_marks_and_crlf_make_the_same_records(
    tmp_path, testdata, finished, form
):
    place = make_place(tmp_path, testdata)
    place.change_config(num_hidden_layers=1)
    for name in ("train", "dev"):
        path = place.path(f"data/{name}.tsv")
        content = path.read_bytes()
        if form == "bom":
            path.write_bytes(b"\xef\xbb\xbf" + content)
        else:
            path.write_bytes(content.replace(b"\n", b"\r\n"))
    assert place.run() == 0
    for name in ("train.tf_record", "eval.tf_record", "labels.json"):
        assert place.path(f"out/{name}").read_bytes() == (finished / name).read_bytes()
