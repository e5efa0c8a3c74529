"""TF Serving, and what it reads beside an export's versions: names, configs."""

import json
import os
import re
import shlex

import tensorflow as tf
from absl import logging

from bert_tf.files import is_remote, read_bytes, write_file

# Of the same release as TensorFlow, whose image has TF Text's ops.
IMAGE = "tensorflow/serving:2.20.0"

_MODELS_CONFIG = """\
model_config_list {{
  config {{
    name: "{name}"
    base_path: "{place}"
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


def _place(export_dir: str, name: str) -> str:
    """Returns where an export is to the server."""
    return export_dir.rstrip("/") if is_remote(export_dir) else f"/models/{name}"


def model_name_of(export_dir: str) -> str:
    """Returns what an export is called if nobody says: as its folder."""
    name = os.path.basename(os.path.abspath(export_dir))
    return re.sub(r"[^A-Za-z0-9_-]", "_", name) or "model"


def write_configs(export_dir: str, name: str) -> None:
    """Writes `models.config` and `batching.config`, unless they are there.

    Args:
      export_dir: The folder of the versions, which is /models/`name` to the server
        unless it is in a store.
      name: Of the model; letters, digits, `_` and `-`.
    """
    models = os.path.join(export_dir, "models.config")
    batching = os.path.join(export_dir, "batching.config")
    for path, content in (
        (models, _MODELS_CONFIG.format(name=name, place=_place(export_dir, name))),
        (batching, _BATCHING_CONFIG),
    ):
        if not tf.io.gfile.exists(path):  # whoever changed it meant to
            write_file(path, content)
    if f'"{name}"'.encode() not in read_bytes(models):
        logging.warning(
            "%s is left as it is, and does not call the model %s: TF Serving will not "
            "find it; take the name that stands there as --model_name, or delete the "
            "file and export again",
            models,
            name,
        )


def command_lines(export_dir: str, name: str, inputs: list[str]) -> list[str]:
    """Returns what to type to serve an export with Docker, and to ask it.

    Args:
      export_dir: The folder of the versions.
      name: Of the model.
      inputs: What `serving_default` takes.
    """
    place, volume = _place(export_dir, name), ""
    if not is_remote(export_dir):
        mounted = shlex.quote(f"{os.path.abspath(export_dir)}:{place}")
        volume = f"-v {mounted} "
    asked = json.dumps({"instances": [{key: "a warm day" for key in inputs}]})
    return [
        f"docker run --rm -p 127.0.0.1:8501:8501 {volume}{IMAGE} "
        f"--model_config_file={place}/models.config --enable_batching=true "
        f"--batching_parameters_file={place}/batching.config",
        f"curl -d '{asked}' http://localhost:8501/v1/models/{name}:predict",
    ]
