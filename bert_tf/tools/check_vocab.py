"""Says what a vocabulary holds, and whether a model can be trained with it."""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from absl import flags

from bert_tf.errors import ConfigError
from bert_tf.tools.command_line import Group, print_lines, run_tool
from bert_tf.tools.flag_kinds import boolean, string
from bert_tf.tools.flags import check_files, require

if TYPE_CHECKING:
    from bert_tf.tokenization.matching import Obstacle
    from bert_tf.tokenization.vocabulary_report import VocabularyReport

# How many of several examples, lines and scripts are shown.
_SHOWN = 5
_LABEL_WIDTH = 20


def _define_flags(values: flags.FlagValues) -> None:
    string(values, "vocab_file", None, "The vocabulary to check.")
    string(
        values,
        "bert_config_file",
        None,
        "The bert_config.json of a model, whose vocab_size has to be that of the "
        "vocabulary.",
    )
    string(
        values,
        "input_file",
        None,
        "Text files, or patterns such as texts/*.txt, with commas between: says what "
        "becomes of their words.",
    )
    boolean(
        values,
        "do_lower_case",
        None,
        "Whether texts are to be lower-cased and their accents stripped. Not given: as "
        "the capitals of the vocabulary tell.",
    )


GROUPS = (Group("Vocabulary", _define_flags),)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool with the given arguments, this process's if None."""

    def check(values: flags.FlagValues) -> None:
        require(values, "vocab_file")
        check_files(values, "bert_config_file")
        from bert_tf.config import BertConfig
        from bert_tf.tokenization.graph_tokenizer import check_piece_lengths
        from bert_tf.tokenization.vocabulary import check_vocab, read_lines
        from bert_tf.tokenization.vocabulary_report import describe_vocabulary

        config = None
        if values.bert_config_file:
            config = BertConfig.from_json_file(values.bert_config_file)
        report = describe_vocabulary(
            read_lines(values.vocab_file), values.do_lower_case
        )
        print_lines([*_lines(report), *_notes(report, values.vocab_file)])
        vocab = check_vocab(values.vocab_file, config.vocab_size if config else None)
        check_piece_lengths(vocab, values.vocab_file)
        if config is not None:
            print_lines([_line("model", f"fits vocab_size={config.vocab_size}")])
        if values.input_file:
            print_lines(_of_texts(values.input_file, report.do_lower_case, vocab))

    return run_tool(
        "check_vocab",
        "Says what a vocabulary holds, which of its pieces no text can match, and with "
        "texts what becomes of their words. Ends with exit code 1 if no model can be "
        "trained with it.",
        GROUPS,
        check,
        argv,
    )


def _line(label: str, text: str) -> str:
    return f"{label:<{_LABEL_WIDTH}}{text}"


def _share(count: int, of: int) -> str:
    return f"{100 * count / max(1, of):.1f} %"


def _few(items: Sequence[object]) -> str:
    """Returns the first of some items, and how many more there are."""
    more = f" and {len(items) - _SHOWN:,} more" if len(items) > _SHOWN else ""
    return f"{', '.join(map(str, items[:_SHOWN]))}{more}"


def _on_lines(numbers: Sequence[int]) -> str:
    return f"{'lines' if len(numbers) > 1 else 'line'} {_few(numbers)}"


def _lines(report: "VocabularyReport") -> list[str]:
    """Returns the table of what a vocabulary holds."""
    special = [
        f"{piece} {'missing' if index is None else index}"
        for piece, index in report.special.items()
    ]
    marks = f": {_few(report.marks)}" if report.marks else ""
    casing = report.casing
    kind = "cased" if casing.is_cased else "lower-cased"
    if not casing.has_case:
        kind = "without case"
    scripts = [
        f"{script} {_share(count, casing.pieces)}"
        for script, count in report.scripts.items()
    ]
    longest = report.longest.removeprefix("##")
    size = len(report.pieces)
    unmatched = sum(map(len, report.unmatched.values()))
    return [
        _line("pieces", f"{size:,}"),
        _line("special", ", ".join(special)),
        _line("unused", f"{report.unused:,} [unusedN]"),
        _line("others in brackets", f"{len(report.marks):,}{marks}"),
        _line(
            "inside words (##)",
            f"{report.inside:,}, {_share(report.inside, size)} of the pieces",
        ),
        _line(
            "characters",
            f"{report.characters:,}, of which {report.characters_alone:,} are pieces, "
            f"{report.characters_inside:,} inside words too",
        ),
        _line(
            "casing",
            f"{kind}: capitals in {casing.upper:,} of {casing.pieces:,} pieces; taken "
            f"with --do_lower_case={report.do_lower_case}",
        ),
        _line("scripts", _few(scripts)),
        _line("longest piece", f"{report.longest:.40}, {len(longest)} characters"),
        _line("never matched", f"{unmatched:,}, {_share(unmatched, size)}"),
        *(
            f"  {len(found):,} {kind.value}{_examples(found)}"
            for kind, found in report.unmatched.items()
        ),
    ]


def _examples(found: "Sequence[tuple[str, Obstacle]]") -> str:
    """Returns some pieces, each with what texts make of it, if that says something."""
    named = [f"{x!r} -> {' '.join(y.words)!r}" for x, y in found if y.words]
    return f": {_few(named)}" if named else ""


def _notes(report: "VocabularyReport", vocab_file: str) -> list[str]:
    """Returns what else to know of a vocabulary."""
    from bert_tf.tokenization.vocabulary import PAD, check_casing

    notes = []
    if report.special[PAD] != 0:
        notes.append(f"id 0, which rows are filled up with, is not {PAD}")
    if report.blank:
        notes.append(f"nothing on {_on_lines(report.blank)}")
    if report.padded:
        notes.append(
            f"whitespace that is no part of a piece on {_on_lines(report.padded)}"
        )
    for piece, numbers in list(report.repeated.items())[:_SHOWN]:
        notes.append(f"{piece!r} is on {_on_lines(numbers)}")
    try:
        check_casing(report.pieces, report.do_lower_case, vocab_file)
    except ConfigError as error:
        notes.append(f"training stops here: {error}")
    return [f"note: {note}" for note in notes]


def _of_texts(
    input_file: str, do_lower_case: bool, vocab: Mapping[str, int]
) -> list[str]:
    """Returns the table of what becomes of the words of texts."""
    from bert_tf.data.text_files import find_text_files
    from bert_tf.tokenization.vocabulary_report import describe_words
    from bert_tf.tools.text_words import count_words_of_files

    words = count_words_of_files(find_text_files(input_file), do_lower_case)
    report = describe_words(words, vocab, _SHOWN)
    lines = [
        _line("pieces per word", f"{report.pieces / report.words:.3f}"),
        _line(
            "unknown",
            f"{100 * report.unknown / report.words:.4f} % of the words; "
            f"{100 * report.unknown / report.pieces:.4f} % of the pieces are [UNK]",
        ),
    ]
    for word, count in report.commonest_unknown:
        name = "of over 200 characters" if word == "[UNK]" else word
        lines.append(f"  {count:,} times {name}")
    if report.most_pieces:
        lines.append("cut into most pieces")
    for word, pieces in report.most_pieces:
        lines.append(f"  {len(pieces)} of {word}: {' '.join(pieces)}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
