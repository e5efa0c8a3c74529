"""Models from and to other packages: folders in, folders out.

`convert` reads a folder of one format and writes one of another; between them is
`Weights`, a model as Google would publish it. `names.ROWS` is the one table of names.

What each format needs is imported when it is read or written: without TensorFlow, as on
Keras' JAX backend, `google_tensors` serves too.
"""

import dataclasses
import importlib
import os
from typing import Any

from bert_tf.errors import ConfigError
from bert_tf.interchange.hugging_face import config_from_hugging_face, google_tensors
from bert_tf.interchange.weights import Step, Weights

__all__ = [
    "FORMATS",
    "Step",
    "Weights",
    "config_from_hugging_face",
    "convert",
    "google_tensors",
    "read_folder",
    "write_folder",
]

# What a format is called -> the module that reads and writes it.
FORMATS = {
    "google": "google",
    "huggingface": "hugging_face",
    "keras_hub": "keras_hub",
    "tf_models": "tf_models",
}


def _module(name: str) -> Any:
    if name not in FORMATS:
        raise ConfigError(
            f"Expected a format of {', '.join(FORMATS)}, got {name!r}; name one."
        )
    return importlib.import_module(f"bert_tf.interchange.{FORMATS[name]}")


def read_folder(
    folder: str,
    source: str,
    *,
    do_lower_case: bool | None = None,
    is_pair: bool = False,
) -> tuple[Weights, Step]:
    """Returns the model in a folder, and what became of its tensors.

    Args:
      folder: On this machine.
      source: One of `FORMATS`.
      do_lower_case: Whether its texts are lower-cased; None for what the folder says,
        else for what its vocabulary looks like.
      is_pair: Whether a classifier of Hugging Face's is of pairs of texts.

    Raises:
      ConfigError, CheckpointError, DataError: A file is missing or damaged, or of
        another architecture.
    """
    options = {"is_pair": is_pair} if source == "huggingface" else {}
    weights, step = _module(source).read_folder(folder, **options)
    from bert_tf.tokenization.vocabulary import Casing, parse_pieces

    lower = weights.note.get("do_lower_case")
    if do_lower_case is not None:
        lower = do_lower_case
    elif not isinstance(lower, bool):
        lower = not Casing.of(parse_pieces(weights.vocab, "vocab.txt")).is_cased
        step.remarks.append(
            f"do_lower_case is taken for {lower}, as the vocabulary looks"
        )
    note = {**weights.note, "do_lower_case": lower}
    return dataclasses.replace(weights, note=note), step


def write_folder(weights: Weights, folder: str, target: str) -> Step:
    """Writes a model into a folder, which is there whole or not at all.

    Args:
      weights: The model; its note says `do_lower_case`.
      folder: New or empty, on this machine.
      target: One of `FORMATS`.

    Returns:
      What became of its tensors.

    Raises:
      ConfigError: There is something in the folder, or the format has no place for
        such a model.
    """
    from bert_tf.files import new_folder, staged

    module, path = _module(target), new_folder(folder)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with staged(path) as staging:
        os.makedirs(staging)
        return module.write_folder(weights, staging)


def convert(
    folder: str,
    output_dir: str,
    source: str = "huggingface",
    target: str = "google",
    **options: Any,
) -> list[Step]:
    """Writes the model of one folder as another format has it.

    Args:
      folder: Where it is, on this machine.
      output_dir: Where to write; new or empty.
      source, target: Of `FORMATS`. From `google` to `google`, the weights of a training
        run without the optimizer's state, as Google releases a model.
      **options: As for `read_folder`.

    Returns:
      What became of the tensors when they were read, and when they were written.

    Raises:
      ConfigError, CheckpointError, DataError: As for both; nothing is written then.
    """
    from bert_tf.files import new_folder

    new_folder(output_dir)  # before anything is read
    weights, read = read_folder(folder, source, **options)
    return [read, write_folder(weights, output_dir, target)]
