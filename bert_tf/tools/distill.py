"""Trains a small classifier to say what a large one says.

From Python:

    from bert_tf.tools.distill import DistillConfig, run
    run(DistillConfig(task_name="sst-2", teacher_dir=..., student="BERT-Tiny", ...))
"""

import dataclasses
import functools
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from absl import logging

from bert_tf.config import BertConfig
from bert_tf.errors import ConfigError, DataError
from bert_tf.tools.classifier_flags import define_task_flags
from bert_tf.tools.command_line import Group, run_training_tool
from bert_tf.tools.distill_flags import DistillConfig, define_distillation_flags
from bert_tf.tools.fine_tuning_flags import groups

if TYPE_CHECKING:
    from bert_tf.tasks.classification import DataProcessor, InputExample
    from bert_tf.tools.teacher import Teacher


def run(config: DistillConfig, processor: "DataProcessor | None" = None) -> None:
    """Runs what the config asks for.

    Args:
      config: The flags.
      processor: Reads the examples; by `task_name` if None.

    Raises:
      ConfigError, CheckpointError, DataError: Something does not fit; nothing has
        been written then.
    """
    config.check()
    config.check_teaching()
    from bert_tf.tasks.distillation import DistillationTask, varied
    from bert_tf.tools import run_classifier
    from bert_tf.tools.distillation_run import DistillationRun
    from bert_tf.tools.teacher import Teacher

    teacher = Teacher(config.teacher_dir, config.teacher_labels)
    with tempfile.TemporaryDirectory() as made:
        config = _with_student(config, teacher, made)
        parts = run_classifier.assemble(
            config,
            processor,
            functools.partial(
                DistillationTask,
                temperature=config.temperature,
                hard_label_weight=config.hard_label_weight,
                teacher=teacher.sha256,
            ),
        )
        teacher.fit(parts.task)
        train = list(_distilled(parts.examples["train"]))
        if config.unlabelled_file:
            placeholder = parts.task.kind.placeholder
            more = list(
                _unlabelled(config.unlabelled_file, parts.task.is_pair, placeholder)
            )
            logging.info("%d labelled texts, %d others", len(train), len(more))
            train += more
        if config.varied_copies:
            more = list(varied(parts.examples["train"], config.varied_copies))
            logging.info("%d variants of texts", len(more))
            train += more
        examples = {**parts.examples, "train": train}
        DistillationRun(config, parts._replace(examples=examples), teacher).run()


def _with_student(
    config: DistillConfig, teacher: "Teacher", made: str
) -> DistillConfig:
    """Returns the config with the student's files, written below `made` if new."""
    changes: dict[str, Any] = {}
    if not config.vocab_file:
        changes["vocab_file"] = os.path.join(made, "vocab.txt")
        with open(changes["vocab_file"], "wb") as writer:
            writer.write(teacher.weights.vocab)
        if config.do_lower_case != teacher.do_lower_case:
            logging.info("--do_lower_case=%s, as the teacher", teacher.do_lower_case)
            changes["do_lower_case"] = teacher.do_lower_case
    student: BertConfig | None = None
    if config.student:
        student = BertConfig.from_name(config.student)
        if not config.vocab_file:
            size = teacher.config.vocab_size
            student = dataclasses.replace(student, vocab_size=size)
    elif config.keep_layers:
        student = _shallower(config, teacher.config)
    if student is not None:
        changes["bert_config_file"] = os.path.join(made, "bert_config.json")
        with open(changes["bert_config_file"], "w", encoding="utf-8") as writer:
            writer.write(student.to_json_string())
    return dataclasses.replace(config, **changes)


def _shallower(config: DistillConfig, teacher: BertConfig) -> BertConfig:
    if config.vocab_file:
        raise ConfigError(
            "Expected no --vocab_file beside --keep_layers, whose student has its "
            f"teacher's embeddings, got {config.vocab_file}; leave one out."
        )
    count = teacher.num_hidden_layers
    if config.keep_layers[-1] >= count:
        raise ConfigError(
            f"Expected --keep_layers from 0 to {count - 1}, the teacher's, got "
            f"{config.keep_layers[-1]}; correct it."
        )
    return dataclasses.replace(teacher, num_hidden_layers=len(config.keep_layers))


def _distilled(examples: Sequence["InputExample"]) -> Iterator["InputExample"]:
    from bert_tf.tasks.distillation import DistilledExample

    for each in examples:
        yield DistilledExample(
            each.guid, each.text_a, each.text_b, each.label, each.source
        )


def _unlabelled(
    input_file: str, is_pair: bool, placeholder: Any
) -> Iterator["InputExample"]:
    """Yields a text, or pair, per line that is not empty."""
    from bert_tf.data.text_files import find_text_files, read_blocks, split_lines
    from bert_tf.tasks.distillation import DistilledExample

    for path in find_text_files(input_file):
        number = 0
        for block in read_blocks(path):
            for line in split_lines(block):
                number += 1
                text, _, other = line.decode("utf-8").strip().partition("\t")
                if not text:
                    continue
                source = f"{path}, line {number}"
                if is_pair != bool(other):
                    raise DataError(
                        f"Expected {'two texts' if is_pair else 'one text'} in {source}"
                        f", got {'two, with a tab between' if other else 'one'}; "
                        "correct that line."
                    )
                yield DistilledExample(
                    source, text, other or None, placeholder, source, is_labelled=False
                )


GROUPS = (
    Group("Teacher and student", define_distillation_flags),
    *groups(define_task_flags),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool with the given arguments, this process's if None."""
    return run_training_tool(
        "distill",
        "Trains a small BERT classifier, the student, to say of texts what a "
        "fine-tuned one, its teacher, says of them; evaluates, predicts and exports "
        "it.",
        GROUPS,
        DistillConfig,
        run,
        ("teacher_dir", "task_name", "output_dir"),
        argv,
    )


if __name__ == "__main__":
    sys.exit(main())
