"""Bad records and flags of run_pretraining end in one sentence; checkpoints stay."""

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from bert_tf.checkpoint import CheckpointReader
from bert_tf.data import metadata
from bert_tf.data.records import (
    pretraining_features,
    unmasked_features,
    write_records,
)
from bert_tf.tools import run_pretraining
from tests.programs import start
from tests.small_pretraining import golden_records, write_small_pretraining
from tests.small_task import as_arguments


@pytest.fixture
def flags(tmp_path, testdata):
    flags = write_small_pretraining(tmp_path, testdata, num_hidden_layers=1)
    return {**flags, "do_train": "true", "num_train_steps": "4"}


def refused(flags, capsys, *parts: str) -> str:
    """Runs, and returns the last line; it must hold the parts, in order."""
    before = everything(Path(flags["output_dir"]))
    assert run_pretraining.main(as_arguments(flags)) == 1
    log = capsys.readouterr().err
    message = log.rstrip("\n").split("\n")[-1]
    assert "Traceback" not in log
    assert message.startswith("run_pretraining: Expected"), message
    place = 0
    for part in parts:
        place = message.find(part, place)
        assert place >= 0, f"{part!r} is not, or not there, in: {message}"
    after = everything(Path(flags["output_dir"]))
    assert {name: after.get(name) for name in before} == before
    return message


def everything(folder: Path) -> dict[str, bytes]:
    """Returns the files whose content matters to whoever goes on."""
    return {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "tfevents" not in path.name
    }


def shard(tmp_path, number: int = 1) -> Path:
    return tmp_path / f"records-{number:05d}-of-00002"


def places(content: bytes) -> list[int]:
    """Returns the byte that each record of a file begins at, and the end."""
    found = [0]
    while found[-1] < len(content):
        (length,) = struct.unpack_from("<Q", content, found[-1])
        found.append(found[-1] + length + 16)
    return found


@pytest.mark.parametrize("at", ["header", "data", "end"])
def test_damaged_records(flags, tmp_path, capsys, at):
    """The file and the byte are named; with a flag they are left out, and counted."""
    path = shard(tmp_path)
    content = bytearray(path.read_bytes())
    found = places(content)
    damaged = found[20]
    if at == "end":
        damaged = found[-2]
        del content[damaged + 40 :]
    else:
        content[damaged + (2 if at == "header" else 100)] ^= 0x55
    path.write_bytes(content)
    kind = "truncated" if at == "end" else "corrupt"
    refused(flags, capsys, str(path), f"a {kind} one at byte {damaged};", "--skip")
    assert not Path(flags["output_dir"]).exists()
    arguments = as_arguments({**flags, "skip_corrupt_records": "true"})
    assert run_pretraining.main(arguments) == 0
    log = capsys.readouterr().err
    assert "109 records, files: 2" in log
    assert f"were skipped: 1 ({path} at byte {damaged})" in log


@pytest.mark.parametrize("how", ["name", "metadata"])
def test_a_missing_shard(flags, tmp_path, capsys, how):
    if how == "name":
        shard(tmp_path).unlink()
        missing = shard(tmp_path)
    else:
        missing = tmp_path / "records-last"
        write_metadata(tmp_path, ["records-last"])
    refused(flags, capsys, f"{missing} is missing")


def test_records_that_are_not_all_made(flags, tmp_path, capsys):
    write_metadata(tmp_path, [])
    note = tmp_path / "metadata.json"
    values = json.loads(note.read_text())
    del values["counts"]
    note.write_text(json.dumps(values))
    refused(flags, capsys, "all made", str(note), "did not end")


def write_metadata(folder: Path, files: list[str], **changes) -> None:
    settings = {
        "max_seq_length": 64,
        "max_predictions_per_seq": 10,
        "unmasked": False,
        "vocab": metadata.vocabulary(str(folder / "vocab.txt")),
        "files": files,
        **changes,
    }
    metadata.write(str(folder), {"settings": settings, "counts": {}})


def change_records(path: Path, testdata, place: int, **changes) -> None:
    """Writes golden records, one of them with other features."""
    records = golden_records(testdata)
    spec = pretraining_features(64, 10)
    ordinary = {name: values[:1] for name, values in records.items()}
    batches = [ordinary] * place
    odd = {**ordinary, **changes}
    write_records(str(path), [*batches, odd, ordinary], spec)


def other_length(length: int) -> dict[str, np.ndarray]:
    names = ("input_ids", "input_mask", "segment_ids")
    return {name: np.ones([1, length], np.int64) for name in names}


def test_records_of_another_length(flags, tmp_path, testdata, capsys):
    refused({**flags, "max_seq_length": "32"}, capsys, "--max_seq_length=32", "64 in")
    predictions = {"max_predictions_per_seq": "20"}
    refused({**flags, **predictions}, capsys, "--max_predictions_per_seq=20", "10 in")
    # All of one file, and then one in the middle, which only the training meets.
    change_records(shard(tmp_path), testdata, 0, **other_length(48))
    refused(flags, capsys, "64 pieces", str(shard(tmp_path, 0)), "48 pieces")
    change_records(shard(tmp_path), testdata, 1, **other_length(48))
    flags["num_train_steps"] = "16"
    message = refused(flags, capsys, "lengths of the first", str(shard(tmp_path)))
    assert "another" in message


def test_ids_that_the_model_does_not_have(flags, tmp_path, testdata, capsys):
    ids = np.full([1, 64], 1700)
    change_records(shard(tmp_path), testdata, 1, input_ids=ids)
    refused(flags, capsys, "0 to 1599", "1700", str(shard(tmp_path)))
    # Behind the first records of a file, where only the training meets it.
    masked = np.full([1, 10], 1700)
    change_records(shard(tmp_path), testdata, 140, masked_lm_ids=masked)
    flags |= {"num_train_steps": "64", "save_checkpoints_steps": "1"}
    refused(flags, capsys, "0 to 1599", "1700", str(shard(tmp_path)))
    # What was trained until then is there, and whole.
    CheckpointReader(flags["output_dir"])
    # On no device would a place behind the end be an error of its own.
    positions = np.full([1, 10], 64)
    change_records(shard(tmp_path), testdata, 140, masked_lm_positions=positions)
    refused(flags, capsys, "masked_lm_positions from 0 to 63", "64", "records-00001")


def test_records_without_masks(flags, tmp_path, testdata, capsys):
    records = golden_records(testdata)
    for number in range(2):
        write_records(str(shard(tmp_path, number)), [records], unmasked_features(64))
    refused(flags, capsys, "with masks", "--unmasked", "--dynamic_masking")


def test_another_vocabulary(flags, tmp_path, testdata, capsys):
    write_metadata(tmp_path, [], vocab={"file": "theirs.txt", "sha256": "0" * 64})
    flags["vocab_file"] = str(tmp_path / "vocab.txt")
    refused(flags, capsys, "--vocab_file", "theirs.txt", flags["vocab_file"])


def test_metadata_of_other_records(flags, tmp_path, capsys):
    write_metadata(tmp_path, [], max_seq_length=128)
    refused(flags, capsys, "128 pieces", "metadata.json", "64 pieces")


NOTHING = {"input_file": "nowhere/*.tfrecord"}
WRONG_FLAGS = [
    (NOTHING, ["record files", "nowhere/*.tfrecord"]),
    ({"input_file": "README.md"}, ["README.md"]),
    ({"input_file": "docs"}, ["docs is a folder"]),
    ({"do_train": "false"}, ["--do_train, --do_eval"]),
    ({"max_seq_length": "100"}, ["max_position_embeddings=80", "100"]),
    ({"dynamic_masking": "true"}, ["--vocab_file beside --dynamic_masking"]),
    ({"masking": "span"}, ["--masking only with --dynamic_masking"]),
    ({"masked_lm_prob": "1.5"}, ["--masked_lm_prob from 0 to 1"]),
    ({"init_optimizer": "true"}, ["--init_checkpoint", "--init_optimizer"]),
    ({"eval_input_file": "x"}, ["--do_eval beside --eval_input_file"]),
    ({"bert_config_file": "nowhere.json"}, ["--bert_config_file=nowhere.json"]),
    (
        {"do_eval": "true", "best_metric": "loss"},
        ["--eval_steps beside --best_metric"],
    ),
    (
        {"do_eval": "true", "eval_steps": "2", "best_metric": "f1"},
        ["--best_metric", "masked_lm_accuracy"],
    ),
    ({"do_eval": "true", "do_train": "false"}, ["a checkpoint in", "found neither"]),
    ({"use_tpu": "true", "tpu_name": "my-tpu"}, ["gs://", "--input_file"]),
    ({"micro_batch_size": "3"}, ["--micro_batch_size to divide"]),
]


@pytest.mark.parametrize(("changes", "parts"), WRONG_FLAGS, ids=lambda x: str(x)[:40])
def test_wrong_flags(flags, capsys, changes, parts):
    refused({**flags, **changes}, capsys, *parts)
    assert not Path(flags["output_dir"]).exists()


def test_slots_that_are_not_there(flags, tmp_path, testdata, capsys):
    flags = write_small_pretraining(tmp_path, testdata)
    prefix = tmp_path / "bert_model.ckpt"
    flags |= {"init_optimizer": "true", "init_checkpoint": str(prefix)}
    refused({**flags, "do_train": "true"}, capsys, "global_step", str(prefix), "none")


def test_a_folder_of_another_run(flags, tmp_path, testdata, capsys):
    output = Path(flags["output_dir"])
    output.mkdir()
    for path in testdata.glob("classifier_trained.ckpt*"):
        shutil.copyfile(path, output / path.name)
    (output / "checkpoint").write_text(
        'model_checkpoint_path: "classifier_trained.ckpt"\n'
    )
    refused(flags, capsys, "a checkpoint of this run", "classifier_trained.ckpt lacks")
    (output / "run_config.json").write_text(json.dumps({"task_name": "mrpc"}))
    refused(flags, capsys, "task_name=pretraining", "task_name=mrpc")


# A limit on the size of files fails like a full disk: in the middle of a write.
LIMITED = """
import resource, signal, sys
from bert_tf.tools.run_pretraining import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.acceptance
def test_a_full_disk_at_a_checkpoint(flags, capsys):
    """The checkpoint before it stays as it was, and the same command goes on."""
    assert run_pretraining.main(as_arguments(flags)) == 0
    output = Path(flags["output_dir"])
    before = everything(output)
    flags["num_train_steps"] = "8"
    process = start("-c", LIMITED, "100000", *as_arguments(flags))
    log = process.communicate()[1]
    message = log.rstrip("\n").split("\n")[-1]
    assert process.returncode == 1 and "Traceback" not in log, log
    assert message.startswith("run_pretraining: Expected room for a checkpoint of")
    assert str(output / "model.ckpt-8") in message
    after = everything(output)
    for name in before.keys() - {str(output / "run_config.json")}:
        assert after[name] == before[name], name
    assert not [name for name in after if ".writing" in name or "ckpt-8" in name]
    capsys.readouterr()
    assert run_pretraining.main(as_arguments(flags)) == 0
    assert "continuing from step 4" in capsys.readouterr().err
    assert CheckpointReader(str(output)).step() == 8
