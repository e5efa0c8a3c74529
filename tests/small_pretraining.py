"""Google's golden records and checkpoint in real files, for tests that pretrain."""

import shutil
from pathlib import Path

import numpy as np

from bert_tf.data.records import pretraining_features, write_records
from tests.small_task import write_model_files

LENGTH, PREDICTIONS = 64, 10
DATA = ".data-00000-of-00001"


def golden_records(testdata: Path) -> dict[str, np.ndarray]:
    """Returns the records of pretraining_data_default, `[110, ...]`, by feature."""
    with np.load(testdata / "pretraining_data_default.npz") as arrays:
        return {name.removeprefix("0/"): arrays[name] for name in arrays.files}


def write_small_pretraining(
    folder: Path,
    testdata: Path,
    shards: int = 2,
    vocab_size: int | None = None,
    **changes: object,
) -> dict[str, str | None]:
    """Writes config, vocabulary, checkpoint and records; returns flags that name them.

    Args:
      folder: Where.
      testdata: The tests' data.
      shards: How many record files.
      vocab_size: How many pieces the vocabulary is filled up to.
      **changes: Of the config.
    """
    write_model_files(folder, testdata, vocab_size, **changes)
    for suffix in (".index", DATA):
        name = f"bert_model.ckpt{suffix}"
        shutil.copyfile(testdata / name, folder / name)
    records = golden_records(testdata)
    spec = pretraining_features(LENGTH, PREDICTIONS)
    parts = np.array_split(np.arange(len(records["input_ids"])), shards)
    for number, rows in enumerate(parts):
        name = f"records-{number:05d}-of-{shards:05d}"
        part = {feature: values[rows] for feature, values in records.items()}
        write_records(str(folder / name), [part], spec)
    return {
        "input_file": str(folder / "records-*"),
        "bert_config_file": str(folder / "bert_config.json"),
        "output_dir": str(folder / "output"),
        "max_seq_length": str(LENGTH),
        "max_predictions_per_seq": str(PREDICTIONS),
        "train_batch_size": "4",
        "num_train_steps": "8",
        "num_warmup_steps": "3",
        "learning_rate": "1e-3",
    }
