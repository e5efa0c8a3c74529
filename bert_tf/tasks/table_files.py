"""TSV, CSV and JSON Lines files: where they are, and their rows with their lines."""

import csv
import dataclasses
import io
import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf
from absl import logging

from bert_tf.errors import DataError
from bert_tf.files import read_bytes

_EXTENSIONS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}
_MAX_CSV_FIELD = 1 << 24  # Python's own limit is 128 KiB, which a document can pass


@dataclasses.dataclass(frozen=True)
class Row:
    """One row: its fields, its place in the file (from 0), and where it stands."""

    fields: list[str]
    index: int
    source: str

    def field(self, column: int, what: str) -> str:
        """Returns a field; a DataError if the row is too short."""
        if column >= len(self.fields):
            raise DataError(
                f"Expected {what} in column {column} (counted from 0), found "
                f"{len(self.fields)} {'columns' if len(self.fields) != 1 else 'column'}"
                f" in {self.source}; correct that row."
            )
        return self.fields[column]


def find_file(
    data_dir: str | None, set_type: str, extensions: Iterable[str]
) -> str | None:
    """Returns a folder's file of a set, such as train.tsv; None if it has none.

    Args:
      data_dir: The folder; None for none.
      set_type: `train`, `dev` or `test`.
      extensions: What may stand behind the dot; the first that is there counts.
    """
    for extension in extensions:
        path = os.path.join(data_dir or "", f"{set_type}.{extension}")
        if data_dir and tf.io.gfile.exists(path):
            return path
    return None


def read_lines(path: str) -> list[tuple[int, str]]:
    """Returns `(line number from 1, text)` of a UTF-8 file's lines.

    A byte order mark and carriage returns before a newline are taken off; only a
    newline ends a line, so characters such as U+2028 stay inside.

    Raises:
      DataError: The file is missing, empty, or not UTF-8 (the line is named).
    """
    if not tf.io.gfile.exists(path) or tf.io.gfile.isdir(path):
        raise DataError(f"Expected a text file at {path}, found none; check the path.")
    content = read_bytes(path)
    if content.startswith(b"\xef\xbb\xbf"):
        logging.info("%s starts with a byte order mark, which is skipped", path)
        content = content[3:]
    lines = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        try:
            lines.append((number, line.removesuffix(b"\r").decode("utf-8")))
        except UnicodeDecodeError as error:
            bad = line[error.start : error.start + 8]
            raise DataError(
                f"Expected UTF-8, got the bytes {bad!r} at byte {error.start} of "
                f"{path}, line {number}; save the file as UTF-8."
            ) from error
    if lines and not lines[-1][1]:
        lines.pop()
    if not any(line.strip() for _, line in lines):
        raise DataError(
            f"Expected rows in {path}, found an empty file; check the path."
        )
    return lines


def read_table(path: str, delimiter: str, quotechar: str | None) -> Iterator[Row]:
    """Yields the rows of a delimited file; blank lines are passed over.

    Args:
      path: The file.
      delimiter: Between fields.
      quotechar: Around fields that hold delimiters or newlines; None for no quoting,
        as in GLUE's files.
    """
    lines = read_lines(path)
    if quotechar is None:
        for index, (number, line) in enumerate(lines):
            if line:
                yield Row(line.split(delimiter), index, f"{path}, line {number}")
        return
    csv.field_size_limit(_MAX_CSV_FIELD)
    text = io.StringIO("\n".join(line for _, line in lines), newline="\n")
    reader = csv.reader(text, delimiter=delimiter, quotechar=quotechar, strict=True)
    index, start = 0, 1
    try:
        for fields in reader:
            if fields:
                yield Row(fields, index, f"{path}, line {start}")
            index, start = index + 1, reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"Expected CSV in {path}, line {start}, found {error}; correct that row."
        ) from error


def read_json_lines(path: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yields `(object, source)` of a file with one JSON object per line."""
    for number, line in read_lines(path):
        if not line.strip():
            continue
        source = f"{path}, line {number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"Expected a JSON object in {source}, found {line[:40]!r} ({error}); "
                "correct that line."
            ) from error
        if not isinstance(value, dict):
            raise DataError(
                f"Expected a JSON object in {source}, found {line[:40]!r}; correct "
                "that line."
            )
        # JSON can spell half a character, which no file or string op can hold.
        if "\\ud" in line.lower() and _has_surrogate(value):
            raise DataError(
                f"Expected whole characters in {source}, found a lone surrogate "
                "(\\ud800 to \\udfff); correct that line."
            )
        yield value, source


def _has_surrogate(value: Any) -> bool:
    text = json.dumps(value, ensure_ascii=False)
    return any("\ud800" <= char <= "\udfff" for char in text)


def file_format(path: str, named: str = "auto") -> str:
    """Returns `tsv`, `csv` or `jsonl`: as named, or by the extension (else TSV)."""
    if named != "auto":
        return named
    return _EXTENSIONS.get(os.path.splitext(path)[1].lower(), "tsv")
