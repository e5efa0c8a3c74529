"""The tool writes what the library learns, whole, or says in one sentence why not."""

import os
import re
import signal
from pathlib import Path

import pytest
from tensorflow_text.tools.wordpiece_vocab import wordpiece_tokenizer_learner_lib

from bert_tf import files
from bert_tf.tokenization import FullTokenizer
from bert_tf.tokenization.learning import count_words, learn_vocabulary
from bert_tf.tools import learn_vocab as tool
from bert_tf.tools import text_words
from tests.programs import run


@pytest.fixture
def flags(tmp_path, testdata) -> dict[str, str]:
    text = (testdata / "corpus.txt").read_bytes()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").write_bytes(text[:3000])
    (tmp_path / "texts/b.txt").write_bytes(text[3000:])
    return {
        "input_file": f"{tmp_path}/texts/*.txt",
        "vocab_file": f"{tmp_path}/new/vocab.txt",
        "vocab_size": "400",
        "min_count": "2",
    }


def arguments(flags: dict[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]


def everything(root: Path) -> dict[str, bytes | None]:
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
    }


@pytest.mark.parametrize("casing", [True, False])
def test_the_file_and_the_report(flags, casing, testdata, capsys):
    flags |= {"num_unused": "2", "do_lower_case": str(casing)}
    assert tool.main(arguments(flags)) == 0
    path = Path(flags["vocab_file"])
    assert [each.name for each in path.parent.iterdir()] == ["vocab.txt"]
    text = (testdata / "corpus.txt").read_bytes()
    # A file ends where a line does, as far as its reader is concerned.
    lines = [*text[:3000].split(b"\n"), *text[3000:].split(b"\n")]
    counts = count_words([lines], casing)
    learned = learn_vocabulary(counts, 400, num_unused=2, min_count=2)
    assert path.read_bytes().decode() == "".join(f"{p}\n" for p in learned.pieces)

    log = capsys.readouterr().err
    assert f"{len(lines) - 1} lines, {counts.total():,} words, {len(counts)} of" in log
    assert f"400 pieces with {learned.characters} characters" in log
    tokenizer = FullTokenizer(str(path), casing)
    words = [w for line in lines for w in tokenizer.basic_tokenizer.tokenize(line)]
    unknown = sum(tokenizer.wordpiece_tokenizer.tokenize(w) == ["[UNK]"] for w in words)
    assert f"{100 * unknown / len(words):.4f} % of the words unknown" in log
    assert re.search(r"^\d+ s$", log, re.M)


@pytest.mark.acceptance
def test_the_same_bytes_whatever_the_hashes(flags):
    first, second = (f"{flags['vocab_file']}-{number}" for number in (1, 2))
    assert tool.main(arguments({**flags, "vocab_file": first})) == 0
    again = arguments({**flags, "vocab_file": second})
    run("-m", "bert_tf.tools.main", "learn_vocab", *again, PYTHONHASHSEED="1")
    assert Path(first).read_bytes() == Path(second).read_bytes()


def test_reserved_pieces(flags):
    flags |= {"reserved_pieces": "[ENT], [NUM]"}
    assert tool.main(arguments(flags)) == 0
    lines = Path(flags["vocab_file"]).read_text("utf-8").splitlines()
    assert len(lines) == 400 and lines[4:7] == ["[MASK]", "[ENT]", "[NUM]"]


def test_too_little_text_is_a_warning(flags, capsys):
    flags |= {"vocab_size": "5000", "min_count": "10"}
    assert tool.main(arguments(flags)) == 0
    lines = Path(flags["vocab_file"]).read_text("utf-8").splitlines()
    filled = sum(line.startswith("[unused") for line in lines)
    assert len(lines) == 5000 and filled > 4000
    assert f"WARNING: {filled:,} of the pieces are [unusedN]" in capsys.readouterr().err


def assert_refused(root: Path, flags, capsys, *says: str) -> None:
    before = everything(root)
    assert tool.main(arguments(flags)) == 1
    stderr = capsys.readouterr().err
    assert "Traceback" not in stderr
    last = stderr.rstrip("\n").split("\n")[-1]
    assert last.startswith("learn_vocab: Expected ")
    for text in says:
        assert text in last
    assert everything(root) == before


@pytest.mark.parametrize("flag", ["input_file", "vocab_file"])
def test_a_missing_flag(tmp_path, flags, capsys, flag):
    del flags[flag]
    assert_refused(tmp_path, flags, capsys, f"--{flag}")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"input_file": "{root}/none-*.txt"}, ("none-*.txt", "--input_file")),
        ({"input_file": "{root}/texts"}, ("texts is a folder", "*.txt")),
        ({"vocab_file": "{root}/texts"}, ("texts is a folder", "vocab.txt")),
        ({"vocab_file": "{root}/new/"}, ("--vocab_file", "vocab.txt")),
        ({"vocab_file": "{root}/texts/a.txt"}, ("no file yet", "a.txt")),
        ({"vocab_file": "{root}/texts/vocab.txt"}, ("taken for one", "vocab.txt")),
        ({"vocab_file": "{root}/texts/a.txt/new/v"}, ("a.txt", "no folder")),
        ({"reserved_pieces": "[A],,[B]"}, ("--reserved_pieces", "single commas")),
        ({"reserved_pieces": "[A],\udcff"}, ("--reserved_pieces", "UTF-8")),
        ({"reserved_pieces": "[A],[A]"}, ("--reserved_pieces", "'[A]'", "twice")),
        ({"vocab_size": "40"}, ("--vocab_size", "at least", "got 40", "--min_count")),
    ],
)
def test_bad_flags(tmp_path, flags, capsys, changes, says):
    flags |= {name: value.format(root=tmp_path) for name, value in changes.items()}
    assert_refused(tmp_path, flags, capsys, *says)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"Good.\n" * 60_000 + b"caf\xe9\n", ("0xe9", "line 60001", "UTF-8")),
        (b"\x1f\x8b\x08\x00 zipped", ("unpack",)),
        (b"", ("no word", "bad.txt")),
        (b"\n \r\n\xe2\x80\x8b\n", ("no word", "bad.txt")),
    ],
)
def test_bad_texts(tmp_path, flags, capsys, content, says):
    (tmp_path / "bad.txt").write_bytes(content)
    flags["input_file"] = f"{tmp_path}/bad.txt"
    assert_refused(tmp_path, flags, capsys, *says)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to(tmp_path, flags, capsys):
    (tmp_path / "locked").mkdir(mode=0o500)
    flags["vocab_file"] = f"{tmp_path}/locked/new/vocab.txt"
    assert_refused(tmp_path, flags, capsys, "locked", "written")


def interrupting(function):
    """Returns the function, as if Ctrl-C were pressed once it is called."""

    def interrupted(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGINT)
        return function(*args, **kwargs)

    return interrupted


@pytest.mark.parametrize(
    ("module", "name"),
    [(text_words, "read_blocks"), (wordpiece_tokenizer_learner_lib, "learn")],
)
def test_ctrl_c_leaves_nothing(tmp_path, flags, capsys, monkeypatch, module, name):
    monkeypatch.setattr(module, name, interrupting(getattr(module, name)))
    before = everything(tmp_path)
    assert tool.main(arguments(flags)) == 130
    stderr = capsys.readouterr().err
    assert stderr.splitlines()[-1] == "learn_vocab: interrupted."
    assert everything(tmp_path) == before


def test_ctrl_c_while_the_file_is_written(flags, monkeypatch):
    monkeypatch.setattr(files, "write_file", interrupting(files.write_file))
    assert tool.main(arguments(flags)) == 0
    path = Path(flags["vocab_file"])
    assert len(path.read_text("utf-8").splitlines()) == 400
    assert [each.name for each in path.parent.iterdir()] == ["vocab.txt"]
