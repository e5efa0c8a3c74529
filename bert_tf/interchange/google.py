"""Folders as Google publishes models, and as training runs leave them."""

import hashlib
import os
from typing import Any

import numpy as np

from bert_tf.checkpoint import CheckpointReader, is_weight, write_tensors
from bert_tf.config import BertConfig
from bert_tf.errors import CheckpointError
from bert_tf.files import read_bytes
from bert_tf.interchange.names import row_of
from bert_tf.interchange.weights import Step, Weights, check_complete
from bert_tf.run_folder import read_labels, read_note, write_note
from bert_tf.tokenization.vocabulary import check_pieces, parse_pieces

CHECKPOINT = "bert_model.ckpt"
CONFIG, VOCAB = "bert_config.json", "vocab.txt"
# What of a run's note says what its model is for.
_NOTED = (
    "do_lower_case",
    "task_name",
    "label_kind",
    "label_separator",
    "is_pair",
    "max_seq_length",
    "long_text",
    "doc_stride",
    "max_query_length",
    "version_2_with_negative",
)
# What other programs' checkpoints in the same format call their blocks.
_OTHERS = {
    "bert/encoder/transformer/group_": "ALBERT's",
    "electra/": "ELECTRA's",
    "discriminator": "ELECTRA's",
    "model/transformer/layer_": "XLNet's",
    "cls/predictions/extra_embeddings": "a variant of BERT's",
}


def read_folder(folder: str) -> tuple[Weights, Step]:
    """Reads `bert_config.json`, `vocab.txt`, the newest checkpoint, and a run's note.

    Raises:
      ConfigError, CheckpointError, DataError: A file is missing or damaged, or they do
        not fit each other.
    """
    config, vocab = read_config_and_vocab(folder)
    reader = CheckpointReader(folder)
    step = Step("read from Google's checkpoint")
    tensors: dict[str, np.ndarray] = {}
    for name in sorted(reader.shapes):
        if not is_weight(name):
            step.dropped[name] = "it is the state of a training"
        elif row_of(name) is None:
            step.dropped[name] = _stranger(name, reader.prefix)
        else:
            tensors[name] = reader.read(name)
            step.mapped.append(name)
    check_complete(config, tensors, reader.prefix)
    noted = read_note(folder)
    note = {name: noted[name] for name in _NOTED if name in noted}
    named = "output_weights" in tensors and note.get("label_kind") != "regression"
    labels = read_labels(folder) if named and "task_name" in note else []
    return Weights(config, tensors, vocab, note, tuple(labels)), step


def _stranger(name: str, prefix: str) -> str:
    """Returns why a tensor is left out; an error if its model is none of BERT's."""
    for beginning, whose in _OTHERS.items():
        if name.startswith(beginning):
            raise CheckpointError(
                f"Expected BERT's tensors in {prefix}, found {name}, which is "
                f"{whose}; only BERT's architecture can be converted."
            )
    return "no other package knows it"


def read_config_and_vocab(folder: str) -> tuple[BertConfig, bytes]:
    """Reads the two files that Google's layout has beside any checkpoint."""
    paths = [os.path.join(folder, name) for name in (CONFIG, VOCAB)]
    for path in paths:
        if not os.path.isfile(path):
            raise CheckpointError(
                f"Expected {os.path.basename(path)} in {folder}, found none; copy the "
                "one that its checkpoints were trained with there."
            )
    config = BertConfig.from_json_file(paths[0])
    vocab = read_bytes(paths[1])
    check_pieces(parse_pieces(vocab, paths[1]), paths[1], config.vocab_size)
    return config, vocab


def write_config_and_vocab(weights: Weights, folder: str) -> None:
    """Writes these two files."""
    with open(os.path.join(folder, CONFIG), "w", encoding="utf-8") as writer:
        writer.write(weights.config.to_json_string())
    with open(os.path.join(folder, VOCAB), "wb") as writer:
        writer.write(weights.vocab)


def write_folder(weights: Weights, folder: str) -> Step:
    """Writes a model in Google's layout, into a folder that is there.

    With it goes the note of a run, so that whoever opens the folder knows casing, task
    and labels.

    Returns:
      What became of its tensors.
    """
    step = Step("written as Google's checkpoint")
    step.mapped += sorted(weights.tensors)
    write_tensors(os.path.join(folder, CHECKPOINT), weights.tensors)
    write_config_and_vocab(weights, folder)
    note: dict[str, Any] = dict(weights.note)
    if note:
        # Whoever changes one of these files is told so.
        note["vocab_sha256"] = hashlib.sha256(weights.vocab).hexdigest()
        note["bert_config"] = weights.config.to_dict()
        write_note(folder, note, list(weights.labels) or None)
    return step
