"""The tool adds words to a folder's model, whole, or says in a sentence why not."""

import json
import shutil
import string
from pathlib import Path

import numpy as np
import pytest
import scipy

from bert_tf import BertClassifier, BertConfig, load_checkpoint, save_checkpoint
from bert_tf import model_extension as extension
from bert_tf.files import sha256
from bert_tf.serving.saved_model import SavedModel
from bert_tf.tools import export_model
from bert_tf.tools import extend_vocab as tool


@pytest.fixture
def model(tmp_path, testdata) -> Path:
    """A folder in Google's layout, with two lines that are free."""
    folder = tmp_path / "model"
    folder.mkdir()
    for path in testdata.glob("bert_*"):
        shutil.copy(path, folder)
    text = (testdata / "vocab_uncased.txt").read_text("utf-8")
    for number, word in enumerate(("penguins", "grandfather")):
        text = text.replace(f"\n{word}\n", f"\n[unused{number}]\n")
    (folder / "vocab.txt").write_text(text, "utf-8")
    return folder


def everything(root: Path) -> dict[str, bytes]:
    return {str(x): x.read_bytes() for x in root.rglob("*") if x.is_file()}


def test_words_of_the_command_line(model, tmp_path, capsys):
    before = everything(model)
    new = tmp_path / "deep" / "new"
    flags = [f"--model_dir={model}", "--words=covid, ##ainty,the,雪,covid"]
    assert tool.main([*flags, f"--output_dir={new}"]) == 0
    assert everything(model) == before
    out, err = capsys.readouterr()
    ids = {x: i for i, x in enumerate((new / "vocab.txt").read_text().split("\n"))}
    assert out.splitlines() == [
        "3 new pieces, 2 of them in place of [unusedN]; 1,601 pieces in all",
        f"  {ids['covid']} in place of [unused0]  covid: co ##v ##id",
        f"  {ids['##ainty']} in place of [unused1]  ##ainty: ##ain ##ty",
        "  1600  雪: [UNK]",
    ]
    assert "pieces already, or given twice: the, covid\n" in err
    assert "WARNING: unknown so far" in err and "[UNK]: 雪\n" in err
    assert f"wrote the model to {new}\n" in err


def test_words_of_a_file_and_the_files_of_a_model(model, tmp_path, capsys):
    words = [f"zq{x}" for x in string.ascii_lowercase]
    (tmp_path / "words.txt").write_bytes("\r\n".join([*words, "", " "]).encode())
    flags = [
        f"--bert_config_file={model}/bert_config.json",
        f"--vocab_file={model}/vocab.txt",
        f"--init_checkpoint={model}/bert_model.ckpt",
        f"--words_file={tmp_path}/words.txt",
        f"--output_dir={tmp_path}/new/",
        "--keep_unused",
    ]
    assert tool.main(flags) == 0
    out = capsys.readouterr().out
    assert out.startswith("26 new pieces, 0 of them in place of [unusedN]; 1,626 ")
    assert out.endswith("\n  and 6 more\n")
    lines = (tmp_path / "new" / "vocab.txt").read_text().splitlines()
    assert lines[1600:] == words
    assert {"[unused0]", "[unused1]"} < set(lines)


@pytest.mark.parametrize("ops", ["tf_text", "core"])
def test_an_export_knows_the_word(model, tmp_path, ops):
    new, folder = tmp_path / "new", tmp_path / "export"
    flags = [f"--model_dir={model}", "--words=covid", f"--output_dir={new}"]
    assert tool.main(flags) == 0
    flags = [f"--model_dir={new}", f"--export_dir={folder}", f"--tokenizer_ops={ops}"]
    assert export_model.main(flags) == 0
    text = {"text": np.array([b"Covid, covids"])}
    said = SavedModel(str(folder)).run("pieces", text)["text_pieces"]
    assert said.tolist() == [[b"covid", b",", b"covid", b"##s"]]


def test_the_folder_of_a_run_stays_one(model, tmp_path):
    """Its note says what the new files are, so that the run's own labels are used."""
    config = BertConfig.from_json_file(str(model / "bert_config.json"))
    for path in model.glob("bert_model*"):
        path.unlink()
    save_checkpoint(BertClassifier(config, 2), str(model / "model.ckpt-5"), step=5)
    note = {
        "task_name": "mine",
        "label_kind": "single",
        "is_pair": False,
        "max_seq_length": 32,
        "do_lower_case": True,
        "vocab_sha256": sha256(str(model / "vocab.txt")),
        "bert_config": config.to_dict(),
    }
    (model / "run_config.json").write_text(json.dumps(note))
    (model / "labels.json").write_text('["no", "yes"]')
    new = tmp_path / "new"
    flags = [f"--model_dir={model}", "--words=covid", "--keep_unused"]
    assert tool.main([*flags, f"--output_dir={new}"]) == 0
    assert (new / "labels.json").read_bytes() == (model / "labels.json").read_bytes()
    noted = json.loads((new / "run_config.json").read_text())
    wide = json.loads((new / "bert_config.json").read_text())
    assert wide["vocab_size"] == 1601
    digest = sha256(str(new / "vocab.txt"))
    assert noted == {**note, "vocab_sha256": digest, "bert_config": wide}

    flags = [f"--model_dir={new}", f"--export_dir={tmp_path}/export"]
    assert export_model.main(flags) == 0
    export = SavedModel(str(tmp_path / "export"))
    said = export.run("serving_default", {"text_a": np.array([b"Covid"])})
    classifier = BertClassifier(BertConfig.from_json_file(f"{new}/bert_config.json"), 2)
    load_checkpoint(classifier, str(new))
    logits = classifier({"input_ids": np.array([[2, 1600, 3]])})
    np.testing.assert_allclose(
        said["probabilities"], scipy.special.softmax(logits, axis=-1), atol=1e-6
    )
    assert said["labels"].tolist() == [[b"no", b"yes"]]


def a_note_of_another_casing(model):
    (model / "checkpoint").write_text('model_checkpoint_path: "bert_model.ckpt"\n')
    (model / "run_config.json").write_text('{"do_lower_case": true}')
    return ["--nodo_lower_case", "--nocheck_casing"], ["do_lower_case=False"]


def a_note_of_another_vocabulary(model):
    (model / "checkpoint").write_text('model_checkpoint_path: "bert_model.ckpt"\n')
    (model / "run_config.json").write_text('{"vocab_sha256": "1"}')
    return [], ["--model_dir of a run with vocab_sha256="]


def no_words(model):
    return ["--words="], ["either --words or --words_file, got none"]


def words_twice(model):
    return ["--words_file=some.txt"], ["either --words or --words_file, got both"]


def no_words_file(model):
    return ["--words=", "--words_file=none.txt"], ["--words_file=none.txt, found none"]


def an_empty_words_file(model):
    (model / "words").write_text("\n \n")
    return ["--words=", f"--words_file={model}/words"], ["a word a line in --words_fi"]


def words_in_another_encoding(model):
    (model / "words").write_bytes(b"good\ncaf\xe9\n")
    return ["--words=", f"--words_file={model}/words"], ["0xe9 in line 2", "UTF-8"]


def two_words_in_a_line(model):
    (model / "words").write_text("good\nnew york\n")
    flags = ["--words=", f"--words_file={model}/words"]
    return flags, ["'new york'", f"{model}/words", "splits into 'new york'"]


def an_empty_word(model):
    return ["--words=covid,,flu"], ["single commas between in --words, got ''"]


def bytes_that_are_no_text(model):
    return ["--words=covid,\udcff"], ["a list in UTF-8", "--words"]


def a_word_with_an_apostrophe(model):
    return ["--words=covid,don't"], ['"don\'t" in --words', "don ' t"]


def a_word_in_capitals(model):
    return ["--words=Covid"], ["'covid' with --do_lower_case=True"]


def a_special_piece(model):
    return ["--words=[MASK]"], ["'[MASK]' in --words", "special piece"]


def a_long_word(model):
    return [f"--words={'x' * 201}"], ["longer than 200 characters"]


def only_known_words(model):
    return ["--words=the,a"], ["no pieces yet in --words", "nothing to add"]


def no_output(model):
    return ["--output_dir="], ["Expected --output_dir, got none"]


def files_in_the_output(model):
    return [f"--output_dir={model}"], ["new or empty folder", "found files in it"]


def a_file_as_output(model):
    return [f"--output_dir={model}/vocab.txt"], ["new or empty folder", "found a file"]


def an_output_below_a_file(model):
    return [f"--output_dir={model}/vocab.txt/x"], ["cannot be written"]


def no_folder(model):
    return ["--model_dir=nowhere"], ["folder at --model_dir=nowhere, found none"]


def no_model(model):
    return ["--model_dir="], ["Expected --model_dir, got none"]


def a_piece_that_stands_there_twice(model):
    path = model / "vocab.txt"
    path.write_text(path.read_text().replace("[unused0]", "the"))
    return [], ["every piece once", "'the'"]


def a_damaged_checkpoint(model):
    path = model / "bert_model.ckpt.data-00000-of-00001"
    path.write_bytes(path.read_bytes()[:1000])
    return [], ["a whole TensorFlow checkpoint", "fetch its files"]


def a_checkpoint_of_something_else(model):
    import tensorflow as tf

    from bert_tf.checkpoint import write_tensors

    write_tensors(f"{model}/other.ckpt", {"weights": tf.zeros([2])})
    (model / "checkpoint").unlink()
    return [f"--init_checkpoint={model}/other.ckpt"], ["word_embeddings in", "BERT"]


@pytest.mark.parametrize(
    "spoil",
    [
        a_note_of_another_casing,
        a_note_of_another_vocabulary,
        no_words,
        words_twice,
        no_words_file,
        an_empty_words_file,
        words_in_another_encoding,
        two_words_in_a_line,
        an_empty_word,
        bytes_that_are_no_text,
        a_word_with_an_apostrophe,
        a_word_in_capitals,
        a_special_piece,
        a_long_word,
        only_known_words,
        no_output,
        files_in_the_output,
        a_file_as_output,
        an_output_below_a_file,
        no_folder,
        no_model,
        a_piece_that_stands_there_twice,
        a_damaged_checkpoint,
        a_checkpoint_of_something_else,
    ],
    ids=lambda spoil: spoil.__name__,
)
def test_a_mistake_ends_in_one_sentence(model, tmp_path, capsys, spoil):
    more, says = spoil(model)
    before = everything(tmp_path)
    flags = [f"--model_dir={model}", "--words=covid", f"--output_dir={tmp_path}/new"]
    assert tool.main([*flags, "--verbosity=-1", *more]) == 1
    out, err = capsys.readouterr()
    [line] = err.splitlines()
    assert line.startswith("extend_vocab: Expected ") and out == ""
    for part in says:
        assert part in line
    assert everything(tmp_path) == before and not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["write_tensors", "write_file", "carry_note"])
def test_an_interrupt_leaves_nothing(model, tmp_path, capsys, monkeypatch, name):
    (model / "checkpoint").write_text('model_checkpoint_path: "bert_model.ckpt"\n')
    (model / "run_config.json").write_text('{"do_lower_case": true}')
    written = getattr(extension, name)

    def interrupted(*args):
        written(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(extension, name, interrupted)
    before = everything(tmp_path)
    flags = [f"--model_dir={model}", "--words=covid", f"--output_dir={tmp_path}/new"]
    assert tool.main(flags) == 130
    said = capsys.readouterr().err
    assert said.endswith("extend_vocab: interrupted; nothing was written.\n")
    assert everything(tmp_path) == before
    assert [x.name for x in tmp_path.iterdir()] == ["model"]
    monkeypatch.undo()
    assert tool.main(flags) == 0
    assert json.loads((tmp_path / "new" / "run_config.json").read_text())
