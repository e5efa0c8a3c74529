"""Loading and saving Google's checkpoints, files warm in memory.

To load is measured against reading all tensors, to save against writing them, with
nothing but TensorFlow: what is more is this package's.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import models
from benchmarks.contender import Contender, Ready, repeated
from benchmarks.side_by_side import OURS, Case

_LOAD, _SAVE = "load", "save"


def cases() -> Iterator[Case]:
    """Yields sizes."""
    for size in ("minilm", "base"):
        yield Case(
            __name__,
            f"Checkpoint, {size}",
            {"size": size},
            (OURS, "tf.train.load_checkpoint", "safetensors"),
            {_LOAD: 1, _SAVE: 1},
            "checkpoints",
        )


def _bert_tf(settings: Any, folder: Path) -> Ready:
    import bert_tf

    source = models.files(settings["size"], folder)
    config = bert_tf.BertConfig.from_dict(models.SIZES[settings["size"]])
    model = bert_tf.BertModel(config)
    target = str(folder / "saved by bert_tf" / "model.ckpt")
    return Ready(
        {
            _LOAD: repeated(lambda: bert_tf.load_checkpoint(model, str(source))),
            _SAVE: repeated(lambda: bert_tf.save_checkpoint(model, target)),
        }
    )


def _tensorflow(settings: Any, folder: Path) -> Ready:
    import tensorflow as tf

    source = str(models.files(settings["size"], folder))

    def load() -> dict[str, Any]:
        reader = tf.train.load_checkpoint(source)
        names = reader.get_variable_to_shape_map()
        return {name: reader.get_tensor(name) for name in names}

    tensors = load()
    names = sorted(tensors)
    values = [tf.constant(tensors[name]) for name in names]
    target = str(folder / "saved by TensorFlow" / "model.ckpt")

    def save() -> None:
        tf.raw_ops.SaveV2(
            prefix=target,
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=values,
        )

    return Ready({_LOAD: repeated(load), _SAVE: repeated(save)})


def _safetensors(settings: Any, folder: Path) -> Ready:
    from transformers import BertConfig, BertModel

    source = models.files(settings["size"], folder)
    config = BertConfig(**models.hugging_face_config(settings["size"]))
    model = models.load_into_torch(BertModel(config), source)
    target = folder / f"safetensors {settings['size']}"
    model.save_pretrained(target)
    return Ready(
        {
            _LOAD: repeated(lambda: BertModel.from_pretrained(target)),
            _SAVE: repeated(lambda: model.save_pretrained(target)),
        }
    )


CONTENDERS = {
    OURS: Contender(_bert_tf),
    "tf.train.load_checkpoint": Contender(_tensorflow),
    "safetensors": Contender(_safetensors, needs=("torch", "transformers")),
}
