"""Fine-tunes on sentences whose words have tags, and tags such sentences."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from bert_tf.errors import DataError
from bert_tf.tools import fine_tuning_flags
from bert_tf.tools import flags as shared
from bert_tf.tools.command_line import Group, run_tool
from bert_tf.tools.tagger_flags import TaggerConfig, define_task_flags

if TYPE_CHECKING:
    from bert_tf.tasks.tag_files import TaggedSentence
    from bert_tf.tools.run_folder import RunFolder


def run(config: TaggerConfig) -> None:
    """Runs what the config asks for.

    Args:
      config: The flags.

    Raises:
      ConfigError, CheckpointError, DataError: Something does not fit; nothing has
        been written then.
    """
    config.check()
    from bert_tf.tasks.tagging import TaggingTask
    from bert_tf.tools import fine_tuning
    from bert_tf.tools.model_run import check_filesystems
    from bert_tf.tools.run_folder import RunFolder
    from bert_tf.training.distribution import make_repeatable

    make_repeatable()
    check_filesystems(config)
    folder = RunFolder(config.output_dir)
    row_options = config.row_options(fine_tuning.note_of_weights(config, folder))
    bert_config, tokenizer = fine_tuning.load_model_files(
        config, row_options["max_seq_length"]
    )
    examples = _read_examples(config)
    labels = _labels(config, folder, examples)
    task = TaggingTask(bert_config, tokenizer, labels, **row_options)
    fine_tuning.FineTuningRun(config, bert_config, task, examples, folder).run()


def _read_examples(config: TaggerConfig) -> dict[str, list["TaggedSentence"]]:
    from bert_tf.tasks.tag_files import find_tagged, read_sentences, read_tagged

    examples = {}
    for name, set_type, needed in (
        ("train", "train", config.do_train),
        ("eval", "dev", config.do_eval),
        ("predict", "test", config.do_predict),
    ):
        if not needed:
            continue
        named = getattr(config, f"{set_type}_file")
        path = named or find_tagged(config.data_dir, set_type)
        if path is None:
            raise DataError(
                f"Expected a file such as {config.data_dir or '.'}/{set_type}.conll, "
                f"found none; name it with --{set_type}_file."
            )
        if name == "predict" and config.test_format == "text":
            examples[name] = read_sentences(path)
        else:
            examples[name] = read_tagged(
                path, config.word_column, config.tag_column, name != "predict"
            )
        if not examples[name]:
            raise DataError(
                f"Expected at least one sentence in {path}, found none; check the file."
            )
    return examples


def _labels(
    config: TaggerConfig,
    folder: "RunFolder",
    examples: dict[str, list["TaggedSentence"]],
) -> list[str]:
    """Returns the tags of the training file, or those that the model knows."""
    from bert_tf.tools.fine_tuning import saved_labels

    if not config.do_train:
        return saved_labels(config, folder)
    found = {tag for sentence in examples["train"] for tag in sentence.tags or ()}
    if len(found) < 2:
        raise DataError(
            "Expected at least two different tags in the training file, found only "
            f"{', '.join(map(repr, sorted(found)))}; is --tag_column the right column?"
        )
    return sorted(found)


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
