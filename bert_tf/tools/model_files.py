"""Where a model to be used lies: a folder, or files that flags name."""

import dataclasses
import os
from collections.abc import Callable
from typing import Self

from absl import flags

from bert_tf.errors import ConfigError
from bert_tf.files import is_remote
from bert_tf.tools.flag_kinds import string
from bert_tf.tools.flags import define_casing_flags

_FILES = ("bert_config_file", "vocab_file", "init_checkpoint")


def define_model_files(values: flags.FlagValues, folder: str) -> None:
    """Flags that name a model.

    Args:
      values: Where to define them.
      folder: What `--model_dir` is, in sentences.
    """
    string(values, "model_dir", None, folder)
    for name, what in (
        ("bert_config_file", "bert_config.json"),
        ("vocab_file", "vocab.txt"),
    ):
        text = f"The model's {what}, if not that of --model_dir."
        string(values, name, None, text)
    string(
        values,
        "init_checkpoint",
        None,
        "The model's checkpoint, if not the newest of --model_dir: a prefix such as "
        "DIR/bert_model.ckpt, one of its files, or a folder.",
    )
    define_casing_flags(
        values,
        "If not given, as run_config.json in --model_dir notes, where there is one.",
    )


@dataclasses.dataclass(frozen=True)
class ModelFiles:
    """The files of a model, and how it reads texts.

    Attributes:
      folder: What holds them; empty if each is named.
      bert_config_file, vocab_file, init_checkpoint, do_lower_case, check_casing: As the
        flags.
    """

    folder: str
    bert_config_file: str
    vocab_file: str
    init_checkpoint: str
    do_lower_case: bool
    check_casing: bool

    @classmethod
    def from_flags(
        cls, values: flags.FlagValues, otherwise: Callable[[], str] | None = None
    ) -> Self:
        """Returns the files that flags name.

        Args:
          values: The flags.
          otherwise: Returns the folder to take if they name none.

        Raises:
          ConfigError: They name none, or something that is not there.
        """
        folder = values.model_dir or ""
        if folder and not is_remote(folder) and not os.path.isdir(folder):
            raise ConfigError(
                f"Expected a folder at --model_dir={folder}, found none; check the "
                "path."
            )
        if not folder and not all(values[name].value for name in _FILES):
            if otherwise is None:
                raise ConfigError(
                    "Expected --model_dir, got none; name the folder of a run or of a "
                    "pretrained model."
                )
            folder = otherwise()
        return cls(
            folder,
            _file(values, folder, "bert_config_file", "bert_config.json"),
            _file(values, folder, "vocab_file", "vocab.txt"),
            values.init_checkpoint or folder,
            _do_lower_case(values, folder),
            values.check_casing,
        )


def _file(values: flags.FlagValues, folder: str, flag: str, name: str) -> str:
    """Returns the path of one of the model's files."""
    path = values[flag].value or os.path.join(folder, name)
    if not is_remote(path) and not os.path.isfile(path):
        raise ConfigError(
            f"Expected a file at {path}, found none; check --model_dir, or name the "
            f"file with --{flag}."
        )
    return path


def _do_lower_case(values: flags.FlagValues, folder: str) -> bool:
    from bert_tf.run_folder import read_note

    if values["do_lower_case"].present:
        return values.do_lower_case
    note = read_note(folder) if folder else {}
    return bool(note.get("do_lower_case", values.do_lower_case))
