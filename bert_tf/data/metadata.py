"""metadata.json: how the records of a folder were made, and what they are.

It lies beside the shards of pretraining data. Whoever reads the shards finds their
lengths, casing and vocabulary here, and need not guess them from the records.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

from bert_tf.errors import ConfigError, DataError
from bert_tf.files import TENSORFLOW, Files, is_remote, sha256

FILE_NAME = "metadata.json"
FORMAT_VERSION = 1


def vocabulary(vocab_file: str, files: Files = TENSORFLOW) -> dict[str, Any]:
    """Returns what tells one vocabulary from another, and where it was found."""
    return {
        "file": vocab_file if is_remote(vocab_file) else os.path.abspath(vocab_file),
        "sha256": sha256(vocab_file, files),
    }


def read(folder: str, files: Files = TENSORFLOW) -> dict[str, Any] | None:
    """Returns the metadata of a folder's records; None if there is none.

    Raises:
      DataError: The file is damaged, or of a later version of this package.
    """
    path = os.path.join(folder, FILE_NAME)
    if not files.exists(path):
        return None
    try:
        found = json.loads(files.read(path))
        version = found.pop("format_version")
        if version == FORMAT_VERSION and not isinstance(found["settings"], dict):
            raise ValueError("settings are no object")
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
    ) as error:
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


def write(folder: str, values: Mapping[str, Any], files: Files = TENSORFLOW) -> None:
    """Writes the metadata of a folder's records."""
    text = json.dumps(
        {"format_version": FORMAT_VERSION, **values}, ensure_ascii=False, indent=1
    )
    files.write(os.path.join(folder, FILE_NAME), text + "\n")


def check(
    folder: str, settings: Mapping[str, Any], files: Files = TENSORFLOW
) -> dict[str, Any] | None:
    """Returns the metadata of a folder's records, which are of the same settings.

    A run that ended before its first file was whole left nothing to be of the same.

    Raises:
      ConfigError: They are of other settings.
      DataError: The file is damaged, or of a later version of this package.
    """
    found = read(folder, files)
    if found is None:
        return None
    theirs = found["settings"]
    difference = _difference("", _made_of(theirs), _made_of(settings))
    if difference is None:
        return found
    paths = [os.path.join(folder, str(name)) for name in theirs.get("files") or []]
    if "counts" not in found and not any(map(files.exists, paths)):
        return None
    raise ConfigError(
        f"Expected the folder {folder or '.'} to be empty, or of a run with the same "
        f"settings, found that its {FILE_NAME} says {difference}; use a folder for "
        "each set of records."
    )


def _made_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings without what makes no difference: where the vocabulary lies."""
    made_of = json.loads(json.dumps(settings))
    if isinstance(made_of.get("vocab"), dict):
        made_of["vocab"].pop("file", None)
    return made_of


def _difference(name: str, then: Any, now: Any) -> str | None:
    """Returns the first thing that differs, as in `seed=1, not 2`."""
    if isinstance(now, list):
        now = {str(place): value for place, value in enumerate(now)}
        if isinstance(then, list):
            then = {str(place): value for place, value in enumerate(then)}
    if isinstance(now, Mapping) and isinstance(then, Mapping):
        differences = (
            _difference(f"{name}.{key}" if name else key, then.get(key), now.get(key))
            for key in [*now, *(key for key in then if key not in now)]
        )
        return next(filter(None, differences), None)
    return None if then == now else f"{name}={then}, not {now}"
