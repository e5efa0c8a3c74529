"""Prints the pieces that a pretrained model finds likeliest at each [MASK]."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from bert_tf.errors import ConfigError
from bert_tf.tools.command_line import Group, print_lines, run_tool
from bert_tf.tools.flags import define_casing_flags

if TYPE_CHECKING:
    from bert_tf.serving.fill_mask import Candidate

# The model that comes with the repository, and the folders it may lie in: around the
# package, or where the user stands who installed the package from a clone.
_TINY = Path("examples", "tiny")
_CLONES = (Path(__file__).resolve().parents[2], Path())


def _define_model_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "model_dir",
        None,
        "Folder of a pretrained model with bert_config.json, vocab.txt and a "
        "checkpoint, such as an unpacked archive of Google's. Unset: the small model "
        f"{_TINY} of this repository.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "bert_config_file",
        None,
        "The model's bert_config.json, if not that of --model_dir.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "vocab_file",
        None,
        "The model's vocab.txt, if not that of --model_dir.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "init_checkpoint",
        None,
        "The model's checkpoint, if not the newest of --model_dir: a prefix such as "
        "DIR/bert_model.ckpt, one of its files, or a folder.",
        flag_values=values,
    )
    define_casing_flags(
        values,
        "If not given, as run_config.json in --model_dir notes, where there is one.",
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
        folder = _model_dir(values)
        config_file = _file(
            values.bert_config_file, folder, "bert_config.json", "bert_config_file"
        )
        vocab_file = _file(values.vocab_file, folder, "vocab.txt", "vocab_file")

        from bert_tf.serving.fill_mask import MaskFiller

        filler = MaskFiller(
            config_file,
            vocab_file,
            values.init_checkpoint or folder,
            _do_lower_case(values, folder),
            values.check_casing,
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


def _model_dir(values: flags.FlagValues) -> str:
    """Returns the folder of the model, empty if the flags name every file of it."""
    if values.model_dir:
        if "://" not in values.model_dir and not os.path.isdir(values.model_dir):
            raise ConfigError(
                f"Expected a folder at --model_dir={values.model_dir}, found none; "
                "check the path."
            )
        return values.model_dir
    if values.bert_config_file and values.vocab_file and values.init_checkpoint:
        return ""
    for clone in _CLONES:
        if (clone / _TINY / "bert_config.json").is_file():
            return str(clone / _TINY)
    raise ConfigError(
        f"Expected --model_dir, since the small model {_TINY} is neither beside the "
        "package nor here; name the folder of a pretrained model."
    )


def _file(given: str | None, model_dir: str, name: str, flag: str) -> str:
    """Returns the path of one of the model's files."""
    path = given or os.path.join(model_dir, name)
    if "://" not in path and not os.path.isfile(path):
        raise ConfigError(
            f"Expected a file at {path}, found none; check --model_dir, or name the "
            f"file with --{flag}."
        )
    return path


def _do_lower_case(values: flags.FlagValues, model_dir: str) -> bool:
    from bert_tf.tools.run_folder import read_note

    if values["do_lower_case"].present:
        return values.do_lower_case
    note = read_note(model_dir) if model_dir else {}
    return bool(note.get("do_lower_case", values.do_lower_case))


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
