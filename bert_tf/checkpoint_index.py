"""The index of a TensorFlow checkpoint, checked before TensorFlow opens it.

TensorFlow's reader trusts an index: a damaged one can end the process, or have it take
memory for tensors that no file holds. What is checked here is what it relies on: that
every block lies within the file and has its checksum, and that every tensor has a known
type, a possible shape, and as many bytes as that needs within its data file.

Source: `table_format.txt` of LevelDB, tensor_bundle.proto of TensorFlow.
"""

import math
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import tensor_bundle_pb2

from bert_tf.files import read_bytes

_MAGIC = bytes.fromhex("57fb808b247547db")
_FOOTER = 48
# A byte for the compression, and a checksum of four.
_TRAILER = 5
_PLAIN, _SNAPPY = 0, 1
_MOST_BYTES = 1 << 28
# No four bytes of Snappy's make more than some 20 times as many.
_MOST_EXPANSION = 64
_MOST_SHARDS = 99_999
_MOST_AXES = 8


def check_index(prefix: str) -> None:
    """Raises a ValueError, whose text says why, for an index that cannot be trusted.

    Data files that are not there are no error: an index can be listed without them.

    Args:
      prefix: Of the checkpoint.
    """
    path = f"{prefix}.index"
    if tf.io.gfile.stat(path).length > _MOST_BYTES:
        raise ValueError("it is far larger than an index")
    try:
        entries = dict(_entries(read_bytes(path)))
        header = tensor_bundle_pb2.BundleHeaderProto.FromString(entries.pop(b"", b""))
        tensors = {
            name: tensor_bundle_pb2.BundleEntryProto.FromString(value)
            for name, value in entries.items()
        }
    except IndexError as error:
        raise ValueError("it is cut short") from error
    except Exception as error:
        # Of protocol buffers, whose own error has no public name.
        raise ValueError(str(error)) from error
    if not 1 <= header.num_shards <= _MOST_SHARDS:
        raise ValueError(f"it tells of {header.num_shards} data files")
    held: dict[int, int] = {}
    for name, entry in tensors.items():
        size = _size(name, entry)
        held[entry.shard_id] = held.get(entry.shard_id, 0) + size
    for shard, total in held.items():
        if not 0 <= shard < header.num_shards:
            raise ValueError(f"it names data file {shard} of {header.num_shards}")
        data = f"{prefix}.data-{shard:05d}-of-{header.num_shards:05d}"
        if not tf.io.gfile.exists(data):
            continue
        length = tf.io.gfile.stat(data).length
        for name, entry in tensors.items():
            if entry.shard_id == shard and entry.offset + entry.size > length:
                raise ValueError(
                    f"{_label(name)} ends at byte {entry.offset + entry.size:,} of "
                    f"{data}, which has {length:,}"
                )
        # Tensors that share bytes would take memory that no file has.
        if total > length:
            raise ValueError(f"its tensors are larger than {data} together")


def _label(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _size(name: bytes, entry: Any) -> int:
    """Returns a tensor's bytes; a ValueError if its entry contradicts itself."""
    label = _label(name)
    if entry.offset < 0 or entry.size < 0:
        raise ValueError(f"{label} has no place in a file")
    dims = [dim.size for dim in entry.shape.dim]
    if min(dims, default=0) < 0 or len(dims) > _MOST_AXES or entry.shape.unknown_rank:
        raise ValueError(f"{label} has the shape {dims[:_MOST_AXES]}")
    try:
        dtype = tf.as_dtype(entry.dtype)
    except TypeError:
        dtype = tf.variant
    if dtype in (tf.variant, tf.resource):
        raise ValueError(f"{label} is of an unknown type")
    # Strings are as long as they are; of parts, each has an entry of its own.
    count = math.prod(dims)
    if dtype == tf.string:
        if count > entry.size:
            raise ValueError(f"{label} has the shape {dims} in {entry.size} bytes")
    elif not entry.slices and entry.size != count * dtype.size:
        raise ValueError(f"{label} has the shape {dims} in {entry.size} bytes")
    return 0 if entry.slices else entry.size


def _entries(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the keys and values of a table."""
    if len(content) < _FOOTER or content[-len(_MAGIC) :] != _MAGIC:
        raise ValueError("it does not end as an index does")
    footer = content[-_FOOTER:]
    position = 0
    for _ in range(2):  # the block of other things, which is empty
        position = _varint(footer, position)[1]
    for _, handle in _block(content, footer[position:]):
        yield from _block(content, handle)


def _block(content: bytes, handle: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields what a block holds, of which `handle` says where it is."""
    offset, position = _varint(handle, 0)
    size, _ = _varint(handle, position)
    end = offset + size
    if end + _TRAILER > len(content) - _FOOTER:
        raise ValueError("it names a block beyond its end")
    stored = content[offset : end + 1]
    masked = int.from_bytes(content[end + 1 : end + _TRAILER], "little")
    if _masked(_crc32c(stored)) != masked:
        raise ValueError("a block's checksum is another")
    block = stored[:-1]
    if stored[-1] == _SNAPPY:
        block = _decompressed(block)
    elif stored[-1] != _PLAIN:
        raise ValueError("a block is compressed in an unknown way")
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 - 4 * restarts
    if len(block) < 4 or end < 0:
        raise ValueError("a block is cut short")
    key, position = b"", 0
    while position < end:
        shared, position = _varint(block, position)
        more, position = _varint(block, position)
        length, position = _varint(block, position)
        if shared > len(key) or position + more + length > end:
            raise ValueError("an entry reaches beyond its block")
        key = key[:shared] + block[position : position + more]
        position += more
        yield key, block[position : position + length]
        position += length


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """Returns a number, and where it ends."""
    value = 0
    for shift in range(0, 64, 7):
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number is too long")


def _decompressed(block: bytes) -> bytes:
    """Returns what Snappy made of a block.

    Source: format_description.txt of Snappy.
    """
    length, position = _varint(block, 0)
    if length > _MOST_EXPANSION * len(block):
        raise ValueError("a block is compressed in an impossible way")
    made = bytearray()
    while position < len(block):
        tag = block[position]
        position += 1
        kind = tag & 3
        if kind == 0:
            count = tag >> 2
            if count >= 60:
                width = count - 59
                count = int.from_bytes(block[position : position + width], "little")
                position += width
            made += block[position : position + count + 1]
            position += count + 1
        else:
            width = (1, 2, 4)[kind - 1]
            back = int.from_bytes(block[position : position + width], "little")
            position += width
            count = (tag >> 2) + 1
            if kind == 1:
                count, back = (tag >> 2 & 7) + 4, back | (tag >> 5) << 8
            if not 0 < back <= len(made):
                raise ValueError("a block refers to what is not in it")
            start = len(made) - back
            # What it copies may be what it is just writing.
            for place in range(start, start + count):
                made.append(made[place])
        if len(made) > length:
            break
    if len(made) != length:
        raise ValueError("a block is of another length than it says")
    return bytes(made)


def _table() -> tuple[int, ...]:
    values = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        values.append(value)
    return tuple(values)


_TABLE = _table()


def _crc32c(content: bytes) -> int:
    checksum = 0xFFFFFFFF
    for byte in content:
        checksum = checksum >> 8 ^ _TABLE[(checksum ^ byte) & 0xFF]
    return checksum ^ 0xFFFFFFFF


def _masked(checksum: int) -> int:
    """Returns a checksum as it is stored."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
