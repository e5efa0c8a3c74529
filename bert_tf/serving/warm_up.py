"""Runs a model once before the first client does, who would wait the longest."""

import contextlib
import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from bert_tf.errors import DataError
from bert_tf.serving.saved_model import SavedModel

# Where TF Serving looks for requests, in a version's folder.
REQUESTS_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
# The second has what tokenizers go other ways for: accents, apart from their letters
# too, Chinese, and a final sigma.
_TEXTS = ("A short text.", "Voilà: e\u0301, 北京, ΟΔΟΣ!")


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
            f"{error!s:.200}; export the model again, or remove the file."
        ) from error


def _requests(path: str) -> Iterator[prediction_log_pb2.PredictionLog]:
    for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
        yield prediction_log_pb2.PredictionLog.FromString(record).predict_log.request


def _run_texts(model: SavedModel, signature: str) -> None:
    texts = [np.array([text.encode()], object) for text in _TEXTS]
    # Some strings are more than texts, such as serialized examples.
    with contextlib.suppress(DataError):
        for text in texts:
            names = model.signatures[signature].inputs
            model.run(signature, dict.fromkeys(names, text))
