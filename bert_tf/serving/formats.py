"""Exports of the model alone, without a tokenizer: for Keras, and as ONNX."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from bert_tf.errors import ConfigError
from bert_tf.files import staged
from bert_tf.serving.assets import write_assets
from bert_tf.tasks.servable import Servable

# Of 2022: what reads ONNX reads it, and it has all that BERT computes.
_OPSET = 17
# A protocol buffer, which a file of ONNX is, is smaller.
_MOST_BYTES = 2**31


def write_keras(servable: Servable, model: Any, folder: str) -> str:
    """Writes `model.keras` and the assets into a folder.

    The file holds one of the classes of `bert_tf.modeling`, nothing pickled, and no
    optimizer: `keras.saving.load_model` reads it once that module is imported.

    Args:
      servable: What `model` is of.
      model: The trained model.
      folder: Where; it is made. What it holds under these names is replaced.

    Returns:
      The file's path.
    """
    path = os.path.join(folder, "model.keras")
    tf.io.gfile.makedirs(folder)
    # Of variables that know of no strategy, which the trained ones may.
    saved = servable.create_public_model()
    saved.set_weights(model.get_weights())
    with staged(path) as staging:
        saved.save(staging)
        write_assets(servable, folder)
    return path


def write_onnx(servable: Servable, model: Any, folder: str) -> str:
    """Writes `model.onnx` and the assets into a folder.

    Inputs are `servable.model_features`, int64 `[batch_size, sequence_length]`, but
    `masked_lm_positions` `[batch_size, predictions]`, which may be none; outputs are
    `servable.model_outputs`, float32. Any labels are in the metadata too, as JSON.

    Args:
      servable: What `model` is of.
      model: The trained model.
      folder: Where; it is made. What it holds under these names is replaced.

    Returns:
      The file's path.

    Raises:
      ConfigError: tf2onnx is not installed, or the model is too large for one file.
    """
    _check_size(servable, model)
    proto = _converted(servable, model)
    if servable.labels:
        proto.metadata_props.add(key="labels", value=json.dumps(servable.labels))
    path = os.path.join(folder, "model.onnx")
    tf.io.gfile.makedirs(folder)
    with staged(path) as staging:
        with tf.io.gfile.GFile(staging, "wb") as writer:
            writer.write(proto.SerializeToString())
        write_assets(servable, folder)
    return path


def _check_size(servable: Servable, model: Any) -> None:
    count = model.count_params()
    if "masked_lm_positions" in servable.model_features:
        # The converter keeps the table of words a second time, transposed.
        count += servable.config.vocab_size * servable.config.hidden_size
    if count * 4 >= _MOST_BYTES:
        raise ConfigError(
            "Expected a model of less than 2 GB, which a file of ONNX can hold, got "
            f"{count * 4 / 2**30:.1f} GB; export it in another format."
        )


def _converted(servable: Servable, model: Any) -> Any:
    """Returns the model as an `onnx.ModelProto`."""
    try:
        import onnx
        import tf2onnx
    except ModuleNotFoundError as error:
        raise ConfigError(
            "Expected tf2onnx, which writes ONNX, found that it is not installed; run "
            "pip install 'bert-tf[onnx]'."
        ) from error
    # int64 as in other exports to ONNX, and as numpy makes of lists.
    inputs = [
        tf.TensorSpec([None, None], tf.int64, name=name)
        for name in servable.model_features
    ]

    @tf.function(input_signature=inputs, autograph=False)
    def run(*rows: tf.Tensor) -> dict[str, tf.Tensor]:
        features = zip(servable.model_features, rows, strict=True)
        return servable.model_outputs(
            model, {name: tf.cast(x, tf.int32) for name, x in features}
        )

    with _native_logs_hidden():
        proto, _ = tf2onnx.convert.from_function(
            run, inputs, opset=_OPSET, custom_op_handlers={"Erfc": (_erfc, [])}
        )
    _take_sizes_literally(proto.graph)
    _name_sizes(proto.graph)
    onnx.checker.check_model(proto)  # the converter only logs what it cannot convert
    return proto


def _erfc(graph: Any, node: Any, name: str, args: Any) -> None:
    """Spells `Erfc`, of the exact gelu, with what ONNX has: 1 - erf(x)."""
    one = graph.make_const(f"{name}/one", np.array(1, np.float32))
    erf = graph.make_node("Erf", node.input)
    graph.remove_node(name)
    graph.make_node(
        "Sub", [one.output[0], erf.output[0]], outputs=node.output, name=name
    )


def _take_sizes_literally(graph: Any) -> None:
    """Makes a size of 0 mean that, so that there may be no rows or no positions.

    In ONNX it stands for the input's size at this place, unless a node says otherwise.
    """
    from onnx import helper

    for node in graph.node:
        if node.op_type == "Reshape":
            node.attribute.append(helper.make_attribute("allowzero", 1))


def _name_sizes(graph: Any) -> None:
    """Names the sizes of inputs and outputs that are open."""
    for value in [*graph.input, *graph.output]:
        of_masks = value.name.startswith("masked_lm_")
        names = "batch_size", "predictions" if of_masks else "sequence_length"
        for size, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
            if not size.dim_value:
                size.dim_param = name


@contextlib.contextmanager
def _native_logs_hidden() -> Iterator[None]:
    """Keeps from stderr what TensorFlow's C++ logs while graphs are optimized.

    Of it no setting of TensorFlow takes care; what goes wrong is an exception anyway.
    """
    kept = os.dup(2)
    try:
        with tempfile.TemporaryFile() as sink:
            os.dup2(sink.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
