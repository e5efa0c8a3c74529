"""Exports a trained or pretrained model: for servers, for Keras, as ONNX."""

import os
import re
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags, logging

from bert_tf.errors import ConfigError
from bert_tf.files import is_remote
from bert_tf.tools.command_line import Group, print_lines, run_tool
from bert_tf.tools.flag_kinds import boolean, integer, string
from bert_tf.tools.flags import require
from bert_tf.tools.model_files import ModelFiles, define_model_files

if TYPE_CHECKING:
    from bert_tf.tasks.servable import Servable
    from bert_tf.tools.trained_model import ServingFlags


def _define_model(values: flags.FlagValues) -> None:
    define_model_files(
        values,
        "Folder of the model: the --output_dir of a run, or a pretrained model's with "
        "bert_config.json, vocab.txt and a checkpoint, such as an unpacked archive of "
        "Google's.",
    )
    flags.DEFINE_enum(
        "task",
        "auto",
        ["auto", "pretrained"],
        "auto: what run_config.json in --model_dir says; without one, pretrained. "
        "pretrained: vectors of texts, and pieces for each [MASK] if the checkpoint "
        "has a masked-LM head, whatever was trained on top.",
        flag_values=values,
    )


def _define_export(values: flags.FlagValues) -> None:
    string(
        values,
        "export_dir",
        None,
        "Folder for the export. A SavedModel becomes version 1 in it, or the next one; "
        "model.keras or model.onnx must not be there yet.",
    )
    flags.DEFINE_enum(
        "format",
        "saved_model",
        ["saved_model", "onnx", "keras"],
        "saved_model: takes raw strings, for TF Serving and all that runs TensorFlow. "
        "onnx: takes ids, for ONNX Runtime. keras: takes ids, for keras.saving."
        "load_model.",
        flag_values=values,
    )


def _define_saved_model(values: flags.FlagValues) -> None:
    integer(
        values,
        "max_seq_length",
        None,
        "Most pieces of a row, special ones included. Not given: what the model was "
        "trained with; of a pretrained one, all that it has positions for.",
        at_least=3,
    )
    string(
        values,
        "model_name",
        None,
        "What clients call the model, in models.config and the lines that are printed. "
        "Not given: the name of --export_dir.",
    )
    for name, choices, text in (
        (
            "tokenizer_ops",
            ["tf_text", "core"],
            "What splits words into pieces: TF Text's op, or ops of TensorFlow itself, "
            "for servers whose TF Text is old or absent. The pieces are the same.",
        ),
        (
            "precision",
            ["float32", "bfloat16"],
            "What the model computes in. bfloat16 is faster where the processor knows "
            "it, and half as large.",
        ),
        (
            "target",
            ["any", "cpu"],
            "cpu: parts of the model are spelled as TensorFlow on CPUs fuses them: the "
            "same outputs, faster in batches; not for GPUs and TPUs.",
        ),
    ):
        flags.DEFINE_enum(name, choices[0], choices, text, flag_values=values)
    boolean(
        values,
        "freeze",
        False,
        "Weights are constants of the graph, which CPUs lay out once for all requests.",
    )


def _define_answers(values: flags.FlagValues) -> None:
    flags.DEFINE_enum(
        "pooling",
        None,
        ["mean", "cls", "max"],
        "Of a pretrained model, what becomes of the vectors of a text's pieces. "
        "(default: mean)",
        flag_values=values,
    )
    integer(
        values,
        "top_k",
        None,
        "Of a pretrained model, how many pieces there are for a [MASK]. (default: 5)",
        at_least=1,
    )
    for name, default, text in (
        ("n_best_size", 20, "how many places are looked at for either end"),
        ("max_answer_length", 30, "most pieces of an answer"),
    ):
        text = f"Of a model that answers questions, {text}. (default: {default})"
        integer(values, name, None, text, at_least=1)
    flags.DEFINE_float(
        "null_score_diff_threshold",
        None,
        "Of a model that answers questions, answer nothing if that scores so much more "
        "than the best answer. (default: 0.0)",
        flag_values=values,
    )


GROUPS = (
    Group("Model", _define_model),
    Group("Export", _define_export),
    Group("SavedModel", _define_saved_model),
    Group("Answers of a SavedModel", _define_answers),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool with the given arguments, this process's if None."""

    def run(values: flags.FlagValues) -> None:
        require(values, "export_dir")
        files = ModelFiles.from_flags(values)
        _check_output(values)

        from bert_tf.tools.trained_model import load_servable

        servable, model = load_servable(files, _serving_flags(values))
        if values.format == "saved_model":
            lines = _export_saved_model(values, servable, model)
        else:
            lines = _export_file(values, servable, model)
        print_lines(lines)

    return run_tool(
        "export_model",
        "Exports a trained or pretrained model: as a SavedModel that takes raw "
        "strings, with what TF Serving needs beside it, or as ONNX or for Keras the "
        "model alone.",
        GROUPS,
        run,
        argv,
        after_interrupt="; nothing was added",
    )


def _serving_flags(values: flags.FlagValues) -> "ServingFlags":
    import dataclasses

    from bert_tf.tools.trained_model import ServingFlags

    names = [field.name for field in dataclasses.fields(ServingFlags)]
    return ServingFlags(**{name: values[name].value for name in names})


def _check_output(values: flags.FlagValues) -> None:
    """Raises a ConfigError if the export cannot be written where it should be."""
    path: Any = values.export_dir
    if values.model_name and not re.fullmatch(r"[A-Za-z0-9_-]+", values.model_name):
        raise ConfigError(
            "Expected --model_name of letters, digits, _ and -, got "
            f"{values.model_name!r}; name it so."
        )
    if not is_remote(path) and os.path.exists(path) and not os.path.isdir(path):
        raise ConfigError(
            f"Expected a folder at --export_dir={path}, found a file; name another."
        )
    if values.format != "saved_model":
        _check_file(values)


def _check_file(values: flags.FlagValues) -> None:
    """Raises a ConfigError if a flag is of SavedModels only, or a file in the way."""
    for define in (_define_saved_model, _define_answers):
        others = flags.FlagValues()
        define(others)
        for name in others:
            if values[name].present:
                raise ConfigError(
                    f"Expected --format=saved_model beside --{name}, got "
                    f"--format={values.format}, of which it says nothing; leave it out."
                )
    folder = values.export_dir
    for name in (f"model.{values.format}", "vocab.txt", "labels.txt"):
        if _exists(os.path.join(folder, name)):
            raise ConfigError(
                f"Expected no {name} in --export_dir={folder}, found one; name another "
                "folder."
            )


def _exists(path: str) -> bool:
    if not is_remote(path):
        return os.path.lexists(path)
    import tensorflow as tf

    return tf.io.gfile.exists(path)


def _export_saved_model(
    values: flags.FlagValues, servable: "Servable", model: Any
) -> list[str]:
    """Writes the next version; returns what to say of it."""
    from bert_tf.serving import tf_serving
    from bert_tf.serving.export import ExportOptions, export

    name = values.model_name or tf_serving.model_name_of(values.export_dir)
    options = ExportOptions(values.precision, values.freeze, values.target)
    version = export(servable, model, values.export_dir, options, name)
    logging.info("exported a SavedModel to %s", version)
    return _how_to_use(values.export_dir, name, servable)


def _export_file(
    values: flags.FlagValues, servable: "Servable", model: Any
) -> list[str]:
    """Writes the model as one file; returns what to say of it."""
    from bert_tf.serving import formats

    inputs = ", ".join(f'"{name}": ...' for name in servable.model_features)
    if values.format == "keras":
        path = formats.write_keras(servable, model, values.export_dir)
        lines = [
            "in Python, where this package is installed:",
            "  import bert_tf.modeling, keras",
            f'  model = keras.saving.load_model("{path}")',
            f"  model({{{inputs}}})",
        ]
    else:
        path = formats.write_onnx(servable, model, values.export_dir)
        lines = [
            "in Python, with ONNX Runtime:",
            "  import onnxruntime",
            f'  session = onnxruntime.InferenceSession("{path}")',
            f"  session.run(None, {{{inputs}}})",
        ]
    logging.info("exported the model to %s", path)
    return lines


def _how_to_use(export_dir: str, name: str, servable: "Servable") -> list[str]:
    from bert_tf.serving import tf_serving
    from bert_tf.serving.signatures import all_signatures
    from bert_tf.tasks.servable import DEFAULT_SIGNATURE

    signatures = all_signatures(servable)
    lines = ["signatures:"]
    for key, signature in signatures.items():
        inputs = ", ".join(str(spec.name) for spec in signature.inputs)
        lines.append(f"  {key}({inputs})")
    asked = [str(spec.name) for spec in signatures[DEFAULT_SIGNATURE].inputs]
    return [
        *lines,
        "with TF Serving, then ask it:",
        *(f"  {line}" for line in tf_serving.command_lines(export_dir, name, asked)),
        "or on this machine, with a page to try it:",
        f"  bert-tf serve --model_dir={shlex.quote(export_dir)} --model_name={name}",
    ]


if __name__ == "__main__":
    sys.exit(main())
