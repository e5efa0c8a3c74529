"""The output folder of a run: what its checkpoints are of, and for whom."""

import json
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from bert_tf import checkpoint
from bert_tf.errors import ConfigError
from bert_tf.files import read_bytes, write_file

_IDENTITY_FILE = "run_config.json"
_LABELS_FILE = "labels.json"


class RunFolder:
    """An output folder, as an earlier run may have left it.

    Args:
      path: The folder; it need not exist yet.

    Attributes:
      checkpoint: Prefix of its newest checkpoint; None if there is none.
      identity: What the earlier run noted of itself; empty if none did.

    Raises:
      ConfigError: That note is damaged.
      CheckpointError: The newest checkpoint's files are gone.
    """

    def __init__(self, path: str):
        self.path = path
        self.checkpoint: str | None = None
        self.identity: dict[str, Any] = {}
        if tf.io.gfile.isdir(path):
            self.checkpoint = checkpoint.latest_checkpoint(path)
        note = self.file(_IDENTITY_FILE)
        if tf.io.gfile.exists(note):
            self.identity = _read_json(note, dict)

    def file(self, name: str) -> str:
        """Returns the path of a file in the folder."""
        return os.path.join(self.path, name)

    def check(self, identity: Mapping[str, Any]) -> None:
        """Raises a ConfigError if the folder's checkpoints are of another run.

        Args:
          identity: What must agree. A folder without a checkpoint fits every run.
        """
        if self.checkpoint is None or not self.identity:
            return
        left, now = _flat(self.identity), _flat(identity)
        for name in sorted(now):
            if name not in left or left[name] != now[name]:
                raise ConfigError(
                    f"Expected an --output_dir of a run with {name}={now[name]}, found "
                    f"that {self.path} was left by one with {name}={left.get(name)}; "
                    "name another --output_dir, or correct the flags."
                )

    def describe(
        self,
        identity: Mapping[str, Any],
        labels: list[str],
        bert_config_file: str,
        vocab_file: str,
    ) -> None:
        """Makes the folder a complete one: identity, labels, config, vocabulary."""
        tf.io.gfile.makedirs(self.path)
        # What an earlier run noted beyond this one still holds.
        write_file(self.file(_IDENTITY_FILE), _as_json({**self.identity, **identity}))
        write_file(self.file(_LABELS_FILE), _as_json(labels))
        write_file(self.file("vocab.txt"), read_bytes(vocab_file))
        write_file(self.file("bert_config.json"), read_bytes(bert_config_file))


def read_labels(*folders: str) -> list[str]:
    """Returns the labels that a training run left in the first folder that has any.

    Raises:
      ConfigError: None has, or what is there is no list.
    """
    for folder in folders:
        path = os.path.join(folder, _LABELS_FILE)
        if tf.io.gfile.exists(path):
            return [str(label) for label in _read_json(path, list)]
    places = " or ".join(os.path.join(folder, _LABELS_FILE) for folder in folders)
    raise ConfigError(
        f"Expected the labels, in the order of training, as a JSON list in {places}, "
        "found no such file; train into this --output_dir, or write the list there."
    )


def _read_json(path: str, kind: type) -> Any:
    try:
        value = json.loads(read_bytes(path))
        if not isinstance(value, kind):
            raise ValueError(f"it is of type {type(value).__name__}")
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"Expected a JSON {'list' if kind is list else 'object'} as a run writes "
            f"it in {path}, found damage ({error}); restore the file, or name another "
            "--output_dir."
        ) from error
    return value


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns `{"bert_config.hidden_size": 128, ...}` of nested dictionaries."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
