"""Writes the vectors that a pretrained encoder makes of the lines of a file."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from absl import flags, logging

from bert_tf.errors import ConfigError, DataError
from bert_tf.files import is_remote
from bert_tf.tools.command_line import Group, run_tool
from bert_tf.tools.device_flags import DeviceConfig, define_device_flags
from bert_tf.tools.flag_kinds import boolean, integer, string
from bert_tf.tools.flags import (
    MAX_SEQ_LENGTH,
    check_files,
    define_casing_flags,
    require,
)
from bert_tf.tools.progress import progress_bar
from bert_tf.tools.termination import Termination

if TYPE_CHECKING:
    from bert_tf.serving.features import FeatureExtractor, Text, TextFeatures

_FILES = ("input_file", "bert_config_file", "vocab_file")
# Between the two texts of a pair.
_SEPARATOR = " ||| "


def _define_files(values: flags.FlagValues) -> None:
    string(
        values,
        "input_file",
        None,
        f"Text file, a text a line; the two texts of a pair have {_SEPARATOR.strip()} "
        "with spaces around it between them.",
    )
    string(values, "output_file", None, "File to write; an existing one is replaced.")
    flags.DEFINE_enum(
        "format",
        "jsonl",
        ["jsonl", "npz", "tfrecord"],
        "What to write: jsonl, the release's format, a JSON object a line; npz, arrays "
        "for numpy.load; tfrecord, a tf.train.Example per line.",
        flag_values=values,
    )


def _define_model(values: flags.FlagValues) -> None:
    string(values, "bert_config_file", None, "The model's bert_config.json.")
    string(values, "vocab_file", None, "The model's vocab.txt.")
    string(
        values,
        "init_checkpoint",
        None,
        "The model's checkpoint: a prefix such as DIR/bert_model.ckpt, one of its "
        "files, or a folder.",
    )
    define_casing_flags(values)


def _define_features(values: flags.FlagValues) -> None:
    string(
        values,
        "layers",
        "-1,-2,-3,-4",
        "The encoder's blocks whose vectors are taken, with commas between: 0 is the "
        "first, -1 the last. Not given beside --pooling: -1.",
    )
    flags.DEFINE_enum(
        "pooling",
        "none",
        ["none", "cls", "mean", "max"],
        "none: vectors of every piece in each of --layers. Otherwise one vector per "
        "line, from the mean of --layers: cls, that of [CLS]; mean and max, over all "
        "pieces, [CLS] and [SEP] included.",
        flag_values=values,
    )
    integer(
        values,
        "max_seq_length",
        MAX_SEQ_LENGTH,
        "Pieces per line, [CLS] and [SEP] included; longer ones are cut.",
        at_least=3,
    )
    integer(
        values,
        "batch_size",
        32,
        "Lines that the model takes at a time, over all devices.",
        at_least=1,
    )
    flags.DEFINE_enum(
        "precision",
        "float32",
        ["float32", "bfloat16"],
        "What the model computes in. bfloat16 is faster where the processor knows it, "
        "and half as large.",
        flag_values=values,
    )
    boolean(
        values,
        "use_one_hot_embeddings",
        False,
        "Look words up by a matmul with one-hot rows, which TPUs are faster at.",
    )


GROUPS = (
    Group("Files", _define_files),
    Group("Model", _define_model),
    Group("Features", _define_features),
    Group("Devices", define_device_flags),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool with the given arguments, this process's if None."""

    def extract(values: flags.FlagValues) -> None:
        require(values, *_FILES, "init_checkpoint", "output_file")
        layers = _layers(values)
        devices = DeviceConfig.from_flags(values)
        devices.check_devices()
        if devices.cluster:
            raise ConfigError(
                "Expected one host, got several in --workers or TF_CONFIG; give each "
                "host a part of the lines and --distribution_strategy=one_device."
            )
        check_files(values, *_FILES)
        _check_output(values)
        count = _count_lines(values.input_file)

        from bert_tf.serving.features import FeatureExtractor
        from bert_tf.training.distribution import create_strategy

        with create_strategy(**devices.devices).scope():
            extractor = FeatureExtractor(
                values.bert_config_file,
                values.vocab_file,
                values.init_checkpoint,
                values.do_lower_case,
                values.check_casing,
                layers=layers,
                pooling=values.pooling,
                max_seq_length=values.max_seq_length,
                batch_size=values.batch_size,
                precision=values.precision,
                use_one_hot_embeddings=values.use_one_hot_embeddings,
            )
        _write(values, extractor, count)

    return run_tool(
        "extract_features",
        "Writes the vectors that a pretrained encoder makes of the lines of a text "
        "file: of each piece, as the release's script does, or one per line.",
        GROUPS,
        extract,
        argv,
        after_interrupt="; the output file is as it was",
    )


def _layers(values: flags.FlagValues) -> list[int]:
    if values.pooling != "none" and not values["layers"].present:
        return [-1]
    try:
        return [int(layer) for layer in values.layers.split(",")]
    except ValueError:
        raise ConfigError(
            "Expected whole numbers with commas between as --layers, such as -1,-2, "
            f"got {values.layers!r}; correct it."
        ) from None


def _check_output(values: flags.FlagValues) -> None:
    """Raises a ConfigError if the output cannot or should not be written."""
    path = values.output_file
    if is_remote(path):
        return
    if os.path.isdir(path):
        raise ConfigError(
            f"Expected a file's name in --output_file, but {path} is a folder; name a "
            "file in it."
        )
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise ConfigError(
            f"Expected a folder to write --output_file={path} to, but there is no "
            f"{folder}; make it, or name another."
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(
            f"Expected a folder that can be written to for --output_file={path}, found "
            f"that {folder} cannot; name another."
        )
    for name in _FILES:
        if os.path.exists(path) and os.path.samefile(path, values[name].value):
            raise ConfigError(
                f"Expected another file as --output_file than --{name}, got {path} as "
                "both; name another, lest it is overwritten."
            )


def _count_lines(path: str) -> int:
    """Returns how many lines a text file has, once all of it is known to be text."""
    import tensorflow as tf

    from bert_tf.data.text_files import read_blocks, split_lines

    if not tf.io.gfile.exists(path):
        raise DataError(
            f"Expected a text file at --input_file={path}, found none; check the path."
        )
    count = sum(len(split_lines(block)) for block in read_blocks(path))
    if not count:
        raise DataError(
            f"Expected lines of text in {path}, found an empty file; check "
            "--input_file."
        )
    return count


def _texts(path: str) -> "Iterator[Text]":
    """Yields the text or pair of each line.

    Source: `read_examples` in extract_features.py of google-research/bert.
    """
    from bert_tf.data.text_files import read_blocks, split_lines

    for block in read_blocks(path):
        for line in split_lines(block):
            first, separator, second = line.decode().strip().rpartition(_SEPARATOR)
            yield (first, second) if separator else (second, None)


def _write(values: flags.FlagValues, extractor: "FeatureExtractor", count: int) -> None:
    from bert_tf.tools import feature_files

    full = 0

    def found() -> "Iterator[TextFeatures]":
        nonlocal full
        for features in extractor.extract(_texts(values.input_file), advance):
            full += len(features.tokens) == values.max_seq_length
            yield features

    with (
        Termination(signal.SIGINT, signal.SIGTERM) as termination,
        progress_bar(termination, "features", count, "line") as advance,
    ):
        path, layers = values.output_file, extractor.layers
        if values.format == "jsonl":
            feature_files.write_jsonl(path, found(), layers)
        elif values.format == "tfrecord":
            feature_files.write_tfrecord(path, found(), layers)
        else:
            shape = (count, extractor.config.hidden_size)
            pooled_shape = None if values.pooling == "none" else shape
            feature_files.write_npz(path, found(), layers, pooled_shape)
    if full:
        logging.info(
            "%d of %d lines fill all %d pieces: what was beyond is left out",
            full,
            count,
            values.max_seq_length,
        )
    logging.info("features of %d lines: %s", count, path)


if __name__ == "__main__":
    sys.exit(main())
