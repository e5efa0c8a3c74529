"""Requests that a server runs before the first client's, who would wait the longest.

An export holds them where TF Serving looks for them.
"""

import contextlib
import itertools
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from absl import logging
from google.protobuf.message import DecodeError

from bert_tf.errors import DataError
from bert_tf.serving.saved_model import SavedModel, plain
from bert_tf.tokenization.masked_text import MASK

if TYPE_CHECKING:
    from bert_tf.tasks.servable import Signature

# In a version's folder.
REQUESTS_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
_SIZES = (1, 8)
# The second has what tokenizers go other ways for: accents, apart from their letters
# too, Chinese, and a final sigma.
_TEXTS = ("A short text.", "Voilà: e\u0301, 北京, ΟΔΟΣ!")
_PIECES = 16


def write_warm_up_requests(
    version_dir: str, signatures: "Mapping[str, Signature]"
) -> None:
    """Writes requests for each signature, of few and of many rows.

    Without tensorflow-serving-api there is nothing but a line in the log.

    Args:
      version_dir: Of the SavedModel.
      signatures: What can be asked, by name.
    """
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ModuleNotFoundError:
        logging.info(
            "no warm-up requests for TF Serving: they need tensorflow-serving-api "
            "(pip install 'bert-tf[serve]')"
        )
        return
    path = os.path.join(version_dir, REQUESTS_FILE)
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.TFRecordWriter(path) as writer:
        for (name, signature), size in itertools.product(signatures.items(), _SIZES):
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = name
            for spec in signature.inputs:
                value = tf.make_tensor_proto(_sample(name, spec, size))
                request.inputs[spec.name].CopyFrom(value)
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request)
            )
            writer.write(log.SerializeToString())


def _sample(name: str, spec: tf.TensorSpec, size: int) -> np.ndarray:
    """Returns rows of an input: of texts the first alone, or all of them in turns."""
    if spec.dtype != tf.string:
        fill = np.zeros if spec.name == "segment_ids" else np.ones
        return fill([size, _PIECES], np.int32)
    values: list[Any] = [text.encode() for text in _TEXTS]
    if name == "fill_mask":
        values = [f"{text} {MASK}".encode() for text in _TEXTS]
    elif name == "tf_example":
        values = [_example()]
    return np.array([*itertools.islice(itertools.cycle(values), size)], object)


def _example() -> bytes:
    def feature(value: int) -> tf.train.Feature:
        values = [value] * _PIECES
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    row = {"input_ids": feature(1), "input_mask": feature(1), "segment_ids": feature(0)}
    return tf.train.Example(features=tf.train.Features(feature=row)).SerializeToString()


def warm_up(model: SavedModel) -> None:
    """Runs the requests that the export has for this, as TF Serving does.

    An export without any gets short texts for each of its signatures of texts.

    Raises:
      DataError: The requests are damaged, or the model refuses them.
    """
    path = os.path.join(model.path, REQUESTS_FILE)
    if not tf.io.gfile.exists(path):
        for name, signature in model.signatures.items():
            if signature.is_of_texts:
                _run_texts(model, name)
        return
    try:
        for request in _requests(path):
            inputs = {
                name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()
            }
            model.run(
                request.model_spec.signature_name
                or tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY,
                inputs,
            )
    except (
        DecodeError,
        DataError,
        KeyError,
        TypeError,
        ValueError,
        tf.errors.OpError,
    ) as error:
        raise DataError(
            f"Expected requests that this model takes in {path}, found another: "
            f"{plain(str(error)):.200}; export the model again, or remove the file."
        ) from error


def _requests(path: str) -> Iterator[Any]:
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
        yield PredictionLog.FromString(record).predict_log.request


def _run_texts(model: SavedModel, signature: str) -> None:
    # Some strings are more than texts, such as serialized examples.
    with contextlib.suppress(DataError):
        for text in _TEXTS:
            names = model.signatures[signature].inputs
            model.run(
                signature, dict.fromkeys(names, np.array([text.encode()], object))
            )
