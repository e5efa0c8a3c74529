"""Damaged copies of weights, opened in a process that may be ended by one of them.

`python -m tests.damaged_files KIND FOLDER COUNT` opens the intact files, then so many
damaged copies, and prints a line of JSON of each: the seed, how it ended, and how much
memory it took.
"""

import json
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_DTYPES = {
    "F32": "<f4",
    "F16": "<f2",
    "F64": "<f8",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Returns bytes with something wrong somewhere, most often near their ends."""
    size = len(content)
    near = draw.choice((size, min(size, 200), min(size, 2000)))
    place = draw.randrange(near)
    if draw.random() < 0.3:
        place = size - 1 - place
    length = draw.choice((1, 4, 48, draw.randrange(1, size + 1)))
    other = draw.randrange(size)
    found = bytearray(content)
    kind = draw.randrange(9)
    if kind == 0:
        found[place] ^= 1 << draw.randrange(8)
    elif kind == 1:
        found[place] = draw.randrange(256)
    elif kind == 2:
        del found[place:]
    elif kind == 3:
        found[place:place] = draw.randbytes(draw.choice((1, 8, 100)))
    elif kind == 4:
        del found[place : place + length]
    elif kind == 5:
        found[place:place] = found[other : other + length]
    elif kind == 6:
        found[place : place + length] = bytes(len(found[place : place + length]))
    elif kind == 7:
        # The largest number that some fields can hold.
        found[place : place + 9] = b"\xff" * 8 + b"\x01"
    else:
        found[place : place + 8] = found[other : other + 8]
    return bytes(found)


def hostile_header(content: bytes, draw: random.Random) -> bytes:
    """Returns a safetensors file whose header says something else, in valid JSON."""
    size = int.from_bytes(content[:8], "little")
    header, body = json.loads(content[8 : 8 + size]), content[8 + size :]
    names = sorted(set(header) - {"__metadata__"})
    name, other = draw.choice(names), draw.choice(names)
    entry = header[name]
    number = draw.choice((-1, 0, 1, 7, len(body), len(body) + 1, 2**40, 2**62, 2**64))
    kind = draw.randrange(7)
    if kind == 0:
        entry["shape"][draw.randrange(len(entry["shape"]))] = number
    elif kind == 1:
        entry["data_offsets"][draw.randrange(2)] = number
    elif kind == 2:
        entry["dtype"] = draw.choice((*_DTYPES, "BF16", "F8_E4M3", "X", ""))
    elif kind == 3:
        header[name], header[other] = header[other], header[name]
    elif kind == 4:
        header[draw.choice(("x", other, name + "x"))] = header.pop(name)
    elif kind == 5:
        entry["shape"] = draw.choice(([], [1] * 200, [0], ["3"], None, [2**32] * 2))
    else:
        entry["data_offsets"] = header[other]["data_offsets"]
    text = json.dumps(header).encode()
    length = draw.choice((len(text),) * 20 + (number % 2**64,))
    return struct.pack("<Q", length) + text + body


def hostile_index(content: bytes, draw: random.Random) -> bytes:
    """Returns a checkpoint's index that is sound but for one entry."""
    from tensorflow.core.protobuf import tensor_bundle_pb2

    from bert_tf import checkpoint_index

    entries = dict(checkpoint_index._entries(content))
    name = draw.choice(sorted(entries))
    number = draw.choice((-1, 0, 1, 3, 2**31, 2**40, 2**60, 2**63 - 1))
    if not name:
        header = tensor_bundle_pb2.BundleHeaderProto.FromString(entries[name])
        header.num_shards = draw.choice((-1, 0, 2, 2**31 - 1))
        entries[name] = header.SerializeToString()
        return table(entries)
    entry = tensor_bundle_pb2.BundleEntryProto.FromString(entries[name])
    kind = draw.randrange(7)
    if kind == 0:
        entry.offset = number
    elif kind == 1:
        entry.size = number
    elif kind == 2:
        draw.choice(entry.shape.dim or [entry.shape.dim.add()]).size = number
    elif kind == 3:
        entry.shape.dim.extend(entry.shape.dim[:1] * draw.choice((1, 300)))
    elif kind == 4:
        entry.dtype = draw.choice((0, 2, 7, 9, 20, 21, 99, 200))
    elif kind == 5:
        entry.shard_id = draw.choice((-1, 1, 7, 2**31 - 1))
    else:
        entry.shape.unknown_rank = True
    value = entry.SerializeToString()
    entries[name] = value if draw.random() < 0.9 else draw.randbytes(len(value))
    return table(entries)


def table(entries: dict[bytes, bytes]) -> bytes:
    """Returns an index of one block of entries, with all checksums."""
    from bert_tf.checkpoint_index import _crc32c, _masked

    def varint(value: int) -> bytes:
        found = b""
        while value > 0x7F:
            found += bytes([value & 0x7F | 0x80])
            value >>= 7
        return found + bytes([value])

    def block(rows: dict[bytes, bytes]) -> bytes:
        content = b"".join(
            varint(0) + varint(len(key)) + varint(len(value)) + key + value
            for key, value in sorted(rows.items())
        )
        content += bytes(4) + (1).to_bytes(4, "little") + b"\0"
        return content + _masked(_crc32c(content)).to_bytes(4, "little")

    parts = [block(entries), block({})]
    handles, start = [], 0
    for part in parts:
        handles.append(varint(start) + varint(len(part) - 5))
        start += len(part)
    parts.append(block({max(entries) + b"\xff": handles[0]}))
    footer = handles[1] + varint(start) + varint(len(parts[2]) - 5)
    return b"".join(parts) + footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


def plainly_parsed(content: bytes) -> dict[str, np.ndarray]:
    """Returns the tensors of a safetensors file, by what its header says alone."""
    size = int.from_bytes(content[:8], "little")
    header, body = json.loads(content[8 : 8 + size]), content[8 + size :]
    found = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            values = np.frombuffer(body[start:end], _DTYPES[entry["dtype"]])
            found[name] = values.reshape(entry["shape"])
    return found


class Safetensors:
    """A Hugging Face folder whose `model.safetensors` is damaged."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.path = folder / "model.safetensors"
        self.intact = self.path.read_bytes()

    def damage(self, draw: random.Random) -> None:
        change = hostile_header if draw.random() < 0.3 else damaged
        self.path.write_bytes(change(self.intact, draw))

    def opened(self) -> dict[str, np.ndarray]:
        from bert_tf import interchange

        weights, _ = interchange.read_folder(str(self.folder), "huggingface")
        return dict(weights.tensors)

    def expected(self) -> dict[str, np.ndarray]:
        """Returns what the file now holds: no checksum tells changed numbers."""
        from bert_tf import interchange

        config = json.loads((self.folder / "config.json").read_text())
        tensors = plainly_parsed(self.path.read_bytes())
        return interchange.google_tensors(
            tensors, interchange.config_from_hugging_face(config)
        )


class Checkpoint:
    """A folder whose checkpoint is damaged, in any of its files."""

    def __init__(self, folder: Path):
        self.folder = folder
        (index,), (data,) = folder.glob("*.index"), folder.glob("*.data-*")
        self.files = index, data, folder / "checkpoint"
        self.contents = {path: path.read_bytes() for path in self.files}
        self.hostile = False
        self.first = self.opened()

    def damage(self, draw: random.Random) -> None:
        for path, content in self.contents.items():
            path.write_bytes(content)
        index, data, state = self.files
        self.hostile = draw.random() < 0.3
        if self.hostile:
            index.write_bytes(hostile_index(self.contents[index], draw))
            return
        path = draw.choice((index, index, index, data, data, state))
        path.write_bytes(damaged(self.contents[path], draw))

    def opened(self) -> dict[str, np.ndarray]:
        from bert_tf.checkpoint import CheckpointReader

        reader = CheckpointReader(str(self.folder))
        found = reader.read_all(sorted(reader.shapes))
        return {name: np.asarray(x) for name, x in found.items()}

    def expected(self) -> dict[str, np.ndarray] | None:
        return None if self.hostile else self.first


KINDS: dict[str, Callable[[Path], Any]] = {
    "safetensors": Safetensors,
    "checkpoint": Checkpoint,
}


def outcome(case: Any) -> tuple[str, float]:
    """Opens what is damaged; returns how that ended, and the MB that it took."""
    from bert_tf.errors import CheckpointError, ConfigError, DataError

    def open_it() -> dict[str, np.ndarray] | str:
        try:
            return case.opened()
        except (CheckpointError, ConfigError, DataError) as error:
            text = str(error)
            return "error" if text and "\n" not in text else f"no sentence: {text!r}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    found, most = taken_by(open_it)
    return found if isinstance(found, str) else compared(found, case.expected()), most


def compared(
    found: dict[str, np.ndarray], expected: dict[str, np.ndarray] | None
) -> str:
    """Returns whether what was opened is what it should be."""
    if expected is None:
        return "opened"  # of a hostile index, which another could be as well
    same = found.keys() == expected.keys() and all(
        found[name].tobytes() == expected[name].tobytes() for name in found
    )
    return "equal" if same else "other numbers"


def kilobytes(what: str) -> int:
    """Returns a number of kilobytes that Linux tells of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{what}:")[1].split()[0])


def taken_by(opens: Callable[[], Any]) -> tuple[Any, float]:
    """Returns what a call returns, and how many MB more it held at its highest."""
    if not Path("/proc/self/clear_refs").exists():
        return opens(), 0.0
    Path("/proc/self/clear_refs").write_text("5")  # the highest is what is held now
    before = kilobytes("VmRSS")
    found = opens()
    return found, (kilobytes("VmHWM") - before) / 1024


def main(kind: str, folder: str, count: str) -> None:
    """Opens damaged copies and tells how each ended."""
    case = KINDS[kind](Path(folder))
    case.opened()  # so that what is loaded once is not counted
    for seed in range(int(count)):
        case.damage(random.Random(seed))
        how, most = outcome(case)
        print(json.dumps({"seed": seed, "how": how, "MB": most}), flush=True)


def run(
    kind: str, source: Path, work: Path, count: int
) -> tuple[dict[str, int], float]:
    """Opens `count` damaged copies in another process.

    Returns:
      How many ended how, and the most memory that one took, MB.
    """
    shutil.copytree(source, work / kind)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.damaged_files",
            kind,
            str(work / kind),
            str(count),
        ],
        cwd=Path(__file__).resolve().parents[1],
        capture_output=True,
        text=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line[:1] == "{"]
    assert done.returncode == 0, (
        f"the process ended with {done.returncode} after {lines[-1:]}: "
        f"{done.stderr[-1500:]}"
    )
    ends: dict[str, int] = {}
    for line in lines:
        assert line["how"] in ("error", "equal", "opened"), line
        ends[line["how"]] = ends.get(line["how"], 0) + 1
    assert sum(ends.values()) == count
    return ends, max(line["MB"] for line in lines)


if __name__ == "__main__":
    main(*sys.argv[1:])
