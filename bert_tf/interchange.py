"""Weights of other packages, by one table of names per package.

Google's names and shapes are the ones in the middle: a table says for each of them
what the other package calls it and whether it stores the matrix transposed.

Checkpoints are imported where files are read or written: without them all here serves
Keras' JAX backend too, where there may be no TensorFlow.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging

from bert_tf.config import BertConfig
from bert_tf.errors import CheckpointError, ConfigError
from bert_tf.modeling import BertModel
from bert_tf.naming import by_google_name
from bert_tf.tokenization import check_vocab

# Google's name -> (Hugging Face's name, transposed). `{}` stands for a block's number.
HUGGING_FACE_ENCODER: dict[str, tuple[str, bool]] = {
    "bert/embeddings/word_embeddings": ("embeddings.word_embeddings.weight", False),
    "bert/embeddings/token_type_embeddings": (
        "embeddings.token_type_embeddings.weight",
        False,
    ),
    "bert/embeddings/position_embeddings": (
        "embeddings.position_embeddings.weight",
        False,
    ),
    "bert/embeddings/LayerNorm/gamma": ("embeddings.LayerNorm.weight", False),
    "bert/embeddings/LayerNorm/beta": ("embeddings.LayerNorm.bias", False),
    **{
        f"bert/encoder/layer_{{}}/{google}/{ours}": (
            f"encoder.layer.{{}}.{theirs}.{leaf}",
            ours == "kernel",
        )
        for google, theirs in (
            ("attention/self/query", "attention.self.query"),
            ("attention/self/key", "attention.self.key"),
            ("attention/self/value", "attention.self.value"),
            ("attention/output/dense", "attention.output.dense"),
            ("intermediate/dense", "intermediate.dense"),
            ("output/dense", "output.dense"),
        )
        for ours, leaf in (("kernel", "weight"), ("bias", "bias"))
    },
    **{
        f"bert/encoder/layer_{{}}/{google}/LayerNorm/{ours}": (
            f"encoder.layer.{{}}.{theirs}.LayerNorm.{leaf}",
            False,
        )
        for google, theirs in (
            ("attention/output", "attention.output"),
            ("output", "output"),
        )
        for ours, leaf in (("gamma", "weight"), ("beta", "bias"))
    },
    "bert/pooler/dense/kernel": ("pooler.dense.weight", True),
    "bert/pooler/dense/bias": ("pooler.dense.bias", False),
}

_ACTIVATIONS = {
    "gelu": "gelu_erf",  # Hugging Face's plain name means the exact form
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "relu": "relu",
    "tanh": "tanh",
}

_CONFIG_KEYS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "max_position_embeddings",
    "type_vocab_size",
    "initializer_range",
)


def config_from_hugging_face(values: Mapping[str, Any]) -> BertConfig:
    """Returns the BERT config that a Hugging Face `config.json` describes.

    Raises:
      ConfigError: It describes another architecture, or a feature that Google's
        graph does not have.
    """
    kind = values.get("model_type", "bert")
    if kind != "bert":
        raise ConfigError(
            f"Expected a config.json with model_type bert, got {kind}; only BERT's "
            "architecture can be converted."
        )
    position = values.get("position_embedding_type", "absolute")
    if position != "absolute" or values.get("is_decoder"):
        raise ConfigError(
            f"Expected an encoder with absolute positions, got "
            f"position_embedding_type={position}, "
            f"is_decoder={values.get('is_decoder', False)}; Google's graph has neither."
        )
    epsilon = values.get("layer_norm_eps", 1e-12)
    if epsilon != 1e-12:
        logging.warning("layer_norm_eps is %g there and 1e-12 here", epsilon)
    hidden_act = values.get("hidden_act", "gelu")
    if hidden_act not in _ACTIVATIONS:
        raise ConfigError(
            f"Expected hidden_act to be one of {', '.join(_ACTIVATIONS)}, got "
            f"{hidden_act!r}; it has no counterpart here."
        )
    logging.info("activation %s becomes %s", hidden_act, _ACTIVATIONS[hidden_act])
    known = {key: values[key] for key in _CONFIG_KEYS if key in values}
    if "vocab_size" not in known:
        raise ConfigError("Expected vocab_size in config.json, got none.")
    known.setdefault("type_vocab_size", 2)
    return BertConfig(**known, hidden_act=_ACTIVATIONS[hidden_act])


def _modern(name: str) -> str:
    """Returns a tensor's name as today's files spell it."""
    name = name.removeprefix("bert.")
    # Files written from the first TensorFlow conversions keep its names.
    name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)
    return re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)


def google_tensors(
    tensors: Mapping[str, np.ndarray], config: BertConfig
) -> dict[str, np.ndarray]:
    """Returns an encoder's tensors under Google's names and in Google's shapes.

    Args:
      tensors: Under Hugging Face's names, with or without a leading `bert.`.
      config: The architecture.

    Raises:
      CheckpointError: A tensor is missing, or of another shape than the config says.
    """
    plain = {_modern(name): value for name, value in tensors.items()}
    variables = by_google_name(BertModel(config).variables)
    has_pooler = any(name.startswith("pooler.") for name in plain)
    if not has_pooler:
        logging.warning("the weights hold no pooler: it will start fresh")
    found: dict[str, np.ndarray] = {}
    for google, (theirs, transposed) in HUGGING_FACE_ENCODER.items():
        blocks = range(config.num_hidden_layers) if "{}" in google else range(1)
        for block in blocks:
            name, source = google.format(block), theirs.format(block)
            if google.startswith("bert/pooler/") and not has_pooler:
                continue
            if source not in plain:
                raise CheckpointError(
                    f"Expected a tensor {source} for {name}, found none among "
                    f"{len(plain)}; is this a BERT encoder with "
                    f"{config.num_hidden_layers} layers?"
                )
            value = np.asarray(plain[source], dtype=np.float32)
            found[name] = value.T if transposed else value
            expected = tuple(variables[name].shape)
            if found[name].shape != expected:
                raise CheckpointError(
                    f"Expected {source} to give {name} the shape {list(expected)}, got "
                    f"{list(found[name].shape)}; config.json and weights differ."
                )
    return found


def convert_from_hugging_face(folder: str, output_dir: str) -> str:
    """Writes Google's layout of a local Hugging Face BERT folder's encoder.

    Args:
      folder: Holds `model.safetensors`, `config.json`, `vocab.txt`.
      output_dir: Gets `bert_model.ckpt`, `bert_config.json`, `vocab.txt`.

    Returns:
      The prefix of the checkpoint.

    Raises:
      ConfigError, CheckpointError: A file is missing, damaged, or of another
        architecture; nothing is written then.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    from bert_tf.checkpoint import write_tensors

    paths = {
        name: os.path.join(folder, name)
        for name in ("config.json", "vocab.txt", "model.safetensors")
    }
    for path in paths.values():
        if not os.path.isfile(path):
            raise CheckpointError(
                f"Expected {os.path.basename(path)} in {folder}, found none; name the "
                "folder of a Hugging Face BERT model."
            )
    try:
        with open(paths["config.json"], encoding="utf-8") as reader:
            values = json.load(reader)
    except ValueError as error:
        raise ConfigError(
            f"Expected JSON in {paths['config.json']}, got text that is not: {error}."
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"Expected a JSON object in {paths['config.json']}, got "
            f"{type(values).__name__}; fetch it again."
        )
    config = config_from_hugging_face(values)
    try:
        tensors = load_file(paths["model.safetensors"])
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"Expected a whole safetensors file at {paths['model.safetensors']}, found "
            f"damage ({error}); fetch it again."
        ) from error
    check_vocab(paths["vocab.txt"], config.vocab_size)
    converted = google_tensors(tensors, config)
    prefix = os.path.join(output_dir, "bert_model.ckpt")
    write_tensors(prefix, converted)
    with open(
        os.path.join(output_dir, "bert_config.json"), "w", encoding="utf-8"
    ) as writer:
        writer.write(config.to_json_string())
    shutil.copyfile(paths["vocab.txt"], os.path.join(output_dir, "vocab.txt"))
    logging.info(
        "converted %d of %d tensors to %s", len(converted), len(tensors), prefix
    )
    return prefix


def release_weights(folder: str, output_dir: str) -> str:
    """Writes what a training run left as Google releases a model: weights alone.

    Args:
      folder: Holds checkpoints in Google's format, `bert_config.json`, `vocab.txt`: the
        output folder of a run.
      output_dir: Gets `bert_model.ckpt` with what the newest checkpoint holds besides
        the optimizer's slots and the step, `bert_config.json`, `vocab.txt`.

    Returns:
      The prefix of the checkpoint.

    Raises:
      ConfigError, CheckpointError: A file is missing or damaged; nothing is written
        then.
    """
    from bert_tf.checkpoint import CheckpointReader, is_weight, write_tensors

    paths = [os.path.join(folder, name) for name in ("bert_config.json", "vocab.txt")]
    for path in paths:
        if not os.path.isfile(path):
            raise CheckpointError(
                f"Expected {os.path.basename(path)} in {folder}, found none; copy the "
                "one that its checkpoints were trained with there."
            )
    config = BertConfig.from_json_file(paths[0])
    check_vocab(paths[1], config.vocab_size)
    reader = CheckpointReader(folder)
    kept = {name: reader.read(name) for name in reader.shapes if is_weight(name)}
    prefix = os.path.join(output_dir, "bert_model.ckpt")
    write_tensors(prefix, kept)
    for path in paths:
        shutil.copy(path, output_dir)
    logging.info(
        "kept %d of %d tensors of %s in %s",
        len(kept),
        len(reader.shapes),
        reader.prefix,
        prefix,
    )
    return prefix
