"""The flags of run_tagger that are not every script's, and its config."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from absl import flags

from bert_tf.errors import ConfigError
from bert_tf.tools import flags as shared
from bert_tf.tools.fine_tuning_flags import (
    FineTuningConfig,
    check_dev_fraction,
    define_dev_fraction,
)

_FORMATS = ("conll", "text")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaggerConfig(FineTuningConfig):
    """Everything that `run` needs; the fields are the flags of the same names."""

    ROW_OPTIONS: ClassVar[Mapping[str, tuple[Any, Any]]] = {
        **FineTuningConfig.ROW_OPTIONS,
        "doc_stride": (int | None, None),
    }

    data_dir: str | None = None
    train_file: str | None = None
    dev_file: str | None = None
    test_file: str | None = None
    dev_fraction: float = 0.0
    test_format: str = "conll"
    word_column: int | None = None
    tag_column: int | None = None
    doc_stride: int | None = None

    def check(self) -> None:
        super().check()
        if self.test_format not in _FORMATS:
            raise ConfigError(
                f"Expected --test_format to be one of {', '.join(_FORMATS)}, got "
                f"{self.test_format!r}."
            )
        check_dev_fraction(self.dev_fraction, self.dev_file)
        if self.do_train:
            self.row_options({})  # which raises what it has to, at once

    def row_options(self, noted: Mapping[str, Any]) -> dict[str, Any]:
        options = super().row_options(noted)
        room = options["max_seq_length"] - 2
        if options["doc_stride"] is not None and options["doc_stride"] > room:
            raise ConfigError(
                f"Expected --doc_stride of at most {room}, what a row of "
                f"--max_seq_length={room + 2} holds of a sentence, got "
                f"{options['doc_stride']}; lower it."
            )
        return options


def define_task_flags(values: flags.FlagValues) -> None:
    """Flags that say which sentences, and where their words and tags stand."""
    for name, text in (
        ("data_dir", "Folder with files such as train.conll, dev.conll, test.conll."),
        ("train_file", "Sentences to train on, a word a line, if not in DATA_DIR."),
        ("dev_file", "Sentences to evaluate on, if not in DATA_DIR."),
        ("test_file", "Sentences to tag, if not in DATA_DIR."),
    ):
        shared.string(values, name, None, text)
    define_dev_fraction(values)
    flags.DEFINE_enum(
        "test_format",
        "conll",
        _FORMATS,
        "conll: a word a line, with or without tags; text: a sentence a line.",
        flag_values=values,
    )
    shared.integer(
        values,
        "word_column",
        None,
        "Column of the word, from 0. Unset: the first; in CoNLL-U (*.conllu) the "
        "second.",
        at_least=0,
    )
    flags.DEFINE_integer(
        "tag_column",
        None,
        "Column of the tag, from 0, or from -1 backwards. Unset: the last; in CoNLL-U "
        "the fourth, the part of speech.",
        flag_values=values,
    )
    shared.integer(
        values,
        "doc_stride",
        None,
        "How many pieces further than the one before a row of a sentence that is "
        "longer than --max_seq_length begins. Unset: half of what a row holds; without "
        "--do_train, what the model was trained with.",
        at_least=1,
    )
