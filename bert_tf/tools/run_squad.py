"""Fine-tunes on questions whose answers stand in a text, and answers such questions."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import logging

from bert_tf.errors import ConfigError, DataError
from bert_tf.tools.command_line import run_training_tool
from bert_tf.tools.fine_tuning_flags import groups
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
    from bert_tf.tools.fine_tuning import FineTuningRun, prepare

    start = prepare(config, SquadTask.name)
    two = start.noted.get("version_2_with_negative")
    if two and not config.version_2_with_negative:
        logging.warning(
            "without --version_2_with_negative, which the model was trained with, "
            "every question gets an answer"
        )
    rules = Rules(
        n_best_size=config.n_best_size,
        max_answer_length=config.max_answer_length,
        version_2_with_negative=config.version_2_with_negative,
        null_score_diff_threshold=config.null_score_diff_threshold,
        do_lower_case=config.do_lower_case,
        verbose_logging=config.verbose_logging,
    )
    task = SquadTask(start.bert_config, start.tokenizer, rules, **start.row_options)
    examples = _read_examples(config, task)
    FineTuningRun(config, task, examples, start).run()


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


GROUPS = groups(
    define_task_flags,
    model={
        "max_seq_length": MAX_SEQ_LENGTH,
        "longer": "longer contexts get several rows",
    },
    output={
        "dev": "PREDICT_FILE",
        "predict": "Answer PREDICT_FILE, into predictions.json, nbest_predictions.json "
        "and null_odds.json; scores into predict_results.txt.",
        "takes": "questions and contexts",
    },
    metric="f1",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script with the given arguments, this process's if None."""
    return run_training_tool(
        "run_squad",
        "Fine-tunes a BERT checkpoint on questions whose answers stand in a text, as "
        "in SQuAD 1.1 and 2.0, answers such questions, and exports a SavedModel.",
        GROUPS,
        SquadConfig,
        run,
        ("vocab_file", "bert_config_file", "output_dir"),
        argv,
    )


if __name__ == "__main__":
    sys.exit(main())
