"""Turns a Hugging Face folder, or a training run's, into what Google releases."""

import os
import sys
from collections.abc import Sequence

from absl import flags

from bert_tf.errors import ConfigError
from bert_tf.files import is_remote
from bert_tf.tools.command_line import Group, run_tool
from bert_tf.tools.flags import require


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_enum(
        "from",
        "huggingface",
        ["huggingface", "google"],
        "What the input is: google for the output folder of a training run, whose "
        "weights are taken without the optimizer's slots.",
        flag_values=values,
    )
    flags.DEFINE_enum("to", "google", ["google"], "What to write.", flag_values=values)
    flags.DEFINE_string(
        "input",
        None,
        "Folder with config.json, model.safetensors, vocab.txt; or with checkpoints, "
        "bert_config.json and vocab.txt.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "output_dir",
        None,
        "Folder for bert_model.ckpt, bert_config.json and vocab.txt; new or empty.",
        flag_values=values,
    )


GROUPS = (Group("Files", _define_flags),)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool with the given arguments, this process's if None."""

    def run(values: flags.FlagValues) -> None:
        require(values, "input", "output_dir")
        source, target = values.input, values.output_dir
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
        if os.path.exists(target) and (not os.path.isdir(target) or os.listdir(target)):
            raise ConfigError(
                f"Expected a new or empty folder at --output_dir={target}, found files "
                "in it; name another."
            )
        from bert_tf import interchange

        convert = {
            "huggingface": interchange.convert_from_hugging_face,
            "google": interchange.release_weights,
        }[values["from"].value]
        convert(source, target)

    return run_tool(
        "convert_checkpoint",
        "Turns the encoder of a Hugging Face BERT folder, or what a training run left, "
        "into Google's checkpoint, config and vocabulary.",
        GROUPS,
        run,
        argv,
    )


if __name__ == "__main__":
    sys.exit(main())
