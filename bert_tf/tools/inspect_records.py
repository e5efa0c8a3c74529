"""Shows the text of pretraining records, and what all of them amount to."""

import io
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags, logging

from bert_tf.errors import ConfigError
from bert_tf.tools.command_line import Group, print_lines, run_tool

if TYPE_CHECKING:
    from bert_tf.data.record_files import RecordFiles
    from bert_tf.data.record_summary import RecordSummary


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "vocab_file",
        None,
        "The vocabulary that the records were made with. Unset: the one that "
        "metadata.json beside the records names.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "num_records",
        5,
        "How many records to print as text.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_string(
        "output", "records.png", "PNG file to write.", flag_values=values
    )


GROUPS = (Group("Records", _define_flags),)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool with the given arguments, this process's if None."""

    def inspect(values: flags.FlagValues, *patterns: str) -> None:
        import tensorflow as tf

        from bert_tf.data.record_files import open_files
        from bert_tf.data.record_text import summary_lines

        if not (values.output or "").lower().endswith(".png"):
            raise ConfigError(
                f"Expected a name that ends with .png as --output, got "
                f"{values.output!r}; correct it, lest another file is overwritten."
            )
        if tf.io.gfile.isdir(values.output or "."):
            raise ConfigError(
                f"Expected a PNG file as --output, got {values.output!r}, which names "
                "a folder; add a file name."
            )
        files = open_files(patterns)
        vocab_file = values.vocab_file or _named_vocab(files)
        vocab = _read_vocab(files, vocab_file, chosen=bool(values.vocab_file))
        summary = _read(files, vocab, vocab_file, values.num_records)
        print_lines(summary_lines(summary, len(files.paths)))
        _draw(summary, values.output)

    return run_tool(
        "inspect_records",
        "Prints the first of the records that create_pretraining_data made as text, "
        "counts all of them, and draws their lengths and masks as one picture.",
        GROUPS,
        inspect,
        argv,
        positional="FILES...",
    )


def _read_vocab(files: "RecordFiles", vocab_file: str, chosen: bool) -> dict[str, int]:
    """Returns piece -> id, once it is sure that the records were made with it.

    A vocabulary that the user chose is taken with a warning if it is another one.
    """
    from bert_tf.data import metadata
    from bert_tf.tokenization.vocabulary import check_vocab

    vocab = check_vocab(vocab_file)
    sha256 = metadata.vocabulary(vocab_file)["sha256"]
    for note, named in files.vocabularies.items():
        if sha256 != named["sha256"]:
            difference = (
                f"Expected the vocabulary that {note} names, found {vocab_file} to "
                "have other content"
            )
            if not chosen:
                raise ConfigError(
                    f"{difference}; pass the vocabulary that the records were made "
                    "with as --vocab_file."
                )
            logging.warning("%s.", difference)
    return vocab


def _named_vocab(files: "RecordFiles") -> str:
    """Returns the vocabulary file that a note beside the records names."""
    import tensorflow as tf

    for note, named in files.vocabularies.items():
        if not tf.io.gfile.exists(named["file"]):
            raise ConfigError(
                f"Expected the vocabulary {named['file']}, which {note} names, found "
                "no such file; pass where it is now as --vocab_file."
            )
        return named["file"]
    raise ConfigError(
        "Expected --vocab_file, since there is no metadata.json beside the records "
        "that names one; pass the vocabulary that they were made with."
    )


def _read(
    files: "RecordFiles", vocab: Mapping[str, int], vocab_file: str, num_records: int
) -> "RecordSummary":
    """Prints the first records, and goes on to the last for the summary."""
    from bert_tf.data.record_files import check_ids, read_batches
    from bert_tf.data.record_summary import RecordSummary
    from bert_tf.data.record_text import LEGEND, record_lines

    pieces = list(vocab)
    width = shutil.get_terminal_size().columns
    printed = 0
    summary: RecordSummary | None = None
    for path in files.paths:
        first = 0
        for batch in read_batches(path, files.spec):
            check_ids(batch, len(vocab), f"--vocab_file={vocab_file}", path)
            if not summary and num_records:
                print_lines([LEGEND, ""])
            size = len(batch["input_ids"])
            for i in range(min(size, num_records - printed)):
                row = {name: values[i] for name, values in batch.items()}
                fact, *text = record_lines(row, pieces, width)
                print_lines(
                    [f"{os.path.basename(path)} {first + i}: {fact}", *text, ""]
                )
                printed += 1
            first += size
            counts = RecordSummary.of_batch(batch, vocab)
            summary = summary + counts if summary else counts
    assert summary is not None  # RecordFiles has records
    return summary


def _draw(summary: "RecordSummary", path: str) -> None:
    import tensorflow as tf

    from bert_tf.data.record_figure import draw_summary
    from bert_tf.files import write_file

    try:
        figure: Any = draw_summary(summary)
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        logging.info(
            "no picture of the records without matplotlib: pip install 'bert-tf[plots]'"
        )
        return
    image = io.BytesIO()
    figure.savefig(image, format="png")
    tf.io.gfile.makedirs(os.path.dirname(path) or ".")
    write_file(path, image.getvalue())
    print_lines([path])


if __name__ == "__main__":
    sys.exit(main())
