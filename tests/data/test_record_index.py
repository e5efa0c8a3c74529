"""Where records lie, against a reader of the format in plain Python."""

import gzip
import re
import struct

import numpy as np
import pytest
import tensorflow as tf

from bert_tf.data import metadata
from bert_tf.data.record_index import BLOCK_SIZE, find_shards, index_files
from bert_tf.errors import DataError

# --- The format, stated plainly ------------------------------------------------------


def crc32c_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ 0x82F63B78 * (value & 1)
        table.append(value)
    return table


TABLE = crc32c_table()


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value = TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def checksum(data):
    value = crc32c(data)
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def record_at(content, place):
    """The record that begins at a byte, if a whole one does."""
    header = content[place : place + 12]
    if len(header) < 12 or struct.unpack("<I", header[8:])[0] != checksum(header[:8]):
        return None
    (length,) = struct.unpack("<Q", header[:8])
    data = content[place + 12 : place + 12 + length]
    end = content[place + 12 + length : place + 16 + length]
    if len(end) < 4 or struct.unpack("<I", end)[0] != checksum(data):
        return None
    return data


def whole_records(content):
    """The whole records of a file, and the bytes at which others begin."""
    found, damaged, place, lost = [], [], 0, False
    while place < len(content):
        data = record_at(content, place)
        if data is None and not lost:
            damaged.append(place)
        lost = data is None
        if data is not None:
            found.append(data)
        place += 1 if lost else 16 + len(data)
    return found, damaged


# --- Files ---------------------------------------------------------------------------


def random_records(count, seed=0, longest=150):
    """Records with many zeros and small numbers, as those of padded pieces have."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, longest, count)
    return [
        (rng.integers(0, 256, n) * (rng.random(n) < 0.4)).astype(np.uint8).tobytes()
        for n in lengths
    ]


def written(path, records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path.read_bytes()


def starts_of(records):
    return np.cumsum([0, *(16 + len(record) for record in records)])


def read_all(index):
    return list(index.read(np.arange(len(index.counts))).numpy())


def indexed(path, content):
    """The records of damaged content, once it was refused with its first place."""
    path.write_bytes(content)
    expected, damaged = whole_records(content)
    if damaged:
        place = rf"uncompressed TFRecords in {re.escape(str(path))}, .* at byte "
        with pytest.raises(DataError, match=rf"^Expected .*{place}{damaged[0]}; "):
            index_files([str(path)])
    index = index_files([str(path)], skip_corrupt=True)
    assert index.corrupt == [(str(path), place) for place in damaged]
    found = read_all(index)
    assert found == expected
    assert index.num_records == len(expected)
    return found


def test_the_plain_checksum_is_crc32c():
    assert crc32c(b"123456789") == 0xE3069283


# --- Whole files ---------------------------------------------------------------------


def test_blocks_are_records_in_a_row_of_one_file(tmp_path):
    sizes = [2 * BLOCK_SIZE + 7, 0, 3, BLOCK_SIZE, 1]
    paths = [str(tmp_path / f"{place}") for place in range(len(sizes))]
    expected, contents = [], []
    for seed, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        records = random_records(size, seed)
        written(tmp_path / path, records)
        starts = starts_of(records)
        for first in range(0, size, BLOCK_SIZE):
            expected.append((seed, starts[first], min(BLOCK_SIZE, size - first)))
            contents.append(records[first : first + BLOCK_SIZE])
    index = index_files(paths)
    found = zip(index.files, index.offsets, index.counts, strict=True)
    assert list(found) == expected
    assert index.num_records == sum(sizes) and not index.corrupt
    order = [4, 0, 2, 2, 5]
    wanted = [record for block in order for record in contents[block]]
    assert list(index.read(tf.constant(order)).numpy()) == wanted
    by_tensorflow = tf.data.TFRecordDataset(paths).as_numpy_iterator()
    assert read_all(index) == list(by_tensorflow)


def test_reading_ends_where_there_are_enough(tmp_path):
    for name, size in (("a", 300), ("b", 300)):
        written(tmp_path / name, random_records(size))
    paths = [str(tmp_path / name) for name in "ab"]
    (tmp_path / "b").write_bytes(b"damage")
    assert index_files(paths, at_most=1).num_records == BLOCK_SIZE
    assert index_files(paths, at_most=BLOCK_SIZE + 1).num_records == 2 * BLOCK_SIZE
    assert list(index_files(paths, at_most=300).files) == [0, 0, 0]
    with pytest.raises(DataError, match="at byte 0;"):
        index_files(paths, at_most=301)


def test_a_record_may_be_longer_than_what_is_read_at_a_time(tmp_path):
    path, records = tmp_path / "long", [b"a", bytes(3_000_000), b"b" * 200_000, b"c"]
    content = written(path, records)
    assert read_all(index_files([str(path)])) == records
    path.write_bytes(content[:2_000_000] + b"x" + content[2_000_001:])
    index = index_files([str(path)], skip_corrupt=True)
    assert read_all(index) == [records[0], *records[2:]]
    assert index.corrupt == [(str(path), 17)]


# --- Damage --------------------------------------------------------------------------

COUNT = 2 * BLOCK_SIZE + 10
RECORDS = random_records(COUNT, seed=1)
STARTS = starts_of(RECORDS)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return written(tmp_path_factory.mktemp("whole") / "records", RECORDS)


@pytest.mark.parametrize("part", ["length", "its checksum", "data"])
@pytest.mark.parametrize(
    "damaged",
    [
        [BLOCK_SIZE - 1],
        [BLOCK_SIZE],
        [5, 6, COUNT - 1],
        [0, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 2 * BLOCK_SIZE, COUNT - 1],
    ],
    ids=lambda places: "-".join(map(str, places)),
)
def test_only_damaged_records_are_left_out(tmp_path, content, damaged, part):
    changed = bytearray(content)
    for number in damaged:
        offset = {"length": 1, "its checksum": 9, "data": 12}[part]
        changed[STARTS[number] + offset] ^= 0x10
    found = indexed(tmp_path / "records", bytes(changed))
    kept = [x for number, x in enumerate(RECORDS) if number not in damaged]
    assert found == kept


@pytest.mark.parametrize("last", [0, BLOCK_SIZE, COUNT - 1])
@pytest.mark.parametrize("left", [1, 11, 12, -1])
def test_a_file_that_breaks_off(tmp_path, content, last, left):
    end = STARTS[last + 1] if left < 0 else STARTS[last]
    path = tmp_path / "records"
    path.write_bytes(content[: end + left])
    if last == 0:
        with pytest.raises(DataError, match=r"found no whole one in .*records; "):
            index_files([str(path)], skip_corrupt=True)
    else:
        assert indexed(path, content[: end + left]) == RECORDS[:last]
    with pytest.raises(DataError, match=f"a truncated one at byte {STARTS[last]};"):
        index_files([str(path)])


@pytest.mark.parametrize("seed", range(5))
def test_any_damage_leaves_what_it_left_whole(tmp_path, content, seed):
    rng = np.random.default_rng(seed)
    changed = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        changed[rng.integers(len(changed))] ^= 1 << int(rng.integers(8))
    for _ in range(rng.integers(0, 3)):
        place, size = (int(rng.integers(n)) for n in (len(changed), 400))
        kind = rng.integers(3)
        if kind == 0:
            changed[place : place + size] = bytes(len(changed[place : place + size]))
        elif kind == 1:
            del changed[place : place + size]
        else:
            changed[place:place] = rng.bytes(size)
    found = indexed(tmp_path / "records", bytes(changed))
    assert len(found) > 0.9 * COUNT


def test_damage_may_be_longer_than_what_is_read_at_a_time(tmp_path):
    records = random_records(3000, seed=2, longest=1500)
    starts, path = starts_of(records), tmp_path / "records"
    content = bytearray(written(path, records))
    first, end = starts[700] + 50, starts[2500] - 50
    assert end - first > 1_000_000
    content[first:end] = bytes(int(end - first))
    path.write_bytes(content)
    index = index_files([str(path)], skip_corrupt=True)
    assert read_all(index) == records[:700] + records[2500:]
    assert index.corrupt == [(str(path), starts[700])]


def test_files_without_a_record(tmp_path, content):
    path, whole = tmp_path / "records", tmp_path / "whole"
    whole.write_bytes(content)
    for damaged in (gzip.compress(content), b"text\n" * 1000, bytes(5000)):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"uncompressed .*{path}, .* at byte 0;"):
            index_files([str(whole), str(path)])
        with pytest.raises(DataError, match=rf"^Expected records, .* in {path}; "):
            index_files([str(path)], skip_corrupt=True)
        index = index_files([str(path), str(whole)], skip_corrupt=True)
        assert index.corrupt == [(str(path), 0)]
        assert read_all(index) == RECORDS
    path.write_bytes(b"")
    assert read_all(index_files([str(path), str(whole)])) == RECORDS
    with pytest.raises(DataError, match=rf"^Expected records, .* in {path}; "):
        index_files([str(path)])


# --- Sets of files -------------------------------------------------------------------


def test_every_file_of_a_set_has_to_be_there(tmp_path):
    names = [f"x-{number:05d}-of-00004" for number in range(4)]
    for name in names:
        written(tmp_path / name, [b"record"])
    paths = [str(tmp_path / name) for name in names]
    assert find_shards([str(tmp_path / "x-*")]) == paths
    # Twice named is once read, and some of those that are there is enough.
    assert find_shards([paths[1], paths[1], str(tmp_path / "x-*1-of-*")]) == [paths[1]]
    (tmp_path / names[2]).unlink()
    for pattern in (paths[0], str(tmp_path / "x-*")):
        with pytest.raises(DataError, match=rf"{paths[2]} is missing \(.* one of 4\)"):
            find_shards([pattern])
    # The end of a name alone says nothing.
    written(tmp_path / "y-00000-of-00001", [b"record"])
    assert len(find_shards([str(tmp_path / "y*")])) == 1


def test_every_file_that_the_metadata_lists_has_to_be_there(tmp_path):
    for name in ("first", "second"):
        written(tmp_path / name, [b"record"])
    noted = {"settings": {"files": ["first", "second"]}, "counts": {}}
    metadata.write(str(tmp_path), noted)
    paths = [str(tmp_path / name) for name in ("first", "second")]
    # A glob of all that lies there does not mean metadata.json.
    assert find_shards([str(tmp_path / "*")]) == paths
    assert find_shards(paths[:1]) == paths[:1]
    (tmp_path / "second").unlink()
    with pytest.raises(DataError, match=rf"{paths[1]} is missing \(.*json lists it\)"):
        find_shards(paths[:1])
