"""Plain text files: which there are, and their lines, some at a time."""

import fnmatch
import os
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from bert_tf.errors import DataError
from bert_tf.files import TENSORFLOW, Files

# What is read and handed on at a time.
_BLOCK_BYTES = 256 * 1024
# Beyond this, a file is not text.
_MAX_LINE_BYTES = 16 * 2**20


def find_text_files(input_file: str, files: Files = TENSORFLOW) -> list[str]:
    """Returns the files that `--input_file` names, those of a pattern by their names.

    Args:
      input_file: Files or patterns with commas between, local or any that `files` can
        open.
      files: How they are reached.

    Raises:
      DataError: A pattern has no file, or a folder is among them.
    """
    paths: list[str] = []
    for pattern in input_file.split(","):
        found = files.find(pattern)
        if not found:
            raise DataError(
                f"Expected text files at {pattern}, found none; check --input_file."
            )
        # They come in the folder's order, which differs between machines.
        paths += sorted(found)
    for path in paths:
        if files.is_folder(path):
            raise DataError(
                f"Expected text files in --input_file, but {path} is a folder; name "
                f"the files in it, as in {os.path.join(path, '*.txt')}."
            )
    return paths


def would_be_found(path: str, input_file: str) -> bool:
    """Returns whether a file of that path would be one that `--input_file` names."""
    return any(
        fnmatch.fnmatch(os.path.abspath(path), os.path.abspath(pattern))
        for pattern in input_file.split(",")
    )


def open_file(path: str) -> Any:
    """Opens a file, local or any that TensorFlow can open, for reading bytes."""
    return tf.io.gfile.GFile(path, "rb")


def read_blocks(path: str, opener: Callable[[str], Any] = open_file) -> Iterator[bytes]:
    """Yields a text file in blocks that end where a line does.

    Args:
      path: The file.
      opener: What opens it for reading bytes; TensorFlow by default.

    Raises:
      DataError: It is not UTF-8, or a line is too long for a text.
    """
    rest = b""
    line = 1
    with opener(path) as reader:
        while chunk := reader.read(_BLOCK_BYTES):
            end = chunk.rfind(b"\n") + 1
            if not end:
                rest += chunk
                if len(rest) > _MAX_LINE_BYTES:
                    raise DataError(
                        f"Expected lines of text, found over "
                        f"{_MAX_LINE_BYTES >> 20} MB without a line end from line "
                        f"{line} of {path} on; check that it is a text file."
                    )
                continue
            block, rest = rest + chunk[:end], chunk[end:]
            _check_utf8(block, path, line)
            line += block.count(b"\n")
            yield block
    if rest:
        _check_utf8(rest, path, line)
        yield rest


def split_lines(block: bytes) -> list[bytes]:
    """Returns the lines of a block of `read_blocks`, without their ends."""
    # As TensorFlow's readline does, which the release reads with.
    lines = block.replace(b"\r", b"").split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def _check_utf8(block: bytes, path: str, line: int) -> None:
    try:
        block.decode()
    except UnicodeDecodeError as error:
        line += block.count(b"\n", 0, error.start)
        # What compressed files begin with.
        compressed = block.startswith((b"\x1f\x8b", b"BZh", b"PK", b"\xfd7zXZ"))
        raise DataError(
            f"Expected UTF-8, found the byte 0x{block[error.start]:02x} in line {line} "
            f"of {path}; {'unpack the file' if compressed else 'convert it to UTF-8'}."
        ) from None
