"""The flags of run_pretraining that are not every script's, and its config."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from absl import flags, logging

from bert_tf.data.pretraining_config import LONGEST_SEQUENCE, MASKINGS
from bert_tf.errors import ConfigError
from bert_tf.tools import flags as shared

OPTIMIZERS = ("adam_weight_decay", "lamb")
# What only masks that are drawn while training depend on.
_MASKING_ONLY: Mapping[str, Any] = {"masking": "token", "masked_lm_prob": 0.15}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainingConfig(shared.TrainingConfig):
    """Everything that `run` needs; the fields are the flags of the same names.

    `eval_input_file` is `input_file` where it is None.
    """

    input_file: str
    eval_input_file: str | None = None
    init_optimizer: bool = False
    max_seq_length: int = shared.MAX_SEQ_LENGTH
    max_predictions_per_seq: int = 20
    num_train_steps: int = 100_000
    num_warmup_steps: int = 10_000
    max_eval_steps: int = 100
    optimizer: str = "adam_weight_decay"
    nsp: bool = True
    dynamic_masking: bool = False
    masking: str = "token"
    masked_lm_prob: float = 0.15
    skip_corrupt_records: bool = False

    def check(self) -> None:
        super().check()
        for name, choices in (("optimizer", OPTIMIZERS), ("masking", MASKINGS)):
            if getattr(self, name) not in choices:
                raise ConfigError(
                    f"Expected --{name} to be one of {', '.join(choices)}, got "
                    f"{getattr(self, name)!r}."
                )
        if self.masked_lm_prob > 1.0:
            raise ConfigError(
                f"Expected --masked_lm_prob from 0 to 1, got {self.masked_lm_prob}."
            )
        if self.max_seq_length > LONGEST_SEQUENCE:
            raise ConfigError(
                f"Expected --max_seq_length of at most {LONGEST_SEQUENCE}, got "
                f"{self.max_seq_length}."
            )
        if self.dynamic_masking and not self.vocab_file:
            raise ConfigError(
                "Expected --vocab_file beside --dynamic_masking, which has to know the "
                "pieces, got none; pass the one that the records were made with."
            )
        for name, default in _MASKING_ONLY.items():
            if getattr(self, name) != default and not self.dynamic_masking:
                raise ConfigError(
                    f"Expected --{name} only with --dynamic_masking, got it without: "
                    "the records' own masks are used; leave it out, or add "
                    "--dynamic_masking."
                )
        if self.init_optimizer and not (self.init_checkpoint and self.do_train):
            raise ConfigError(
                "Expected --init_checkpoint and --do_train beside --init_optimizer, "
                "which takes optimizer and step from there; add them, or leave it out."
            )
        if self.eval_input_file and not self.do_eval:
            raise ConfigError(
                "Expected --do_eval beside --eval_input_file; add it, or leave that "
                "out."
            )
        if self.do_train and self.best_metric and not self.eval_steps:
            raise ConfigError(
                "Expected --eval_steps beside --best_metric, which is of evaluations "
                "while training; add it, or leave out --best_metric."
            )
        if self.do_train and self.num_warmup_steps >= self.num_train_steps:
            logging.warning(
                "--num_warmup_steps=%d is not less than --num_train_steps=%d: the "
                "learning rate never reaches --learning_rate",
                self.num_warmup_steps,
                self.num_train_steps,
            )


def define_data_flags(values: flags.FlagValues) -> None:
    """Flags that say which records, and how they are masked."""
    shared.string(
        values,
        "input_file",
        None,
        "Record files of create_pretraining_data, or globs of them, with commas "
        "between.",
    )
    shared.string(
        values,
        "eval_input_file",
        None,
        "Record files to evaluate on. Unset: those of --input_file, as in the release.",
    )
    shared.integer(
        values,
        "max_seq_length",
        shared.MAX_SEQ_LENGTH,
        "Pieces per record; what the records were made with.",
        at_least=3,
    )
    shared.integer(
        values,
        "max_predictions_per_seq",
        20,
        "Masked positions per record; what the records were made with, or with "
        "--dynamic_masking the most that are masked.",
        at_least=1,
    )
    shared.boolean(
        values,
        "dynamic_masking",
        False,
        "Draw other masks in every epoch, instead of those of the records. Needs "
        "--vocab_file.",
    )
    flags.DEFINE_enum(
        "masking",
        "token",
        MASKINGS,
        "With --dynamic_masking: what is masked together, as create_pretraining_data "
        "has it.",
        flag_values=values,
    )
    shared.number(
        values, "masked_lm_prob", 0.15, "With --dynamic_masking: share to mask."
    )
    shared.boolean(
        values,
        "skip_corrupt_records",
        False,
        "Go on without damaged records, and say how many places had some, instead of "
        "an error.",
    )


def define_model_flags(values: flags.FlagValues) -> None:
    """Flags that say which model."""
    shared.define_model_flags(values)
    shared.boolean(
        values,
        "init_optimizer",
        False,
        "Take adam_m, adam_v and global_step of --init_checkpoint too, and go on from "
        "that step; without it weights only, from step 0, as in the release.",
    )


def define_output_flags(values: flags.FlagValues) -> None:
    """Flags that say what to do and where to write."""
    shared.define_output_dir(values)
    shared.boolean(values, "do_train", False, "Train.")
    shared.boolean(
        values, "do_eval", False, "Evaluate after training, into eval_results.txt."
    )


def define_training_flags(values: flags.FlagValues) -> None:
    """Flags that say how to train."""
    shared.integer(
        values,
        "num_train_steps",
        100_000,
        "The step to train to.",
        at_least=1,
    )
    shared.integer(
        values,
        "num_warmup_steps",
        10_000,
        "Steps that warm the learning rate up.",
        at_least=0,
    )
    shared.define_training_flags(values)
    flags.DEFINE_enum(
        "optimizer",
        "adam_weight_decay",
        OPTIMIZERS,
        "adam_weight_decay, the release's; or lamb, for batches of thousands.",
        flag_values=values,
    )
    shared.boolean(
        values,
        "nsp",
        True,
        "Learn the next sentence too. --nsp=false leaves out its loss; the model keeps "
        "its variables.",
    )


def define_evaluation_flags(values: flags.FlagValues) -> None:
    """Flags about evaluating."""
    shared.integer(
        values,
        "max_eval_steps",
        100,
        "Batches of an evaluation: the first so many of the records, repeated if there "
        "are fewer. 0 for every record once.",
        at_least=0,
    )
    shared.define_evaluation_flags(
        values, "only after training, as in the release", "masked_lm_loss"
    )
