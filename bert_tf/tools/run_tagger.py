"""Fine-tunes on sentences whose words have tags, and tags such sentences."""

import sys
from collections.abc import Sequence

from bert_tf.tools.command_line import run_training_tool
from bert_tf.tools.fine_tuning_flags import groups
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
    from bert_tf.tools.fine_tuning import FineTuningRun, prepare, saved_labels

    start = prepare(config, TaggingTask.name)
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
    labels = files.tags() if config.do_train else saved_labels(config, start.folder)
    task = TaggingTask(start.bert_config, start.tokenizer, labels, **start.row_options)
    more = {}
    if config.dev_fraction and (config.do_train or config.do_eval):
        more = {"held_out": files.held_out_by()}
    FineTuningRun(config, task, examples, start, **more).run()


GROUPS = groups(
    define_task_flags,
    model={"longer": "longer sentences get several rows"},
    output={
        "dev": "the dev file",
        "predict": "Tag the test file, into predictions.conll and predictions.jsonl; "
        "if it holds tags, scores into predict_results.txt.",
        "takes": "sentences",
    },
    metric="eval_f1",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script with the given arguments, this process's if None."""
    return run_training_tool(
        "run_tagger",
        "Fine-tunes a BERT checkpoint on sentences whose words have tags (named "
        "entities, parts of speech), tags such sentences, and exports a SavedModel.",
        GROUPS,
        TaggerConfig,
        run,
        ("vocab_file", "bert_config_file", "output_dir"),
        argv,
    )


if __name__ == "__main__":
    sys.exit(main())
