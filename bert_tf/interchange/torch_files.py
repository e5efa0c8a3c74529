"""Weights in PyTorch's own files, read without running the program that a pickle is.

A pickle is a list of instructions, which can call whatever Python can. What is saved of
a model needs a dozen of them and calls two functions, so that these instructions are
followed here, on plain values; whatever else stands there ends the reading.

Both formats are read: the ZIP archive, and the one before it (PyTorch 1.5 and older),
which most of the first models of Hugging Face's hub are in.
"""

import io
import math
import os
import pickletools
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from bert_tf.errors import CheckpointError

_DTYPES: Mapping[str, Any] = {
    "FloatStorage": np.dtype(np.float32),
    "DoubleStorage": np.dtype(np.float64),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
_REBUILDERS = (
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_tensor",
)
_PARAMETER = "torch._utils _rebuild_parameter"
_ORDERED = "collections OrderedDict"
_MAGIC = 0x1950A86A20F9469CFC6C


class _Global(NamedTuple):
    """What a pickle would import; here it is its name."""

    name: str


class _Storage(NamedTuple):
    """Where numbers are: of which type, under which key, and how many."""

    dtype: Any
    key: str
    length: int


class _Tensor(NamedTuple):
    """A tensor that is still where its storage is."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Refused(Exception):
    """A pickle that does something else than to hold tensors; its text says what."""


def read_torch_file(path: str) -> dict[str, np.ndarray]:
    """Returns the tensors of a `pytorch_model.bin`, by name.

    They are views of the file, which is mapped into memory and not read as a whole.

    Args:
      path: A file of this machine, as `torch.save(model.state_dict(), path)` writes it.

    Raises:
      CheckpointError: It is damaged, or a pickle that would execute code, which is
        then named. Nothing is executed.
    """
    try:
        content = np.memmap(path, np.uint8, mode="r")
        if zipfile.is_zipfile(path):
            return _read_archive(path, content)
        with _Bounded(path, "r") as stream:
            return _read_legacy(stream, content)
    except _Refused as error:
        raise CheckpointError(
            f"Expected tensors alone in {path}, found a pickle that {error}; nothing "
            "of it was executed: get the weights as model.safetensors, from whom you "
            "trust."
        ) from error
    except (
        OSError,
        EOFError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        OverflowError,
        RecursionError,
        NotImplementedError,
        zipfile.BadZipFile,
    ) as error:
        raise CheckpointError(
            f"Expected weights that PyTorch saved in {path}, found damage ({error}); "
            "fetch it again."
        ) from error


def _read_archive(path: str, content: np.ndarray) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        (pickled,) = (name for name in entries if name.endswith("/data.pkl"))
        folder = pickled.removesuffix("data.pkl")
        for info in entries.values():
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > len(
                content
            ):
                raise ValueError(f"{info.filename} is compressed")
        byte_order = entries.get(folder + "byteorder")
        if byte_order is not None and archive.read(byte_order) != b"little":
            raise ValueError("its numbers are of another byte order")
        state = _run(io.BytesIO(archive.read(pickled)))

    def numbers(storage: _Storage) -> np.ndarray:
        info = entries[f"{folder}data/{storage.key}"]
        # The lengths of a local header's name and extra field stand before them.
        lengths = content[info.header_offset + 26 : info.header_offset + 30]
        name, extra = lengths.view("<u2").tolist()
        start = info.header_offset + 30 + name + extra
        return _numbers(content, start, min(info.file_size, _size(storage)), storage)

    return _tensors(state, numbers)


class _Bounded(io.FileIO):
    """A file of which nobody can ask for more than it has, which takes memory."""

    def read(self, size: int | None = -1) -> bytes:
        left = os.fstat(self.fileno()).st_size - self.tell()
        return super().read(left if size is None else min(size, max(left, 0)))


def _read_legacy(stream: BinaryIO, content: np.ndarray) -> dict[str, np.ndarray]:
    if _run(stream) != _MAGIC:
        raise ValueError("it does not begin as one of PyTorch's")
    _run(stream)  # the protocol
    system = _run(stream)
    if not system.get("little_endian", True):
        raise ValueError("its numbers are of another byte order")
    state = _run(stream)
    starts = {}
    sizes = {key: _size(x) for key, x in _storages(state).items()}
    for key in _run(stream):
        position = stream.tell()
        # How many numbers there are, and then these.
        count = int(content[position : position + 8].view("<i8")[0])
        starts[key] = position + 8
        size = sizes.get(key, 0)
        if count < 0 or position + 8 + size > len(content):
            raise ValueError("it is cut short")
        stream.seek(position + 8 + size)
    return _tensors(state, lambda x: _numbers(content, starts[x.key], _size(x), x))


def _size(storage: _Storage) -> int:
    return storage.length * storage.dtype.itemsize


def _numbers(
    content: np.ndarray, start: int, size: int, storage: _Storage
) -> np.ndarray:
    if start + size > len(content) or size < _size(storage):
        raise ValueError("it is cut short")
    raw = content[start : start + size]
    if raw.ctypes.data % storage.dtype.itemsize:
        raw = raw.copy()
    return raw.view(storage.dtype)


def _flat(state: Any) -> dict[str, Any]:
    """Returns the state dict of what was saved: itself, or below `state_dict`."""
    if isinstance(state, dict) and "state_dict" in state:
        state = state["state_dict"]
    if not isinstance(state, dict):
        raise ValueError("it holds no dictionary of tensors")
    return {name: x for name, x in state.items() if isinstance(x, _Tensor)}


def _storages(state: Any) -> dict[str, _Storage]:
    found: dict[str, _Storage] = {}
    for tensor in _flat(state).values():
        held = found.setdefault(tensor.storage.key, tensor.storage)
        if held.length < tensor.storage.length:
            found[tensor.storage.key] = tensor.storage
    return found


def _tensors(
    state: Any, numbers: Callable[[_Storage], np.ndarray]
) -> dict[str, np.ndarray]:
    found = {}
    for name, tensor in _flat(state).items():
        values = numbers(tensor.storage)
        shape, strides = tensor.shape, tensor.strides
        if len(shape) != len(strides) or min((*shape, *strides, tensor.offset, 0)) < 0:
            raise ValueError(f"{name} has an impossible shape")
        last = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        # A stride of 0 would make terabytes of a few bytes.
        if math.prod(shape) and (
            tensor.offset + last >= len(values) or math.prod(shape) > len(values)
        ):
            raise ValueError(f"{name} reaches beyond its numbers")
        found[str(name)] = np.lib.stride_tricks.as_strided(
            values[tensor.offset :],
            shape,
            [stride * values.itemsize for stride in strides],
            writeable=False,
        )
    return found


def _run(stream: BinaryIO) -> Any:
    """Follows a pickle's instructions, as far as saved tensors need them."""
    return _Machine().run(stream)


class _Machine:
    """A pickle's stack and memory, with nothing on them that can be called."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memory: dict[int, Any] = {}

    def run(self, stream: BinaryIO) -> Any:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "STOP":
                return self._stack.pop()
            if opcode.name in _CONSTANTS:
                self._stack.append(_CONSTANTS[opcode.name])
            elif opcode.name in _ARGUMENTS:
                self._stack.append(argument)
            else:
                follow = getattr(self, f"_op_{opcode.name.lower()}", None)
                if follow is None:
                    raise _Refused(f"uses the instruction {opcode.name}")
                follow(argument)
        raise EOFError("it ends too early")

    def _since_mark(self) -> list[Any]:
        start = self._marks.pop()
        values, self._stack[start:] = self._stack[start:], []
        return values

    def _op_proto(self, argument: int) -> None:
        pass

    def _op_frame(self, argument: int) -> None:
        pass

    def _op_mark(self, argument: None) -> None:
        self._marks.append(len(self._stack))

    def _op_pop(self, argument: None) -> None:
        self._stack.pop()

    def _op_binput(self, argument: int) -> None:
        self._memory[argument] = self._stack[-1]

    _op_long_binput = _op_put = _op_binput

    def _op_memoize(self, argument: None) -> None:
        self._memory[len(self._memory)] = self._stack[-1]

    def _op_binget(self, argument: int) -> None:
        self._stack.append(self._memory[argument])

    _op_long_binget = _op_get = _op_binget

    def _op_empty_dict(self, argument: None) -> None:
        self._stack.append({})

    def _op_empty_list(self, argument: None) -> None:
        self._stack.append([])

    def _op_empty_tuple(self, argument: None) -> None:
        self._stack.append(())

    def _op_tuple(self, argument: None) -> None:
        self._stack.append(tuple(self._since_mark()))

    def _op_tuple1(self, argument: None) -> None:
        self._stack[-1:] = [tuple(self._stack[-1:])]

    def _op_tuple2(self, argument: None) -> None:
        self._stack[-2:] = [tuple(self._stack[-2:])]

    def _op_tuple3(self, argument: None) -> None:
        self._stack[-3:] = [tuple(self._stack[-3:])]

    def _op_append(self, argument: None) -> None:
        value = self._stack.pop()
        self._list().append(value)

    def _op_appends(self, argument: None) -> None:
        values = self._since_mark()
        self._list().extend(values)

    def _list(self) -> list[Any]:
        if not isinstance(self._stack[-1], list):
            raise ValueError("it appends to what is no list")
        return self._stack[-1]

    def _op_setitem(self, argument: None) -> None:
        name, value = self._stack[-2:]
        del self._stack[-2:]
        self._dict()[name] = value

    def _op_setitems(self, argument: None) -> None:
        values = self._since_mark()
        self._dict().update(zip(values[::2], values[1::2], strict=True))

    def _dict(self) -> dict[Any, Any]:
        if not isinstance(self._stack[-1], dict):
            raise ValueError("it names an item of what is no dictionary")
        return self._stack[-1]

    def _op_global(self, argument: str) -> None:
        self._stack.append(_Global(argument))

    def _op_stack_global(self, argument: None) -> None:
        module, name = self._stack[-2:]
        self._stack[-2:] = [_Global(f"{module} {name}")]

    def _op_binpersid(self, argument: None) -> None:
        kind, storage, key, _, count, *view = self._stack.pop()
        name = getattr(storage, "name", "")
        dtype = _DTYPES.get(name.removeprefix("torch "))
        if kind != "storage" or dtype is None:
            raise _Refused(f"refers to {name or kind} where numbers are expected")
        if not isinstance(count, int) or count < 0:
            raise ValueError("it has an impossible size")
        if any(view):
            raise ValueError("its numbers are parts of others, as no model's are")
        self._stack.append(_Storage(dtype, str(key), count))

    def _op_reduce(self, argument: None) -> None:
        function, arguments = self._stack[-2:]
        del self._stack[-2:]
        name = getattr(function, "name", repr(function))
        if name == _ORDERED and arguments == ():
            self._stack.append({})
        elif name in _REBUILDERS and isinstance(arguments[0], _Storage):
            storage, offset, shape, strides = arguments[:4]
            self._stack.append(_Tensor(storage, offset, tuple(shape), tuple(strides)))
        elif name == _PARAMETER and isinstance(arguments[0], _Tensor):
            self._stack.append(arguments[0])
        else:
            raise _Refused(f"would call {name.replace(' ', '.')}")

    def _op_build(self, argument: None) -> None:
        self._stack.pop()  # such as the versions that a state dict notes of modules
        if not isinstance(self._stack[-1], dict):
            raise _Refused("would change an object's attributes")


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
# They put their own argument on the stack.
_ARGUMENTS = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
        *("FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES"),
    }
)
