"""The flags of distill that are not run_classifier's, and its config."""

import dataclasses
import os
from typing import Any, ClassVar

from absl import flags

from bert_tf.config import PUBLISHED_SIZES
from bert_tf.errors import ConfigError
from bert_tf.files import is_remote
from bert_tf.tools.classifier_flags import ClassifierConfig
from bert_tf.tools.flag_kinds import integer, number, string

_STUDENTS = ("bert_config_file", "student", "keep_layers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillConfig(ClassifierConfig):
    """Everything that `run` needs; the fields are the flags of the same names."""

    ACTIONS: ClassVar[tuple[str, ...]] = ("do_train",)

    # Each makes these of its teacher, below its own temporary folder; what they hold is
    # in the note that is compared as well.
    OF_ONE_WORKER: ClassVar[tuple[str, ...]] = (
        *ClassifierConfig.OF_ONE_WORKER,
        "bert_config_file",
        "vocab_file",
    )

    bert_config_file: str = ""
    vocab_file: str = ""
    teacher_dir: str = ""
    teacher_labels: tuple[str, ...] = ()
    student: str | None = None
    keep_layers: tuple[int, ...] = ()
    temperature: float = 2.0
    hard_label_weight: float = 0.0
    unlabelled_file: str | None = None
    varied_copies: int = 0
    cache_dir: str | None = None

    @classmethod
    def _given(cls, values: flags.FlagValues) -> dict[str, Any]:
        given = super()._given(values)
        for name in ("bert_config_file", "vocab_file", "teacher_dir"):
            given[name] = given[name] or ""
        try:
            layers = tuple(int(text) for text in given["keep_layers"] or ())
        except ValueError:
            raise ConfigError(
                f"Expected --keep_layers such as 0,2,4, got "
                f"{','.join(given['keep_layers'])}; number layers from 0."
            ) from None
        labels = tuple(given["teacher_labels"] or ())
        return {**given, "keep_layers": layers, "teacher_labels": labels}

    def check_teaching(self) -> None:
        """Raises a ConfigError for a teacher, student or loss that cannot be."""
        if is_remote(self.teacher_dir) or not os.path.isdir(self.teacher_dir):
            raise ConfigError(
                f"Expected a folder of this machine at --teacher_dir="
                f"{self.teacher_dir}, found none; name the output folder of a "
                "run_classifier, or a Hugging Face classifier."
            )
        chosen = [name for name in _STUDENTS if getattr(self, name)]
        if len(chosen) != 1:
            raise ConfigError(
                f"Expected one of {', '.join(f'--{name}' for name in _STUDENTS)}, got "
                f"{' and '.join(f'--{name}' for name in chosen) or 'none'}; say which "
                "student is to be trained."
            )
        if self.keep_layers and self.init_checkpoint:
            raise ConfigError(
                "Expected no --init_checkpoint beside --keep_layers, whose student "
                f"starts from its teacher, got {self.init_checkpoint}; leave one out."
            )
        if list(self.keep_layers) != sorted({*self.keep_layers}):
            raise ConfigError(
                "Expected --keep_layers that ascend, got "
                f"{','.join(map(str, self.keep_layers))}; name each layer once."
            )
        if not self.temperature > 0:
            raise ConfigError(
                f"Expected --temperature over 0, got {self.temperature}; raise it."
            )
        if self.hard_label_weight > 1.0:
            raise ConfigError(
                f"Expected --hard_label_weight from 0 to 1, got "
                f"{self.hard_label_weight}; lower it."
            )
        if self.class_weights != "none":
            raise ConfigError(
                f"Expected no --class_weights={self.class_weights}, since a teacher "
                "knows no weights, got it; leave it out."
            )


def define_distillation_flags(values: flags.FlagValues) -> None:
    """Flags that say from whom to learn, and how."""
    string(
        values,
        "teacher_dir",
        None,
        "The teacher: the output folder of a run_classifier (or its folder best), or a "
        "Hugging Face folder of a BERT classifier.",
    )
    flags.DEFINE_list(
        "teacher_labels",
        None,
        "What the teacher's labels are called in the task, in the order of their ids, "
        "if not as the teacher calls them.",
        flag_values=values,
    )
    string(
        values,
        "student",
        None,
        f"The student's size, by the name of a published model: BERT-Tiny, BERT-Mini, "
        f"... or {next(iter(PUBLISHED_SIZES))}, ...; instead of --bert_config_file.",
    )
    flags.DEFINE_list(
        "keep_layers",
        None,
        "Layers of the teacher, such as 0,2,4, that a student of its width starts "
        "with, as DistilBERT did; instead of --bert_config_file.",
        flag_values=values,
    )
    number(
        values,
        "temperature",
        2.0,
        "By which the logits of both are divided before they are compared.",
    )
    number(
        values,
        "hard_label_weight",
        0.0,
        "Share of the loss, from 0 to 1, that goes by the labels instead of the "
        "teacher.",
    )
    string(
        values,
        "unlabelled_file",
        None,
        "Further texts to learn from, or patterns, with commas between: a text a line; "
        "of a pair task, two with a tab between.",
    )
    integer(
        values,
        "varied_copies",
        0,
        "Variants of each training text to learn from as well, for little data: every "
        "other with some words replaced, every other going on with another text.",
        at_least=0,
    )
    string(
        values,
        "cache_dir",
        None,
        "Where the teacher's logits are kept, for runs that share teacher and texts. "
        "Unset: --output_dir.",
    )
