"""The flags of run_squad that are not every script's, and its config."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from absl import flags

from bert_tf.errors import ConfigError
from bert_tf.tools import flags as shared
from bert_tf.tools.fine_tuning_flags import FineTuningConfig

MAX_SEQ_LENGTH = 384
DOC_STRIDE = 128
MAX_QUERY_LENGTH = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class SquadConfig(FineTuningConfig):
    """Everything that `run` needs; the fields are the flags of the same names."""

    ROW_OPTIONS: ClassVar[Mapping[str, tuple[Any, Any]]] = {
        "max_seq_length": (int, MAX_SEQ_LENGTH),
        "doc_stride": (int, DOC_STRIDE),
        "max_query_length": (int, MAX_QUERY_LENGTH),
    }

    train_file: str | None = None
    predict_file: str | None = None
    doc_stride: int | None = None
    max_query_length: int | None = None
    n_best_size: int = 20
    max_answer_length: int = 30
    version_2_with_negative: bool = False
    null_score_diff_threshold: float = 0.0
    verbose_logging: bool = False

    def check(self) -> None:
        super().check()
        for needed, name in (
            (self.do_train, "train_file"),
            (self.do_eval or self.do_predict, "predict_file"),
        ):
            if needed and not getattr(self, name):
                raise ConfigError(
                    f"Expected --{name}, a file in SQuAD's format, got none; name one."
                )
        if self.do_train:
            self.row_options({})  # which raises what it has to, at once

    def row_options(self, noted: Mapping[str, Any]) -> dict[str, Any]:
        options = super().row_options(noted)
        least = options["max_query_length"] + 4
        if options["max_seq_length"] < least:
            raise ConfigError(
                f"Expected --max_seq_length of at least {least}, which leaves room for "
                "a piece of the context beside --max_query_length="
                f"{options['max_query_length']}, got {options['max_seq_length']}; "
                "raise it."
            )
        return options


def define_task_flags(values: flags.FlagValues) -> None:
    """Flags that say which questions, and what can be an answer."""
    shared.string(
        values, "train_file", None, "Questions to train on, in SQuAD's format."
    )
    shared.string(
        values,
        "predict_file",
        None,
        "Questions to answer, in SQuAD's format; their answers, if it holds any, are "
        "what scores are taken by.",
    )
    shared.boolean(
        values,
        "version_2_with_negative",
        False,
        "Some questions have no answer, as in SQuAD 2.0. To be said in every command.",
    )
    flags.DEFINE_float(
        "null_score_diff_threshold",
        0.0,
        "Answer nothing if that scores so much more than the best answer. "
        "best_f1_thresh of an evaluation is the best for its questions.",
        flag_values=values,
    )
    for name, default, text in (
        (
            "doc_stride",
            DOC_STRIDE,
            "How many pieces further than the one before a window over a long context "
            "begins. Without --do_train, what the model was trained with.",
        ),
        (
            "max_query_length",
            MAX_QUERY_LENGTH,
            "Pieces of a question; what is longer is cut. Without --do_train, what the "
            "model was trained with.",
        ),
        (
            "n_best_size",
            20,
            "Answers per question in nbest_predictions.json, and how many places are "
            "looked at for either end.",
        ),
        ("max_answer_length", 30, "Most pieces of an answer."),
    ):
        shared.integer(values, name, default, text, at_least=1)
    shared.boolean(
        values,
        "verbose_logging",
        False,
        "Log every question that is left out and every answer that is not found in its "
        "context as it was written.",
    )
