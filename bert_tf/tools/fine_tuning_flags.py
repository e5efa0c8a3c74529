"""The flags of fine-tuning, whatever its task, and its config."""

import dataclasses
from typing import Any, ClassVar

from absl import flags

from bert_tf.errors import ConfigError
from bert_tf.tools import flags as shared


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuningConfig(shared.TrainingConfig):
    """Everything a fine-tuning run needs to know, whatever its task.

    None for `max_seq_length` is 128 to train, else what the model was trained with.
    """

    ACTIONS: ClassVar[tuple[str, ...]] = (
        *shared.TrainingConfig.ACTIONS,
        "do_predict",
        "export_dir",
    )

    vocab_file: str
    do_lower_case: bool = True
    check_casing: bool = True
    max_seq_length: int | None = None
    do_predict: bool = False
    export_dir: str | None = None
    predict_batch_size: int = 8
    num_train_epochs: float = 3.0
    warmup_proportion: float = 0.1
    length_buckets: tuple[int, ...] = ()

    @classmethod
    def _given(cls, values: flags.FlagValues) -> dict[str, Any]:
        given = super()._given(values)
        return {**given, "length_buckets": _lengths(given["length_buckets"])}

    def check(self) -> None:
        super().check()
        if self.warmup_proportion > 1.0:
            raise ConfigError(
                f"Expected --warmup_proportion from 0 to 1, got "
                f"{self.warmup_proportion}."
            )
        if self.length_buckets and self.on_tpu:
            raise ConfigError(
                "Expected no --length_buckets on a TPU, whose programs are made for "
                "one shape, got some; leave it out."
            )


def _lengths(texts: list[str] | None) -> tuple[int, ...]:
    """Returns the sequence lengths that --length_buckets names."""
    try:
        return tuple(int(text) for text in texts or ())
    except ValueError:
        raise ConfigError(
            f"Expected --length_buckets such as 32,64,128, got {','.join(texts or ())}."
        ) from None


def define_model_flags(values: flags.FlagValues) -> None:
    """Flags that say which model, with which words."""
    shared.define_model_flags(values)
    shared.define_casing_flags(values)
    shared.integer(
        values,
        "max_seq_length",
        shared.MAX_SEQ_LENGTH,
        "Pieces per row, special ones included; what becomes of longer texts is "
        "--long_text. Without --do_train, what the model was trained with, if that is "
        "noted beside it.",
        at_least=3,
    )


def define_output_flags(values: flags.FlagValues) -> None:
    """Flags that say what to do and where to write."""
    shared.define_output_dir(values)
    shared.boolean(values, "do_train", False, "Train on the training set.")
    shared.boolean(
        values,
        "do_eval",
        False,
        "Evaluate on the dev set, into eval_results.txt; with --do_train also after "
        "each epoch.",
    )
    shared.boolean(
        values, "do_predict", False, "Predict the test set, into test_results.tsv."
    )
    shared.string(
        values,
        "export_dir",
        None,
        "Write a SavedModel that takes raw strings into EXPORT_DIR/1 (or the next "
        "free number).",
    )


def define_training_flags(values: flags.FlagValues) -> None:
    """Flags that say how to train."""
    shared.define_training_flags(values)
    shared.integer(
        values,
        "predict_batch_size",
        8,
        "Examples per batch of prediction.",
        at_least=1,
    )
    shared.number(values, "num_train_epochs", 3.0, "Passes over the training set.")
    shared.number(
        values, "warmup_proportion", 0.1, "Share of the steps that warm the rate up."
    )


def define_evaluation_flags(values: flags.FlagValues) -> None:
    """Flags about evaluating while training."""
    shared.define_evaluation_flags(values, "after each epoch", "eval_accuracy")


def define_memory_flags(values: flags.FlagValues) -> None:
    """Flags that trade time for memory, or precision for both."""
    shared.define_memory_flags(values)
    flags.DEFINE_list(
        "length_buckets",
        None,
        "Sequence lengths such as 32,64,128: examples of like length share a batch, "
        "which is padded to the bucket only.",
        flag_values=values,
    )
