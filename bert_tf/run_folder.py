"""The output folder of a run: what its checkpoints are of, and for whom."""

import json
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from absl import logging

from bert_tf import checkpoint
from bert_tf.config import BertConfig
from bert_tf.errors import ConfigError
from bert_tf.files import read_bytes, sha256, write_file

_NOTE = "run_config.json"
_LABELS = "labels.json"
# What a run did that does not say otherwise: once there was no other way.
_BEFORE = {"long_text": "truncate", "doc_stride": None}


class RunFolder:
    """An output folder, as an earlier training run may have left it.

    Args:
      path: The folder; it need not exist yet.
      flag: What names it, for messages.

    Attributes:
      checkpoint: Prefix of its newest checkpoint; None if there is none.
      noted: What the run that trained it noted of itself. Empty if none did, as in a
        folder of the release, or if it ended before its first checkpoint.

    Raises:
      ConfigError: That note is damaged.
      CheckpointError: The newest checkpoint's files are gone.
    """

    def __init__(self, path: str, flag: str = "output_dir"):
        self.path = path
        self._flag = flag
        self.checkpoint: str | None = None
        if tf.io.gfile.isdir(path):
            self.checkpoint = checkpoint.latest_checkpoint(path)
        noted = read_note(path)
        self.noted = noted if self.checkpoint is not None else {}

    def file(self, name: str) -> str:
        """Returns the path of a file in the folder."""
        return os.path.join(self.path, name)

    def check(self, expected: Mapping[str, Any]) -> None:
        """Raises a ConfigError if the folder's checkpoints are of another run."""
        for name, now, then in self._differing(expected):
            raise ConfigError(
                f"Expected a --{self._flag} of a run with {name}={now}, found that "
                f"{self.path} was left by one with {name}={then}; name another "
                f"--{self._flag}, or correct the flags."
            )

    def warn(self, expected: Mapping[str, Any]) -> None:
        """Warns of what may differ when a run is continued, but changes it."""
        for name, now, then in self._differing(expected):
            logging.warning(
                "%s was %s when this run began and is %s now: it will not end as an "
                "undisturbed run would",
                name,
                then,
                now,
            )

    def _differing(self, expected: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
        """Returns `(name, expected value, noted value)` of what differs, by name."""
        if not self.noted:
            return []
        # An earlier version of this package noted less.
        noted = _BEFORE | _flat(self.noted)
        shared = {
            name: value
            for name, value in expected.items()
            if name in self.noted or name in _BEFORE
        }
        return [
            (name, value, noted.get(name))
            for name, value in sorted(_flat(shared).items())
            if name not in noted or noted[name] != value
        ]

    def describe(
        self,
        note: Mapping[str, Any],
        bert_config_file: str,
        vocab_file: str | None,
        labels: list[str] | None = None,
    ) -> None:
        """Makes the folder a complete one: note, config, vocabulary and any labels.

        With them, its checkpoints can be used without knowing the run's flags.
        """
        write_note(self.path, note, labels)
        if vocab_file is not None:
            write_file(self.file("vocab.txt"), read_bytes(vocab_file))
        write_file(self.file("bert_config.json"), read_bytes(bert_config_file))


def write_note(
    folder: str, note: Mapping[str, Any], labels: list[str] | None = None
) -> None:
    """Writes what a training run notes in a folder, and the labels if there are any."""
    write_file(os.path.join(folder, _NOTE), as_json(note))
    if labels is not None:
        write_file(os.path.join(folder, _LABELS), as_json(labels))


def noted_of_model(
    folder: str, vocab_file: str, config: BertConfig, do_lower_case: bool
) -> Mapping[str, Any]:
    """Returns what the run that left a model's folder noted; empty if none did.

    Args:
      folder: Of the model; empty for none.
      vocab_file, config, do_lower_case: What the model is to be used with.

    Raises:
      ConfigError: That is not what it was trained with.
    """
    if not folder:
        return {}
    found = RunFolder(folder, flag="model_dir")
    found.check(
        {
            "do_lower_case": do_lower_case,
            "vocab_sha256": sha256(vocab_file),
            "bert_config": config.to_dict(),
        }
    )
    return found.noted


def carry_note(
    noted: Mapping[str, Any], folder: str, target: str, changes: Mapping[str, Any]
) -> None:
    """Writes a run's note, and its labels if there are any, beside a changed model.

    Args:
      noted: What the run noted.
      folder: Where it left its labels.
      target: The changed model's folder.
      changes: What is to be noted otherwise, as far as it was noted.
    """
    known = {name: value for name, value in changes.items() if name in noted}
    write_note(target, {**noted, **known})
    labels = os.path.join(folder, _LABELS)
    if tf.io.gfile.exists(labels):
        write_file(os.path.join(target, _LABELS), read_bytes(labels))


def read_note(folder: str) -> dict[str, Any]:
    """Returns what a training run noted in a folder, empty if none did."""
    path = os.path.join(folder, _NOTE)
    return _read_json(path, dict) if tf.io.gfile.exists(path) else {}


def read_labels(*folders: str) -> list[str]:
    """Returns the labels that a training run left in the first folder that has any.

    Raises:
      ConfigError: None has, or what is there is no list of labels.
    """
    for folder in folders:
        path = os.path.join(folder, _LABELS)
        if tf.io.gfile.exists(path):
            labels = [str(label) for label in _read_json(path, list)]
            if len(set(labels)) < max(2, len(labels)):
                raise ConfigError(
                    f"Expected a JSON list of two or more different labels in {path}, "
                    f"found {labels}; restore the file."
                )
            return labels
    places = " or ".join(os.path.join(folder, _LABELS) for folder in folders)
    raise ConfigError(
        f"Expected the labels, in the order of training, as a JSON list in {places}, "
        "found no such file; train into this --output_dir, or write the list there."
    )


def read_evaluations(path: str) -> dict[int, dict[str, float]]:
    """Returns the metrics of each evaluation of a run, by its step; empty without any.

    Raises:
      ConfigError: The file is damaged.
    """
    if not tf.io.gfile.exists(path):
        return {}
    try:
        return {
            int(step): {str(name): float(x) for name, x in metrics.items()}
            for step, metrics in _read_json(path, dict).items()
        }
    except (ValueError, AttributeError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"Expected the evaluations of a run, as it writes them, in {path}, found "
            f"damage ({error}); delete it, or name another --output_dir."
        ) from error


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


def as_json(value: Any) -> str:
    """Returns a file of JSON for people to read."""
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
