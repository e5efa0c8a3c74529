"""Your own labelled texts: TSV, CSV or JSON Lines files with columns of any name."""

import dataclasses
import json
import os
from collections.abc import Iterator
from typing import Any

from bert_tf.errors import DataError
from bert_tf.tasks import held_out
from bert_tf.tasks.classification import DataProcessor, InputExample
from bert_tf.tasks.label_kind import SEPARATOR
from bert_tf.tasks.label_kinds import KINDS, find_kind
from bert_tf.tasks.table_files import (
    file_format,
    find_file,
    read_json_lines,
    read_table,
)


@dataclasses.dataclass(frozen=True)
class Columns:
    """Where the texts and the label stand: column names, or numbers from 0.

    Attributes:
      text_a: The text.
      text_b: The second text of a pair task.
      label: The label; files to predict may lack it.
      header: Whether files start with a line of names; None: if columns are named.
      file_format: `tsv`, `csv`, `jsonl`, or `auto` for by the extension.
    """

    text_a: str
    text_b: str | None = None
    label: str | None = None
    header: bool | None = None
    file_format: str = "auto"


class CustomProcessor(DataProcessor):
    """Reads `train`, `dev` and `test` files of one's own.

    Args:
      columns: Where things stand in the files.
      files: `{"train": path, "dev": path, "test": path}`; what is missing is looked
        for in the data folder as `train.tsv`, `train.csv`, `train.jsonl` and so on.
      labels: All labels; learned from the training file, sorted, if None.
      dev_fraction: Share of the training file that serves as dev set when there is
        no dev file.
      random_seed: Which rows these are.
      label_kind: `single`, `multi` or `regression`; found from the training file if
        `auto`.
      label_separator: Between the labels of one field of a table, for `multi`.
    """

    def __init__(
        self,
        columns: Columns,
        files: dict[str, str | None] | None = None,
        labels: list[str] | None = None,
        dev_fraction: float = 0.0,
        random_seed: int = 12345,
        label_kind: str = "auto",
        label_separator: str = SEPARATOR,
    ):
        self.columns = columns
        self.files = files or {}
        self.dev_fraction = dev_fraction
        self.random_seed = random_seed
        self.is_pair = columns.text_b is not None
        self.label_kind = label_kind
        self.label_separator = label_separator
        self._labels = labels
        self._train_file: list[InputExample] | None = None

    def get_train_examples(self, data_dir: str) -> list[InputExample]:
        return self._split(data_dir)[0]

    def get_dev_examples(self, data_dir: str) -> list[InputExample]:
        path = self._find(data_dir, "dev")
        if not self.dev_fraction:
            if path is None:
                raise DataError(
                    f"Expected a dev file such as {os.path.join(data_dir, 'dev.tsv')}, "
                    "found none; name it with --dev_file, or set --dev_fraction."
                )
            return self._read_labelled(path, "dev")[0]
        return self._split(data_dir)[1]

    def get_test_examples(self, data_dir: str) -> list[InputExample]:
        path = self._find(data_dir, "test")
        if path is None:
            raise DataError(
                f"Expected a file to predict such as "
                f"{os.path.join(data_dir, 'test.tsv')}, found none; name it with "
                "--test_file."
            )
        kind = "single" if self.label_kind == "auto" else self.label_kind
        placeholder = KINDS[kind](self.get_labels()).placeholder
        return [
            dataclasses.replace(example, label=placeholder)
            for example in self._read(path, "test", labelled=False)
        ]

    def get_labels(self) -> list[str]:
        if self._labels is None:
            raise DataError(
                "Expected the labels, or a training file to learn them from; read the "
                "training examples first."
            )
        return self._labels

    def _read_train_file(self, data_dir: str) -> list[InputExample]:
        if self._train_file is None:
            path = self._find(data_dir, "train")
            if path is None:
                raise DataError(
                    f"Expected a training file such as "
                    f"{os.path.join(data_dir, 'train.tsv')}, found none; name it with "
                    "--train_file."
                )
            examples, self.label_kind = self._read_labelled(path, "train")
            if self._labels is None:
                kind = KINDS[self.label_kind]
                found = kind.names_in(x.label for x in examples)
                if len(found) < 2:
                    raise DataError(
                        f"Expected at least two labels in {path}, found only "
                        f"{', '.join(map(repr, found)) or 'empty ones'}; is "
                        f"--label={self.columns.label} the right column?"
                    )
                self._labels = found if kind.has_labels else []
            self._train_file = examples
        return self._train_file

    def _read_labelled(
        self, path: str, set_type: str
    ) -> tuple[list[InputExample], str]:
        """Returns examples with labels as their kind has them, and this kind."""
        examples = list(self._read(path, set_type, labelled=True))
        is_table = file_format(path, self.columns.file_format) != "jsonl"
        kind = self.label_kind
        if kind == "auto":
            separator = self.label_separator if is_table else None
            kind = find_kind([x.label for x in examples], separator)
        for example in examples:
            example.label = KINDS[kind].from_file(
                example.label, example.source or "", self.label_separator, is_table
            )
        return examples, kind

    def _split(self, data_dir: str) -> tuple[list[InputExample], list[InputExample]]:
        return held_out.split(
            self._read_train_file(data_dir),
            self.dev_fraction,
            self.random_seed,
            self._find(data_dir, "dev"),
        )

    def held_out_by(self, data_dir: str) -> dict[str, Any]:
        """Returns what decides which rows of the training file are the dev set."""
        path = self._find(data_dir, "train") or ""
        return held_out.note(path, self.dev_fraction, self.random_seed)

    def _find(self, data_dir: str, set_type: str) -> str | None:
        extensions = ("tsv", "csv", "jsonl")
        return self.files.get(set_type) or find_file(data_dir, set_type, extensions)

    def _read(self, path: str, set_type: str, labelled: bool) -> Iterator[InputExample]:
        columns = self.columns
        kind = file_format(path, columns.file_format)
        if kind == "jsonl" and columns.header is not None:
            raise DataError(
                f"Expected --header only with TSV and CSV files, got it with {path}, "
                "whose lines name their values; leave it out."
            )
        rows = self._objects(path) if kind == "jsonl" else self._table(path, kind)
        found = False
        for index, (get, source) in enumerate(rows):
            found = True
            label = get(columns.label, "--label") if labelled else None
            yield InputExample(
                guid=f"{set_type}-{index}",
                text_a=get(columns.text_a, "--text_a"),
                text_b=columns.text_b and get(columns.text_b, "--text_b"),
                label=label,
                source=source,
            )
        if not found:
            raise DataError(
                f"Expected rows below the header of {path}, found none; check the path."
            )

    def _table(self, path: str, kind: str) -> Iterator[tuple[Any, str]]:
        columns = self.columns
        named = [c for c in (columns.text_a, columns.text_b, columns.label) if c]
        has_header = columns.header
        if has_header is None:
            has_header = not all(name.isdecimal() for name in named)
        rows = read_table(
            path, "," if kind == "csv" else "\t", '"' if kind == "csv" else None
        )
        names: list[str] = next(rows).fields if has_header else []

        def place(column: str, flag: str) -> int:
            if column in names:
                return names.index(column)
            if column.isdecimal():
                return int(column)
            raise DataError(
                f"Expected a column {column!r} in {path}, found "
                f"{', '.join(names) or 'no header'}; correct {flag}."
            )

        for row in rows:

            def get(column: str, flag: str, row: Any = row) -> str:
                return row.field(place(column, flag), f"the column of {flag}")

            yield get, row.source

    def _objects(self, path: str) -> Iterator[tuple[Any, str]]:
        for values, source in read_json_lines(path):

            def get(
                key: str, flag: str, values: Any = values, source: str = source
            ) -> str | list[str] | None:
                if key not in values:
                    raise DataError(
                        f"Expected a key {key!r} in {source}, found "
                        f"{', '.join(values) or 'none'}; correct {flag} or that line."
                    )
                value = values[key]
                if flag == "--label" and isinstance(value, (bool, int, float)):
                    return json.dumps(value)
                if flag == "--label" and _is_list_of_names(value):
                    return [x if isinstance(x, str) else json.dumps(x) for x in value]
                if value is None and flag == "--text_b":
                    return None
                if not isinstance(value, str):
                    kind = "a label" if flag == "--label" else "text"
                    raise DataError(
                        f"Expected {kind} under {key!r} in {source}, found "
                        f"{json.dumps(value)[:40]}; correct that line."
                    )
                return value

            yield get, source


def _is_list_of_names(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(x, (str, bool, int, float)) for x in value
    )
