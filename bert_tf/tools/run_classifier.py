"""Fine-tunes, evaluates, predicts with and exports a classifier.

From Python, with a `DataProcessor` of one's own:

    from bert_tf.tools.run_classifier import ClassifierConfig, run
    run(ClassifierConfig(task_name="mine", data_dir=..., ...), MyProcessor())
"""

import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags, logging

from bert_tf.errors import ConfigError, DataError
from bert_tf.tools import flags as shared
from bert_tf.tools.command_line import Group, run_tool

if TYPE_CHECKING:
    from bert_tf.tasks.classification import DataProcessor, InputExample
    from bert_tf.tools.run_folder import RunFolder

TASKS = ("cola", "mnli", "mrpc", "xnli", "sst-2", "custom")
_SPELLINGS = {"sst2": "sst-2"}
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
)
_FORMATS = ("auto", "tsv", "csv", "jsonl")


@dataclasses.dataclass(frozen=True)
class ClassifierConfig(shared.FineTuningConfig):
    """Everything that `run` needs; the fields are the flags of the same names."""

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
        local = self.data_dir and "://" not in self.data_dir
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
        if self.dev_fraction and self.dev_file:
            raise ConfigError(
                "Expected one of --dev_file and --dev_fraction, got both; drop one."
            )
        if not self.dev_fraction < 1.0:
            raise ConfigError(
                f"Expected --dev_fraction from 0 to below 1, got {self.dev_fraction}."
            )

    @property
    def task(self) -> str:
        """The task's name in one spelling."""
        return _SPELLINGS.get(self.task_name.lower(), self.task_name.lower())


def run(config: ClassifierConfig, processor: "DataProcessor | None" = None) -> None:
    """Runs what the config asks for.

    Args:
      config: The flags.
      processor: Reads the examples; by `task_name` if None. It may have an attribute
        `is_pair`, which says whether an export asks for a second text; without one,
        the examples tell.

    Raises:
      ConfigError, CheckpointError, DataError: Something does not fit; nothing has
        been written then.
    """
    config.check()
    if processor is None:
        config.check_task()
    from bert_tf.tasks.classification import ClassificationTask
    from bert_tf.tasks.custom import CustomProcessor
    from bert_tf.tools import fine_tuning
    from bert_tf.tools.run_folder import RunFolder
    from bert_tf.training.distribution import make_repeatable

    make_repeatable()
    fine_tuning.check_filesystems(config)
    folder = RunFolder(config.output_dir)
    max_seq_length = _max_seq_length(config, folder)
    bert_config, tokenizer = fine_tuning.load_model_files(config, max_seq_length)
    processor = processor or _processor(config, folder)
    examples = _read_examples(config, processor)
    is_pair = getattr(processor, "is_pair", None)
    if is_pair is None:
        found = any(x.text_b for rows in examples.values() for x in rows)
        is_pair = found or bool(folder.noted.get("is_pair"))
    task = ClassificationTask(
        config.task,
        bert_config,
        tokenizer,
        processor.get_labels(),
        max_seq_length,
        is_pair,
    )
    held_out: dict[str, Any] = {"dev_fraction": 0.0}
    splits = config.dev_fraction and (config.do_train or config.do_eval)
    if splits and isinstance(processor, CustomProcessor):
        held_out = processor.held_out_by(config.data_dir or "")
    fine_tuning.FineTuningRun(
        config, bert_config, task, examples, folder, held_out
    ).run()


def _max_seq_length(config: ClassifierConfig, folder: "RunFolder") -> int:
    """Returns the flag; if not given, what the folder's run was trained with."""
    if config.max_seq_length is not None:
        return config.max_seq_length
    noted = None if config.do_train else folder.noted.get("max_seq_length")
    if isinstance(noted, int) and noted != shared.MAX_SEQ_LENGTH:
        logging.info("--max_seq_length=%d, as %s was trained with", noted, folder.path)
        return noted
    return shared.MAX_SEQ_LENGTH


def _processor(config: ClassifierConfig, folder: "RunFolder") -> "DataProcessor":
    from bert_tf.tasks import custom, glue

    processors: dict[str, Any] = {
        "cola": glue.ColaProcessor,
        "mnli": glue.MnliProcessor,
        "mrpc": glue.MrpcProcessor,
        "sst-2": glue.Sst2Processor,
        "xnli": lambda: glue.XnliProcessor(config.xnli_language or "zh"),
        "custom": lambda: custom.CustomProcessor(
            custom.Columns(
                text_a=config.text_a or "",
                text_b=config.text_b,
                label=config.label,
                header=config.header,
                file_format=config.file_format,
            ),
            files={
                "train": config.train_file,
                "dev": config.dev_file,
                "test": config.test_file,
            },
            labels=None if config.do_train else _saved_labels(config, folder),
            dev_fraction=config.dev_fraction,
            random_seed=config.random_seed,
        ),
    }
    return processors[config.task]()


def _saved_labels(config: ClassifierConfig, folder: "RunFolder") -> list[str]:
    """Returns the labels that lie beside the checkpoint that will be used."""
    from bert_tf.checkpoint import find_checkpoint
    from bert_tf.tools.run_folder import read_labels

    if folder.checkpoint or not config.init_checkpoint:
        return read_labels(folder.path)
    beside = os.path.dirname(find_checkpoint(config.init_checkpoint))
    return read_labels(beside, folder.path)


def _read_examples(
    config: ClassifierConfig, processor: "DataProcessor"
) -> dict[str, list["InputExample"]]:
    """Reads the sets that are needed; the training set first, which sets labels."""
    data_dir = config.data_dir or ""
    examples = {}
    if config.do_train:
        examples["train"] = processor.get_train_examples(data_dir)
    if config.do_eval:
        examples["eval"] = processor.get_dev_examples(data_dir)
    if config.do_predict:
        examples["predict"] = processor.get_test_examples(data_dir)
    for name, rows in examples.items():
        if not rows:
            raise DataError(
                f"Expected at least one example to {name} {config.task_name} with, "
                f"found none in --data_dir={data_dir}; add rows to its file."
            )
    return examples


def _define_task_flags(values: flags.FlagValues) -> None:
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
    flags.DEFINE_float(
        "dev_fraction",
        0.0,
        "custom: share of the training file to hold out as dev set when there is no "
        "dev file.",
        lower_bound=0.0,
        flag_values=values,
    )
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


GROUPS = (
    Group("Task and data", _define_task_flags),
    Group("Model", shared.define_model_flags),
    Group("What to do", shared.define_output_flags),
    Group("Training", shared.define_training_flags),
    Group("Evaluation while training", shared.define_evaluation_flags),
    Group("Memory and speed", shared.define_memory_flags),
    Group("Devices", shared.define_device_flags),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script with the given arguments, this process's if None."""

    def run_with(values: flags.FlagValues) -> None:
        shared.require(
            values, "task_name", "vocab_file", "bert_config_file", "output_dir"
        )
        run(ClassifierConfig.from_flags(values))

    return run_tool(
        "run_classifier",
        "Fine-tunes a BERT checkpoint on labelled texts, evaluates and predicts with "
        "it, and exports a SavedModel that takes raw strings.",
        GROUPS,
        run_with,
        argv,
        after_interrupt="; the same command goes on from the newest checkpoint",
    )


if __name__ == "__main__":
    sys.exit(main())
