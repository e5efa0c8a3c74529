"""Turns a model of one package into that of another."""

import os
import sys
from collections.abc import Sequence

from absl import flags

from bert_tf.errors import ConfigError
from bert_tf.files import is_remote
from bert_tf.tools.command_line import Group, print_lines, run_tool
from bert_tf.tools.flag_kinds import boolean, string
from bert_tf.tools.flags import require

_FORMATS = ("google", "huggingface", "keras_hub", "tf_models")


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_enum(
        "from",
        "huggingface",
        _FORMATS,
        "What the input is: google for Google's layout, the output folder of a "
        "training run included, whose weights are taken without the optimizer's slots; "
        "huggingface for BERT, DistilBERT or SpanBERT; keras_hub for a preset; "
        "tf_models for an encoder's checkpoint of tf-models-official.",
        flag_values=values,
    )
    flags.DEFINE_enum("to", "google", _FORMATS, "What to write.", flag_values=values)
    string(
        values,
        "input",
        None,
        "Folder of the model: its weights, config and vocabulary.",
    )
    string(values, "output_dir", None, "Folder to write; new or empty.")
    boolean(
        values,
        "do_lower_case",
        None,
        "Whether the model's texts are lower-cased. Unset: as the input notes, else as "
        "its vocabulary looks.",
    )
    boolean(
        values,
        "is_pair",
        False,
        "huggingface: whether a classifier is of pairs of texts.",
    )


GROUPS = (Group("Files", _define_flags),)


def _check_folders(source: str, target: str) -> None:
    """Raises a ConfigError unless one folder can be read and the other written."""
    for name, path in (("input", source), ("output_dir", target)):
        if is_remote(path):
            raise ConfigError(
                f"Expected a folder of this machine at --{name}, got {path}; name "
                "one, and copy it from or to the store."
            )
    if not os.path.isdir(source):
        raise ConfigError(
            f"Expected a folder at --input={source}, found none; check the path."
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool with the given arguments, this process's if None."""

    def run(values: flags.FlagValues) -> None:
        require(values, "input", "output_dir")
        _check_folders(values.input, values.output_dir)
        if values.is_pair and values["from"].value != "huggingface":
            raise ConfigError(
                "Expected --is_pair only with --from=huggingface, got it with "
                f"{values['from'].value}; leave it out."
            )
        from bert_tf import interchange

        steps = interchange.convert(
            values.input,
            values.output_dir,
            values["from"].value,
            values.to,
            do_lower_case=values.do_lower_case,
            is_pair=values.is_pair,
        )
        print_lines([str(step) for step in steps])

    return run_tool(
        "convert_checkpoint",
        "Turns a BERT model of Google's layout, of Hugging Face, KerasHub or "
        "tf-models-official into that of another of them: weights, config, vocabulary, "
        "casing and labels.",
        GROUPS,
        run,
        argv,
    )


if __name__ == "__main__":
    sys.exit(main())
