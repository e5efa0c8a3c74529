"""Every task: trained, killed, taken up again, evaluated, predicted with, exported.

A task is a `Case` of `CASES`: its tool, its files and flags, what it predicts into, and
what its export is asked.
"""

import dataclasses
import json
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  (its ops)

from tests.small_pretraining import write_small_pretraining
from tests.small_task import WORDS, write_model_files
from tests.tool_processes import ToolProcess, run_tool

STEPS, SAVE_EVERY = 12, 3


@dataclasses.dataclass(frozen=True)
class Case:
    """A task.

    Attributes:
      tool: What runs it.
      write: Writes its files into a folder and returns the flags that name them.
      predictions: The files that `--do_predict` leaves.
      question: What an export is asked; None if the tool exports nothing.
    """

    tool: str
    write: Callable[[Path, Path], dict[str, str]]
    predictions: tuple[str, ...] = ()
    question: dict[str, list[str]] | None = None


def model_flags(folder: Path, testdata: Path) -> dict[str, str]:
    write_model_files(folder, testdata, num_hidden_layers=1)
    return {
        "bert_config_file": str(folder / "bert_config.json"),
        "vocab_file": str(folder / "vocab.txt"),
        "max_seq_length": "24",
        "train_batch_size": "4",
        "num_train_epochs": "2",
    }


def texts(label: Callable[[str], str]) -> Callable[[Path, Path], dict[str, str]]:
    """Returns what writes labelled texts, the label a function of warm or cold."""

    def write(folder: Path, testdata: Path) -> dict[str, str]:
        rows = ["text\tlabel"]
        for index in range(24):
            kind = sorted(WORDS)[index % 2]
            words = [WORDS[kind][index % len(WORDS[kind])], "the", "of"]
            rows.append(f"{' '.join(words[: 1 + index % 3])}\t{label(kind)}")
        for name in ("train", "dev", "test"):
            (folder / f"{name}.tsv").write_text("\n".join(rows) + "\n")
        return {
            **model_flags(folder, testdata),
            "task_name": "custom",
            "data_dir": str(folder),
            "text_a": "text",
            "label": "label",
        }

    return write


def questions(folder: Path, testdata: Path) -> dict[str, str]:
    paragraphs = []
    for index in range(24):
        words = ["the", "sun", "of", "snow", "and", "fire"][index % 3 :]
        answer = {"text": words[1], "answer_start": len(words[0]) + 1}
        qa = {"id": f"q{index}", "question": "what ?", "answers": [answer]}
        paragraphs.append({"context": " ".join(words), "qas": [qa]})
    path = folder / "questions.json"
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    return {
        **model_flags(folder, testdata),
        "max_query_length": "8",
        "train_file": str(path),
        "predict_file": str(path),
    }


def tagged_words(folder: Path, testdata: Path) -> dict[str, str]:
    draw, lines = random.Random(1), []
    for _ in range(24):
        for _ in range(draw.randrange(1, 6)):
            kind = draw.choice(sorted(WORDS))
            lines.append(f"{draw.choice(WORDS[kind])}\tB-{kind}")
        lines += ["of\tO", ""]
    for name in ("train", "dev", "test"):
        (folder / f"{name}.conll").write_text("\n".join(lines) + "\n")
    return {**model_flags(folder, testdata), "data_dir": str(folder)}


def records(folder: Path, testdata: Path) -> dict[str, str]:
    # Sums whose order depends on timing show in tables as large as real ones.
    flags = write_small_pretraining(
        folder, testdata, vocab_size=30522, num_hidden_layers=1
    )
    shutil.copyfile(folder / "vocab.txt", folder / "pieces.txt")
    return {**flags, "num_train_steps": str(STEPS), "dynamic_masking": "true"} | {
        "vocab_file": str(folder / "pieces.txt"),
        "max_eval_steps": "2",
    }


TABLES = ("test_results.tsv", "predictions.tsv")
ASKED = {"text_a": ["the sun", "snow", ""]}
CASES = {
    "one label": Case("run_classifier", texts(str), TABLES, ASKED),
    "labels": Case("run_classifier", texts(lambda x: f"{x}|a"), TABLES, ASKED),
    "numbers": Case(
        "run_classifier", texts({"cold": "0.5", "warm": "3.25"}.get), TABLES, ASKED
    ),
    "questions": Case(
        "run_squad",
        questions,
        ("predictions.json", "nbest_predictions.json"),
        {"question": ["what ?", ""], "context": ["the sun of snow", ""]},
    ),
    "tags": Case(
        "run_tagger",
        tagged_words,
        ("predictions.conll", "predictions.jsonl"),
        {"text": ["the sun", "snow", ""]},
    ),
    "pretraining": Case("run_pretraining", records),
}


# Kinds of labels differ in what tests/end_to_end/test_label_kinds.py is about.
KINDS = ("labels", "numbers")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.acceptance if name in KINDS else ())
        for name in CASES
    ],
)
def test_killed_and_taken_up_again(name, tmp_path, testdata):
    case = CASES[name]
    flags = case.write(tmp_path, testdata)
    flags |= {"do_train": "true", "save_checkpoints_steps": str(SAVE_EVERY)}
    rest = {"do_eval": "true"}
    if case.predictions:
        rest["do_predict"] = "true"
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"

    run_tool(
        case.tool,
        {**flags, **rest, "output_dir": str(undisturbed)},
        tmp_path / "undisturbed.txt",
    )
    killed = ToolProcess(
        case.tool, {**flags, "output_dir": str(disturbed)}, tmp_path / "killed.txt"
    )
    while not (disturbed / "checkpoint").exists():
        assert killed.is_running, killed.output()
        time.sleep(0.002)
    killed.send(signal.SIGKILL)
    killed.wait()
    assert not (disturbed / f"model.ckpt-{STEPS}.index").exists(), "it ended first"

    if case.question:
        rest["export_dir"] = str(tmp_path / "export")
    again = tmp_path / "again.txt"
    run_tool(case.tool, {**flags, **rest, "output_dir": str(disturbed)}, again)
    assert "continuing from step" in again.read_text()
    for file in (
        f"model.ckpt-{STEPS}.index",
        f"model.ckpt-{STEPS}.data-00000-of-00001",
        "eval_results.txt",
        *case.predictions,
    ):
        assert (disturbed / file).read_bytes() == (undisturbed / file).read_bytes(), (
            file
        )
        assert (disturbed / file).stat().st_size, file
    if case.question:
        export = tf.saved_model.load(str(tmp_path / "export" / "1"))
        asked = {key: tf.constant(value) for key, value in case.question.items()}
        for answer in export.signatures["serving_default"](**asked).values():
            assert len(answer) == len(next(iter(case.question.values())))
