"""Exports of a real model keep its answers, faster and in fewer digits too."""

import csv
from pathlib import Path

import numpy as np
import pytest

from bert_tf import Predictor
from tests import minilm
from tests.programs import run

TRAIN_ROWS = 16_000
EXPORTS = {
    "float32": (),
    "float32, for CPUs": ("--freeze", "--target=cpu"),
    "bfloat16, for CPUs": ("--freeze", "--target=cpu", "--precision=bfloat16"),
    "core": ("--tokenizer_ops=core",),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, real_data) -> Path:
    """A run on SST-2, with the dev set's sentences predicted."""
    folder = tmp_path_factory.mktemp("sst2")
    google = minilm.fetched(folder)
    source = real_data / "glue" / "SST-2"
    lines = (source / "train.tsv").read_text("utf-8").splitlines(keepends=True)
    (folder / "train.tsv").write_text("".join(lines[: TRAIN_ROWS + 1]), "utf-8")
    rows = (source / "dev.tsv").read_text("utf-8")
    (folder / "dev.tsv").write_text(rows, "utf-8")
    sentences = [line.split("\t")[0] for line in rows.splitlines()[1:]]
    test = [f"{index}\t{text}" for index, text in enumerate(sentences)]
    (folder / "test.tsv").write_text("\n".join(["index\tsentence", *test]) + "\n")
    run(
        "run_classifier.py",
        "--task_name=sst-2",
        f"--data_dir={folder}",
        f"--bert_config_file={google}/bert_config.json",
        f"--vocab_file={google}/vocab.txt",
        f"--init_checkpoint={google}/bert_model.ckpt",
        f"--output_dir={folder}/output",
        "--do_train",
        "--do_predict",
        "--num_train_epochs=1",
        "--learning_rate=1e-4",
        "--max_seq_length=64",
        "--length_buckets=8,16,24,32,48,64",
        timeout=1500,
    )
    return folder


@pytest.mark.acceptance
@pytest.mark.timeout(3000)
def test_exports_of_sst2(trained, measured):
    with (trained / "dev.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    sentences = [row["sentence"] for row in rows]
    right = np.array([row["label"] for row in rows])
    predicted = np.loadtxt(trained / "output" / "test_results.tsv", delimiter="\t")
    accuracy = {"--do_predict": (predicted.argmax(axis=1).astype(str) == right).mean()}
    for name, flags in EXPORTS.items():
        folder = trained / name
        run(
            "-m",
            "bert_tf.tools.main",
            "export_model",
            f"--model_dir={trained}/output",
            f"--export_dir={folder}",
            *flags,
        )
        said = Predictor(str(folder))(sentences)
        accuracy[name] = (np.array(said["label"]) == right).mean()
        if not name.startswith("bfloat16"):
            worst = np.abs(said["probabilities"] - predicted).max()
            measured(f"SST-2 export, {name}", float(worst), at_most=1e-5)
    measured("SST-2, MiniLM, accuracy", accuracy["--do_predict"], at_least=0.8)
    apart = abs(accuracy["bfloat16, for CPUs"] - accuracy["--do_predict"])
    measured("SST-2, export in bfloat16 from float32", float(apart), at_most=0.005)
