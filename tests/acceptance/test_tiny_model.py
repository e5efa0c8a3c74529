"""The small model of examples/tiny: what it learned, and that it helps."""

import collections
import csv
import random
import statistics
from pathlib import Path

import numpy as np
import pytest

from bert_tf.data.record_files import open_files, read_batches
from tests.programs import ROOT, run

TINY = ROOT / "examples" / "tiny"
SEEDS = (1, 2, 3, 4, 5)
EVERY = 20  # a chapter in so many is held out


def results(output: Path) -> dict[str, float]:
    lines = (output / "eval_results.txt").read_text().splitlines()
    return {name: float(x) for name, x in (line.split(" = ") for line in lines)}


def held_out_chapters(novels: Path) -> str:
    """Every twentieth chapter; between chapters there is a blank line."""
    chapters = novels.read_text("utf-8").strip("\n").split("\n\n")
    return "\n\n".join(chapters[EVERY - 1 :: EVERY]) + "\n"


@pytest.fixture(scope="module")
def held_out_records(real_data, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    text = folder / "heldout.txt"
    text.write_text(held_out_chapters(real_data / "text/english_novels.txt"), "utf-8")
    records = folder / "records" / "part"
    run(
        *("-m", "bert_tf.tools.main", "create_pretraining_data"),
        f"--input_file={text}",
        f"--output_file={records}",
        f"--vocab_file={TINY}/vocab.txt",
        "--mode=stream",
        "--dupe_factor=2",
    )
    return records


@pytest.mark.acceptance
@pytest.mark.timeout(1200)
def test_it_knows_words_and_sentences(held_out_records, tmp_path, measured):
    """Three times as often right as whoever always says the commonest piece."""
    files = open_files([str(held_out_records)])
    pieces: collections.Counter[int] = collections.Counter()
    random_next = []
    for batch in read_batches(files.paths[0], files.spec):
        pieces.update(batch["masked_lm_ids"][batch["masked_lm_weights"] > 0].tolist())
        random_next.append(batch["next_sentence_labels"])
    commonest = pieces.most_common(1)[0][1] / pieces.total()
    run(
        *("run_pretraining.py", "--do_eval", "--max_eval_steps=0"),
        f"--input_file={held_out_records}",
        f"--bert_config_file={TINY}/bert_config.json",
        f"--init_checkpoint={TINY}/bert_model.ckpt",
        f"--output_dir={tmp_path / 'output'}",
        "--eval_batch_size=64",
    )
    found = results(tmp_path / "output")
    accuracy = found["masked_lm_accuracy"]
    measured("examples/tiny, held-out chapters: masked-LM accuracy", accuracy)
    measured("the same, times the commonest piece's", accuracy / commonest, at_least=3)
    share = np.concatenate(random_next).mean()
    measured(
        f"its next-sentence accuracy (the commoner: {max(share, 1 - share):.3f})",
        found["next_sentence_accuracy"],
        at_least=0.65,
    )


def write_messages(source: Path, folder: Path, seed: int, count: int) -> None:
    """Writes `count` messages to train with, drawn by the seed, and 1,000 others."""
    lines = source.read_text("utf-8").split("\n")[1:-1]  # a header comes first
    rows = [line.split("\t", 1) for line in lines]
    random.Random(seed).shuffle(rows)
    for name, part in (("train", rows[:count]), ("dev", rows[count : count + 1000])):
        with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(part)


@pytest.mark.acceptance
@pytest.mark.timeout(3600)
def test_pretraining_helps(real_data, tmp_path, measured):
    """Of 200 messages, against the same architecture from random weights.

    Batch, rate and epochs are of those that Google names for its small models.
    """
    found: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    for seed in SEEDS:
        folder = tmp_path / str(seed)
        folder.mkdir()
        source = real_data / "sms_spam/SMSSpamCollection"
        write_messages(source, folder, seed, count=200)
        for pretrained in (True, False):
            output = folder / f"pretrained_{pretrained}"
            run(
                "run_classifier.py",
                *("--task_name=custom", f"--data_dir={folder}", "--file_format=csv"),
                f"--train_file={folder}/train.csv",
                f"--dev_file={folder}/dev.csv",
                *("--label=0", "--text_a=1", "--do_train", "--do_eval"),
                f"--bert_config_file={TINY}/bert_config.json",
                f"--vocab_file={TINY}/vocab.txt",
                *([f"--init_checkpoint={TINY}/bert_model.ckpt"] if pretrained else []),
                f"--output_dir={output}",
                *("--max_seq_length=64", "--train_batch_size=8"),
                *("--learning_rate=1e-4", "--num_train_epochs=4"),
                *("--eval_steps=1000", f"--random_seed={seed}", "--eval_batch_size=50"),
            )
            found[pretrained].append(results(output))

    def mean(pretrained: bool, name: str) -> float:
        return statistics.mean(each[name] for each in found[pretrained])

    for name, margin in (("eval_accuracy", 0.05), ("eval_f1", 0.3)):
        what = f"SMS Spam, 200 rows, mean {name} of 5 seeds"
        measured(f"{what}: examples/tiny", mean(True, name))
        measured(f"{what}: random weights", mean(False, name))
        gain = mean(True, name) - mean(False, name)
        measured(f"{what}: gain", gain, at_least=margin)
