"""Learns a vocabulary from text, for a model that is to be pretrained from scratch."""

import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags, logging

from bert_tf.errors import ConfigError
from bert_tf.files import is_remote
from bert_tf.tools.command_line import Group, run_tool
from bert_tf.tools.flag_kinds import parts, string
from bert_tf.tools.flags import require
from bert_tf.tools.termination import Termination

if TYPE_CHECKING:
    from bert_tf.tokenization.learning import LearnedVocabulary


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "input_file",
        None,
        "Text files, or patterns such as texts/*.txt, with commas between.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "vocab_file",
        None,
        "The vocabulary file to write; there must be none of that name.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "vocab_size",
        30522,
        "How many pieces to write, special ones included: vocab_size of the model's "
        "config.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_bool(
        "do_lower_case",
        True,
        "Lower-case the text and strip accents: for an uncased model.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "num_unused",
        0,
        "How many lines [unused0], [unused1], ... to put behind [PAD], to be replaced "
        "by pieces of one's own later.",
        lower_bound=0,
        flag_values=values,
    )
    string(
        values,
        "reserved_pieces",
        None,
        "Pieces to put behind the special ones whatever the text, with commas between, "
        "such as [ENT],[NUM], which a program of one's own puts into its inputs.",
    )
    flags.DEFINE_integer(
        "min_count",
        10,
        "How often a character or a longer piece must occur. Words with a rarer "
        "character are unknown.",
        lower_bound=1,
        flag_values=values,
    )


GROUPS = (Group("Vocabulary", _define_flags),)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool with the given arguments, this process's if None."""

    def learn(values: flags.FlagValues) -> None:
        require(values, "input_file", "vocab_file")
        reserved = parts(values, "reserved_pieces")
        begun = time.monotonic()
        from bert_tf.data.text_files import find_text_files
        from bert_tf.tokenization.learning import learn_vocabulary, unknown_share
        from bert_tf.tools.text_words import count_words_of_files

        _check_output(values.vocab_file, values.input_file)
        paths = find_text_files(values.input_file)
        word_counts = count_words_of_files(paths, values.do_lower_case)
        learned = learn_vocabulary(
            word_counts,
            values.vocab_size,
            values.num_unused,
            values.min_count,
            reserved,
        )
        unknown = unknown_share(word_counts, learned.pieces)
        _write(values.vocab_file, learned.pieces)
        _report(learned, unknown, values)
        logging.info("%.0f s", time.monotonic() - begun)

    return run_tool(
        "learn_vocab",
        "Learns a WordPiece vocabulary from plain text, whose words are split as the "
        "tokenizers of this package split them.",
        GROUPS,
        learn,
        argv,
    )


def _check_output(vocab_file: str, input_file: str) -> None:
    """Raises a ConfigError if the vocabulary cannot or should not be written."""
    import tensorflow as tf

    from bert_tf.data.text_files import would_be_found

    if tf.io.gfile.isdir(vocab_file) or not os.path.basename(vocab_file):
        raise ConfigError(
            f"Expected a file's name in --vocab_file, but {vocab_file} is a folder; "
            f"name a file, as in {os.path.join(vocab_file, 'vocab.txt')}."
        )
    if tf.io.gfile.exists(vocab_file):
        raise ConfigError(
            f"Expected no file yet at --vocab_file={vocab_file}, found one; name "
            "another, or delete it if no model was trained with it."
        )
    if would_be_found(vocab_file, input_file):
        raise ConfigError(
            f"Expected --vocab_file elsewhere than where texts are read, but "
            f"{vocab_file} would be taken for one of --input_file={input_file}; name "
            "another."
        )
    if is_remote(vocab_file):
        return
    folder = os.path.dirname(os.path.abspath(vocab_file))
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(
            f"Expected a place to write --vocab_file={vocab_file} to, but {folder} is "
            "no folder that can be written to; name another."
        )


def _write(vocab_file: str, pieces: Sequence[str]) -> None:
    import tensorflow as tf

    from bert_tf.files import write_file

    # Whoever interrupts now gets the file, not a part of it.
    with Termination(signal.SIGINT, signal.SIGTERM):
        if folder := os.path.dirname(vocab_file):
            tf.io.gfile.makedirs(folder)
        write_file(vocab_file, "".join(f"{piece}\n" for piece in pieces))


def _report(
    learned: "LearnedVocabulary", unknown: float, values: flags.FlagValues
) -> None:
    logging.info(
        "%s pieces with %s characters (%s that occur less than %s times left out), "
        "%.4f %% of the words unknown: %s",
        f"{len(learned.pieces):,}",
        f"{learned.characters:,}",
        f"{learned.characters_left_out:,}",
        f"{values.min_count:,}",
        100 * unknown,
        values.vocab_file,
    )
    if learned.filled:
        logging.warning(
            "%s of the pieces are [unusedN], as the text has no more that occur %s "
            "times: take more text, or lower --vocab_size or --min_count.",
            f"{learned.filled:,}",
            f"{values.min_count:,}",
        )


if __name__ == "__main__":
    sys.exit(main())
