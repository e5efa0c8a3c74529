"""Files of pretraining records: which there are, what they hold, batch by batch.

Nobody has to say how long the records are: the first one shows it.
"""

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from bert_tf.data import metadata
from bert_tf.data.pretraining_config import LONGEST_SEQUENCE
from bert_tf.data.records import (
    FeatureSpec,
    parse_records,
    pretraining_features,
    unmasked_features,
)
from bert_tf.errors import DataError

_BATCH_SIZE = 1024
_KINDS = {"int64_list": tf.int64, "float_list": tf.float32}


@dataclasses.dataclass(frozen=True)
class RecordFiles:
    """Files of records of one kind.

    Attributes:
      paths: At least one.
      spec: Their features.
      vocabularies: By the path of a `metadata.json` beside the files, what it says of
        the vocabulary: `file`, `sha256`, and `do_lower_case` if it is noted.
    """

    paths: Sequence[str]
    spec: FeatureSpec
    vocabularies: Mapping[str, Mapping[str, Any]]


def open_files(patterns: Sequence[str]) -> RecordFiles:
    """Finds files and learns from their first records what they hold.

    Args:
      patterns: Files or globs, local or any that TensorFlow can open.

    Raises:
      DataError: There are none, or they hold no records of pretraining data, or such
        of different lengths, or not what the `metadata.json` beside them says.
    """
    paths = find_files(patterns)
    specs = {path: spec for path in paths if (spec := read_spec(path)) is not None}
    if not specs:
        raise DataError(
            f"Expected records, found none in {', '.join(paths)}; name files that "
            "hold some."
        )
    spec = common_spec(specs)
    return RecordFiles(paths, spec, noted_vocabularies(paths, spec))


def common_spec(specs: Mapping[str, FeatureSpec]) -> FeatureSpec:
    """Returns the features of files, by their paths, if all have the same.

    Raises:
      DataError: They have not.
    """
    (first, spec), *others = specs.items()
    for path, other in others:
        if other != spec:
            raise DataError(
                f"Expected records of {_lengths(spec)} in all files, as in {first}, "
                f"found {_lengths(other)} in {path}; name files of one kind."
            )
    return spec


def noted_vocabularies(
    paths: Sequence[str], spec: FeatureSpec
) -> dict[str, dict[str, Any]]:
    """Returns what `RecordFiles.vocabularies` is, of files that exist.

    Raises:
      DataError: A `metadata.json` is damaged, or about other records.
    """
    vocabularies = {}
    for folder in dict.fromkeys(map(os.path.dirname, paths)):
        note = os.path.join(folder, metadata.FILE_NAME)
        if vocabulary := _vocabulary(note, metadata.read(folder), spec):
            vocabularies[note] = vocabulary
    return vocabularies


def find_files(patterns: Sequence[str]) -> list[str]:
    """Returns the files that paths and globs name, each once."""
    found: dict[str, None] = {}
    for pattern in patterns:
        # A file's own name may hold brackets.
        paths = [pattern] if tf.io.gfile.exists(pattern) else _glob(pattern)
        if not paths:
            raise DataError(
                f"Expected record files, but nothing is called {pattern}; name a file "
                "or a glob of files."
            )
        if tf.io.gfile.isdir(pattern):
            raise DataError(
                f"Expected record files, but {pattern} is a folder; name the files in "
                "it, with a glob for many."
            )
        found |= dict.fromkeys(paths)
    # A glob of all that lies in a folder is meant to be of its records.
    records = [path for path in found if os.path.basename(path) != metadata.FILE_NAME]
    return records or list(found)


def _glob(pattern: str) -> list[str]:
    return sorted(p for p in tf.io.gfile.glob(pattern) if not tf.io.gfile.isdir(p))


def read_spec(path: str) -> FeatureSpec | None:
    """Returns the features of a file's records by its first one; None without one.

    Raises:
      DataError: The file is damaged or its first record is no pretraining data.
    """
    with errors_of(path):
        first = [row.numpy() for row in tf.data.TFRecordDataset(path).take(1)]
    return spec_of(first[0], path) if first else None


def spec_of(record: bytes, path: str) -> FeatureSpec:
    """Returns the features of a file's records by one of them, serialized.

    Raises:
      DataError: It is no pretraining data.
    """
    found: dict[str, tuple[str, int]] = {}
    # What is no Example at all has no features either.
    with contextlib.suppress(DecodeError):
        features = tf.train.Example.FromString(record).features.feature
        for name in sorted(features):
            kind = features[name].WhichOneof("kind")
            if kind:
                found[name] = kind, len(getattr(features[name], kind).value)
    sizes = {name: size for name, (_, size) in found.items()}
    spec = unmasked_features(sizes.get("input_ids", 0))
    masked = pretraining_features(
        sizes.get("input_ids", 0), sizes.get("masked_lm_positions", 0)
    )
    if found.keys() & (masked.keys() - spec.keys()):
        spec = masked
    for name, feature in spec.items():
        kind, size = found.get(name, ("", 0))
        if not size or [size] != feature.shape or _KINDS.get(kind) != feature.dtype:
            listed = ", ".join(f"{each} [{n}]" for each, n in sizes.items())
            raise DataError(
                f"Expected records of pretraining data, with the features "
                f"{', '.join(spec)}, found {listed or 'no features'} in {path}; name "
                "files that create_pretraining_data made."
            )
    if sizes["input_ids"] > LONGEST_SEQUENCE:
        raise DataError(
            f"Expected records of at most {LONGEST_SEQUENCE} pieces, found "
            f"{sizes['input_ids']} in {path}; name files that create_pretraining_data "
            "made."
        )
    return spec


def read_batches(path: str, spec: FeatureSpec) -> Iterator[dict[str, np.ndarray]]:
    """Yields a file's records in order, many at a time, as int32 and float32 arrays.

    Args:
      path: The file.
      spec: The features to read; others are left alone.

    Raises:
      DataError: The file is damaged, a record has other lengths, or holds what
        pretraining data cannot hold.
    """
    dataset = tf.data.TFRecordDataset(path).batch(_BATCH_SIZE)
    dataset = dataset.map(
        lambda rows: parse_records(rows, spec), num_parallel_calls=tf.data.AUTOTUNE
    )
    with errors_of(path):
        for batch in dataset.as_numpy_iterator():
            check_values(batch, path)
            yield batch


def check_ids(
    batch: Mapping[str, np.ndarray], vocab_size: int, owner: str, path: str
) -> None:
    """Raises a DataError if ids occur that a vocabulary does not have.

    Args:
      batch: Features of records.
      vocab_size: How many pieces there are.
      owner: Whose vocabulary it is: its file, or that of the model's config.
      path: The records' file.
    """
    for name in ("input_ids", "masked_lm_ids"):
        for worst in (batch[name].min(), batch[name].max()) if name in batch else ():
            if not 0 <= worst < vocab_size:
                raise DataError(
                    f"Expected ids from 0 to {vocab_size - 1}, as {owner} has it, "
                    f"found {worst} among the {name} of {path}; pass the one "
                    "that the records were made for."
                )


def check_values(batch: Mapping[str, np.ndarray], path: str) -> None:
    """Raises a DataError if features of records hold what pretraining data cannot."""
    ends = dict.fromkeys(("input_mask", "segment_ids", "next_sentence_labels"), 2)
    if "input_ids" in batch:
        ends["masked_lm_positions"] = batch["input_ids"].shape[1]
    for name in ends.keys() & batch.keys():
        for worst in (batch[name].min(), batch[name].max()):
            if not 0 <= worst < ends[name]:
                raise DataError(
                    f"Expected {name} from 0 to {ends[name] - 1}, found {worst} in "
                    f"{path}; name files that create_pretraining_data made."
                )


@contextlib.contextmanager
def errors_of(path: str) -> Iterator[None]:
    """Says of TensorFlow's errors what they mean for the reader of a file."""
    try:
        yield
    except tf.errors.DataLossError as error:
        where = re.search(r"\w+ record at \d+", error.message)
        raise DataError(
            f"Expected a whole, uncompressed TFRecord file, found a "
            f"{where[0] if where else 'corrupted record'} in {path}; make it again, or "
            "name another file."
        ) from error
    except tf.errors.InvalidArgumentError as error:
        which = re.search(r"(?:Key|Feature): (\w+)", error.message)
        raise DataError(
            "Expected all records to have the features and lengths of the first, found "
            f"another {which[1] if which else 'record'} in {path}; make it again."
        ) from error


def _lengths(spec: FeatureSpec) -> str:
    length = f"{spec['input_ids'].shape[0]} pieces"
    if "masked_lm_positions" not in spec:
        return f"{length}, unmasked"
    return f"{length} and {spec['masked_lm_positions'].shape[0]} predictions"


def _vocabulary(
    note: str, found: Mapping[str, Any] | None, spec: FeatureSpec
) -> dict[str, Any] | None:
    """Returns a note's vocabulary, once it agrees with the records' lengths."""
    if found is None:
        return None
    try:
        settings = found["settings"]
        length = int(settings["max_seq_length"])
        if settings["unmasked"]:
            said = unmasked_features(length)
        else:
            predictions = int(settings["max_predictions_per_seq"])
            said = pretraining_features(length, predictions)
        vocabulary: dict[str, Any] = {
            "file": str(settings["vocab"]["file"]),
            "sha256": str(settings["vocab"]["sha256"]),
            "do_lower_case": settings.get("do_lower_case"),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            "Expected the settings that create_pretraining_data writes in "
            f"{note}, found damage ({error!r}); restore it, or make the records again."
        ) from error
    if said != spec:
        raise DataError(
            f"Expected records of {_lengths(said)}, as {note} says, found "
            f"{_lengths(spec)} beside it; name files that it is about."
        )
    return vocabulary
