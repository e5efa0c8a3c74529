"""Prints the pieces that a pretrained model finds likeliest at each [MASK]."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from bert_tf.errors import ConfigError
from bert_tf.tools.command_line import Group, print_lines, run_tool
from bert_tf.tools.model_files import ModelFiles, define_model_files

if TYPE_CHECKING:
    from bert_tf.serving.fill_mask import Candidate

# The model that comes with the repository, and the folders it may lie in: around the
# package, or where the user stands who installed the package from a clone.
_TINY = Path("examples", "tiny")
_CLONES = (Path(__file__).resolve().parents[2], Path())


def _define_model_flags(values: flags.FlagValues) -> None:
    define_model_files(
        values,
        "Folder of a pretrained model with bert_config.json, vocab.txt and a "
        "checkpoint, such as an unpacked archive of Google's. Unset: the small model "
        f"{_TINY} of this repository.",
    )


def _define_output_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_integer(
        "top_k",
        5,
        "How many pieces to print for each [MASK].",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_bool(
        "json",
        False,
        "Print a JSON object per text instead, in a line of its own.",
        flag_values=values,
    )


GROUPS = (Group("Model", _define_model_flags), Group("Output", _define_output_flags))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool with the given arguments, this process's if None."""

    def fill(values: flags.FlagValues, *texts: str) -> None:
        from bert_tf.tokenization.masked_text import MaskedText

        for text in texts:
            MaskedText.of(text)  # what is wrong is said before TensorFlow is imported
        files = ModelFiles.from_flags(values, otherwise=_small_model)

        from bert_tf.serving.fill_mask import MaskFiller

        filler = MaskFiller(
            files.bert_config_file,
            files.vocab_file,
            files.init_checkpoint,
            files.do_lower_case,
            files.check_casing,
        )
        for number, (text, masks) in enumerate(
            zip(texts, filler.fill(texts, values.top_k), strict=True)
        ):
            if values.json:
                print_lines([_json(text, masks)])
            else:
                print_lines([*([""] if number else []), *_table(text, masks)])

    return run_tool(
        "fill_mask",
        "Prints the pieces that a pretrained model finds likeliest wherever a text "
        "says [MASK], their probabilities, and the text with each filled in. Several "
        "masks of a text are filled each on its own, while the others are masks still.",
        GROUPS,
        fill,
        argv,
        positional='"TEXT WITH [MASK]"...',
    )


def _small_model() -> str:
    """Returns the folder of the repository's model."""
    for clone in _CLONES:
        if (clone / _TINY / "bert_config.json").is_file():
            return str(clone / _TINY)
    raise ConfigError(
        f"Expected --model_dir, since the small model {_TINY} is neither beside the "
        "package nor here; name the folder of a pretrained model."
    )


def _json(text: str, masks: "list[list[Candidate]]") -> str:
    found = [[vars(candidate) for candidate in candidates] for candidates in masks]
    return json.dumps({"text": text, "masks": found})


def _table(text: str, masks: "list[list[Candidate]]") -> list[str]:
    """Returns a text, and below it the candidates for each of its masks."""
    from bert_tf.data.record_text import columns

    lines = [" ".join(text.split())]
    for number, candidates in enumerate(masks, start=1):
        if len(masks) > 1:
            lines.append(f"  [MASK] {number} of {len(masks)}")
        widest = max(columns(each.piece) for each in candidates)
        for each in candidates:
            padding = " " * (widest - columns(each.piece))
            filled = " ".join(each.text.split())
            lines.append(f"  {each.probability:.3f}  {each.piece}{padding}  {filled}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
