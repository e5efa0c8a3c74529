"""The flags of run_classifier that are not every script's, and its config."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, ClassVar

from absl import flags

from bert_tf.errors import ConfigError
from bert_tf.files import is_remote
from bert_tf.tools.fine_tuning_flags import (
    FineTuningConfig,
    check_dev_fraction,
    define_dev_fraction,
)

TASKS = (
    "cola",
    "mnli",
    "mrpc",
    "xnli",
    "sst-2",
    "rte",
    "sts-b",
    "qqp",
    "qnli",
    "wnli",
    "mnli-mm",
    "ax",
    "custom",
)
# Other spellings, with - for _.
_SPELLINGS = {
    **{task: task for task in TASKS},
    "sst2": "sst-2",
    "stsb": "sts-b",
    "mnli-m": "mnli",
    "mnli-matched": "mnli",
    "mnli-mismatched": "mnli-mm",
    "diagnostic": "ax",
}
_CUSTOM_ONLY = (
    "train_file",
    "dev_file",
    "test_file",
    "dev_fraction",
    "text_a",
    "text_b",
    "label",
    "header",
    "file_format",
    "label_kind",
    "label_separator",
)
_FORMATS = ("auto", "tsv", "csv", "jsonl")
_LABEL_KINDS = ("auto", "single", "multi", "regression")
_CLASS_WEIGHTS = ("none", "balanced")
_LONG_TEXTS = ("truncate", "head_tail", "windows")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierConfig(FineTuningConfig):
    """Everything that `run` needs; the fields are the flags of the same names."""

    ROW_OPTIONS: ClassVar[Mapping[str, tuple[Any, Any]]] = {
        **FineTuningConfig.ROW_OPTIONS,
        "long_text": (str, "truncate"),
        "doc_stride": (int | None, None),
    }

    task_name: str = "custom"
    data_dir: str | None = None
    xnli_language: str | None = None
    train_file: str | None = None
    dev_file: str | None = None
    test_file: str | None = None
    dev_fraction: float = 0.0
    text_a: str | None = None
    text_b: str | None = None
    label: str | None = None
    header: bool | None = None
    file_format: str = "auto"
    label_kind: str = "auto"
    label_separator: str | None = None
    class_weights: str = "none"
    long_text: str | None = None
    doc_stride: int | None = None

    def check(self) -> None:
        super().check()
        for name, known in (
            ("file_format", _FORMATS),
            ("label_kind", _LABEL_KINDS),
            ("class_weights", _CLASS_WEIGHTS),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"Expected --{name} to be one of {', '.join(known)}, got "
                    f"{getattr(self, name)!r}."
                )
        separator = self.label_separator
        if separator is not None and (not separator.strip(" ") or "\n" in separator):
            raise ConfigError(
                "Expected --label_separator to be text such as | that can stand in a "
                f"line, got {separator!r}."
            )
        if self.do_train:
            self.row_options({})  # which raises what it has to, at once

    def row_options(self, noted: Mapping[str, Any]) -> dict[str, Any]:
        length = self._given_or_noted("max_seq_length", noted)
        long_text = self._given_or_noted("long_text", noted)
        doc_stride = self.doc_stride
        if long_text == "windows":
            doc_stride = self._given_or_noted("doc_stride", noted)
        if long_text not in _LONG_TEXTS:
            raise ConfigError(
                f"Expected --long_text to be one of {', '.join(_LONG_TEXTS)}, got "
                f"{long_text!r}; correct it."
            )
        if doc_stride is not None and long_text != "windows":
            raise ConfigError(
                f"Expected --doc_stride only with --long_text=windows, got it with "
                f"{long_text}; leave it out."
            )
        if doc_stride is not None and not 1 <= doc_stride <= length - 2:
            raise ConfigError(
                f"Expected --doc_stride from 1 to {length - 2}, what a window of "
                f"--max_seq_length={length} holds of a text, got {doc_stride}; correct "
                "it."
            )
        return {
            "max_seq_length": length,
            "long_text": long_text,
            "doc_stride": doc_stride,
        }

    def check_task(self) -> None:
        """Raises a ConfigError for flags that do not go with the task."""
        if self.task not in TASKS:
            raise ConfigError(
                f"Expected --task_name to be one of {', '.join(TASKS)}, got "
                f"{self.task_name!r}."
            )
        if self.task == "custom":
            self._check_custom()
        else:
            defaults = {f.name: f.default for f in dataclasses.fields(self)}
            for name in _CUSTOM_ONLY:
                if getattr(self, name) != defaults[name]:
                    raise ConfigError(
                        f"Expected --{name} only with --task_name=custom, got it with "
                        f"{self.task_name}; leave it out."
                    )
        if self.xnli_language is not None and self.task != "xnli":
            raise ConfigError(
                "Expected --xnli_language only with --task_name=xnli, got it with "
                f"{self.task_name}; leave it out."
            )
        if self.task == "ax" and (self.do_train or self.do_eval):
            raise ConfigError(
                f"Expected --do_predict for {self.task_name}, a set without labels for "
                "a model of mnli, got --do_train or --do_eval; leave it out."
            )
        if self.task == "xnli" and self.do_predict:
            raise ConfigError(
                "Expected --do_train or --do_eval for XNLI, whose files hold no test "
                "set, got --do_predict; leave it out."
            )
        reads = self.do_train or self.do_eval or self.do_predict
        if reads and not self.data_dir and self.task != "custom":
            raise ConfigError(
                f"Expected --data_dir, the folder of {self.task_name}'s files, got "
                "none."
            )
        local = self.data_dir and not is_remote(self.data_dir)
        if local and not os.path.isdir(self.data_dir or ""):
            raise ConfigError(
                f"Expected a folder at --data_dir={self.data_dir}, found none; check "
                "the path."
            )

    def _check_custom(self) -> None:
        if not self.text_a:
            raise ConfigError(
                "Expected --text_a, the column of the text (a name, or a number "
                "counted from 0), got none."
            )
        if (self.do_train or self.do_eval) and not self.label:
            raise ConfigError(
                "Expected --label, the column of the label (a name, or a number "
                "counted from 0), got none."
            )
        check_dev_fraction(self.dev_fraction, self.dev_file)

    @property
    def task(self) -> str:
        """The task's name in one spelling."""
        name = self.task_name.lower()
        return _SPELLINGS.get(name.replace("_", "-"), name)


def define_task_flags(values: flags.FlagValues) -> None:
    """Flags that say which task, on which data, with which labels."""
    flags.DEFINE_string(
        "task_name", None, f"One of {', '.join(TASKS)}.", flag_values=values
    )
    for name, text in (
        ("data_dir", "Folder with the task's files, in GLUE's layout for its tasks."),
        ("xnli_language", "Language of XNLI's files: zh by default, as the release's."),
        ("train_file", "custom: training file, if not DATA_DIR/train.{tsv,csv,jsonl}."),
        ("dev_file", "custom: dev file, if not DATA_DIR/dev.{tsv,csv,jsonl}."),
        ("test_file", "custom: file to predict, if not DATA_DIR/test.{tsv,csv,jsonl}."),
        ("text_a", "custom: column of the text, a name or a number from 0."),
        ("text_b", "custom: column of a pair's second text."),
        ("label", "custom: column of the label."),
    ):
        flags.DEFINE_string(name, None, text, flag_values=values)
    define_dev_fraction(values, "custom: share")
    flags.DEFINE_bool(
        "header",
        None,
        "custom: whether TSV and CSV files start with column names. Unset: if --text_a "
        "and the others are names.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "file_format",
        "auto",
        _FORMATS,
        "custom: format of the files; auto goes by the extension, else TSV.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "label_kind",
        "auto",
        _LABEL_KINDS,
        "custom: one label per example, any number of labels, or a number to predict; "
        "auto: what the training file holds, or what the folder was trained with.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "label_separator",
        None,
        "custom: what stands between several labels of one field. Unset: |, or what "
        "the folder was trained with.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "class_weights",
        "none",
        _CLASS_WEIGHTS,
        "balanced: rare labels count in the training loss like common ones.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "long_text",
        "truncate",
        _LONG_TEXTS,
        "What becomes of texts longer than --max_seq_length: truncate keeps the start; "
        "head_tail the first quarter and the end; windows all, in several rows whose "
        "logits are averaged. Without --do_train, what the model was trained with.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "doc_stride",
        None,
        "How many pieces further than the one before a window begins. Unset: half of "
        "what a window holds; without --do_train, as --long_text.",
        lower_bound=1,
        flag_values=values,
    )
