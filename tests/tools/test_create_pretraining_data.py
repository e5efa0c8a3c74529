"""Bad input to create_pretraining_data ends in one sentence; nothing has changed."""

import dataclasses
import gzip
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bert_tf.data import corpus, text_files
from bert_tf.data.work_folder import work_folder
from bert_tf.tools import create_pretraining_data
from tests.programs import ROOT, run, start


@dataclasses.dataclass
class Place:
    """A folder with text and vocabulary, and the flags of a good run."""

    root: Path
    flags: dict[str, str]

    def write(self, name: str, content: str | bytes) -> str:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def arguments(self) -> list[str]:
        return [f"--{name}={value}" for name, value in self.flags.items()]

    def everything(self) -> dict[str, bytes | None]:
        return {
            str(path): path.read_bytes() if path.is_file() else None
            for path in self.root.rglob("*")
        }


@pytest.fixture
def place(tmp_path, testdata) -> Place:
    vocab = shutil.copy(testdata / "vocab_uncased.txt", tmp_path / "vocab.txt")
    text = shutil.copy(testdata / "corpus.txt", tmp_path / "text.txt")
    flags = {
        "input_file": str(text),
        "output_file": str(tmp_path / "made" / "records"),
        "vocab_file": str(vocab),
        "max_seq_length": "64",
        "max_predictions_per_seq": "10",
        "dupe_factor": "2",
    }
    return Place(tmp_path, flags)


def assert_refused(place: Place, capsys, *says: str) -> None:
    before = place.everything()
    assert create_pretraining_data.main(place.arguments()) == 1
    stderr = capsys.readouterr().err
    assert "Traceback" not in stderr
    last = stderr.rstrip("\n").split("\n")[-1]
    assert last.startswith("create_pretraining_data: Expected ")
    for text in says:
        assert text in last
    assert place.everything() == before


def test_a_good_run_says_what_it_made(place, capsys):
    assert create_pretraining_data.main(place.arguments()) == 0
    log = capsys.readouterr().err
    assert "records of 14 documents" in log and place.flags["output_file"] in log
    assert create_pretraining_data.main(place.arguments()) == 0
    assert "nothing to do" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["input_file", "output_file", "vocab_file"])
def test_a_missing_flag(place, capsys, flag):
    del place.flags[flag]
    assert_refused(place, capsys, f"--{flag}")


def test_text_that_is_not_utf8(place, capsys):
    good = b"A sentence.\n\n" * 30_000  # more than is read at a time
    place.flags["input_file"] = place.write("bad.txt", good + b"caf\xe9\n")
    assert_refused(place, capsys, "0xe9", "line 60001", "bad.txt", "UTF-8")


def test_one_document_in_all(place, capsys):
    place.flags["input_file"] = place.write("one.txt", "One.\nTwo.\nThree.\n")
    assert_refused(place, capsys, "two documents or more", "one.txt", "blank line")


@pytest.mark.parametrize("text", ["", "\n \n\n", "\u200b\n"])
def test_no_text_at_all(place, capsys, text):
    place.flags["input_file"] = place.write("none.txt", text)
    assert_refused(place, capsys, "found no text", "none.txt")


def test_a_huge_file_without_a_blank_line(place, capsys, monkeypatch):
    monkeypatch.setattr(corpus, "_MAX_DOCUMENT_BYTES", 2**20)
    lines = "Just another line.\n" * 80_000
    place.flags["input_file"] = place.write("log.txt", f"First.\n\n{lines}")
    assert_refused(place, capsys, "blank line between documents", "log.txt", "1 MB")


def test_a_huge_file_without_a_line_end(place, capsys, monkeypatch):
    monkeypatch.setattr(text_files, "_MAX_LINE_BYTES", 2**20)
    place.flags["input_file"] = place.write("dump.json", "[0, " * 400_000)
    assert_refused(place, capsys, "without a line end", "line 1", "dump.json")


def test_an_empty_glob(place, capsys):
    place.flags["input_file"] += f",{place.root}/none-*.txt"
    assert_refused(place, capsys, "none-*.txt", "--input_file")


def test_a_folder_of_texts(place, capsys):
    place.flags["input_file"] = str(place.root)
    assert_refused(place, capsys, "is a folder", "*.txt")


@pytest.mark.parametrize("piece", ["[MASK]", "[CLS]", "[SEP]", "[UNK]"])
def test_a_vocabulary_that_lacks_a_special_piece(place, capsys, piece):
    vocab = Path(place.flags["vocab_file"])
    vocab.write_text(vocab.read_text().replace(f"{piece}\n", "[unused]\n"))
    assert_refused(place, capsys, f"lacks {piece}", "vocab.txt")


def test_a_vocabulary_of_the_other_case(place, capsys, testdata):
    place.flags["vocab_file"] = str(testdata / "vocab_cased.txt")
    assert_refused_for_casing = "--do_lower_case"
    before = place.everything()
    assert create_pretraining_data.main(place.arguments()) == 1
    assert assert_refused_for_casing in capsys.readouterr().err
    assert place.everything() == before
    place.flags["check_casing"] = "false"
    assert create_pretraining_data.main(place.arguments()) == 0


def test_a_folder_with_shards_of_other_settings(place, capsys):
    assert create_pretraining_data.main(place.arguments()) == 0
    place.flags["random_seed"] = "1"
    assert_refused(place, capsys, "random_seed=12345, not 1", "made")


def test_a_folder_with_records_of_unknown_settings(place, capsys):
    place.write("made/records", b"someone's")
    assert_refused(place, capsys, "metadata.json", "made")


@pytest.mark.parametrize("mode", ["reference", "stream"])
def test_an_output_that_is_an_input(place, capsys, mode):
    place.flags["mode"] = mode
    link = place.root / "link"
    link.symlink_to(place.flags["input_file"])
    for output in (place.flags["input_file"], place.flags["vocab_file"], str(link)):
        place.flags["output_file"] = output
        assert_refused(place, capsys, output, "name another")
    place.flags["input_file"] = f"{place.root}/*.txt"
    place.flags["output_file"] = str(place.root / "records.txt")  # the next time
    assert_refused(place, capsys, "records.txt", "name another")
    place.flags["output_file"] = str(place.root / "folder")
    (place.root / "folder").mkdir()
    assert_refused(place, capsys, "folder is a folder", "records.tfrecord")


def test_more_files_than_records(place, capsys):
    place.flags["num_shards"] = "5000"
    assert_refused(place, capsys, "5000 files", "--num_shards")


def test_a_compressed_text(place, capsys):
    content = gzip.compress(b"One sentence.\n\nAnother one.\n")
    place.flags["input_file"] = place.write("text.gz", content)
    assert_refused(place, capsys, "0x8b", "unpack the file")


def test_what_is_hardly_meant_is_said(place, capsys):
    place.flags["input_file"] = place.write("text", "ζ ξ ψ.\n\nθ ϕ χ.\n")
    assert create_pretraining_data.main(place.arguments()) == 0
    log = capsys.readouterr().err
    assert "of the pieces are unknown" in log
    assert "100 % of the next segments are random" in log


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.acceptance)],
)
def test_a_signal_ends_it_so_that_it_can_go_on(place, number):
    place.flags |= {"dupe_factor": "20000", "mode": "stream", "num_workers": "1"}
    process = start("-m", "bert_tf.tools.create_pretraining_data", *place.arguments())
    made = place.root / "made"
    while not (made / ".writing-records").exists():
        assert process.poll() is None, process.communicate()[1][-2000:]
        time.sleep(0.01)
    process.send_signal(number)
    message = process.communicate(timeout=60)[1].rstrip("\n").split("\n")[-1]
    assert process.returncode == 130
    assert message.endswith("interrupted; run the same command again to go on.")
    assert {path.name for path in made.iterdir()} == {
        ".pretraining-data",
        "metadata.json",
    }


def test_damaged_metadata(place, capsys):
    place.write("made/metadata.json", "{")
    assert_refused(place, capsys, "metadata.json", "damage")
    for text in ('"abc"', "5", "null", "[]", "{}", '{"format_version": 1}'):
        place.write("made/metadata.json", text)
        assert_refused(place, capsys, "metadata.json", "damage")
    place.write("made/metadata.json", '{"format_version": 99}')
    assert_refused(place, capsys, "format version 1", "99")


def test_a_file_where_a_folder_has_to_be(place, capsys):
    place.write("made", "a file")
    assert_refused(place, capsys, "made", "found a file")
    place.flags["output_file"] = str(place.root / "other" / "records")
    place.flags["work_dir"] = str(place.root / "made")
    assert_refused(place, capsys, "made", "found a file")


def test_an_unknown_language(place, capsys):
    place.flags |= {"sentence_split": "true", "language": "Klingon"}
    assert_refused(place, capsys, "language", "Klingon")


def test_two_runs_at_a_time(place, capsys):
    with work_folder(str(place.root / "made")):
        assert_refused(place, capsys, "of no other run", "at work")


# A limit on the size of files fails like a full disk: in the middle of a write.
LIMITED = """
import resource, signal, sys
from bert_tf.tools.create_pretraining_data import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("limit", "dupe_factor"),
    [(4000, 2), pytest.param(400_000, 300, marks=pytest.mark.acceptance)],
)
def test_a_full_disk(place, limit, dupe_factor):
    """While texts are tokenized, and while records are written."""
    place.flags |= {"dupe_factor": str(dupe_factor), "mode": "stream"}
    process = start("-c", LIMITED, str(limit), *place.arguments())
    message = process.communicate()[1].rstrip("\n").split("\n")[-1]
    assert process.returncode == 1
    assert message.startswith("create_pretraining_data: Expected room on the disk")
    left = {path.name for path in (place.root / "made").glob("*")}
    assert left <= {"metadata.json"}
    assert create_pretraining_data.main(place.arguments()) == 0


def test_help_and_mistakes_come_without_tensorflow(tmp_path):
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("raise SystemError")
    for arguments, code in ((["--help"], 0), (["--masking=words"], 1), ([], 1)):
        done = subprocess.run(
            [sys.executable, "-m", "bert_tf.tools.create_pretraining_data", *arguments],
            cwd=ROOT,
            env={"PYTHONPATH": str(tmp_path), "PATH": ""},
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
    assert "--masked_lm_prob" in run(
        "-m", "bert_tf.tools.create_pretraining_data", "--help"
    )
