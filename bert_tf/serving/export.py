"""SavedModels that take raw strings or ids and run wherever TensorFlow does."""

import dataclasses
import os
import tempfile
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from bert_tf.files import staged
from bert_tf.serving import tf_serving
from bert_tf.serving.assets import write_assets
from bert_tf.serving.inference import inference_model
from bert_tf.serving.saved_model import GRAPH_FILE, version_folders
from bert_tf.serving.signatures import all_signatures
from bert_tf.serving.warm_up import write_warm_up_requests
from bert_tf.tasks.servable import Servable, Signature


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """How the model in an export computes; see `inference_model`.

    Attributes:
      precision: What it computes in.
      freeze: Whether weights are constants of its graph.
      target: What its graph is written for.
    """

    precision: str = "float32"
    freeze: bool = False
    target: str = "any"


class _ServingModule(tf.Module):
    """What a SavedModel holds.

    Args:
      servable: Of the tokenizer and the kind of model.
      model: The trained model.
      options: How it computes.
      asset_dir: Holds the files that become the SavedModel's assets.
    """

    def __init__(
        self, servable: Servable, model: Any, options: ExportOptions, asset_dir: str
    ):
        super().__init__()
        self._tokenizer = servable.tokenizer  # to be found by the SavedModel's writer
        self._model = inference_model(
            servable.create_model,
            model,
            servable.model_features,
            **dataclasses.asdict(options),
        )
        self._assets = [
            tf.saved_model.Asset(os.path.join(asset_dir, name))
            for name in sorted(os.listdir(asset_dir))
        ]

    def functions(self, signatures: Mapping[str, Signature]) -> dict[str, Any]:
        """Returns a function for each signature, by its name."""
        traced = {
            id(signature): tf.function(
                self._with_model(signature),
                input_signature=list(signature.inputs),
                autograph=False,
            ).get_concrete_function()
            for signature in signatures.values()  # some have two names
        }
        return {name: traced[id(each)] for name, each in signatures.items()}

    def _with_model(self, signature: Signature) -> Any:
        return lambda *inputs: signature.run(self._model, *inputs)


def export(
    servable: Servable,
    model: Any,
    export_dir: str,
    options: ExportOptions = ExportOptions(),
    model_name: str | None = None,
) -> str:
    """Writes a SavedModel into the next free `export_dir/<version>/`.

    It has the signatures of `all_signatures`. A batch is padded to its longest row. The
    vocabulary and any labels are among its assets; what TF Serving reads lies in it
    (`warm_up`) and beside it (`tf_serving`).

    Args:
      servable: What can be asked.
      model: The trained model.
      export_dir: Holds one folder per version, as TF Serving expects.
      options: How the exported model computes.
      model_name: What clients of TF Serving call it; the folder's name if None.

    Returns:
      The version's folder.
    """
    tf.io.gfile.makedirs(export_dir)
    newest = max(version_folders(export_dir), default=0)
    version = os.path.join(export_dir, str(newest + 1))
    signatures = all_signatures(servable)
    # TF Serving loads a numbered folder as soon as it appears: it must be whole.
    with (
        staged(version, last=GRAPH_FILE) as folder,
        tempfile.TemporaryDirectory() as assets,
    ):
        write_assets(servable, assets)
        module = _ServingModule(servable, model, options, assets)
        tf.saved_model.save(module, folder, signatures=module.functions(signatures))
        write_warm_up_requests(folder, signatures)
        tf_serving.write_configs(
            export_dir, model_name or tf_serving.model_name_of(export_dir)
        )
    return version
