"""A small classification problem in real files, for tests that train."""

import json
import random
from pathlib import Path

WORDS = {"warm": ["sun", "fire", "summer", "heat"], "cold": ["ice", "snow", "winter"]}


def write_model_files(
    folder: Path, testdata: Path, vocab_size: int | None = None, **changes: object
) -> None:
    """Writes `vocab.txt` and a `bert_config.json` that goes with it.

    Args:
      folder: Where.
      testdata: The tests' data, whose vocabulary and config are taken.
      vocab_size: How many pieces the vocabulary is filled up to.
      **changes: Of the config.
    """
    pieces = (testdata / "vocab_uncased.txt").read_text("utf-8").splitlines()
    if vocab_size is not None:
        pieces += [f"[filler{index}]" for index in range(vocab_size - len(pieces))]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", "utf-8")
    config = json.loads((testdata / "bert_config.json").read_text())
    config |= {"vocab_size": len(pieces), **changes}
    (folder / "bert_config.json").write_text(json.dumps(config))


def write_small_task(
    folder: Path, testdata: Path, rows: int = 60, vocab_size: int | None = None
) -> dict[str, str]:
    """Writes config, vocabulary and training file; returns the flags that name them.

    Args:
      folder: Where.
      testdata: The tests' data, whose vocabulary is taken.
      rows: How many labelled texts.
      vocab_size: How many pieces the vocabulary is filled up to.
    """
    write_model_files(folder, testdata, vocab_size, num_hidden_layers=1)
    draw = random.Random(5)
    lines = ["text\tlabel"]
    for _ in range(rows):
        label = draw.choice(sorted(WORDS))
        words = [draw.choice(WORDS[label]), draw.choice(["the", "a", "of", "and"])]
        lines.append(" ".join(words * draw.randrange(1, 5)) + "\t" + label)
    (folder / "train.tsv").write_text("\n".join(lines) + "\n")
    return {
        "task_name": "custom",
        "data_dir": str(folder),
        "text_a": "text",
        "label": "label",
        "bert_config_file": str(folder / "bert_config.json"),
        "vocab_file": str(folder / "vocab.txt"),
        "output_dir": str(folder / "output"),
        "max_seq_length": "24",
    }


def as_arguments(flags: dict[str, str | None]) -> list[str]:
    """Returns `["--name=value", ...]`; a flag whose value is None is left out."""
    return [f"--{k}={v}" for k, v in flags.items() if v is not None]
