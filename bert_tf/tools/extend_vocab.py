"""Adds words to the vocabulary of a model, which keeps its weights."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags, logging

from bert_tf.errors import ConfigError, DataError
from bert_tf.tools.command_line import Group, print_lines, run_tool
from bert_tf.tools.flag_kinds import boolean, parts, string
from bert_tf.tools.flags import check_files, require
from bert_tf.tools.model_files import ModelFiles, define_model_files

if TYPE_CHECKING:
    from bert_tf.tokenization.extending import ExtendedVocabulary

# How many of the new words are shown.
_SHOWN = 20


def _define_model(values: flags.FlagValues) -> None:
    define_model_files(
        values,
        "Folder of the model: a pretrained one's with bert_config.json, vocab.txt and "
        "a checkpoint, or the --output_dir of a run.",
    )


def _define_words(values: flags.FlagValues) -> None:
    string(
        values,
        "words",
        None,
        "The words to add, with commas between, as the tokenizer spells them; with ##, "
        "what goes on with a word.",
    )
    string(values, "words_file", None, "The same from a file, one a line.")
    boolean(
        values,
        "keep_unused",
        False,
        "Put all words behind the other pieces, even if there are lines [unusedN] "
        "that could be theirs.",
    )
    string(
        values,
        "output_dir",
        None,
        "Folder for the new bert_model.ckpt, bert_config.json and vocab.txt; new or "
        "empty.",
    )


GROUPS = (Group("Model", _define_model), Group("Words", _define_words))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool with the given arguments, this process's if None."""

    def extend(values: flags.FlagValues) -> None:
        require(values, "output_dir")
        if bool(values.words) == bool(values.words_file):
            raise ConfigError(
                "Expected either --words or --words_file, got "
                f"{'both' if values.words else 'none'}; say in one way which words to "
                "add."
            )
        check_files(values, "words_file")
        words = parts(values, "words")
        files = ModelFiles.from_flags(values)

        from bert_tf.model_extension import extend_model

        extended = extend_model(
            files.bert_config_file,
            files.vocab_file,
            files.init_checkpoint,
            words or _read_words(values.words_file),
            values.output_dir,
            files.do_lower_case,
            files.check_casing,
            model_dir=files.folder,
            keep_unused=values.keep_unused,
            source=values.words_file or "--words",
        )
        _report(extended, values.output_dir)

    return run_tool(
        "extend_vocab",
        "Adds words to the vocabulary of a trained or pretrained model. Each begins "
        "with the mean of the weights of the pieces that it was cut into; all else is "
        "as it was.",
        GROUPS,
        extend,
        argv,
        after_interrupt="; nothing was written",
    )


def _read_words(path: str) -> list[str]:
    """Returns the lines of a file of words, less those without any."""
    from bert_tf.data.text_files import read_blocks, split_lines

    lines = [line for block in read_blocks(path) for line in split_lines(block)]
    words = [word for line in lines if (word := line.decode().strip())]
    if not words:
        raise DataError(
            f"Expected a word a line in --words_file={path}, found none; check the "
            "path."
        )
    return words


def _report(extended: "ExtendedVocabulary", output_dir: str) -> None:
    filled = sum(new.replaced is not None for new in extended.new)
    lines = [
        f"{len(extended.new):,} new pieces, {filled:,} of them in place of [unusedN]; "
        f"{extended.size:,} pieces in all"
    ]
    for new in extended.new[:_SHOWN]:
        place = f" in place of {new.replaced}" if new.replaced else ""
        lines.append(f"  {new.index}{place}  {new.piece}: {' '.join(new.made_of)}")
    if len(extended.new) > _SHOWN:
        lines.append(f"  and {len(extended.new) - _SHOWN:,} more")
    print_lines(lines)
    if extended.known:
        logging.info("pieces already, or given twice: %s", ", ".join(extended.known))
    unknown = [new.piece for new in extended.new if new.made_of == ("[UNK]",)]
    if unknown:
        logging.warning(
            "unknown so far, so that they begin with the weights of [UNK]: %s",
            ", ".join(unknown),
        )
    logging.info("wrote the model to %s", output_dir)


if __name__ == "__main__":
    sys.exit(main())
