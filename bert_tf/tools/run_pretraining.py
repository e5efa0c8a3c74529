"""Pretrains BERT on records of create_pretraining_data, and evaluates it.

From Python:

    from bert_tf.tools.run_pretraining import PretrainingConfig, run
    run(PretrainingConfig(input_file=..., bert_config_file=..., output_dir=..., ...))
"""

import sys
from collections.abc import Sequence

from bert_tf.tools import flags as shared
from bert_tf.tools import pretraining_flags
from bert_tf.tools.command_line import Group, run_training_tool
from bert_tf.tools.device_flags import define_device_flags
from bert_tf.tools.pretraining_flags import PretrainingConfig


def run(config: PretrainingConfig) -> None:
    """Runs what the config asks for.

    Raises:
      ConfigError, CheckpointError, DataError: Something does not fit; nothing has
        been overwritten then.
    """
    config.check()
    from bert_tf.tools.pretraining import PretrainingRun

    PretrainingRun(config).run()


GROUPS = (
    Group("Records", pretraining_flags.define_data_flags),
    Group("Model", pretraining_flags.define_model_flags),
    Group("What to do", pretraining_flags.define_output_flags),
    Group("Training", pretraining_flags.define_training_flags),
    Group("Evaluation", pretraining_flags.define_evaluation_flags),
    Group("Memory and speed", shared.define_memory_flags),
    Group("Devices", define_device_flags),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script with the given arguments, this process's if None."""
    return run_training_tool(
        "run_pretraining",
        "Pretrains BERT on masked words and next sentences, from random weights or "
        "from any checkpoint in Google's format, and evaluates it.",
        GROUPS,
        PretrainingConfig,
        run,
        ("input_file", "bert_config_file", "output_dir"),
        argv,
    )


if __name__ == "__main__":
    sys.exit(main())
