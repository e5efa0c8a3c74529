"""Adds words to the vocabulary of a trained or pretrained model, with their weights."""

import dataclasses
import os
from collections.abc import Iterable

import numpy as np

from bert_tf.checkpoint import CheckpointReader, is_weight, write_tensors
from bert_tf.config import BertConfig
from bert_tf.errors import CheckpointError, ConfigError
from bert_tf.files import new_folder, read_bytes, sha256, staged, write_file
from bert_tf.run_folder import carry_note, noted_of_model
from bert_tf.tokenization.extending import ExtendedVocabulary, extend_vocabulary
from bert_tf.tokenization.vocabulary import read_lines, vocab_of_model

_WORD_EMBEDDINGS = "bert/embeddings/word_embeddings"  # [V, H]
_OUTPUT_BIAS = "cls/predictions/output_bias"  # [V]


def extend_model(
    bert_config_file: str,
    vocab_file: str,
    init_checkpoint: str,
    words: Iterable[str],
    output_dir: str,
    do_lower_case: bool = True,
    check_casing: bool = True,
    *,
    model_dir: str = "",
    keep_unused: bool = False,
    source: str = "the words",
) -> ExtendedVocabulary:
    """Writes a model that has further words as pieces of its vocabulary.

    A new word's embedding, and its bias in the masked-LM head, is the mean of those of
    the pieces that it was cut into. All other weights and all ids are as they were.

    Args:
      bert_config_file: The model's `bert_config.json`.
      vocab_file: Its `vocab.txt`.
      init_checkpoint: Its checkpoint, as for `find_checkpoint`.
      words: As for `extend_vocabulary`.
      output_dir: A new or empty folder. Gets `bert_model.ckpt` without slots and step,
        `bert_config.json` and `vocab.txt`, all of them or none.
      do_lower_case: Whether texts are lower-cased and their accents stripped.
      check_casing: Whether it is an error when names or vocabulary plainly contradict
        `do_lower_case`.
      model_dir: The folder of the model, whose `run_config.json` and `labels.json` are
        carried along where there are any; empty for none.
      keep_unused: Whether to append all words, and leave each `[unusedN]` as it is.
      source: Where the words come from, for messages.

    Returns:
      What became of the words.

    Raises:
      ConfigError: `output_dir` holds something, no word is new, or config, vocabulary
        and `do_lower_case` do not fit each other or the note in `model_dir`.
      DataError: The vocabulary is damaged, or a word is none that texts can match.
      CheckpointError: The checkpoint is missing, damaged or of another vocabulary, or
        there is no room for a new one.
    """
    target = new_folder(output_dir)
    config = BertConfig.from_json_file(bert_config_file)
    vocab = vocab_of_model(
        vocab_file, config.vocab_size, do_lower_case, init_checkpoint, check_casing
    )
    noted = noted_of_model(model_dir, vocab_file, config, do_lower_case)
    extended = extend_vocabulary(vocab, words, do_lower_case, keep_unused, source)
    if not extended.new:
        raise ConfigError(
            f"Expected words that are no pieces yet in {source}, found all "
            f"{len(extended.known)} of them in {vocab_file}; there is nothing to add."
        )
    reader = CheckpointReader(init_checkpoint)
    _check_sizes(reader, config.vocab_size)
    tensors = reader.read_all([name for name in reader.shapes if is_weight(name)])
    ids = {new.index: [vocab[piece] for piece in new.made_of] for new in extended.new}
    for name in (_WORD_EMBEDDINGS, _OUTPUT_BIAS):
        if name in tensors:
            tensors[name] = _with_means(tensors[name].numpy(), ids, extended.size)
    lines = read_lines(vocab_file) + [""] * (extended.size - config.vocab_size)
    for new in extended.new:
        lines[new.index] = new.piece
    config_text = read_bytes(bert_config_file)
    if extended.size != config.vocab_size:
        config = dataclasses.replace(config, vocab_size=extended.size)
        config_text = config.to_json_string().encode()
    with staged(target, last="checkpoint") as folder:
        write_tensors(os.path.join(folder, "bert_model.ckpt"), tensors)
        write_file(os.path.join(folder, "bert_config.json"), config_text)
        new_vocab_file = os.path.join(folder, "vocab.txt")
        write_file(new_vocab_file, "".join(f"{line}\n" for line in lines))
        if noted:
            changes = {
                "vocab_sha256": sha256(new_vocab_file),
                "bert_config": config.to_dict(),
            }
            carry_note(noted, model_dir, folder, changes)
    return extended


def _check_sizes(reader: CheckpointReader, vocab_size: int) -> None:
    """Raises a CheckpointError if a checkpoint is not of a vocabulary of that size."""
    if _WORD_EMBEDDINGS not in reader.shapes:
        raise CheckpointError(
            f"Expected {_WORD_EMBEDDINGS} in {reader.prefix}, found none; is this a "
            "BERT checkpoint?"
        )
    for name in (_WORD_EMBEDDINGS, _OUTPUT_BIAS):
        shape = reader.shapes.get(name, (vocab_size,))
        if shape[:1] != (vocab_size,):
            raise CheckpointError(
                f"Expected {name} to have a row for each of the {vocab_size} pieces of "
                f"the vocabulary, found the shape {list(shape)} in {reader.prefix}; "
                "use the vocabulary and config that belong to this checkpoint."
            )


def _with_means(
    old: np.ndarray, ids: dict[int, list[int]], vocab_size: int
) -> np.ndarray:
    """Returns rows `[vocab_size, ...]`: the old ones, some of which are means of some.

    Args:
      old: `[old vocab_size, ...]`.
      ids: Row -> the old rows of which it is to be the mean.
      vocab_size: How many rows there are to be.
    """
    added = np.zeros((vocab_size - len(old), *old.shape[1:]), old.dtype)
    rows = np.concatenate([old, added])
    for row, made_of in ids.items():
        rows[row] = old[made_of].mean(axis=0, dtype=np.float64)
    return rows
