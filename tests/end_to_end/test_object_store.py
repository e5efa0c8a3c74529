"""Paths in a store: everything can lie there, and nothing half is taken for whole."""

import json
import shutil
import signal
import time

import pytest

from tests.fake_gcs import FakeStore
from tests.programs import run, start
from tests.small_pretraining import write_small_pretraining
from tests.small_task import as_arguments, write_small_task

FOR_GOOD = 2**31


@pytest.fixture
def store(tmp_path):
    store = FakeStore(tmp_path)
    yield store
    store.close()


def client(store, *arguments):
    output = run("-m", "tests.end_to_end.object_store", *arguments, **store.environment)
    return json.loads(output.splitlines()[-1])


# Once, as when a network fails; and for good, as when the program is killed.
@pytest.mark.slow
@pytest.mark.parametrize(
    "count", [pytest.param(1, marks=pytest.mark.acceptance), FOR_GOOD]
)
def test_a_checkpoint_always_loads(store, measured, count):
    found = client(store, "checkpoints", str(count))
    assert found["failed"] == found["changes"]
    assert found["previous"] > 10 and found["new"] > 1
    measured("requests that change a store, for a checkpoint", found["changes"])


@pytest.mark.acceptance
@pytest.mark.parametrize("count", [1, FOR_GOOD])
def test_an_export_always_loads(store, count):
    found = client(store, "exports", str(count))
    assert found["failed"] > 10 and found["previous"] > 5 and found["new"] > 1


@pytest.mark.acceptance
def test_tools_read_and_write_there(store, tmp_path, testdata):
    folder = tmp_path / "here"
    folder.mkdir()
    write_small_task(folder, testdata, rows=24)
    write_small_pretraining(folder, testdata, hidden_dropout_prob=0.1)
    for name in ("dev.tsv", "test.tsv"):
        shutil.copy(folder / "train.tsv", folder / name)
    shutil.copy(testdata / "corpus.txt", folder)
    (folder / "lines.txt").write_text("the sun\nsome ice ||| and snow\n")
    there = client(store, "tools", folder, "gs://bucket/there")
    here = client(store, "tools", folder, folder)
    assert set(there["codes"]) == {0}
    assert there == here
    written = {
        name: (folder / name).read_bytes()
        for name in (
            "learned/vocab.txt",
            "records/part-00000-of-00002",
            "records/part-00001-of-00002",
            "pretrained/model.ckpt-4.data-00000-of-00001",
            "pretrained/eval_results.txt",
            "run/labels.json",
            "run/vocab.txt",
            "run/eval_results.txt",
            "run/test_results.tsv",
            "run/predictions.tsv",
            "extended/bert_model.ckpt.data-00000-of-00001",
            "extended/checkpoint",
            "extended/bert_config.json",
            "extended/run_config.json",
            "extended/labels.json",
            "extended/vocab.txt",
            "export/1/assets/vocab.txt",
            "export/1/assets/labels.txt",
            "keras/vocab.txt",
            "vectors.jsonl",
        )
    }
    for name, content in written.items():
        assert store.objects[f"bucket/there/{name}"] == content, name
    assert "bucket/there/keras/model.keras" in store.objects
    assert not [name for name in store.objects if "/.writing" in name]


def pretrain(store, folder, testdata, **more):
    """The arguments of a run in the store, and the same here."""
    flags = write_small_pretraining(folder, testdata)
    for path in folder.iterdir():
        if path.is_file() and path.name != "authority.pem":
            store.objects[f"bucket/{path.name}"] = path.read_bytes()
    flags |= {"do_train": "true", "save_checkpoints_steps": "2", **more}
    flags["init_checkpoint"] = str(folder / "bert_model.ckpt")
    there = {
        name: str(value).replace(str(folder), "gs://bucket")
        for name, value in flags.items()
        if value is not None
    }
    return as_arguments(there), as_arguments(flags)


RUN = ("-m", "bert_tf.tools.run_pretraining")
LAST = "model.ckpt-8.data-00000-of-00001"


@pytest.mark.acceptance
def test_a_store_that_is_gone_ends_a_run_in_a_sentence(store, tmp_path, testdata):
    """And the same command goes on from the newest checkpoint to the same bytes."""
    there, here = pretrain(store, tmp_path, testdata)
    process = start(*RUN, *there, **store.environment)
    while "bucket/output/model.ckpt-2.index" not in store.objects:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.002)
    store.fail(0, FOR_GOOD)
    errors = process.communicate(timeout=100)[1]
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith("run_pretraining: Expected ")
    assert "Traceback" not in errors
    store.fail(0, 0)
    run(*RUN, *there, **store.environment)
    run(*RUN, *here)
    output = tmp_path / "output"
    assert store.objects[f"bucket/output/{LAST}"] == (output / LAST).read_bytes()


@pytest.mark.acceptance
def test_a_run_that_is_killed_goes_on_there(store, tmp_path, testdata):
    there, here = pretrain(store, tmp_path, testdata)
    for after in ("model.ckpt-2.index", "model.ckpt-6.data-00000-of-00001"):
        process = start(*RUN, *there, **store.environment)
        while f"bucket/output/{after}" not in store.objects:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    run(*RUN, *there, **store.environment)
    run(*RUN, *here)
    output = tmp_path / "output"
    assert store.objects[f"bucket/output/{LAST}"] == (output / LAST).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bucket", "says"),
    [
        pytest.param("secret", "gs://secret", marks=pytest.mark.acceptance),
        ("nothing", "found no gs://nothing"),
    ],
)
def test_a_bucket_that_cannot_be_used(store, tmp_path, testdata, bucket, says):
    store.buckets.add("secret")
    store.forbidden.add("secret")
    arguments, _ = pretrain(store, tmp_path, testdata)
    arguments.append(f"--output_dir=gs://{bucket}/output")
    process = start(*RUN, *arguments, **store.environment)
    errors = process.communicate(timeout=100)[1]
    assert process.returncode == 1
    last = errors.splitlines()[-1]
    assert last.startswith("run_pretraining: Expected ") and says in last, last
    assert "Traceback" not in errors
