"""What a program does in a store at gs://bucket that fails at times; prints JSON.

A process of its own, since TensorFlow looks once where its store is, and the store has
to be in another one.
"""

import contextlib
import importlib
import itertools
import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from bert_tf.checkpoint import (
    CheckpointReader,
    keep_newest,
    latest_checkpoint,
    write_tensors,
)
from bert_tf.errors import CheckpointError
from bert_tf.files import staged
from bert_tf.serving.saved_model import GRAPH_FILE, SavedModel, version_folders
from tests.fake_gcs import fail


def checkpoints(count: str) -> dict[str, int]:
    """Fails at each change that a second checkpoint makes, so many times."""
    found = {"failed": 0, "changes": 0, "previous": 0, "new": 0}
    for first in itertools.count():
        folder = f"gs://bucket/run-{first}"
        write_tensors(f"{folder}/model.ckpt-1", tensors(1))
        before = fail(first, int(count))
        try:
            write_tensors(f"{folder}/model.ckpt-2", tensors(2))
            keep_newest(folder, 1)
        except (CheckpointError, tf.errors.OpError):
            pass
        found["changes"] = fail() - before
        step = check(latest_checkpoint(folder))
        found["previous" if step == 1 else "new"] += 1
        # The same again, as the command that is given again does.
        write_tensors(f"{folder}/model.ckpt-2", tensors(2))
        keep_newest(folder, 1)
        assert check(latest_checkpoint(folder)) == 2
        if first >= found["changes"]:
            break
        found["failed"] += 1
    left = tf.io.gfile.listdir(folder)
    assert not [name for name in left if name.startswith(".")], left
    return found


def tensors(step: int) -> dict[str, tf.Tensor]:
    return {"weight": tf.fill([50, 3], float(step)), "global_step": tf.constant(step)}


def check(prefix: str) -> int:
    """Returns the step of a checkpoint, all of which is of that step."""
    reader = CheckpointReader(prefix)
    step = reader.step()
    assert prefix.endswith(f"-{step}")
    np.testing.assert_array_equal(reader.read("weight"), tensors(step)["weight"])
    return step


def exports(count: str) -> dict[str, int]:
    """Fails at each change that a second version makes, so many times."""
    found = {"failed": 0, "previous": 0, "new": 0}
    for first in itertools.count():
        folder = f"gs://bucket/export-{first}"
        write_export(folder, 1)
        before = fail(first, int(count))
        with contextlib.suppress(tf.errors.OpError):
            write_export(folder, 2)
        changes = fail() - before
        version = answer(folder)
        found["previous" if version == 1 else "new"] += 1
        write_export(folder, max(version_folders(folder)) + 1)
        assert answer(folder) > version
        if first >= changes:
            return found
        found["failed"] += 1


class Numbered(tf.Module):
    """A model that knows its version."""

    def __init__(self, version: int):
        super().__init__()
        self.version = tf.Variable(float(version))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def add(self, x):
        return {"y": x + self.version}


def write_export(folder: str, version: int) -> None:
    """As `bert_tf.serving.export` writes a version, of a smaller model."""
    with staged(f"{folder}/{version}", last=GRAPH_FILE) as staging:
        tf.saved_model.save(Numbered(version), staging)


def answer(folder: str) -> int:
    """Returns the newest version, whose weights are its own."""
    model = SavedModel(folder)
    y = model.run("serving_default", {"x": np.zeros(1, np.float32)})["y"]
    assert y[0] == model.version
    return model.version


def tools(folder: str, place: str) -> dict[str, list]:
    """Runs the tools one after the other.

    Args:
      folder: Of this machine, with text, vocabulary, config, checkpoint and examples.
      place: Where they are to read and write: that folder, or one in the store, to
        which all is copied.
    """
    from bert_tf import Predictor

    for path in Path(folder).iterdir():
        if path.is_file():
            target = f"{place}/{path.name}"
            if not tf.io.gfile.exists(target):
                tf.io.gfile.makedirs(place)
                tf.io.gfile.copy(str(path), target)
    model = [f"--bert_config_file={place}/bert_config.json"]
    model += [f"--vocab_file={place}/vocab.txt"]
    records = ["--max_seq_length=64", "--max_predictions_per_seq=10"]
    runs = [
        [
            *("learn_vocab", f"--input_file={place}/corpus.txt"),
            *(f"--vocab_file={place}/learned/vocab.txt", "--vocab_size=120"),
        ],
        [
            *("create_pretraining_data", f"--input_file={place}/corpus.txt"),
            *(model[1], f"--output_file={place}/records/part", "--num_shards=2"),
            *records,
        ],
        [
            *("run_pretraining", f"--input_file={place}/records/part-*", *model),
            *(f"--init_checkpoint={place}/bert_model.ckpt", "--do_train", "--do_eval"),
            *(f"--output_dir={place}/pretrained", "--num_train_steps=4", *records),
            *("--num_warmup_steps=1", "--train_batch_size=4", "--max_eval_steps=2"),
            "--save_checkpoints_steps=2",
        ],
        [
            *("run_classifier", "--task_name=custom", f"--data_dir={place}", *model),
            *("--text_a=text", "--label=label", "--max_seq_length=24", "--do_train"),
            *("--do_eval", "--do_predict", f"--init_checkpoint={place}/pretrained"),
            *(f"--output_dir={place}/run", "--num_train_epochs=1"),
            "--train_batch_size=8",
        ],
        [
            *("extend_vocab", f"--model_dir={place}/run", "--words=covid,blizzards"),
            f"--output_dir={place}/extended",
        ],
        [
            *("check_vocab", f"--vocab_file={place}/extended/vocab.txt"),
            f"--bert_config_file={place}/extended/bert_config.json",
            f"--input_file={place}/corpus.txt",
        ],
        ["export_model", f"--model_dir={place}/run", f"--export_dir={place}/export"],
        [
            *("export_model", f"--model_dir={place}/run", "--format=keras"),
            f"--export_dir={place}/keras",
        ],
        [
            *("inspect_records", f"{place}/records/part-*", model[1]),
            f"--output={place}/records.png",
        ],
        [
            *("extract_features", f"--input_file={place}/lines.txt", *model),
            *(f"--init_checkpoint={place}/run", f"--output_file={place}/vectors.jsonl"),
            *("--layers=-1,-2", "--max_seq_length=24"),
        ],
    ]
    codes = [
        importlib.import_module(f"bert_tf.tools.{name}").main(arguments)
        for name, *arguments in runs
    ]
    found = Predictor(f"{place}/export")(["the sun", "some ice"])
    return {
        "codes": codes,
        "answers": np.asarray(found["probabilities"]).tolist(),
    }


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    print(json.dumps(globals()[what](*arguments)))
