"""The forward pass: what is exported, and the layers as they are, against peers.

Encoder and pooler, rows of ids. Everyone has the same weights, and what they compute
is compared before it is timed.
"""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import models
from benchmarks.contender import Contender, Ready, repeated
from benchmarks.side_by_side import OURS, Case

# How far the mean of a row's vectors may be from that of the first contender.
_WITHIN = {"float32": 2e-4, "bfloat16": 0.1}

_SHAPES = ((1, 32), (8, 128), (32, 128), (8, 512))
_LENGTHS = (32, 64, 96, 128, 192, 256, 384, 512)
_BATCHES = (1, 2, 4, 8, 16, 32, 64)
_PEERS = (
    "transformers",
    "transformers, autocast",
    "openvino",
    "onnxruntime",
    "keras_hub",
)
# What there is in one of the precisions only.
_ONLY = {"transformers, autocast": "bfloat16", "onnxruntime": "float32"}
_CURVE_PEERS = ("transformers, autocast", "openvino")


def cases() -> Iterator[Case]:
    """Yields all sizes and precisions, as tables have them."""
    for size in ("tiny", "minilm", "base"):
        for precision in ("float32", "bfloat16"):
            yield _case(
                f"Forward, {size}, {precision}",
                size,
                precision,
                _SHAPES,
                (OURS, "bert_tf, variables", "bert_tf layers", *_PEERS),
            )


def curves() -> Iterator[Case]:
    """Yields how time grows: with length, batch, and layers."""
    contenders = (OURS, *_CURVE_PEERS)
    yield _case(
        "Growth, length, minilm, bfloat16",
        "minilm",
        "bfloat16",
        [(8, length) for length in _LENGTHS],
        contenders,
    )
    yield _case(
        "Growth, batch, minilm, bfloat16",
        "minilm",
        "bfloat16",
        [(rows, 64) for rows in _BATCHES],
        contenders,
    )
    for layers in (2, 4, 8, 12, 16, 24):
        size = "base" if layers == 12 else f"base's width, {layers} layers"
        yield _case(
            f"Growth, {layers} layers, bfloat16",
            size,
            "bfloat16",
            [(4, 64)],
            contenders,
        )


def _case(
    title: str, size: str, precision: str, shapes: Any, contenders: tuple[str, ...]
) -> Case:
    return Case(
        __name__,
        title,
        {"size": size, "precision": precision, "shapes": list(shapes)},
        [x for x in contenders if _ONLY.get(x, precision) == precision],
        {f"{rows}x{length}": rows for rows, length in shapes},
    )


def _ready(
    settings: Any, call: Callable[[dict[str, np.ndarray]], Any], mean: Callable
) -> Ready:
    """Returns the rows of a case.

    Args:
      settings: The case's.
      call: Makes of a batch what is timed: a function without arguments.
      mean: Given what that returned and the mask, each row's mean vector `[B, H]`.
    """
    batches = {
        f"{rows}x{length}": models.batch(rows, length)
        for rows, length in settings["shapes"]
    }
    runs = {name: call(features) for name, features in batches.items()}
    first = next(iter(batches))
    answer = mean(runs[first](), batches[first]["input_mask"])
    return Ready(
        {name: repeated(run) for name, run in runs.items()},
        {"mean": np.asarray(answer, np.float64)[:2].tolist()},
        _WITHIN[settings["precision"]],
    )


def _mean(sequence: np.ndarray, mask: np.ndarray) -> np.ndarray:
    weights = mask[:, :, np.newaxis].astype(np.float32)
    return (np.asarray(sequence, np.float32) * weights).sum(1) / weights.sum(1)


def export_folder(settings: Any, folder: Path, freeze: bool) -> Path:
    """Returns where `prepare_export` writes a case's export."""
    kind = "constants" if freeze else "variables"
    return folder / f"{settings['size']}, {settings['precision']}, {kind}"


def prepare_export(settings: Any, folder: Path, freeze: bool = True) -> None:
    """Exports a model's mean vectors, with its weights as constants or variables."""
    from bert_tf import GraphTokenizer, load_checkpoint
    from bert_tf.config import BertConfig
    from bert_tf.serving.export import ExportOptions, export
    from bert_tf.serving.pretrained_servable import PretrainedServable

    target = export_folder(settings, folder, freeze)
    if target.exists():
        return
    source = models.files(settings["size"], folder)
    servable = PretrainedServable(
        BertConfig.from_dict(models.SIZES[settings["size"]]),
        GraphTokenizer(str(source / "vocab.txt")),
        ["bert/pooler/dense/kernel"],
        max_seq_length=512,
    )
    model = servable.create_model()
    load_checkpoint(model, str(source))
    options = ExportOptions(settings["precision"], freeze, target="cpu")
    export(servable, model, str(target), options)


def _exported(settings: Any, folder: Path, freeze: bool = True) -> Ready:
    from bert_tf.serving.saved_model import SavedModel

    model = SavedModel(str(export_folder(settings, folder, freeze)))

    def call(features: dict[str, np.ndarray]) -> Callable[[], Any]:
        return lambda: model.run("ids", features)["embedding"]

    return _ready(settings, call, lambda embedding, mask: embedding)


def _layers(settings: Any, folder: Path) -> Ready:
    import tensorflow as tf

    import bert_tf
    from bert_tf.modeling.kernels import POLICIES

    source = models.files(settings["size"], folder)
    model = bert_tf.BertModel(
        bert_tf.BertConfig.from_dict(models.SIZES[settings["size"]]),
        dtype=POLICIES[settings["precision"]],
    )
    bert_tf.load_checkpoint(model, str(source))

    @tf.function(reduce_retracing=True)
    def run(features: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = model(features)
        return outputs["sequence_output"], outputs["pooled_output"]

    def call(features: dict[str, np.ndarray]) -> Callable[[], Any]:
        tensors = {name: tf.constant(x) for name, x in features.items()}

        def once() -> Any:
            sequence, pooled = run(tensors)
            pooled.numpy()
            return sequence

        return once

    return _ready(settings, call, lambda x, mask: _mean(_float32(x), mask))


def _float32(x: Any) -> np.ndarray:
    import tensorflow as tf

    return tf.cast(x, tf.float32).numpy()


def _torch_encoder(settings: Any, folder: Path) -> Any:
    from transformers import BertConfig, BertModel

    config = BertConfig(**models.hugging_face_config(settings["size"]))
    source = models.files(settings["size"], folder)
    return models.load_into_torch(BertModel(config), source)


def torch_features(features: dict[str, np.ndarray]) -> dict[str, Any]:
    """Returns a batch as transformers takes it."""
    import torch

    names = {
        "input_ids": "input_ids",
        "input_mask": "attention_mask",
        "segment_ids": "token_type_ids",
    }
    return {names[name]: torch.from_numpy(x).long() for name, x in features.items()}


def _transformers(settings: Any, folder: Path, autocast: bool = False) -> Ready:
    import torch

    model = _torch_encoder(settings, folder)
    if not autocast:
        model = model.to(models.torch_dtype(settings["precision"]))

    def call(features: dict[str, np.ndarray]) -> Callable[[], Any]:
        tensors = torch_features(features)

        def once() -> Any:
            with (
                torch.inference_mode(),
                torch.autocast("cpu", torch.bfloat16, enabled=autocast),
            ):
                return model(**tensors).last_hidden_state

        return once

    return _ready(settings, call, lambda x, mask: _mean(x.float().numpy(), mask))


def _openvino_file(settings: Any, folder: Path) -> Path:
    return folder / f"{settings['size']}.xml"


def _prepare_openvino(settings: Any, folder: Path) -> None:
    import openvino as ov

    if _openvino_file(settings, folder).exists():
        return
    model = _torch_encoder(settings, folder)
    example = torch_features(models.batch(2, 16))
    converted = ov.convert_model(model, example_input=example)
    ov.save_model(converted, _openvino_file(settings, folder), compress_to_fp16=False)


def _openvino(settings: Any, folder: Path) -> Ready:
    import openvino as ov

    precision = {"float32": "f32", "bfloat16": "bf16"}[settings["precision"]]
    compiled = ov.Core().compile_model(
        _openvino_file(settings, folder),
        "CPU",
        {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"},
    )
    request = compiled.create_infer_request()

    def call(features: dict[str, np.ndarray]) -> Callable[[], Any]:
        named = {name: x.numpy() for name, x in torch_features(features).items()}
        return lambda: request.infer(named)[0]

    return _ready(settings, call, _mean)


def _onnx_file(settings: Any, folder: Path) -> Path:
    return folder / f"{settings['size']}.onnx"


def _prepare_onnx(settings: Any, folder: Path) -> None:
    import torch

    if _onnx_file(settings, folder).exists():
        return
    model = _torch_encoder(settings, folder)
    model.set_attn_implementation("eager")
    example = torch_features(models.batch(2, 16))

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *features: Any) -> Any:
            named = dict(zip(example, features, strict=True))
            return self.model(**named).last_hidden_state

    torch.onnx.export(
        Encoder(),
        tuple(example.values()),
        str(_onnx_file(settings, folder)),
        input_names=list(example),
        output_names=["last_hidden_state"],
        dynamic_axes={name: {0: "rows", 1: "length"} for name in example},
        dynamo=False,
    )


def _onnxruntime(settings: Any, folder: Path) -> Ready:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(_onnx_file(settings, folder)), providers=["CPUExecutionProvider"]
    )
    taken = {each.name for each in session.get_inputs()}

    def call(features: dict[str, np.ndarray]) -> Callable[[], Any]:
        given = torch_features(features)
        named = {name: x.numpy() for name, x in given.items() if name in taken}
        return lambda: session.run(None, named)[0]

    return _ready(settings, call, _mean)


def _keras_hub(settings: Any, folder: Path) -> Ready:
    import keras_hub
    import tensorflow as tf

    from bert_tf.modeling.kernels import POLICIES

    config = models.SIZES[settings["size"]]
    model = keras_hub.models.BertBackbone(
        vocabulary_size=config["vocab_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        hidden_dim=config["hidden_size"],
        intermediate_dim=config["intermediate_size"],
        max_sequence_length=config["max_position_embeddings"],
        dtype=POLICIES[settings["precision"]],
    )
    run = tf.function(lambda features: model(features, training=False))

    def pooled(tensors: dict[str, tf.Tensor]) -> np.ndarray:
        return run(tensors)["pooled_output"].numpy()

    runs = {}
    for rows, length in settings["shapes"]:
        features = models.batch(rows, length)
        tensors = {
            "token_ids": tf.constant(features["input_ids"]),
            "padding_mask": tf.constant(features["input_mask"]),
            "segment_ids": tf.constant(features["segment_ids"]),
        }
        runs[f"{rows}x{length}"] = repeated(functools.partial(pooled, tensors))
    # Its weights are its own: Google's files are nothing that it reads.
    return Ready(runs)


CONTENDERS = {
    OURS: Contender(_exported, prepare_export),
    "bert_tf, variables": Contender(
        functools.partial(_exported, freeze=False),
        functools.partial(prepare_export, freeze=False),
    ),
    "bert_tf layers": Contender(_layers),
    "transformers": Contender(_transformers, needs=("torch", "transformers")),
    "transformers, autocast": Contender(
        functools.partial(_transformers, autocast=True),
        needs=("torch", "transformers"),
    ),
    "openvino": Contender(
        _openvino, _prepare_openvino, ("openvino", "torch", "transformers")
    ),
    "onnxruntime": Contender(
        _onnxruntime, _prepare_onnx, ("onnxruntime", "torch", "transformers")
    ),
    "keras_hub": Contender(_keras_hub, needs=("keras_hub",)),
}
