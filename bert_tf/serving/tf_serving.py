"""What TF Serving reads beside a model: warm-up requests, configs, command lines."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from bert_tf.files import write_file
from bert_tf.tasks.servable import Signature
from bert_tf.tokenization.masked_text import MASK

# Of the same release as TensorFlow, whose image has TF Text's ops.
IMAGE = "tensorflow/serving:2.20.0"

_WARM_UP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
_WARM_UP_SIZES = (1, 8)
_WARM_UP_PIECES = 16

_MODELS_CONFIG = """\
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
    model_version_policy {{ latest {{ num_versions: 1 }} }}
  }}
}}
"""

# Without pad_variable_length_inputs: TF Serving pads by a row's first value, which is 1
# in `input_mask`, so that padding would be taken for pieces.
_BATCHING_CONFIG = """\
max_batch_size { value: 64 }
batch_timeout_micros { value: 2000 }
max_enqueued_batches { value: 256 }
num_batch_threads { value: 2 }
"""


def model_name_of(export_dir: str) -> str:
    """Returns what an export is called if nobody says: as its folder."""
    name = os.path.basename(os.path.abspath(export_dir))
    return re.sub(r"[^A-Za-z0-9_-]", "_", name) or "model"


def write_configs(export_dir: str, name: str) -> None:
    """Writes `models.config` and `batching.config`, unless they are there.

    Args:
      export_dir: The folder of the versions, which is /models/`name` to the server.
      name: Of the model; letters, digits, `_` and `-`.
    """
    for file, content in (
        ("models.config", _MODELS_CONFIG.format(name=name)),
        ("batching.config", _BATCHING_CONFIG),
    ):
        path = os.path.join(export_dir, file)
        if not tf.io.gfile.exists(path):  # whoever changed it meant to
            write_file(path, content)


def write_warmup_requests(
    version_dir: str, signatures: Mapping[str, Signature]
) -> None:
    """Writes what TF Serving asks a model before it lets others do so.

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
    path = os.path.join(version_dir, _WARM_UP_FILE)
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.TFRecordWriter(path) as writer:
        for name, signature in signatures.items():
            for inputs in _sample_inputs(name, signature):
                request = predict_pb2.PredictRequest()
                request.model_spec.signature_name = name
                for key, value in inputs.items():
                    request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
                log = prediction_log_pb2.PredictionLog(
                    predict_log=prediction_log_pb2.PredictLog(request=request)
                )
                writer.write(log.SerializeToString())


def _sample_inputs(name: str, signature: Signature) -> Iterator[dict[str, np.ndarray]]:
    """Yields inputs of a signature, in batches of some sizes."""
    for size in _WARM_UP_SIZES:
        yield {spec.name: _sample(name, spec, size) for spec in signature.inputs}


def _sample(name: str, spec: tf.TensorSpec, size: int) -> np.ndarray:
    if spec.dtype == tf.string:
        value: Any = f"the {MASK} was cold" if name == "fill_mask" else "a warm day"
        if name == "tf_example":
            value = _example()
        return np.array([value] * size, object)
    fill = np.zeros if spec.name == "segment_ids" else np.ones
    return fill([size, _WARM_UP_PIECES], np.int32)


def _example() -> bytes:
    def feature(value: int) -> tf.train.Feature:
        values = [value] * _WARM_UP_PIECES
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    row = {"input_ids": feature(1), "input_mask": feature(1), "segment_ids": feature(0)}
    return tf.train.Example(features=tf.train.Features(feature=row)).SerializeToString()


def command_lines(export_dir: str, name: str, inputs: list[str]) -> list[str]:
    """Returns what to type to serve an export with Docker, and to ask it.

    Args:
      export_dir: The folder of the versions.
      name: Of the model.
      inputs: What `serving_default` takes.
    """
    folder = os.path.abspath(export_dir)
    asked = json.dumps({"instances": [{key: "a warm day" for key in inputs}]})
    return [
        f"docker run --rm -p 127.0.0.1:8501:8501 -v '{folder}:/models/{name}' {IMAGE} "
        f"--model_config_file=/models/{name}/models.config --enable_batching=true "
        f"--batching_parameters_file=/models/{name}/batching.config",
        f"curl -d '{asked}' http://localhost:8501/v1/models/{name}:predict",
    ]
