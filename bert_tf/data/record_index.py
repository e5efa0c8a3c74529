"""Where the records of files lie: checked once, so that any step can be found at once.

A block is some records in a row of one file. Blocks are what the order of training is
made of: to go on from a step takes no reading of what lies before it, and the place of
a few records in a row is all that is kept in memory.
"""

import contextlib
import dataclasses
import os
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from bert_tf.data import metadata
from bert_tf.data.record_files import find_files
from bert_tf.errors import DataError

# Records of a block: one read of about 100 KB at 128 pieces.
BLOCK_SIZE = 128
# The length of a record (8 bytes) and checksums of it and of the record (4 each).
_HEADER, _FOOTER = 12, 4
# What is read at a time, in bytes.
_BUFFER = 1 << 17

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})$")


@dataclasses.dataclass(frozen=True)
class RecordIndex:
    """The blocks of record files, in order.

    Attributes:
      paths: The files.
      files: int32 `[n]`, each block's file, its place in `paths`.
      offsets: int64 `[n]`, the byte that it begins at.
      counts: int32 `[n]`, its records, 1 to `BLOCK_SIZE`.
      corrupt: `(path, byte)` of each place where records were skipped.
    """

    paths: Sequence[str]
    files: np.ndarray
    offsets: np.ndarray
    counts: np.ndarray
    corrupt: Sequence[tuple[str, int]]

    @property
    def num_records(self) -> int:
        """How many whole records there are."""
        return int(self.counts.sum())

    def read(self, blocks: tf.Tensor) -> tf.Tensor:
        """Returns the serialized records of some blocks `[m]`, string `[n]`."""
        files, offsets, counts = (
            tf.gather(tf.constant(x), blocks)
            for x in (self.files, self.offsets, self.counts)
        )
        paths = tf.gather(tf.constant(list(self.paths)), files)
        dataset = tf.data.Dataset.from_tensor_slices(
            (paths, offsets, tf.cast(counts, tf.int64))
        )
        dataset = dataset.flat_map(lambda path, at, n: _records_from(path, at).take(n))
        longest = tf.maximum(tf.size(blocks, tf.int64), 1) * BLOCK_SIZE
        return dataset.batch(longest).get_single_element()


def index_files(
    paths: Sequence[str],
    *,
    skip_corrupt: bool = False,
    at_most: int | None = None,
    on_progress: Callable[[int], None] = lambda count: None,
) -> RecordIndex:
    """Reads all records of files once, checksums included, and notes where they lie.

    Args:
      paths: The files.
      skip_corrupt: Whether to leave out what is damaged, instead of an error.
      at_most: Stop reading when there are so many records; None to read all.
      on_progress: Called with how many records more were read.

    Raises:
      DataError: A file is damaged, or there are no records.
    """
    blocks: list[tuple[int, int, int]] = []
    corrupt: list[tuple[str, int]] = []
    found = 0
    for file, path in enumerate(paths):
        for offset, count in _blocks(path, skip_corrupt, corrupt):
            blocks.append((file, offset, count))
            found += count
            on_progress(count)
            if at_most is not None and found >= at_most:
                break
        if at_most is not None and found >= at_most:
            break
    if not found:
        raise DataError(
            f"Expected records, found no whole one in {', '.join(paths)}; name files "
            "that hold some."
        )
    files, offsets, counts = zip(*blocks, strict=True)
    return RecordIndex(
        list(paths),
        np.array(files, np.int32),
        np.array(offsets, np.int64),
        np.array(counts, np.int32),
        corrupt,
    )


def find_shards(patterns: Sequence[str]) -> list[str]:
    """Returns the files that paths and globs name, none of a set of shards missing.

    Raises:
      DataError: There is none, or one of `NAME-00000-of-00004` and so on is missing, or
        one that the `metadata.json` beside them lists.
    """
    paths = find_files(patterns)
    there = set(paths)
    # By what the names of a set have in common, so that each set is gone through once.
    sets = {
        (path[: shard.start()], int(shard[2])): path
        for path in paths
        if (shard := _SHARD.search(path))
    }
    for (base, count), path in sets.items():
        for number in range(count):
            other = f"{base}-{number:05d}-of-{count:05d}"
            if other not in there and not tf.io.gfile.exists(other):
                raise _missing(other, f"{path} is one of {count}")
            there.add(other)
    for folder in dict.fromkeys(map(os.path.dirname, paths)):
        noted = metadata.read(folder)
        if noted is None:
            continue
        note = os.path.join(folder, metadata.FILE_NAME)
        for name in noted["settings"].get("files") or []:
            path = os.path.join(folder, str(name))
            if path not in there and not tf.io.gfile.exists(path):
                raise _missing(path, f"{note} lists it")
        if "counts" not in noted:
            raise DataError(
                f"Expected records that are all made, but {note} is of a run of "
                "create_pretraining_data that did not end; give its command again."
            )
    return paths


def _missing(path: str, why: str) -> DataError:
    return DataError(
        f"Expected all files of the records, found that {path} is missing ({why}); "
        "restore it, or make the records again."
    )


def _blocks(
    path: str, skip_corrupt: bool, corrupt: list[tuple[str, int]]
) -> Iterator[tuple[int, int]]:
    """Yields `(byte, records)` of each block; adds to `corrupt` what it skips."""
    size = tf.io.gfile.stat(path).length
    offset = 0
    while offset < size:
        error: tf.errors.DataLossError | None = None
        whole = 0
        try:
            for sizes in _sizes(path, offset, BLOCK_SIZE):
                yield offset, len(sizes)
                offset += int(sizes.sum())
        except tf.errors.DataLossError as raised:
            error = raised
            start = offset
            with contextlib.suppress(tf.errors.DataLossError):
                for sizes in _sizes(path, offset, 1):
                    whole += 1
                    offset += int(sizes[0])
        # To TensorFlow, a part of a header is the file's end.
        if offset >= size:
            return
        if not skip_corrupt:
            kind = "corrupt"
            if error is None or "truncated" in error.message:
                kind = "truncated"
            advice = (
                "make the file again, or go on without what is damaged with "
                "--skip_corrupt_records"
            )
            if offset == 0 and _next_record(path, offset) is None:
                advice = "name files that create_pretraining_data made"
            raise DataError(
                f"Expected whole, uncompressed TFRecords in {path}, found a {kind} "
                f"one at byte {offset}; {advice}."
            ) from error
        if whole:
            yield start, whole
        corrupt.append((path, offset))
        found = _next_record(path, offset)
        if found is None:
            return
        offset = found


def _records_from(path: str | tf.Tensor, offset: int | tf.Tensor) -> tf.data.Dataset:
    """Returns a file's records from a byte on; inside a dataset's function only.

    A dataset that is not made inside one is rebuilt without its `byte_offsets`.
    """
    return tf.data.experimental.from_variant(
        tf.raw_ops.TFRecordDatasetV2(
            filenames=[path],
            compression_type="",
            buffer_size=_BUFFER,
            byte_offsets=[offset],
        ),
        tf.TensorSpec([], tf.string),
    )


def _sizes(path: str, offset: int, at_a_time: int) -> Iterator[np.ndarray]:
    """Yields the bytes that records from a byte on take in their file, `[n]`."""
    start = tf.data.Dataset.from_tensors((path, tf.constant(offset, tf.int64)))
    # Many at a time: to ask for a record takes longer than to read it.
    batches = start.flat_map(_records_from).batch(at_a_time)
    for records in batches.as_numpy_iterator():
        yield np.fromiter(map(len, records), np.int64) + _HEADER + _FOOTER


def _next_record(path: str, offset: int) -> int | None:
    """Returns the byte of the first whole record behind a damaged one, if any."""
    with tf.io.gfile.GFile(path, "rb") as file:
        size = file.size()
        for first in range(offset + 1, size, _BUFFER):
            file.seek(first)
            content = file.read(_BUFFER + _HEADER - 1)
            for place, length in _headers(np.frombuffer(content, np.uint8)):
                start = first + place
                end = start + _HEADER + length + _FOOTER
                if end <= size and _is_record(path, start):
                    return start
    return None


def _headers(content: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yields `(place, length)` wherever there is a length and then its checksum."""
    count = max(0, len(content) - _HEADER + 1)
    checksum: np.ndarray = np.full(count, 0xFFFFFFFF, np.uint32)
    for byte in range(8):
        low = (checksum ^ content[byte : byte + count]) & 0xFF
        checksum = _CRC32C[low] ^ (checksum >> 8)
    checksum = ~checksum
    # As TFRecords have it: rotated, plus a constant.
    checksum = ((checksum >> 15) | (checksum << 17)) + np.uint32(0xA282EAD8)
    stored = np.zeros(count, np.uint32)
    for byte in range(4):
        part = content[8 + byte : 8 + byte + count].astype(np.uint32)
        stored |= part << (8 * byte)
    for place in np.flatnonzero(checksum == stored).tolist():
        yield place, int.from_bytes(content[place : place + 8].tobytes(), "little")


def _crc32c_table() -> np.ndarray:
    table: np.ndarray = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> 1) ^ np.where(table & 1, np.uint32(0x82F63B78), np.uint32(0))
    return table


_CRC32C = _crc32c_table()


def _is_record(path: str, offset: int) -> bool:
    try:
        return next(_sizes(path, offset, 1), None) is not None
    except tf.errors.DataLossError:
        return False
