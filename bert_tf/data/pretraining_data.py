"""Text files -> records of masked sentence pairs, as create_pretraining_data.py's.

In two ways. `reference` draws every instance in the release's order, from one sequence
of random numbers, and keeps what it drew until all are shuffled. `stream` draws each
instance from a key of its own when its record's turn has come, so that nothing has to
be kept and shards are independent of each other.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from bert_tf import host
from bert_tf.data import metadata
from bert_tf.data.corpus import (
    Corpus,
    Tokenize,
    continuations,
    corpus_sizes,
    spill_corpus,
)
from bert_tf.data.instances import Instances, PlannedInstances, ReleaseInstances
from bert_tf.data.masking import CONTINUES, Rules, make_rules
from bert_tf.data.pretraining_config import PretrainingDataConfig
from bert_tf.data.record_summary import ShardCounts
from bert_tf.data.shards import Bar, write_shards
from bert_tf.data.text_files import find_text_files, would_be_found
from bert_tf.data.work_folder import work_folder
from bert_tf.errors import ConfigError, DataError
from bert_tf.files import TENSORFLOW, Files, staging_path, write_local_file
from bert_tf.tokenization.full_tokenizer import FullTokenizer
from bert_tf.tokenization.graph_tokenizer import GraphTokenizer
from bert_tf.tokenization.segmentation import ChineseWords, sentence_splitter
from bert_tf.tokenization.vocabulary import (
    check_casing,
    check_special_pieces,
    load_vocab,
)

# Pieces that are looked through at a time.
_COUNTED = 2**22
# What texts have per piece, about: what is not tokenized yet is estimated by it.
_BYTES_PER_PIECE = 4

# All that the tokenized texts are a function of.
_CORPUS_SETTINGS = (
    "do_lower_case",
    "word_segmenter",
    "sentence_split",
    "language",
    "mode",
    "vocab",
    "inputs",
)


def create_pretraining_data(
    config: PretrainingDataConfig, bar: Bar | None = None
) -> dict[str, Any]:
    """Makes the record files that a config describes, and metadata.json beside them.

    Files that an interrupted run with the same settings made stay as they are.

    Args:
      config: What to make of what.
      bar: What shows progress, if anything does.

    Returns:
      What metadata.json says.

    Raises:
      ConfigError: The config contradicts itself, the folder or the machine.
      DataError: Texts or vocabulary are not what they should be.
    """
    config.check()
    bar = bar or _no_bar
    vocab = load_checked_vocab(config)
    settings = settings_of(config)
    missing, found = missing_files(config, settings)
    if not missing and "counts" in found:
        logging.info("nothing to do: the records are there already")
        return found
    rules = rules_of(config, vocab)
    size = sum(text["bytes"] for text in settings["inputs"])
    # What can be said now; of many short documents there will be more.
    _check_memory(config, rules, len(settings["inputs"]), size // _BYTES_PER_PIECE)
    with work_folder(config.folder, config.work_dir) as work:
        # Only now, as a run beside this one may have made some of them.
        missing, _ = missing_files(config, settings)
        _remove_unfinished(config.folder)
        corpus = _corpus(config, vocab, settings, work, bar)
        counts = _counts(corpus, vocab["[UNK]"])
        _check_corpus(config, rules, counts)
        instances = _instances(config, rules, corpus, counts, work, bar)
        check_shards(config, instances.count)
        # Whoever comes upon an unfinished folder knows what its files are.
        metadata.write(config.folder, {"settings": settings})
        records = write_shards(config, rules, instances, missing, bar)
        made = described(settings, counts, records)
        metadata.write(config.folder, made)
    return made


@contextlib.contextmanager
def _no_bar(what: str, total: int, unit: str) -> Iterator[Callable[[int], Any]]:
    yield lambda count: None


# --- Before anything is written -----------------------------------------------------


def load_checked_vocab(config: PretrainingDataConfig) -> dict[str, int]:
    """Returns the vocabulary, piece -> id, which fits the flags."""
    vocab = load_vocab(config.vocab_file)
    check_special_pieces(vocab, config.vocab_file)
    if config.check_casing:
        check_casing(vocab, config.do_lower_case, config.vocab_file)
    return vocab


def rules_of(config: PretrainingDataConfig, vocab: dict[str, int]) -> Rules:
    """Returns what a config's draws depend on."""
    return make_rules(
        vocab,
        config.max_seq_length,
        config.max_predictions_per_seq,
        config.short_seq_prob,
        config.masked_lm_prob,
        config.chosen_masking,
    )


def split_of(config: PretrainingDataConfig) -> Callable[[str], list[str]] | None:
    """Returns what makes sentences of a line; None if each line is one."""
    if not config.sentence_split:
        return None
    return sentence_splitter(config.language or "en")


def _check_apart(config: PretrainingDataConfig, paths: list[str], files: Files) -> None:
    """Raises a ConfigError if an output file is also an input, now or the next time."""
    inputs = {os.path.realpath(path) for path in [*paths, config.vocab_file]}
    for path in config.output_files:
        if os.path.realpath(path) in inputs or would_be_found(path, config.input_file):
            raise ConfigError(
                f"Expected records to be written elsewhere than where texts and "
                f"vocabulary are read, but --output_file={path} is one of these, or "
                "would be taken for one; name another."
            )
        if files.is_folder(path):
            raise ConfigError(
                f"Expected a file's name in --output_file, but {path} is a folder; "
                f"name a file, as in {os.path.join(path, 'records.tfrecord')}."
            )


def settings_of(
    config: PretrainingDataConfig, files: Files = TENSORFLOW
) -> dict[str, Any]:
    """Returns all that the records are a function of."""
    paths = find_text_files(config.input_file, files)
    _check_apart(config, paths, files)
    return {
        **config.settings(),
        "vocab": metadata.vocabulary(config.vocab_file, files),
        "inputs": [_describe(path, files) for path in paths],
    }


def _describe(path: str, files: Files) -> dict[str, Any]:
    if os.path.exists(path):
        status = os.stat(path)  # TensorFlow counts whole seconds
        path, size, modified = os.path.abspath(path), status.st_size, status.st_mtime_ns
    else:
        size, modified = files.status(path)
    return {"path": path, "bytes": size, "modified": modified}


def described(
    settings: dict[str, Any], counts: dict[str, int], records: ShardCounts
) -> dict[str, Any]:
    """Returns what metadata.json says of whole records.

    Args:
      settings: All that they are a function of.
      counts: Of the texts: documents, segments, pieces, unknown pieces.
      records: Of the records.
    """
    return {
        "settings": settings,
        "counts": {
            **counts,
            "records": records.records,
            "random_next": records.random_next,
            "masked": records.masked,
        },
        "length_histogram": records.length_histogram.tolist(),
    }


def missing_files(
    config: PretrainingDataConfig, settings: dict[str, Any], files: Files = TENSORFLOW
) -> tuple[list[int], dict[str, Any]]:
    """Returns which files are to be made, and the metadata of those that are there.

    Those are of the settings. Of none the metadata may be empty.
    """
    paths = config.output_files
    missing = [place for place, path in enumerate(paths) if not files.exists(path)]
    found = metadata.check(config.folder, settings, files)
    if found is None and len(missing) < len(paths):
        raise ConfigError(
            f"Expected {metadata.FILE_NAME} beside the records in "
            f"{config.folder or 'this folder'}, which says how they were made, found "
            "none; delete the records, or name another folder in --output_file."
        )
    return missing, found or {}


def _remove_unfinished(folder: str) -> None:
    """Removes files that a killed run had not finished, of whatever settings."""
    found = metadata.read(folder)
    if found is not None and "counts" not in found:
        for name in found["settings"].get("files", []):
            path = staging_path(os.path.join(folder, os.path.basename(str(name))))
            if tf.io.gfile.exists(path):
                tf.io.gfile.remove(path)


def _check_memory(
    config: PretrainingDataConfig, rules: Rules, documents: int, pieces: int
) -> None:
    """Raises a ConfigError if what `reference` keeps will not fit into memory."""
    if config.mode != "reference":
        return
    needed = ReleaseInstances.bytes_for(documents, pieces, rules, config.dupe_factor)
    room = host.available()
    if needed > room:
        raise ConfigError(
            f"Expected memory for all instances, about {host.in_gb(needed)} for "
            f"{config.dupe_factor} times {pieces:,} pieces, found "
            f"{host.in_gb(room)}; use --mode=stream, which keeps none."
        )


# --- The steps ----------------------------------------------------------------------


def _corpus(
    config: PretrainingDataConfig,
    vocab: dict[str, int],
    settings: dict[str, Any],
    work: str,
    bar: Bar,
) -> Corpus:
    """Tokenizes the texts, unless the run before did."""
    note = {name: settings[name] for name in _CORPUS_SETTINGS}
    done = os.path.join(work, "corpus.json")
    with contextlib.suppress(FileNotFoundError, ValueError), open(done) as reader:
        if json.load(reader) == {**note, "sizes": corpus_sizes(work)}:
            logging.info("going on with the texts that were tokenized before")
            return Corpus(work)
    paths = [text["path"] for text in settings["inputs"]]
    with contextlib.suppress(FileNotFoundError):
        os.remove(done)
    with bar("texts", sum(text["bytes"] for text in settings["inputs"]), "B") as on:
        spill_corpus(
            work,
            paths,
            tokenize_of(config, vocab),
            workers=config.workers,
            files_apart=config.mode == "stream",
            split=split_of(config),
            on_bytes=on,
        )
    write_local_file(done, json.dumps({**note, "sizes": corpus_sizes(work)}))
    return Corpus(work)


def tokenize_of(config: PretrainingDataConfig, vocab: dict[str, int]) -> Tokenize:
    """Returns what makes pieces of texts."""
    if config.word_segmenter == "jieba":
        words = ChineseWords(FullTokenizer(config.vocab_file, config.do_lower_case))

        def tokenize_words(texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            found = [words.tokenize(text) for text in texts]
            bits = [
                np.where(continues, CONTINUES, np.uint32(0)) | ids.astype(np.uint32)
                for ids, continues in found
            ]
            lengths = np.array([len(ids) for ids, _ in found], np.int64)
            return np.concatenate([np.empty(0, np.uint32), *bits]), lengths

        return lambda texts: tf.numpy_function(
            tokenize_words, [texts], (tf.uint32, tf.int64)
        )
    tokenizer = GraphTokenizer(config.vocab_file, config.do_lower_case)
    bits = tf.constant(continuations(vocab).view(np.int32))

    def tokenize(texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        ids = tokenizer.tokenize(texts)
        pieces = tf.bitwise.bitwise_or(ids.values, tf.gather(bits, ids.values))
        return tf.bitcast(pieces, tf.uint32), ids.row_lengths()

    return tokenize


def _counts(corpus: Corpus, unknown: int) -> dict[str, int]:
    texts = corpus.texts
    unknown_pieces = 0
    for start in range(0, len(texts.pieces), _COUNTED):
        ids = texts.pieces[start : start + _COUNTED] & ~CONTINUES
        unknown_pieces += int(np.count_nonzero(ids == unknown))
        corpus.release()
    return {
        "documents": len(texts.documents) - 1,
        "segments": len(texts.segments) - 1,
        "pieces": len(texts.pieces),
        "unknown_pieces": unknown_pieces,
    }


def _check_corpus(
    config: PretrainingDataConfig, rules: Rules, counts: dict[str, int]
) -> None:
    check_documents(config, counts["documents"])
    _check_memory(config, rules, counts["documents"], counts["pieces"])


def check_documents(config: PretrainingDataConfig, documents: int) -> None:
    """Raises a DataError if a random segment could be of no other document."""
    if documents == 1:
        raise DataError(
            f"Expected two documents or more, since a random next segment is one of "
            f"another document, found one in {config.input_file}; put a blank line "
            "between documents."
        )


def check_shards(config: PretrainingDataConfig, records: int) -> None:
    """Raises a ConfigError if there are more files than records."""
    files = len(config.output_files)
    if records < files:
        raise ConfigError(
            f"Expected no more files than records, got {files} files for {records} "
            "records; lower --num_shards."
        )


def _instances(
    config: PretrainingDataConfig,
    rules: Rules,
    corpus: Corpus,
    counts: dict[str, int],
    work: str,
    bar: Bar,
) -> Instances:
    documents = counts["documents"]
    with bar("pairs", documents * config.dupe_factor, "document") as advance:
        if config.mode == "reference":
            return ReleaseInstances(
                rules, corpus.texts, config.random_seed, config.dupe_factor, advance
            )
        needed = PlannedInstances.bytes_for(
            documents, counts["pieces"], rules, config.dupe_factor
        )
        room = shutil.disk_usage(work).free
        if needed > room:
            raise ConfigError(
                f"Expected room on the disk for the plan of all records, about "
                f"{host.in_gb(needed)} in {work}, found {host.in_gb(room)}; name "
                "another --work_dir, or lower --dupe_factor."
            )
        return PlannedInstances(
            rules, corpus, config.random_seed, config.dupe_factor, work, advance
        )
