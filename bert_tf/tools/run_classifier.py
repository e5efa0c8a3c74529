"""Fine-tunes, evaluates, predicts with and exports a classifier.

From Python, with a `DataProcessor` of one's own:

    from bert_tf.tools.run_classifier import ClassifierConfig, run
    run(ClassifierConfig(task_name="mine", data_dir=..., ...), MyProcessor())
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from absl import logging

from bert_tf.errors import ConfigError, DataError
from bert_tf.tools.classifier_flags import ClassifierConfig, define_task_flags
from bert_tf.tools.command_line import run_training_tool
from bert_tf.tools.fine_tuning_flags import groups

if TYPE_CHECKING:
    from bert_tf.run_folder import RunFolder
    from bert_tf.tasks.classification import (
        ClassificationTask,
        DataProcessor,
        InputExample,
    )
    from bert_tf.tools.fine_tuning import Start


def run(config: ClassifierConfig, processor: "DataProcessor | None" = None) -> None:
    """Runs what the config asks for.

    Args:
      config: The flags.
      processor: Reads the examples; by `task_name` if None. It may have attributes
        `is_pair`, which says whether an export asks for a second text, and
        `label_kind`, which says what its labels are; without them, the examples tell.

    Raises:
      ConfigError, CheckpointError, DataError: Something does not fit; nothing has
        been written then.
    """
    parts = assemble(config, processor)
    from bert_tf.tools.fine_tuning import FineTuningRun

    fine_tuning_run = FineTuningRun(config, *parts)
    if config.do_train:
        labels = [example.label for example in parts.examples["train"]]
        logging.info("labels: %s", parts.task.kind.describe(labels))
    fine_tuning_run.run()


class Parts(NamedTuple):
    """What a run of a classifier is made of, as `FineTuningRun` takes it."""

    task: "ClassificationTask"
    examples: dict[str, list["InputExample"]]
    start: "Start"
    held_out: dict[str, Any]


def assemble(
    config: ClassifierConfig,
    processor: "DataProcessor | None" = None,
    make_task: Callable[..., "ClassificationTask"] | None = None,
) -> Parts:
    """Reads examples, and makes the task of them; writes nothing.

    Args:
      config, processor: As for `run`.
      make_task: Called as `ClassificationTask` is, if not that.

    Raises:
      ConfigError, CheckpointError, DataError: As `run`.
    """
    config.check()
    if processor is None:
        config.check_task()
    from bert_tf.tasks.classification import ClassificationTask
    from bert_tf.tasks.custom import CustomProcessor
    from bert_tf.tasks.label_kind import SEPARATOR
    from bert_tf.tasks.label_kinds import KINDS
    from bert_tf.tasks.squad import SquadTask
    from bert_tf.tasks.tagging import TaggingTask
    from bert_tf.tools.fine_tuning import prepare

    strangers = (SquadTask.name, TaggingTask.name)
    start = prepare(config, config.task, strangers)
    folder, noted = start.folder, start.noted
    _check_kind(noted)
    separator = config.label_separator or noted.get("label_separator") or SEPARATOR
    processor = processor or _processor(config, folder, noted, separator)
    examples = _read_examples(config, processor)
    kind = _label_kind(config, processor, examples, noted)
    is_pair = getattr(processor, "is_pair", None)
    if is_pair is None:
        found = any(x.text_b for rows in examples.values() for x in rows)
        is_pair = found or bool(folder.noted.get("is_pair"))
    task = (make_task or ClassificationTask)(
        config.task,
        start.bert_config,
        start.tokenizer,
        processor.get_labels() if KINDS[kind].has_labels else [],
        is_pair=is_pair,
        label_kind=kind,
        label_separator=separator,
        submission=getattr(processor, "submission", None),
        **start.row_options,
    )
    if not isinstance(processor, CustomProcessor):  # it took them from there
        _check_labels(config, folder, noted, task.labels)
    if config.do_train and config.class_weights == "balanced":
        task.balance(examples["train"])
    held_out: dict[str, Any] = {"dev_fraction": 0.0}
    splits = config.dev_fraction and (config.do_train or config.do_eval)
    if splits and isinstance(processor, CustomProcessor):
        held_out = dict(processor.held_out_by(config.data_dir or ""))
    return Parts(task, examples, start, held_out)


def _processor(
    config: ClassifierConfig,
    folder: "RunFolder",
    noted: Mapping[str, Any],
    separator: str,
) -> "DataProcessor":
    from bert_tf.tasks import custom, glue

    kind = config.label_kind
    if kind == "auto" and not config.do_train:
        kind = noted.get("label_kind", "single")
    processors: dict[str, Any] = {
        **glue.PROCESSORS,
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
            labels=None if config.do_train else _saved_labels(config, folder, kind),
            dev_fraction=config.dev_fraction,
            random_seed=config.random_seed,
            label_kind=kind,
            label_separator=separator,
        ),
    }
    return processors[config.task]()


def _label_kind(
    config: ClassifierConfig,
    processor: "DataProcessor",
    examples: dict[str, list["InputExample"]],
    noted: Mapping[str, Any],
) -> str:
    """Returns the kind of the labels: as said, or known of the run, or as found."""
    from bert_tf.tasks.label_kinds import find_kind

    if config.label_kind != "auto":
        return config.label_kind
    said = getattr(processor, "label_kind", None) or noted.get("label_kind")
    if said:
        return said
    rows = examples.get("train") or examples.get("eval") or []
    found = find_kind([example.label for example in rows])
    # Numbers that a processor lists as its labels are names.
    return "single" if found == "regression" and _lists_labels(processor) else found


def _lists_labels(processor: "DataProcessor") -> bool:
    try:
        return bool(processor.get_labels())
    except NotImplementedError:
        return False


def _check_kind(noted: Mapping[str, Any]) -> None:
    """Raises a ConfigError for the note of a run with an unknown kind of labels."""
    from bert_tf.tasks.label_kinds import KINDS

    if noted.get("label_kind", "single") not in KINDS:
        raise ConfigError(
            f"Expected a note of a run with label_kind one of {', '.join(KINDS)}, got "
            f"{noted['label_kind']!r}; restore run_config.json beside the checkpoint."
        )


def _saved_labels(
    config: ClassifierConfig, folder: "RunFolder", kind: str
) -> list[str]:
    """Returns the labels of the model that will be used, if its kind has any."""
    from bert_tf.tasks.label_kinds import KINDS
    from bert_tf.tools.fine_tuning import saved_labels

    return saved_labels(config, folder) if KINDS[kind].has_labels else []


def _check_labels(
    config: ClassifierConfig,
    folder: "RunFolder",
    noted: Mapping[str, Any],
    labels: list[str],
) -> None:
    """Refuses to use an initial checkpoint that was trained for other labels.

    Labels of the output folder's own checkpoints are checked with all that they fit.
    """
    if folder.checkpoint is None and noted.get("labels", labels) != labels:
        raise ConfigError(
            f"Expected an --init_checkpoint of a run with labels={labels}, found that "
            f"{config.init_checkpoint} was left by one with labels={noted['labels']}; "
            "name another, or correct --task_name."
        )


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


GROUPS = groups(define_task_flags)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script with the given arguments, this process's if None."""
    return run_training_tool(
        "run_classifier",
        "Fine-tunes a BERT checkpoint on labelled texts, evaluates and predicts with "
        "it, and exports a SavedModel that takes raw strings.",
        GROUPS,
        ClassifierConfig,
        run,
        ("task_name", "vocab_file", "bert_config_file", "output_dir"),
        argv,
    )


if __name__ == "__main__":
    sys.exit(main())
