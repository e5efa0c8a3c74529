"""What is printed is what the library found; mistakes end in one sentence."""

import json
import re
import shutil
from pathlib import Path

import pytest

from bert_tf import BertClassifier, BertConfig, save_checkpoint
from bert_tf.serving.fill_mask import MaskFiller
from bert_tf.tools import fill_mask
from tests.programs import run, start


@pytest.fixture
def model(tmp_path, testdata, monkeypatch) -> Path:
    """A folder in Google's layout; elsewhere an empty one to stand in."""
    folder, here = tmp_path / "model", tmp_path / "here"
    folder.mkdir()
    here.mkdir()
    for path in testdata.glob("bert_*"):
        shutil.copy(path, folder)
    shutil.copy(testdata / "vocab_uncased.txt", folder / "vocab.txt")
    monkeypatch.chdir(here)
    monkeypatch.setattr(fill_mask, "_CLONES", (tmp_path / "no clone", Path()))
    return folder


def test_a_text_with_one_mask(model, capsys):
    text = "the\n[MASK] was dark"
    assert fill_mask.main([text, f"--model_dir={model}", "--top_k=3"]) == 0
    out, err = capsys.readouterr()
    head, *rows = out.splitlines()
    assert head == "the [MASK] was dark" and len(rows) == 3
    [[found]] = MaskFiller.from_folder(str(model)).fill([text], top_k=3)
    widest = max(len(candidate.piece) for candidate in found)
    for row, candidate in zip(rows, found, strict=True):
        probability, piece, filled = re.split("  +", row.strip())
        assert probability == f"{candidate.probability:.3f}"
        assert piece == candidate.piece
        assert filled == candidate.text.replace("\n", " ")
        assert row == f"  {probability}  {piece:<{widest}}  {filled}"
    assert err == f"loaded 62 variables from {model}/bert_model.ckpt\n"


def test_several_texts_and_masks(model, capsys):
    arguments = ["[MASK] and [MASK]", "a [MASK]", f"--model_dir={model}", "--top_k=2"]
    assert fill_mask.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [lines[i] for i in (0, 1, 4, 7, 8)] == [
        "[MASK] and [MASK]",
        "  [MASK] 1 of 2",
        "  [MASK] 2 of 2",
        "",
        "a [MASK]",
    ]
    assert len(lines) == 11
    assert all(line.endswith(" and [MASK]") for line in lines[2:4])
    assert all("  [MASK] and " in line for line in lines[5:7])


def test_json_lines_for_scripts(model, capsys):
    texts = ["the [MASK]“[MASK]”", "a [MASK]"]
    assert fill_mask.main([*texts, f"--model_dir={model}", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = MaskFiller.from_folder(str(model)).fill(texts)
    assert lines == [
        {"text": text, "masks": [[vars(each) for each in mask] for mask in masks]}
        for text, masks in zip(texts, found, strict=True)
    ]


def test_a_process_of_its_own_with_files_apart(testdata):
    out = run(
        "-m",
        "bert_tf.tools.main",
        "fill_mask",
        "Ünder “[MASK]”",
        f"--bert_config_file={testdata}/bert_config.json",
        f"--vocab_file={testdata}/vocab_cased.txt",
        f"--init_checkpoint={testdata}/trained.ckpt.index",
        "--do_lower_case=false",
        PYTHONIOENCODING="ascii",
    )
    head, *rows = out.splitlines()
    assert head == "?nder ?[MASK]?" and len(rows) == 5


def test_a_mistake_in_a_text_is_said_at_once(tmp_path):
    fake = tmp_path / "tensorflow"
    fake.mkdir()
    (fake / "__init__.py").write_text("raise RuntimeError('was imported')\n")
    process = start(
        "-m", "bert_tf.tools.main", "fill_mask", "dark", PYTHONPATH=str(tmp_path)
    )
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert err.startswith("fill_mask: Expected [MASK]") and err.count("\n") == 1


def test_a_cased_model(model, testdata, capsys):
    shutil.copy(testdata / "vocab_cased.txt", model / "vocab.txt")
    arguments = ["The [MASK] was", f"--model_dir={model}"]
    assert fill_mask.main(arguments) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "pass --do_lower_case=False" in line
    assert fill_mask.main([*arguments, "--nodo_lower_case"]) == 0
    kept = capsys.readouterr().out
    assert fill_mask.main([*arguments, "--nocheck_casing"]) == 0
    lowered = capsys.readouterr().out
    # As the run that left the folder noted it, unless the flag says otherwise.
    (model / "run_config.json").write_text('{"do_lower_case": false}')
    assert fill_mask.main(arguments) == 0
    assert capsys.readouterr().out == kept != lowered
    assert fill_mask.main([*arguments, "--do_lower_case", "--nocheck_casing"]) == 0
    assert capsys.readouterr().out == lowered


def test_the_model_of_the_repository(model, capsys):
    Path("examples").mkdir()
    shutil.copytree(model, "examples/tiny")
    assert fill_mask.main(["the [MASK]"]) == 0
    out, err = capsys.readouterr()
    assert "from examples/tiny/bert_model.ckpt" in err
    assert fill_mask.main(["the [MASK]", f"--model_dir={model}"]) == 0
    assert capsys.readouterr().out == out


# Each function spoils something and returns the arguments and what the line must hold.


def no_text(model):
    return [f"--model_dir={model}"], ['Expected "TEXT WITH [MASK]"..., got none']


def an_empty_text(model):
    return ["[MASK]", "", f"--model_dir={model}"], ["an empty one"]


def no_mask(model):
    return ["the [mask]", f"--model_dir={model}"], ["in capitals", "'the [mask]'"]


def too_long(model):
    arguments = ["[MASK]" + " dark" * 78, f"--model_dir={model}"]
    return arguments, ["at most 78 pieces", "got 79 in '[MASK] dark dark"]


def no_model(model):
    return ["[MASK]"], ["Expected --model_dir", "examples/tiny is neither"]


def no_such_folder(model):
    return ["[MASK]", "--model_dir=none"], ["a folder at --model_dir=none, found none"]


def no_config(model):
    (model / "bert_config.json").unlink()
    return ["[MASK]", f"--model_dir={model}"], [f"a file at {model}/bert_config.json"]


def no_vocabulary(model):
    arguments = ["[MASK]", f"--model_dir={model}", "--vocab_file=none.txt"]
    return arguments, ["a file at none.txt, found none", "--vocab_file"]


def no_checkpoint(model):
    (model / "bert_model.ckpt.index").unlink()
    return ["[MASK]", f"--model_dir={model}"], ["a TensorFlow checkpoint", str(model)]


def a_small_vocabulary(model):
    vocab = model / "vocab.txt"
    vocab.write_text("\n".join(vocab.read_text().split("\n")[:99]))
    return ["[MASK]", f"--model_dir={model}"], ["1600 pieces", "has 99 lines"]


def a_classifier(model):
    config = BertConfig.from_json_file(model / "bert_config.json")
    save_checkpoint(BertClassifier(config, num_labels=2), str(model / "model.ckpt-1"))
    return ["[MASK]", f"--model_dir={model}"], ["lacks cls/predictions/", "pretraining"]


def a_damaged_note(model):
    (model / "run_config.json").write_text("{")
    return ["[MASK]", f"--model_dir={model}"], [f"{model}/run_config.json"]


def no_pieces_to_print(model):
    return ["[MASK]", f"--model_dir={model}", "--top_k=0"], ["--top_k=0"]


@pytest.mark.parametrize(
    "spoil",
    [
        no_text,
        an_empty_text,
        no_mask,
        too_long,
        no_model,
        no_such_folder,
        no_config,
        no_vocabulary,
        no_checkpoint,
        a_small_vocabulary,
        a_classifier,
        a_damaged_note,
        no_pieces_to_print,
    ],
)
def test_a_mistake_ends_in_one_sentence(model, capsys, spoil):
    arguments, says = spoil(model)
    assert fill_mask.main([*arguments, "--verbosity=-1"]) == 1
    captured = capsys.readouterr()
    [line] = captured.err.splitlines()
    assert line.startswith("fill_mask: ") and captured.out == ""
    for part in says:
        assert part in line
