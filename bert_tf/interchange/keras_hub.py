"""KerasHub's BERT, its objects and its presets on disk, through keras-nlp.

Read: a preset's `config.json`, weights and vocabulary, of a `BertBackbone`, a
`BertMaskedLM` or a `BertTextClassifier`. Written: a preset, whose tokenizer strips
accents where it lower-cases, as Google's does.
"""

import dataclasses
import math
import os
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from bert_tf.config import BertConfig
from bert_tf.errors import CheckpointError, ConfigError
from bert_tf.interchange.json_files import read_json
from bert_tf.interchange.names import KERAS_HUB, expand, shape_of
from bert_tf.interchange.weights import (
    Step,
    Weights,
    classifier_note,
    from_google,
    to_google,
)
from bert_tf.modeling import kernels
from bert_tf.tokenization.vocabulary import check_pieces, parse_pieces

# KerasHub's name -> Google's.
_CONFIG_KEYS = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
    "dropout": "hidden_dropout_prob",
    "max_sequence_length": "max_position_embeddings",
    "num_segments": "type_vocab_size",
}
_VOCAB = os.path.join("assets", "tokenizer", "vocabulary.txt")
_TASKS = ("BertMaskedLM", "BertTextClassifier")


def keras_nlp() -> Any:
    """Returns the package; a ConfigError if it is not installed."""
    try:
        import keras_nlp
    except ModuleNotFoundError as error:
        raise ConfigError(
            "Expected keras-nlp for KerasHub's models, found that it is not "
            "installed; run pip install 'bert-tf[models]'."
        ) from error
    return keras_nlp


def weights_of(
    model: Any, vocab: bytes, note: Mapping[str, Any] | None = None
) -> tuple[Weights, Step]:
    """Returns the weights of a KerasHub object.

    Args:
      model: A `BertBackbone`, or a task on one.
      vocab: What its vocabulary file holds.
      note: What is known of it, as `Weights` has it.

    Raises:
      CheckpointError, ConfigError, DataError: It is of another architecture, or does
        not fit the vocabulary.
    """
    step = Step("read from KerasHub")
    backbone = getattr(model, "backbone", model)
    if type(backbone).__name__ != "BertBackbone":
        raise ConfigError(
            f"Expected KerasHub's BertBackbone or a task on it, got "
            f"{type(model).__name__}; only BERT's architecture can be converted."
        )
    values = backbone.get_config()
    config = _config({key: values[key] for key in _CONFIG_KEYS}, step)
    check_pieces(
        parse_pieces(vocab, "vocabulary.txt"), "the vocabulary", config.vocab_size
    )
    held = {weight.path: weight for weight in model.weights}
    tensors = to_google(
        config, KERAS_HUB, held, lambda name: np.asarray(held[name]), step
    )
    return Weights(config, tensors, vocab, dict(note or {})), step


def _config(values: Mapping[str, Any], step: Step) -> BertConfig:
    known = {ours: values[theirs] for theirs, ours in _CONFIG_KEYS.items()}
    step.remarks.append("activation: Google's tanh form of gelu, as theirs is")
    return BertConfig(
        **known, attention_probs_dropout_prob=known["hidden_dropout_prob"]
    )


def read_folder(folder: str) -> tuple[Weights, Step]:
    """Reads a preset.

    Nothing that its configs name is imported but KerasHub's own three classes.

    Raises:
      ConfigError, CheckpointError, DataError: A file is missing, damaged, or of
        another architecture, or keras-nlp is not installed.
    """
    values = _config_of(folder, "config.json", ("BertBackbone",))
    models = keras_nlp().models
    sizes = {key: x for key, x in values["config"].items() if key in _CONFIG_KEYS}
    config = _config({**dict.fromkeys(_CONFIG_KEYS, 0), **sizes}, Step(""))
    path = os.path.join(folder, "model.weights.h5")
    _check_size(config, path)
    model = models.BertBackbone(**sizes)
    _load(model, path)
    note: dict[str, Any] = {}
    labels: tuple[str, ...] = ()
    if os.path.isfile(os.path.join(folder, "task.json")):
        task = _config_of(folder, "task.json", _TASKS)
        model, count = _task(models, model, task)
        if count:
            note = classifier_note(config)
            labels = tuple(f"LABEL_{number}" for number in range(count))
        _load(model, os.path.join(folder, "task.weights.h5"), partly=True)
    tokenizer = os.path.join(folder, "tokenizer.json")
    if os.path.isfile(tokenizer):
        lower = read_json(tokenizer).get("config", {}).get("lowercase")
        if isinstance(lower, bool):
            note["do_lower_case"] = lower
    path = os.path.join(folder, _VOCAB)
    if not os.path.isfile(path):
        raise CheckpointError(
            f"Expected the vocabulary at {path}, found none; save the tokenizer into "
            "the same preset, tokenizer.save_to_preset(folder)."
        )
    with open(path, "rb") as reader:
        vocab = reader.read()
    weights, step = weights_of(model, vocab, note)
    return dataclasses.replace(weights, labels=labels), step


def _check_size(config: BertConfig, path: str) -> None:
    """Raises a CheckpointError if a config asks for memory that no file fills."""
    rows = (row for row, _ in expand(config) if row.google.startswith("bert/"))
    count = sum(math.prod(shape_of(row, config)) for row in rows)
    # Two bytes a number at least.
    if os.path.isfile(path) and os.path.getsize(path) < 2 * count:
        raise CheckpointError(
            f"Expected the {count:,} numbers that config.json tells of in {path}, "
            f"found {os.path.getsize(path):,} bytes; config and weights differ."
        )


def _config_of(folder: str, name: str, classes: tuple[str, ...]) -> dict[str, Any]:
    path = os.path.join(folder, name)
    if not os.path.isfile(path):
        raise CheckpointError(
            f"Expected {name} in {folder}, found none; name the folder of a KerasHub "
            "preset, as save_to_preset writes it."
        )
    values = read_json(path)
    found = values.get("class_name")
    if found not in classes or not isinstance(values.get("config"), dict):
        raise ConfigError(
            f"Expected KerasHub's {' or '.join(classes)} in {path}, got {found}; only "
            "BERT's architecture can be converted."
        )
    return values


def _task(models: Any, backbone: Any, task: Mapping[str, Any]) -> tuple[Any, int]:
    """Returns the object of a task, and how many labels it has."""
    if task["class_name"] == "BertMaskedLM":
        return models.BertMaskedLM(backbone), 0
    count = task["config"].get("num_classes")
    if not isinstance(count, int) or not 0 < count < 1 << 20:
        raise ConfigError(f"Expected num_classes in task.json, got {count!r}.")
    return models.BertTextClassifier(backbone, count), count


def _load(model: Any, path: str, partly: bool = False) -> None:
    if not os.path.isfile(path):
        raise CheckpointError(
            f"Expected the weights at {path}, found none; fetch the whole preset."
        )
    try:
        if partly:
            model.load_task_weights(path)
        else:
            model.load_weights(path)
    except Exception as error:
        raise CheckpointError(
            f"Expected KerasHub's weights in {path}, found damage "
            f"({' '.join(str(error).split())[:200]}); fetch it again."
        ) from error


def model_of(weights: Weights) -> tuple[Any, Step]:
    """Returns the KerasHub object with a model's weights.

    A `BertMaskedLM` or a `BertTextClassifier` where there is such a head, else a
    `BertBackbone`.

    Raises:
      ConfigError: Its activation is not theirs, or keras-nlp is not installed.
    """
    step = Step("written for KerasHub")
    config = weights.config
    if config.hidden_act != "gelu":
        raise ConfigError(
            f"Expected hidden_act=gelu, Google's tanh form, which is the only one that "
            f"KerasHub's BERT has, got {config.hidden_act}; convert to another format."
        )
    models = keras_nlp().models
    values = {theirs: getattr(config, ours) for theirs, ours in _CONFIG_KEYS.items()}
    if config.attention_probs_dropout_prob != config.hidden_dropout_prob:
        step.remarks.append(
            f"attention_probs_dropout_prob={config.attention_probs_dropout_prob} "
            f"becomes {config.hidden_dropout_prob}: they have one dropout for all"
        )
    model = models.BertBackbone(**values)
    named = from_google(config, KERAS_HUB, weights.tensors, step)
    if "mlm_head/output_bias" in named:
        model = as_google(models.BertMaskedLM(model))
        step.remarks.append(
            "their masked-LM head has another gelu and epsilon than Google's: after "
            "loading, bert_tf.interchange.keras_hub.as_google(model) mends it"
        )
    elif "logits/kernel" in named:
        model = models.BertTextClassifier(model, named["logits/kernel"].shape[1])
    held = {weight.path: weight for weight in model.weights}
    for path, value in named.items():
        if path in held:
            held[path].assign(value)
        else:
            step.dropped[path] = f"{type(model).__name__} has no place for it"
    return model, step


def as_google(model: Any) -> Any:
    """Makes a `BertMaskedLM` compute what Google's graph does; returns it.

    KerasHub's head takes the exact gelu and an epsilon of 1e-5, by which logits differ
    in the third digit. Neither is stored in a preset.
    """
    head = model.masked_lm_head
    head.intermediate_activation = kernels.activation("gelu")
    head._intermediate_dense.activation = head.intermediate_activation
    head._intermediate_layer_norm.epsilon = 1e-12
    return model


def write_folder(weights: Weights, folder: str) -> Step:
    """Writes a preset into a folder that is there.

    Returns:
      What became of its tensors.
    """
    model, step = model_of(weights)
    lower = bool(weights.note["do_lower_case"])
    with tempfile.TemporaryDirectory() as made:
        path = os.path.join(made, "vocabulary.txt")
        with open(path, "wb") as writer:
            writer.write(weights.vocab)
        tokenizer = keras_nlp().models.BertTokenizer(
            path, lowercase=lower, strip_accents=lower
        )
    model.save_to_preset(folder)
    tokenizer.save_to_preset(folder)
    step.remarks.append(f"saved as {type(model).__name__}")
    return step
