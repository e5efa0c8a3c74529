"""Fine-tunes on questions whose answers stand in a text, and answers such questions."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags, logging

from bert_tf.errors import ConfigError, DataError
from bert_tf.tools import fine_tuning_flags
from bert_tf.tools import flags as shared
from bert_tf.tools.command_line import Group, run_tool
from bert_tf.tools.squad_flags import MAX_SEQ_LENGTH, SquadConfig, define_task_flags

if TYPE_CHECKING:
    from bert_tf.tasks.squad import SquadTask
    from bert_tf.tasks.squad_files import SquadExample


def run(config: SquadConfig) -> None:
    """Runs what the config asks for.

    Args:
      config: The flags.

    Raises:
      ConfigError, CheckpointError, DataError: Something does not fit; nothing has
        been written then.
    """
    config.check()
    from bert_tf.tasks.answers import Rules
    from bert_tf.tasks.squad import SquadTask
    from bert_tf.tools import fine_tuning
    from bert_tf.tools.model_run import check_filesystems
    from bert_tf.tools.run_folder import RunFolder
    from bert_tf.training.distribution import make_repeatable

    make_repeatable()
    check_filesystems(config)
    folder = RunFolder(config.output_dir)
    noted = fine_tuning.note_of_weights(config, folder, SquadTask.name)
    if noted.get("version_2_with_negative") and not config.version_2_with_negative:
        logging.warning(
            "without --version_2_with_negative, which the model was trained with, "
            "every question gets an answer"
        )
    row_options = config.row_options(noted)
    bert_config, tokenizer = fine_tuning.load_model_files(
        config, row_options["max_seq_length"]
    )
    rules = Rules(
        n_best_size=config.n_best_size,
        max_answer_length=config.max_answer_length,
        version_2_with_negative=config.version_2_with_negative,
        null_score_diff_threshold=config.null_score_diff_threshold,
        do_lower_case=config.do_lower_case,
        verbose_logging=config.verbose_logging,
    )
    task = SquadTask(bert_config, tokenizer, rules, **row_options)
    examples = _read_examples(config, task)
    fine_tuning.FineTuningRun(config, bert_config, task, examples, folder).run()


def _read_examples(
    config: SquadConfig, task: "SquadTask"
) -> dict[str, list["SquadExample"]]:
    from bert_tf.tasks import squad_scores
    from bert_tf.tasks.squad_files import read_squad_examples

    examples = {}
    for name, path, needed in (
        ("train", config.train_file, config.do_train),
        ("predict", config.predict_file, config.do_eval or config.do_predict),
    ):
        if needed:
            examples[name] = read_squad_examples(
                path or "",
                name == "train",
                config.version_2_with_negative,
                config.verbose_logging,
            )
            if not examples[name]:
                raise DataError(
                    f"Expected at least one question to {name} with in {path}, found "
                    "none; check the file."
                )
    if config.do_eval:
        squad_scores.check_installed()
        if not task.labelled(examples["predict"]):
            raise ConfigError(
                f"Expected answers to all questions of --predict_file="
                f"{config.predict_file} to evaluate with, found that some have none; "
                "name another, leave out --do_eval, or for SQuAD 2.0 add "
                "--version_2_with_negative."
            )
        examples["eval"] = examples["predict"]
        if not config.do_predict:
            del examples["predict"]
    return examples


def _define_model_flags(values: flags.FlagValues) -> None:
    fine_tuning_flags.define_model_flags(
        values, MAX_SEQ_LENGTH, "longer contexts get several rows"
    )


def _define_output_flags(values: flags.FlagValues) -> None:
    fine_tuning_flags.define_output_flags(
        values,
        "PREDICT_FILE",
        "Answer PREDICT_FILE, into predictions.json, nbest_predictions.json and "
        "null_odds.json; scores into predict_results.txt.",
        "questions and contexts",
    )


def _define_evaluation_flags(values: flags.FlagValues) -> None:
    fine_tuning_flags.define_evaluation_flags(values, "f1")


GROUPS = (
    Group("Task and data", define_task_flags),
    Group("Model", _define_model_flags),
    Group("What to do", _define_output_flags),
    Group("Training", fine_tuning_flags.define_training_flags),
    Group("Evaluation while training", _define_evaluation_flags),
    Group("Memory and speed", fine_tuning_flags.define_memory_flags),
    Group("Devices", shared.define_device_flags),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script with the given arguments, this process's if None."""

    def run_with(values: flags.FlagValues) -> None:
        shared.require(values, "vocab_file", "bert_config_file", "output_dir")
        run(SquadConfig.from_flags(values))

    return run_tool(
        "run_squad",
        "Fine-tunes a BERT checkpoint on questions whose answers stand in a text, as "
        "in SQuAD 1.1 and 2.0, answers such questions, and exports a SavedModel.",
        GROUPS,
        run_with,
        argv,
        after_interrupt="; the same command goes on from the newest checkpoint",
    )


if __name__ == "__main__":
    sys.exit(main())
