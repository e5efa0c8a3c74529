"""metadata.json: how the records of a folder were made, and what they are.

It lies beside the shards of pretraining data. Whoever reads the shards finds their
lengths, casing and vocabulary here, and need not guess them from the records.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from bert_tf.errors import DataError
from bert_tf.files import read_bytes, write_file

FILE_NAME = "metadata.json"
FORMAT_VERSION = 1


def vocabulary(vocab_file: str) -> dict[str, Any]:
    """Returns what tells one vocabulary from another, and where it was found."""
    content = read_bytes(vocab_file)
    return {
        "file": os.path.abspath(vocab_file) if "://" not in vocab_file else vocab_file,
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def read(folder: str) -> dict[str, Any] | None:
    """Returns the metadata of a folder's records; None if there is none.

    Raises:
      DataError: The file is damaged, or of a later version of this package.
    """
    import tensorflow as tf

    path = os.path.join(folder, FILE_NAME)
    if not tf.io.gfile.exists(path):
        return None
    try:
        found = json.loads(read_bytes(path))
        version = found["format_version"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(
            f"Expected JSON with format_version, as create_pretraining_data writes it, "
            f"in {path}, found damage ({error!r}); restore it, or make the records "
            "again."
        ) from error
    if version != FORMAT_VERSION:
        raise DataError(
            f"Expected records of format version {FORMAT_VERSION}, but {path} says "
            f"{version!r}; read them with the version of this package that wrote them."
        )
    return found


def write(folder: str, values: Mapping[str, Any]) -> None:
    """Writes the metadata of a folder's records."""
    text = json.dumps(
        {"format_version": FORMAT_VERSION, **values}, ensure_ascii=False, indent=1
    )
    write_file(os.path.join(folder, FILE_NAME), text + "\n")
