"""Makes records of masked sentence pairs from text, as the release's script does."""

import dataclasses
import functools
import logging
import signal
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags
from absl import logging as absl_logging

from bert_tf.data.pretraining_config import (
    MASKINGS,
    MODES,
    MOST_SHARDS,
    RUNNERS,
    WORD_SEGMENTERS,
    PretrainingDataConfig,
)
from bert_tf.errors import ConfigError
from bert_tf.tools.command_line import Group, run_tool
from bert_tf.tools.flags import define_casing_flags, require
from bert_tf.tools.progress import progress_bar
from bert_tf.tools.termination import Termination


def _define_files(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "input_file",
        None,
        "Text files, or patterns such as texts/*.txt, with commas between: one "
        "sentence a line, a blank line between documents.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "output_file",
        None,
        "The TFRecord file to write, or several with commas between, all in one "
        "folder, which gets metadata.json beside them.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "vocab_file", None, "The model's vocab.txt.", flag_values=values
    )
    flags.DEFINE_integer(
        "num_shards",
        None,
        "Write so many files, OUTPUT_FILE-00000-of-N and so forth, instead of "
        "--output_file itself.",
        lower_bound=1,
        upper_bound=MOST_SHARDS,
        flag_values=values,
    )


def _define_text(values: flags.FlagValues) -> None:
    define_casing_flags(values)
    flags.DEFINE_bool(
        "sentence_split",
        False,
        "The lines are paragraphs: split each into sentences first.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "language",
        None,
        "Code of the language whose abbreviations --sentence_split knows, such as de "
        "or zh. Unset: en; Chinese punctuation ends sentences in any.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "word_segmenter",
        "none",
        WORD_SEGMENTERS,
        "jieba: words of Chinese are masked whole too, not each ideograph by itself.",
        flag_values=values,
    )


def _define_instances(values: flags.FlagValues) -> None:
    for name, default, least, text in (
        ("max_seq_length", 128, 5, "Pieces of a pair, special ones included, at most."),
        ("max_predictions_per_seq", 20, 1, "Masked positions of a pair at most."),
        (
            "dupe_factor",
            10,
            1,
            "How often to go through the texts, with other pairs and masks each time.",
        ),
    ):
        flags.DEFINE_integer(name, default, text, lower_bound=least, flag_values=values)
    flags.DEFINE_integer(
        "random_seed",
        12345,
        "What all that is random is a function of.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "masked_lm_prob",
        0.15,
        "Share of a pair's pieces to mask.",
        lower_bound=0.0,
        upper_bound=1.0,
        flag_values=values,
    )
    flags.DEFINE_float(
        "short_seq_prob",
        0.1,
        "Share of the documents, each time, that are made into pairs of a shorter "
        "length.",
        lower_bound=0.0,
        upper_bound=1.0,
        flag_values=values,
    )
    flags.DEFINE_bool(
        "do_whole_word_mask",
        False,
        "Mask all pieces of a word or none: --masking=whole_word.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "masking",
        None,
        MASKINGS,
        "What is masked together: token, single pieces; whole_word; span, several "
        "words in a row (SpanBERT), all shown in the same way. Unset: token.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "unmasked",
        False,
        "Write the pairs as they are, to be masked while training.",
        flag_values=values,
    )


def _define_work(values: flags.FlagValues) -> None:
    flags.DEFINE_enum(
        "mode",
        "reference",
        MODES,
        "reference: the records of the release's script, in its order, drawn one after "
        "the other and kept in memory until all are there. stream: the same procedure "
        "with memory that does not grow with the text, each record drawn by itself; an "
        "interrupted run keeps the files that are whole.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "num_workers",
        None,
        "Threads to work with, or processes with --runner=beam on this machine; the "
        "records do not depend on it. Unset: one thread per core, or one process.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_string(
        "work_dir",
        None,
        "Local folder for the tokenized text while the tool runs, about as large as "
        "the text itself. Unset: beside --output_file.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "runner",
        "local",
        RUNNERS,
        "beam: have Apache Beam make the records of --mode=stream, with files of any "
        "kind that it knows: on this machine, or by what --beam_options name.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "beam_options",
        None,
        'Options of Apache Beam, as in --beam_options="--runner=DataflowRunner '
        '--project=... --region=... --temp_location=gs://...".',
        flag_values=values,
    )


GROUPS = (
    Group("Files", _define_files),
    Group("Text", _define_text),
    Group("Pairs and masks", _define_instances),
    Group("How to work", _define_work),
)


def _create(config: PretrainingDataConfig) -> dict[str, Any]:
    from bert_tf.data.pretraining_data import create_pretraining_data

    with Termination(signal.SIGINT, signal.SIGTERM) as termination:
        return create_pretraining_data(
            config, functools.partial(progress_bar, termination)
        )


def _create_by_beam(config: PretrainingDataConfig) -> dict[str, Any]:
    logging.disable(logging.WARNING)  # it misses what only some clouds need
    try:
        import apache_beam  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"Expected Apache Beam to be installed for --runner=beam, found that it is "
            f"not ({error}); run pip install 'bert-tf[beam]'."
        ) from error
    finally:
        logging.disable(logging.NOTSET)
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    from bert_tf.data.beam import create_pretraining_data_with_beam

    return create_pretraining_data_with_beam(config)


def _report(made: dict[str, Any], config: PretrainingDataConfig) -> None:
    """Logs what was made, and warns of what is hardly meant."""
    counts = made["counts"]
    random_next = counts["random_next"] / counts["records"]
    unknown = counts["unknown_pieces"] / counts["pieces"]
    files = config.output_files
    absl_logging.info(
        "%s records of %s documents (%s pieces, %.2f %% unknown), %.1f %% with a "
        "random next segment: %s",
        f"{counts['records']:,}",
        f"{counts['documents']:,}",
        f"{counts['pieces']:,}",
        100 * unknown,
        100 * random_next,
        files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more",
    )
    if unknown > 0.1:
        absl_logging.warning(
            "%.0f %% of the pieces are unknown: is the vocabulary one for these texts?",
            100 * unknown,
        )
    if random_next > 0.9:
        absl_logging.warning(
            "%.0f %% of the next segments are random: are there several sentences to a "
            "document, one a line, and much shorter than --max_seq_length?",
            100 * random_next,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool with the given arguments, this process's if None."""

    def create(values: flags.FlagValues) -> None:
        require(values, "input_file", "output_file", "vocab_file")
        config = PretrainingDataConfig(
            **{
                field.name: values[field.name].value
                for field in dataclasses.fields(PretrainingDataConfig)
            }
        )
        config.check()
        made = _create_by_beam(config) if config.runner == "beam" else _create(config)
        _report(made, config)

    return run_tool(
        "create_pretraining_data",
        "Makes TFRecords for pretraining from plain text: pairs of segments, half of "
        "them with a random second one, and masked positions to predict.",
        GROUPS,
        create,
        argv,
        after_interrupt="; run the same command again to go on",
    )


if __name__ == "__main__":
    sys.exit(main())
