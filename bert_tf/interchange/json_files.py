"""Small JSON files of other packages."""

import json
import os
from typing import Any

from bert_tf.errors import ConfigError

_MOST_BYTES = 64 << 20


def read_json(path: str) -> dict[str, Any]:
    """Returns the object that a JSON file holds.

    Raises:
      ConfigError: It holds something else, or far more than such a file does.
    """
    if os.path.getsize(path) > _MOST_BYTES:
        raise ConfigError(
            f"Expected a JSON file of at most {_MOST_BYTES >> 20} MiB at {path}, found "
            "a larger one; fetch it again."
        )
    try:
        with open(path, encoding="utf-8") as reader:
            values = json.load(reader)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"Expected JSON in {path}, got text that is not: {error}."
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"Expected a JSON object in {path}, got {type(values).__name__}; fetch it "
            "again."
        )
    return values


def write_json(path: str, values: Any) -> None:
    """Writes a JSON file as people read it."""
    with open(path, "w", encoding="utf-8") as writer:
        writer.write(json.dumps(values, ensure_ascii=False, indent=2) + "\n")
