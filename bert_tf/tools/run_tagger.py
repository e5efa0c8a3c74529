"""Fine-tunes on sentences whose words have tags, and tags such sentences."""

import sys
from collections.abc import Sequence

from absl import flags

from bert_tf.tools import fine_tuning_flags
from bert_tf.tools import flags as shared
from bert_tf.tools.command_line import Group, run_tool
from bert_tf.tools.tagger_flags import TaggerConfig, define_task_flags


def run(config: TaggerConfig) -> None:
    """Runs what the config asks for.

    Args:
      config: The flags.

    Raises:
      ConfigError, CheckpointError, DataError: Something does not fit; nothing has
        been written then.
    """
    config.check()
    from bert_tf.tasks.tag_files import TagFiles
    from bert_tf.tasks.tagging import TaggingTask
    from bert_tf.tools import fine_tuning
    from bert_tf.tools.model_run import check_filesystems
    from bert_tf.tools.run_folder import RunFolder
    from bert_tf.training.distribution import make_repeatable

    make_repeatable()
    check_filesystems(config)
    folder = RunFolder(config.output_dir)
    noted = fine_tuning.note_of_weights(config, folder, TaggingTask.name)
    row_options = config.row_options(noted)
    bert_config, tokenizer = fine_tuning.load_model_files(
        config, row_options["max_seq_length"]
    )
    files = TagFiles(
        config.data_dir,
        {
            "train": config.train_file,
            "dev": config.dev_file,
            "test": config.test_file,
        },
        word_column=config.word_column,
        tag_column=config.tag_column,
        plain_test=config.test_format == "text",
        dev_fraction=config.dev_fraction,
        random_seed=config.random_seed,
    )
    examples = {
        name: read()
        for name, asked, read in (
            ("train", config.do_train, files.train),
            ("eval", config.do_eval, files.dev),
            ("predict", config.do_predict, files.test),
        )
        if asked
    }
    if config.do_train:
        labels = files.tags()
    else:
        labels = fine_tuning.saved_labels(config, folder)
    task = TaggingTask(bert_config, tokenizer, labels, **row_options)
    more = {}
    if config.dev_fraction and (config.do_train or config.do_eval):
        more = {"held_out": files.held_out_by()}
    fine_tuning.FineTuningRun(config, bert_config, task, examples, folder, **more).run()


def _define_output_flags(values: flags.FlagValues) -> None:
    fine_tuning_flags.define_output_flags(
        values,
        "the dev file",
        "Tag the test file, into predictions.conll and predictions.jsonl; if it holds "
        "tags, scores into predict_results.txt.",
        "sentences",
    )


def _define_model_flags(values: flags.FlagValues) -> None:
    fine_tuning_flags.define_model_flags(
        values, longer="longer sentences get several rows"
    )


def _define_evaluation_flags(values: flags.FlagValues) -> None:
    fine_tuning_flags.define_evaluation_flags(values, "eval_f1")


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
        run(TaggerConfig.from_flags(values))

    return run_tool(
        "run_tagger",
        "Fine-tunes a BERT checkpoint on sentences whose words have tags (named "
        "entities, parts of speech), tags such sentences, and exports a SavedModel.",
        GROUPS,
        run_with,
        argv,
        after_interrupt="; the same command goes on from the newest checkpoint",
    )


if __name__ == "__main__":
    sys.exit(main())
