"""A share of the training file as dev set, drawn by the seed."""

import random
from collections.abc import Sequence
from typing import Any, TypeVar

from bert_tf.errors import DataError
from bert_tf.files import sha256

Example = TypeVar("Example")


def split(
    examples: Sequence[Example],
    dev_fraction: float,
    random_seed: int,
    dev_file: str | None = None,
) -> tuple[list[Example], list[Example]]:
    """Returns what to train on and what is held out, each in the order of the file.

    Args:
      examples: All of the training file.
      dev_fraction: Share to hold out; 0 for none.
      random_seed: Which examples these are.
      dev_file: The dev file, if there is one.

    Raises:
      DataError: There is a dev file as well, or one of the two parts is empty.
    """
    if not dev_fraction:
        return list(examples), []
    if dev_file is not None:
        raise DataError(
            f"Expected no dev file beside --dev_fraction, found {dev_file}; give one "
            "of the two."
        )
    count = len(examples)
    size = round(count * dev_fraction)
    if not 0 < size < count:
        raise DataError(
            f"Expected --dev_fraction={dev_fraction} to split {count} training "
            f"examples, got {size} of them for the dev set; choose another."
        )
    held_out = set(random.Random(random_seed).sample(range(count), size))
    return (
        [x for index, x in enumerate(examples) if index not in held_out],
        [examples[index] for index in sorted(held_out)],
    )


def note(train_file: str, dev_fraction: float, random_seed: int) -> dict[str, Any]:
    """Returns what decides which examples of the training file are held out."""
    return {
        "dev_fraction": dev_fraction,
        "random_seed": random_seed,
        "train_file_sha256": sha256(train_file),
    }
