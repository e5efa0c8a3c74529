"""Flags that scripts share, under Google's names and with Google's defaults.

Each group is stated twice and nowhere else: as flags, and as the fields of the config
that the library is called with. A config is made without TensorFlow, so that flags
which contradict each other are answered at once.
"""

import dataclasses
import math
import os
from typing import Any, ClassVar

from absl import flags

from bert_tf.errors import ConfigError
from bert_tf.files import is_remote
from bert_tf.tools.device_flags import DeviceConfig
from bert_tf.tools.flag_kinds import boolean, integer, number, string

MAX_SEQ_LENGTH = 128
ITERATIONS_PER_LOOP = 1000
REDUCTIONS = ("replica", "global")
PRECISIONS = ("float32", "bfloat16", "float16")
# The least that a flag may be, where that is not 1 for a whole number.
_LEAST = {
    "max_seq_length": 3,
    "num_warmup_steps": 0,
    "max_eval_steps": 0,
    "random_seed": 0,
    "worker_index": 0,
    "keep_checkpoint_max": 0,
    "eval_steps": 0,
    "varied_copies": 0,
    "early_stopping_patience": 0,
    "null_score_diff_threshold": -math.inf,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig(DeviceConfig):
    """Everything that a run needs to know, whatever is trained.

    The fields are the flags of the same names; `--help` says what each does. None
    stands for what a flag does when it is not given: `iterations_per_loop` is 1000 on a
    TPU, elsewhere about half a second's; `use_one_hot_embeddings` holds on a TPU alone.
    """

    # The flags of which one at least says what to do.
    ACTIONS: ClassVar[tuple[str, ...]] = ("do_train", "do_eval")
    # What may differ between workers.
    OF_ONE_WORKER: ClassVar[tuple[str, ...]] = ("worker_index",)

    bert_config_file: str
    output_dir: str
    vocab_file: str | None = None
    init_checkpoint: str | None = None
    do_train: bool = False
    do_eval: bool = False
    train_batch_size: int = 32
    eval_batch_size: int = 8
    learning_rate: float = 5e-5
    save_checkpoints_steps: int = 1000
    keep_checkpoint_max: int = 5
    iterations_per_loop: int | None = None
    random_seed: int = 12345
    micro_batch_size: int | None = None
    recompute: bool = False
    use_one_hot_embeddings: bool | None = None
    precision: str = "float32"
    reduction: str = "replica"
    eval_steps: int = 0
    best_metric: str | None = None
    early_stopping_patience: int = 0

    @property
    def looks_up_by_matmul(self) -> bool:
        """Whether the model is to use one-hot embeddings."""
        asked = self.use_one_hot_embeddings
        return self.on_tpu if asked is None else asked

    def check(self) -> None:
        """Raises a ConfigError for flags that contradict each other or the disk."""
        if not any(getattr(self, name) for name in self.ACTIONS):
            raise ConfigError(
                "Expected something to do, got none of "
                f"{', '.join(f'--{name}' for name in self.ACTIONS)}; set at least one."
            )
        self._check_numbers()
        self._check_training()
        self.check_devices()
        remote = self.tpu_name not in (None, "", "local") or self.master
        if self.on_tpu and remote:
            # What the TPU's host reads and writes itself.
            for name in (
                "input_file",
                "eval_input_file",
                "output_dir",
                "init_checkpoint",
                "export_dir",
            ):
                path = getattr(self, name, None)
                if path and not all(map(is_remote, path.split(","))):
                    raise ConfigError(
                        f"Expected a remote path such as gs://BUCKET/... in --{name} "
                        f"for a remote TPU, got the local path {path}; copy it to a "
                        "bucket, or run on the TPU's own machine."
                    )
        check_files(self, "bert_config_file", "vocab_file")
        for name in ("output_dir", "export_dir"):
            path = getattr(self, name, None)
            there = path if path and not is_remote(path) else "."
            while not os.path.exists(there):
                there = os.path.dirname(there) or "."
            if not os.path.isdir(there):
                raise ConfigError(
                    f"Expected a folder at --{name}={path}, found the file {there}; "
                    "name another."
                )
            if not os.access(there, os.W_OK):
                raise ConfigError(
                    f"Expected a folder that can be written at --{name}={path}, found "
                    f"that {there} cannot; name another."
                )

    def _check_training(self) -> None:
        if self.micro_batch_size and self.train_batch_size % self.micro_batch_size:
            raise ConfigError(
                f"Expected --micro_batch_size to divide --train_batch_size="
                f"{self.train_batch_size}, got {self.micro_batch_size}; choose a "
                "divisor."
            )
        for name, choices in (("precision", PRECISIONS), ("reduction", REDUCTIONS)):
            if getattr(self, name) not in choices:
                raise ConfigError(
                    f"Expected --{name} to be one of {', '.join(choices)}, got "
                    f"{getattr(self, name)!r}."
                )
        if self.early_stopping_patience and not self.best_metric:
            raise ConfigError(
                "Expected --best_metric beside --early_stopping_patience, got none; "
                "name a metric of eval_results.txt, which has to get better."
            )
        if self.do_train and not self.do_eval:
            for name in ("eval_steps", "best_metric"):
                if getattr(self, name):
                    raise ConfigError(
                        f"Expected --do_eval beside --{name}, which needs a dev set; "
                        f"add it, or leave out --{name}."
                    )

    def _check_numbers(self) -> None:
        """The bounds of the flags again: a config may be made without flags."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            whole = not isinstance(field.default, float)
            least = _LEAST.get(field.name, 1 if whole else 0)
            if not (math.isfinite(value) and value >= least):
                raise ConfigError(
                    f"Expected --{field.name} to be a number of at least {least}, got "
                    f"{value}; correct it."
                )


def check_files(chosen: Any, *names: str) -> None:
    """Raises a ConfigError that names the first local file that is not there.

    Args:
      chosen: Parsed flags, or a config.
      *names: Of its flags. Those without a value are passed over.
    """
    for name in names:
        path = getattr(chosen, name)
        if path and not is_remote(path) and not os.path.isfile(path):
            raise ConfigError(
                f"Expected a file at --{name}={path}, found none; check the path."
            )


def require(values: flags.FlagValues, *names: str) -> None:
    """Raises a ConfigError that names the first flag without a value."""
    for name in names:
        if values[name].value in (None, ""):
            raise ConfigError(f"Expected --{name}, got none; {_first(values, name)}")


def _first(values: flags.FlagValues, name: str) -> str:
    text = values[name].help.split(". ")[0].rstrip(".")
    return f"it is: {text[0].lower()}{text[1:]}."


def define_model_flags(values: flags.FlagValues) -> None:
    """Flags that say which model, with which words."""
    string(values, "bert_config_file", None, "The model's bert_config.json.")
    string(values, "vocab_file", None, "The model's vocab.txt.")
    string(
        values,
        "init_checkpoint",
        None,
        "Checkpoint to start from: a prefix such as DIR/bert_model.ckpt, one of its "
        "files, or a folder. A checkpoint in --output_dir goes before it.",
    )


def define_casing_flags(values: flags.FlagValues, otherwise: str = "") -> None:
    """Flags that say whether the model and its vocabulary are lower-cased.

    Args:
      values: Where to define them.
      otherwise: What holds if `do_lower_case` is not given, as a sentence.
    """
    text = "Lower-case the text and strip accents: for uncased models."
    boolean(values, "do_lower_case", True, f"{text} {otherwise}".rstrip())
    boolean(
        values,
        "check_casing",
        True,
        "Stop when the vocabulary plainly contradicts --do_lower_case.",
    )


def define_output_dir(values: flags.FlagValues) -> None:
    """The flag that says where a run writes."""
    string(
        values,
        "output_dir",
        None,
        "Folder for checkpoints, records, results and TensorBoard events. A run "
        "continues from the newest checkpoint in it.",
    )


def define_training_flags(values: flags.FlagValues) -> None:
    """Flags that say how to train."""
    for name, default, help_text in (
        ("train_batch_size", 32, "Examples per training step, over all devices."),
        ("eval_batch_size", 8, "Examples per batch of evaluation."),
        ("save_checkpoints_steps", 1000, "Steps between checkpoints."),
        (
            "iterations_per_loop",
            ITERATIONS_PER_LOOP,
            "Steps per call of the device, at most. Not given: as many as take half a "
            "second, for live progress; on a TPU the default.",
        ),
    ):
        integer(values, name, default, help_text, at_least=1)
    integer(
        values,
        "keep_checkpoint_max",
        5,
        "How many of the newest checkpoints to keep; 0 for all.",
        at_least=0,
    )
    number(values, "learning_rate", 5e-5, "Peak of the learning rate.")
    integer(
        values,
        "random_seed",
        12345,
        "What the order of examples, dropout and fresh weights are a function of.",
        at_least=0,
        at_most=2**32 - 1,  # what numpy's generator takes
    )


def define_memory_flags(values: flags.FlagValues) -> None:
    """Flags that trade time for memory, or precision for both."""
    integer(
        values,
        "micro_batch_size",
        None,
        "Examples that a device works on at a time: gradients of these parts are added "
        "up to those of --train_batch_size. Unset: all of its examples at once.",
        at_least=1,
    )
    boolean(
        values,
        "recompute",
        False,
        "Keep only the inputs of the encoder's blocks for the backward pass, and "
        "compute the rest of each block a second time.",
    )
    flags.DEFINE_enum(
        "precision",
        "float32",
        PRECISIONS,
        "What the layers compute in. Weights, softmax, LayerNorm statistics and losses "
        "stay float32; float16 scales the loss.",
        flag_values=values,
    )
    boolean(
        values,
        "use_one_hot_embeddings",
        None,
        "Look words up by a matmul with one-hot rows, which TPUs are faster at. Unset: "
        "on a TPU alone.",
    )
    flags.DEFINE_enum(
        "reduction",
        "replica",
        REDUCTIONS,
        "Several devices: replica, each takes the loss of its own examples and clips "
        "its own gradients, which are averaged, as Google's TPU code does; global, "
        "gradients are added up and then clipped, as for one device.",
        flag_values=values,
    )


def define_evaluation_flags(
    values: flags.FlagValues, otherwise: str, metric: str
) -> None:
    """Flags about evaluating while training.

    Args:
      values: Where to define them.
      otherwise: When the dev set is evaluated without `eval_steps`.
      metric: One of `eval_results.txt`, as an example.
    """
    integer(
        values,
        "eval_steps",
        0,
        f"Steps between evaluations of the dev set while training; 0: {otherwise}.",
        at_least=0,
    )
    string(
        values,
        "best_metric",
        None,
        f"A metric of eval_results.txt, such as {metric}: the checkpoint that is "
        "best by it is kept in OUTPUT_DIR/best, and is what is evaluated, predicted "
        "with and exported.",
    )
    integer(
        values,
        "early_stopping_patience",
        0,
        "End the training after so many evaluations without a better --best_metric; 0 "
        "for never.",
        at_least=0,
    )
