"""What is wrong with a tagger's files and flags is said in one sentence."""

import json
import shutil
from pathlib import Path

import pytest

from bert_tf.tools import run_classifier, run_squad, run_tagger
from tests.small_task import as_arguments, write_model_files

SENTENCES = "the\tO\nlight\tB-LOC\nboat\tI-LOC\n\nof\tO\nwinter\tB-PER\n\n"


@pytest.fixture
def place(tmp_path, testdata) -> tuple[Path, dict[str, str | None]]:
    """A folder with the files of a good run, and its flags."""
    write_model_files(tmp_path, testdata, num_hidden_layers=1)
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.conll").write_text(SENTENCES)
    return tmp_path, {
        "data_dir": str(tmp_path),
        "bert_config_file": str(tmp_path / "bert_config.json"),
        "vocab_file": str(tmp_path / "vocab.txt"),
        "output_dir": str(tmp_path / "out"),
        "train_batch_size": "2",
        "num_train_epochs": "1",
        "max_seq_length": "16",
        "do_train": "true",
        "do_eval": "true",
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory, testdata) -> dict[str, Path]:
    """The output folders of a tagger and of a classifier; made once."""
    folder = tmp_path_factory.mktemp("finished")
    write_model_files(folder, testdata, num_hidden_layers=1)
    (folder / "train.conll").write_text(SENTENCES)
    flags = {
        "bert_config_file": str(folder / "bert_config.json"),
        "vocab_file": str(folder / "vocab.txt"),
        "do_train": "true",
        "max_seq_length": "16",
        "train_batch_size": "2",
        "num_train_epochs": "1",
    }
    tagger = flags | {"output_dir": str(folder / "tagger"), "data_dir": str(folder)}
    assert run_tagger.main(as_arguments(tagger)) == 0
    classifier = flags | {
        "task_name": "custom",
        "train_file": str(folder / "train.conll"),
        "text_a": "0",
        "label": "1",
        "output_dir": str(folder / "classifier"),
    }
    assert run_classifier.main(as_arguments(classifier)) == 0
    return {name: folder / name for name in ("tagger", "classifier")}


def assert_refused(place, capsys, *says: str, tool=run_tagger) -> None:
    folder, flags = place
    before = {x: x.read_bytes() for x in folder.rglob("*") if x.is_file()}
    capsys.readouterr()
    assert tool.main(as_arguments(flags)) == 1
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    line = errors.rstrip("\n").split("\n")[-1]
    assert line.startswith(f"{tool.__name__.rpartition('.')[2]}: ")
    for part in says:
        assert part in line
    assert {x: x.read_bytes() for x in folder.rglob("*") if x.is_file()} == before


FILES = {
    "misaligned row": ("train", "the\tO\nlight\n", ["2, found 1", "line 2"]),
    "another width": ("dev", "the\tDT\tO\n\nof\tO\n", ["3, found 2", "line 3"]),
    "no tags": ("dev", "the\nlight\n", ["column -1", "1 column in", "line 1"]),
    "unknown in dev": (
        "dev",
        "the\tO\nsun\tB-ORG\n",
        ["'B-ORG'", "line 2", "B-LOC, B"],
    ),
    "unknown in test": ("test", "\nsun\tNN\n", ["'NN'", "line 2", "--tag_column"]),
    "one tag": ("train", "the\tO\nlight\tO\n", ["two different tags", "'O'"]),
    "empty": ("train", "", ["empty file"]),
    "documents only": ("dev", "-DOCSTART- O\n\n", ["at least one sentence"]),
    "not UTF-8": ("test", b"the\tO\ncaf\xe9\tO\n", ["UTF-8", "line 2", "\\xe9"]),
    "missing": ("dev", None, ["--dev_file", "--dev_fraction"]),
    "missing test": ("test", None, ["--test_file"]),
}


@pytest.mark.parametrize("case", FILES)
def test_a_bad_file(place, capsys, case):
    folder, flags = place
    set_type, content, says = FILES[case]
    path = folder / f"{set_type}.conll"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    flags["do_predict"] = "true"
    assert_refused(place, capsys, str(path), *says)


FLAGS = [
    ({"doc_stride": "15"}, ["--doc_stride", "at most 14", "15"]),
    ({"max_seq_length": "81"}, ["--max_seq_length", "80", "81"]),
    ({"do_train": None, "do_eval": None}, ["something to do", "--export_dir"]),
    ({"train_file": "nowhere.conll"}, ["nowhere.conll"]),
    ({"dev_fraction": "0.5"}, ["dev.conll", "give one"]),
    ({"dev_fraction": "0.5", "dev_file": "dev.conll"}, ["--dev_file and --dev_fr"]),
    ({"dev_fraction": "1.5"}, ["--dev_fraction", "1.5"]),
    ({"word_column": "2"}, ["column 2", "train.conll, line 1", "--word_column"]),
    ({"train_batch_size": "3"}, ["3", "2 sentences", "--train_batch_size"]),
    ({"best_metric": "eval_matthews"}, ["--best_metric", "eval_f1"]),
    ({"do_train": None}, ["labels.json", "--output_dir"]),
]


@pytest.mark.parametrize(("change", "says"), FLAGS, ids=lambda x: ",".join(x))
def test_bad_flags(place, capsys, change, says):
    place[1].update(change)
    assert_refused(place, capsys, *says)


@pytest.mark.parametrize("change", [{}, {"do_train": None}], ids=["train", "evaluate"])
def test_the_folder_of_another_task(place, finished, capsys, change):
    folder, flags = place
    shutil.copytree(finished["classifier"], folder / "out")
    flags.update(change)
    assert_refused(
        place, capsys, "task_name=tagging", "task_name=custom", flags["output_dir"]
    )


@pytest.mark.parametrize("tool", [run_tagger, run_classifier, run_squad])
def test_the_weights_of_another_task(place, finished, capsys, tool):
    """Two of the tools give their variables the same names."""
    _, flags = place
    of = "classifier" if tool is run_tagger else "tagger"
    for name in ("data_dir", "do_train", "do_eval"):
        flags[name] = None
    flags |= {"init_checkpoint": str(finished[of]), "do_predict": "true"}
    if tool is run_classifier:
        flags |= {"task_name": "custom", "text_a": "0", "label": "1"}
    flags["predict_file" if tool is run_squad else "test_file"] = "absent"
    assert_refused(place, capsys, "task_name=", str(finished[of]), tool=tool)


def test_other_tags_in_a_folder(place, finished, capsys):
    folder, _ = place
    shutil.copytree(finished["tagger"], folder / "out")
    for name in ("train", "dev"):
        (folder / f"{name}.conll").write_text(SENTENCES.replace("LOC", "ORG"))
    assert_refused(place, capsys, "labels", "B-ORG", "B-LOC", "--output_dir")


def test_weights_without_labels_beside_them(place, finished, capsys):
    folder, flags = place
    shutil.copytree(finished["tagger"], folder / "weights")
    (folder / "weights" / "labels.json").unlink()
    flags.update({"do_train": None, "init_checkpoint": str(folder / "weights")})
    assert_refused(place, capsys, str(folder / "weights" / "labels.json"))


def test_the_split_of_a_training_file_is_kept(place, finished, capsys):
    """Another one would be evaluated on what was trained on."""
    folder, flags = place
    (folder / "dev.conll").unlink()
    flags["dev_fraction"] = "0.5"
    flags["train_batch_size"] = "1"
    assert run_tagger.main(as_arguments(flags)) == 0
    note = json.loads((folder / "out" / "run_config.json").read_text())
    assert note["held_out"]["dev_fraction"] == 0.5
    flags.update({"do_train": None, "random_seed": "2"})
    assert_refused(place, capsys, "held_out.random_seed=2", "--output_dir")
