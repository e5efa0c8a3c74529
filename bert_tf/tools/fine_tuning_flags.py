"""The flags of fine-tuning, whatever its task, and its config."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from absl import flags, logging

from bert_tf.errors import ConfigError
from bert_tf.tools import flags as shared
from bert_tf.tools.command_line import Group
from bert_tf.tools.device_flags import define_device_flags


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuningConfig(shared.TrainingConfig):
    """Everything a fine-tuning run needs to know, whatever its task.

    None for one of `ROW_OPTIONS` is Google's default to train, else what the model was
    trained with.
    """

    # The flags that say how examples become rows: their types, and Google's defaults.
    ROW_OPTIONS: ClassVar[Mapping[str, tuple[Any, Any]]] = {
        "max_seq_length": (int, shared.MAX_SEQ_LENGTH)
    }

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

    def row_options(self, noted: Mapping[str, Any]) -> dict[str, Any]:
        """Returns how examples become rows: as flags say, else as they did in training.

        Args:
          noted: What the run that trained the model noted of itself; empty in training
            and if none did.

        Returns:
          `ROW_OPTIONS`, as the task takes them.

        Raises:
          ConfigError: They do not go together.
        """
        return {name: self._given_or_noted(name, noted) for name in self.ROW_OPTIONS}

    def _given_or_noted(self, name: str, noted: Mapping[str, Any]) -> Any:
        kind, default = self.ROW_OPTIONS[name]
        if getattr(self, name) is not None:
            return getattr(self, name)
        value = noted.get(name, default)
        if not isinstance(value, kind):
            raise ConfigError(
                f"Expected a note of a run with its {name}, got {value!r}; restore "
                f"run_config.json beside the checkpoint, or say --{name}."
            )
        if value != default:
            logging.info("--%s=%s, as the model was trained", name, value)
        return value


def _lengths(texts: list[str] | None) -> tuple[int, ...]:
    """Returns the sequence lengths that --length_buckets names."""
    try:
        return tuple(int(text) for text in texts or ())
    except ValueError:
        raise ConfigError(
            f"Expected --length_buckets such as 32,64,128, got {','.join(texts or ())}."
        ) from None


def check_dev_fraction(dev_fraction: float, dev_file: str | None) -> None:
    """Raises a ConfigError for a share that is none, or beside a dev file."""
    if dev_fraction and dev_file:
        raise ConfigError(
            "Expected one of --dev_file and --dev_fraction, got both; drop one."
        )
    if not dev_fraction < 1.0:
        raise ConfigError(
            f"Expected --dev_fraction from 0 to below 1, got {dev_fraction}."
        )


def define_dev_fraction(values: flags.FlagValues, share: str = "Share") -> None:
    """The flag that holds out a part of the training file; `share` begins its help."""
    flags.DEFINE_float(
        "dev_fraction",
        0.0,
        f"{share} of the training file to hold out as dev set when there is no dev "
        "file.",
        lower_bound=0.0,
        flag_values=values,
    )


def groups(
    define_task_flags: Callable[[flags.FlagValues], None],
    *,
    model: Mapping[str, Any] | None = None,
    output: Mapping[str, Any] | None = None,
    metric: str = "eval_accuracy",
) -> tuple[Group, ...]:
    """Returns the flags of a tool that fine-tunes.

    Args:
      define_task_flags: Those of its task and data.
      model: What `define_model_flags` takes besides.
      output: What `define_output_flags` takes besides.
      metric: One to compare evaluations by.
    """
    return (
        Group("Task and data", define_task_flags),
        Group("Model", functools.partial(define_model_flags, **model or {})),
        Group("What to do", functools.partial(define_output_flags, **output or {})),
        Group("Training", define_training_flags),
        Group(
            "Evaluation while training",
            functools.partial(
                shared.define_evaluation_flags,
                otherwise="after each epoch",
                metric=metric,
            ),
        ),
        Group("Memory and speed", define_memory_flags),
        Group("Devices", define_device_flags),
    )


def define_model_flags(
    values: flags.FlagValues,
    max_seq_length: int = shared.MAX_SEQ_LENGTH,
    longer: str = "what becomes of longer texts is --long_text",
) -> None:
    """Flags that say which model, with which words.

    Args:
      values: Where to define them.
      max_seq_length: Google's default.
      longer: What becomes of texts that are longer, in words.
    """
    shared.define_model_flags(values)
    shared.define_casing_flags(values)
    shared.integer(
        values,
        "max_seq_length",
        max_seq_length,
        f"Pieces per row, special ones included; {longer}. Without --do_train, what "
        "the model was trained with, if that is noted beside it.",
        at_least=3,
    )


def define_output_flags(
    values: flags.FlagValues,
    dev: str = "the dev set",
    predict: str = "Predict the test set, into test_results.tsv.",
    takes: str = "raw strings",
) -> None:
    """Flags that say what to do and where to write.

    Args:
      values: Where to define them.
      dev: What is evaluated on, in words.
      predict: What `do_predict` does, in a sentence.
      takes: What an export takes, in words.
    """
    shared.define_output_dir(values)
    shared.boolean(values, "do_train", False, "Train on the training set.")
    shared.boolean(
        values,
        "do_eval",
        False,
        f"Evaluate on {dev}, into eval_results.txt; with --do_train also after "
        "each epoch.",
    )
    shared.boolean(values, "do_predict", False, predict)
    shared.string(
        values,
        "export_dir",
        None,
        f"Write a SavedModel that takes {takes} into EXPORT_DIR/1 (or the next free "
        "number).",
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
