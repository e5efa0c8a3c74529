"""Apache Beam's workers make the bytes that one machine makes."""

import dataclasses
import json
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from bert_tf.data import beam_pipeline
from bert_tf.data.beam import create_pretraining_data_with_beam
from bert_tf.data.pretraining_config import PretrainingDataConfig
from bert_tf.data.pretraining_data import create_pretraining_data
from bert_tf.errors import ConfigError, DataError
from bert_tf.tools.create_pretraining_data import main
from tests.data.test_pretraining_data import CORPUS, MORE_TEXT, ODD_TEXT, VOCAB
from tests.programs import start

IN_MEMORY = "--direct_num_workers=1"
# So that random segments are of other blocks, and files have several.
BLOCK_BYTES = 300


@pytest.fixture
def texts(tmp_path) -> str:
    """A pattern of five texts, one of them empty."""
    folder = tmp_path / "texts"
    folder.mkdir()
    shutil.copy(CORPUS, folder / "a.txt")
    (folder / "b.txt").write_text("")
    (folder / "c.txt").write_text(ODD_TEXT, newline="")
    (folder / "d.txt").write_text(MORE_TEXT)
    shutil.copy(CORPUS, folder / "e.txt")
    return str(folder / "*.txt")


def config_for(texts: str, folder: Path, **changes) -> PretrainingDataConfig:
    return PretrainingDataConfig(
        **{
            "input_file": texts,
            "output_file": str(folder / "records"),
            "vocab_file": str(VOCAB),
            "max_seq_length": 64,
            "max_predictions_per_seq": 10,
            "dupe_factor": 2,
            "mode": "stream",
            **changes,
        }
    )


def by_beam(config: PretrainingDataConfig, options: str = IN_MEMORY):
    """Makes the records of a config beside where it says."""
    folder = Path(config.folder).with_name("by_beam")
    return folder, create_pretraining_data_with_beam(
        dataclasses.replace(
            config,
            output_file=str(folder / Path(config.output_file).name),
            runner="beam",
            beam_options=options,
        ),
        block_bytes=BLOCK_BYTES,
    )


def content(folder: str | Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_shards": 3, "masking": "whole_word", "random_seed": -5, "dupe_factor": 3},
        {"num_shards": 2, "unmasked": True, "sentence_split": True},
        {"masking": "span", "word_segmenter": "jieba", "short_seq_prob": 0.5},
    ],
    ids=lambda changes: ", ".join(changes) or "defaults",
)
def test_the_same_bytes(texts, tmp_path, changes):
    config = config_for(texts, tmp_path / "one", **changes)
    made = create_pretraining_data(config)
    folder, found = by_beam(config)
    assert found == made
    assert made["counts"]["random_next"] > 20
    assert content(folder) == content(config.folder)


@pytest.mark.acceptance
def test_two_processes_make_the_same_bytes(texts, tmp_path):
    """Several blocks of 1 MB, as the tool cuts texts."""
    Path(texts).with_name("f.txt").write_text(CORPUS.read_text() * 150)
    config = config_for(texts, tmp_path / "one", num_shards=3)
    create_pretraining_data(config)
    flags = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if getattr(config, field.name) != field.default
    }
    flags["output_file"] = f"{tmp_path}/two/records"
    arguments = [f"--{name}={value}" for name, value in flags.items()]
    process = start(
        *("-m", "bert_tf.tools.create_pretraining_data", *arguments),
        *("--runner=beam", "--num_workers=2"),
    )
    children = set()
    while process.poll() is None:
        children |= workers_of(process.pid)
        time.sleep(0.05)
    assert process.returncode == 0, process.stderr.read()
    assert len(children) == 2
    assert content(tmp_path / "two") == content(config.folder)


def workers_of(pid: int) -> set[int]:
    """Returns the processes of Beam's workers below a process."""
    import psutil

    try:
        return {
            child.pid
            for child in psutil.Process(pid).children(recursive=True)
            if "sdk_worker_main" in " ".join(child.cmdline()) and child.name() != "sh"
        }
    except psutil.NoSuchProcess:
        return set()


def test_files_that_are_whole_stay(texts, tmp_path):
    config = config_for(texts, tmp_path / "one", num_shards=3)
    folder, made = by_beam(config)
    before = content(folder)
    # As a run leaves it that was killed before its second file was whole.
    (folder / "records-00001-of-00003").unlink()
    settings = {"format_version": 1, "settings": made["settings"]}
    (folder / "metadata.json").write_text(json.dumps(settings))
    kept = (folder / "records-00000-of-00003").stat()
    assert by_beam(config)[1] == made
    assert content(folder) == before
    assert (folder / "records-00000-of-00003").stat() == kept

    later = (folder / "metadata.json").stat()
    assert by_beam(config)[1] == made  # nothing to do
    assert (folder / "metadata.json").stat() == later
    with pytest.raises(ConfigError, match="says random_seed=12345, not 6"):
        by_beam(dataclasses.replace(config, random_seed=6))
    assert content(folder) == before


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        ("One document\nalone.\n", {}, "two documents or more"),
        ("\n\n", {}, "Expected sentences, one a line"),
        (b"fine\n\nnot \xff\n", {}, "found the byte 0xff in line 3"),
        ("a text\n\nanother\n", {"num_shards": 500}, "no more files than records"),
    ],
)
def test_bad_texts_leave_nothing_behind(tmp_path, text, changes, message):
    path = tmp_path / "text.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    config = config_for(str(path), tmp_path / "one", **changes)
    with pytest.raises((DataError, ConfigError), match=message) as caught:
        by_beam(config)
    assert "while running" not in str(caught.value)
    assert sorted(x.name for x in tmp_path.iterdir()) == ["text.txt"]


def test_a_file_that_cannot_be_written_is_named(texts, tmp_path):
    config = config_for(texts, tmp_path / "one", num_shards=2)
    # Where the second file is to be put together.
    in_the_way = tmp_path / "by_beam" / ".writing-records-00001-of-00002"
    in_the_way.mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"one failed \(.*00001-of-00002") as caught:
        by_beam(config)
    assert "\n" not in str(caught.value) and "while running" not in str(caught.value)
    in_the_way.rmdir()
    create_pretraining_data(config)
    folder, _ = by_beam(config)
    assert content(folder) == content(config.folder)


@pytest.mark.parametrize("spoil", [lambda x: x[:-1], lambda x: [*x, x[-1]]])
def test_what_a_runner_loses_is_missed(texts, tmp_path, monkeypatch, spoil):
    """Of two processes, a tenth of the records was seen to be missing."""
    whole = beam_pipeline._Records.records

    def records(self, *arguments):
        yield from spoil(list(whole(self, *arguments)))

    monkeypatch.setattr(beam_pipeline._Records, "records", records)
    config = config_for(texts, tmp_path / "one")
    with pytest.raises(DataError, match=r"Expected \d+ records.*, got \d+, since"):
        by_beam(config)
    assert set(content(tmp_path / "by_beam")) == {"metadata.json"}


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"mode": "reference"}, "--mode=stream beside --runner=beam, got --mode=ref"),
        ({"work_dir": "."}, "no --work_dir beside --runner=beam"),
        ({"runner": "local"}, "--runner=beam beside --beam_options, got"),
        ({"beam_options": "--bert"}, "got --bert, which it does not know"),
        ({"beam_options": "word"}, "got word, which it does not know"),
        ({"beam_options": "--a='b"}, '--beam_options, got "--a=\'b"'),
        ({"beam_options": "--direct_num_workers=x"}, "got '--direct_num_workers=x'"),
        ({"vocab_file": "none.txt"}, "--vocab_file=none.txt, found none"),
        ({"input_file": "none*.txt"}, "text files at none*.txt, found none"),
        ({"output_file": str(VOCAB)}, "Expected records to be written elsewhere"),
        ({"output_file": "foo://bucket/x"}, "knows, got foo://bucket/x"),
        ({"input_file": "foo://bucket/*"}, "knows, got foo://bucket/*"),
        ({"beam_options": "--runner=NoSuch"}, "takes in --beam_options, got '--runner"),
    ],
)
def test_bad_flags(texts, tmp_path, capfd, flags, says):
    given = {"beam_options": IN_MEMORY, "runner": "beam", "mode": "stream"}
    given |= {"input_file": texts, "vocab_file": str(VOCAB)}
    given |= {"output_file": str(tmp_path / "out" / "records"), **flags}
    assert main([f"--{name}={value}" for name, value in given.items()]) == 1
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("create_pretraining_data: ") and says in last
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named(texts, tmp_path, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    arguments = [f"--input_file={texts}", f"--vocab_file={VOCAB}", "--runner=beam"]
    arguments += [f"--output_file={tmp_path}/out/records", "--mode=stream"]
    assert main(arguments) == 1
    assert "pip install 'bert-tf[beam]'" in capfd.readouterr().err


@pytest.mark.acceptance
def test_an_interrupted_run_leaves_nothing_half(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(CORPUS.read_text() * 1000)
    process = start(
        *("-m", "bert_tf.tools.create_pretraining_data", "--runner=beam"),
        *("--mode=stream", "--num_workers=2", f"--input_file={path}"),
        *(f"--vocab_file={VOCAB}", f"--output_file={tmp_path}/out/records"),
    )
    while not (children := workers_of(process.pid)):
        time.sleep(0.1)
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert "interrupted; run the same command again" in process.stderr.read()
    assert not list(tmp_path.glob("out/records*"))
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{child}/cmdline").exists() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.2)
