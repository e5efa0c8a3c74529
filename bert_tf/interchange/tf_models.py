"""Checkpoints of tf-models-official's BERT encoders, of TensorFlow 2.

Read: `bert_config.json`, `vocab.txt`, and a `tf.train.Checkpoint` of a `BertEncoder`,
`BertEncoderV2`, or a pretrainer's `checkpoint_items`. Written: the items of
`BertPretrainerV2`, from which `tf.train.Checkpoint(encoder=encoder).read(...)` takes
its part. A checkpoint of theirs says no activation and no number of heads: the config
does.

Nothing here needs their package: a name in such a checkpoint is a path of attributes.
"""

import os
import re
from typing import Any

import tensorflow as tf

from bert_tf.checkpoint import CheckpointReader
from bert_tf.interchange import google
from bert_tf.interchange.names import TF_MODELS
from bert_tf.interchange.weights import Step, Weights, from_google, to_google

_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
# Where an encoder or a masked-LM head begins, below whatever it was saved under.
_PART = re.compile(
    r"^(?:.*?/)?(masked_lm|layer_with_weights-\d+|_(?:embedding|position_embedding|"
    r"type_embedding|embedding_norm|pooler)_layer|_transformer_layers)(/.*)$"
)
# The layers of the functional BertEncoder, before and after its blocks.
_BEFORE_BLOCKS = (
    "_embedding_layer",
    "_position_embedding_layer",
    "_type_embedding_layer",
    "_embedding_norm_layer",
)
_WORDS = "encoder/_embedding_layer/embeddings"
_TABLE = "masked_lm/embedding_table"


def read_folder(folder: str) -> tuple[Weights, Step]:
    """Reads a folder with such a checkpoint.

    Raises:
      ConfigError, CheckpointError, DataError: A file is missing or damaged, or they do
        not fit each other.
    """
    step = Step("read from tf-models-official's checkpoint")
    config, vocab = google.read_config_and_vocab(folder)
    reader = CheckpointReader(folder, object_graph=True)
    known: dict[str, str] = {}
    for key in sorted(reader.shapes):
        name = _plain(key, config.num_hidden_layers)
        if name is None:
            step.dropped[key] = "it is no weight of an encoder or masked-LM head"
        else:
            known[name] = key
    # One variable with two names, of which TensorFlow stores the shortest.
    known.setdefault(_WORDS, known.pop(_TABLE, ""))
    if not known[_WORDS]:
        del known[_WORDS]
    step.remarks.append(f"activation as bert_config.json says: {config.hidden_act}")
    tensors = to_google(
        config, TF_MODELS, known, lambda name: reader.read(known[name]), step
    )
    return Weights(config, tensors, vocab), step


def _plain(key: str, blocks: int) -> str | None:
    """Returns a variable's name as in `names.ROWS`; None for what is no weight."""
    match = _PART.match(key.removesuffix(_SUFFIX))
    if match is None or not key.endswith(_SUFFIX) or ".OPTIMIZER_SLOT" in key:
        return None
    part, rest = match.groups()
    if part == "masked_lm":
        return part + rest
    if part.startswith("layer_with_weights-"):
        number = int(part.rpartition("-")[2])
        if number < len(_BEFORE_BLOCKS):
            part = _BEFORE_BLOCKS[number]
        elif number < len(_BEFORE_BLOCKS) + blocks:
            part = f"_transformer_layers/{number - len(_BEFORE_BLOCKS)}"
        else:
            part = "_pooler_layer"
    return f"encoder/{part}{rest}"


def write_folder(weights: Weights, folder: str) -> Step:
    """Writes such a checkpoint, its config and vocabulary into a folder that is there.

    Returns:
      What became of its tensors.
    """
    step = Step("written for tf-models-official")
    root = tf.Module()
    named = from_google(weights.config, TF_MODELS, weights.tensors, step)
    for name, value in named.items():
        _put(root, name.split("/"), tf.Variable(value))
    items = {"encoder": root.encoder}
    if hasattr(root.encoder, "_pooler_layer"):
        # Their head for the next sentence has a pooler of its own.
        pooler = root.encoder._pooler_layer
        for leaf in ("kernel", "bias"):
            copy = tf.Variable(getattr(pooler, leaf))
            _put(root, ["pooler_dense", leaf], copy)
        items["next_sentence.pooler_dense"] = root.pooler_dense
    if hasattr(root, "masked_lm"):
        # Theirs is the encoder's own variable, under a second name.
        root.masked_lm.embedding_table = root.encoder._embedding_layer.embeddings
        items["masked_lm"] = root.masked_lm
    tf.train.Checkpoint(**items).write(os.path.join(folder, google.CHECKPOINT))
    google.write_config_and_vocab(weights, folder)
    return step


def _put(node: Any, path: list[str], variable: tf.Variable) -> None:
    """Makes a variable an attribute, below as many objects as its path says."""
    # As TensorFlow writes a slash within a name.
    name = path[0].replace(".S", "/")
    if len(path) == 1:
        setattr(node, name, variable)
        return
    if not hasattr(node, name):
        setattr(node, name, tf.Module())
    _put(getattr(node, name), path[1:], variable)
