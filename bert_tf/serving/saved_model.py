"""Loads an export and runs its signatures on arrays, without Keras."""

import dataclasses
import importlib
import os
import re
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from bert_tf.errors import ConfigError, DataError
from bert_tf.files import read_bytes

GRAPH_FILE = "saved_model.pb"
_DEFAULT_VERSION = 1
# What an error of TensorFlow says beside what is wrong: where in the graph it is.
_PREAMBLE = re.compile(
    r"\AGraph execution error:.*?unavailable>\n|\A\{\{.*?\}\} ", re.DOTALL
)
_PLACE = re.compile(r"\n\t \[\[.*\Z|\s*\[Op:[^\]]*\]\s*\Z", re.DOTALL)
_LONGEST_MESSAGE = 500


@dataclasses.dataclass(frozen=True)
class SignatureSpec:
    """What a signature takes and returns.

    Attributes:
      inputs: Name -> dtype and shape, whose first dimension is the number of rows; in
        the order of the names, as the file has none.
      outputs: Likewise.
    """

    inputs: Mapping[str, tf.TensorSpec]
    outputs: Mapping[str, tf.TensorSpec]

    @property
    def is_of_texts(self) -> bool:
        """Whether every input is one string per row."""
        return all(
            spec.dtype == tf.string and spec.shape.rank == 1
            for spec in self.inputs.values()
        )


class SavedModel:
    """A version of an export, in memory.

    TF Text is imported only where the graph has ops that TensorFlow lacks.

    Args:
      export_dir: A folder with one folder per version, or such a folder itself.
      version: Which; the newest if None.

    Attributes:
      path: The version's folder.
      version: Its number; 1 for a folder whose name is none.
      signatures: Name -> what it takes and returns.
      signature_defs: Name -> the same as the file has it, for metadata.

    Raises:
      ConfigError: There is no such version, or TF Text is needed and missing.
      DataError: It is damaged.
    """

    def __init__(self, export_dir: str, version: int | None = None):
        self.path, self.version = _find_version(str(export_dir), version)
        meta_graph = _read_meta_graph(self.path)
        self.signature_defs = dict(meta_graph.signature_def)
        _import_ops(meta_graph, self.path)
        try:
            # What is loaded has to stay referred to: it owns the variables.
            self._loaded = tf.saved_model.load(self.path)
        except Exception as error:  # of any kind, by what is damaged
            raise DataError(
                f"Expected a SavedModel in {self.path}, found that it cannot be "
                f"loaded ({str(error).splitlines()[0]:.200}); export it again."
            ) from error
        self._functions = dict(self._loaded.signatures)
        self.signatures = {
            name: SignatureSpec(
                dict(sorted(function.structured_input_signature[1].items())),
                dict(sorted(function.structured_outputs.items())),
            )
            for name, function in self._functions.items()
        }

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Runs a signature; never traces anew.

        Args:
          signature: One of `signatures`.
          inputs: Its inputs, strings as bytes.

        Returns:
          Its outputs, strings as bytes.

        Raises:
          DataError: The model refuses the inputs.
        """
        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        try:
            outputs = self._functions[signature](**tensors)
        except tf.errors.InvalidArgumentError as error:
            raise DataError(plain(error.message)) from error
        names = self.signatures[signature].outputs
        return {name: outputs[name].numpy() for name in names}


def version_folders(export_dir: str) -> dict[int, str]:
    """Returns the versions in an export's folder: their numbers -> their folders."""
    names = [name.rstrip("/") for name in tf.io.gfile.listdir(export_dir)]
    return {
        int(name): os.path.join(export_dir, name) for name in names if name.isdecimal()
    }


def _find_version(export_dir: str, version: int | None) -> tuple[str, int]:
    """Returns the folder of a version and its number."""
    if not tf.io.gfile.isdir(export_dir):
        raise ConfigError(
            f"Expected the folder of an export at {export_dir}, found none; check the "
            "path."
        )
    if _has_graph(export_dir):
        name = os.path.basename(os.path.normpath(export_dir))
        found = {int(name) if name.isdecimal() else _DEFAULT_VERSION: export_dir}
    else:
        found = version_folders(export_dir)
    if not found:
        raise ConfigError(
            f"Expected {GRAPH_FILE} or numbered folders such as "
            f"{os.path.join(export_dir, '1')} in {export_dir}, found neither; name the "
            "folder of an export."
        )
    if version is None:
        # In a store, another one may be being written: its graph comes last.
        whole = [each for each in found if _has_graph(found[each])]
        version = max(whole or found)
    if version not in found:
        raise ConfigError(
            f"Expected version {version} in {export_dir}, found "
            f"{', '.join(map(str, sorted(found)))}; name one of these."
        )
    return found[version], version


def _has_graph(path: str) -> bool:
    return tf.io.gfile.exists(os.path.join(path, GRAPH_FILE))


def _read_meta_graph(path: str) -> meta_graph_pb2.MetaGraphDef:
    file = os.path.join(path, GRAPH_FILE)
    if not tf.io.gfile.exists(file):
        raise ConfigError(
            f"Expected {GRAPH_FILE} in {path}, found none; remove the folder, or "
            "export into it again."
        )
    try:
        saved = saved_model_pb2.SavedModel.FromString(read_bytes(file))
    except DecodeError as error:
        raise DataError(
            f"Expected a SavedModel's graph in {file}, found a damaged file; export it "
            "again."
        ) from error
    for meta_graph in saved.meta_graphs:
        if tf.saved_model.SERVING in meta_graph.meta_info_def.tags:
            return meta_graph
    raise DataError(
        f"Expected a graph for serving in {file}, found none; export it again."
    )


def _import_ops(meta_graph: meta_graph_pb2.MetaGraphDef, path: str) -> None:
    """Makes known the ops of a graph that are not TensorFlow's own."""
    ops = [op.name for op in meta_graph.meta_info_def.stripped_op_list.op]
    foreign = [name for name in ops if not hasattr(tf.raw_ops, name)]
    if not foreign:
        return
    try:
        importlib.import_module("tensorflow_text")
    except ImportError as error:
        raise ConfigError(
            f"Expected TF Text, whose op {foreign[0]} the export {path} uses, found "
            "that it cannot be imported; run pip install tensorflow-text."
        ) from error


def plain(message: str) -> str:
    """Returns what TensorFlow says is wrong, without its place in the graph."""
    text = _PLACE.sub("", _PREAMBLE.sub("", message))
    if text.startswith("assertion failed: ["):  # followed by `[...] [...]`
        text = text.removeprefix("assertion failed: [").removesuffix("]")
        text = text.replace("] [", " ")
    return " ".join(text.split())[:_LONGEST_MESSAGE]
