"""Tables and JSON Lines: every row as written, every fault with its line."""

import csv
import random

import pytest

from bert_tf.errors import DataError
from bert_tf.tasks.table_files import (
    file_format,
    read_json_lines,
    read_lines,
    read_table,
)


@pytest.fixture
def write(tmp_path):
    def write(content: str | bytes, name: str = "rows.tsv") -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def fields(path: str, delimiter: str = "\t", quotechar: str | None = None) -> list:
    return [row.fields for row in read_table(path, delimiter, quotechar)]


def test_tabs_and_newlines_are_all_that_divides(write):
    """As `csv.reader(delimiter="\\t", quotechar=None)` of the release."""
    odd = ' a "quoted" ,x\u2028y\x85z\x0b\x0c\x1c\u00a0\rw'
    path = write(f'{odd}\t"b\n\t\nlast\t"c"')
    assert fields(path) == [[odd, '"b'], ["", ""], ["last", '"c"']]


def test_rows_know_their_index_and_line(write):
    path = write("h\n\na\n\n\nb\n")
    rows = list(read_table(path, "\t", None))
    assert [(row.fields, row.index, row.source) for row in rows] == [
        (["h"], 0, f"{path}, line 1"),
        (["a"], 2, f"{path}, line 3"),
        (["b"], 5, f"{path}, line 6"),
    ]


@pytest.mark.parametrize("quotechar", [None, '"'])
def test_byte_order_mark_and_crlf_change_nothing(write, quotechar):
    clean = 'té"xt\tlabel\none\t1\n"t wo"\t0\n'.replace('"', "" if quotechar else '"')
    expected = fields(write(clean), "\t", quotechar)
    assert len(expected) == 3
    for name, content in (
        ("bom", b"\xef\xbb\xbf" + clean.encode()),
        ("crlf", clean.replace("\n", "\r\n").encode()),
        ("both", b"\xef\xbb\xbf" + clean.replace("\n", "\r\n").encode()),
        ("no_last_newline", clean.rstrip("\n").encode()),
    ):
        assert fields(write(content, name), "\t", quotechar) == expected, name


def test_a_byte_order_mark_inside_is_text(write):
    assert fields(write("a\ufeff\tb\n\ufeffc\n")) == [["a\ufeff", "b"], ["\ufeffc"]]


def test_what_python_writes_as_csv_is_read_back(tmp_path):
    rng = random.Random(5)
    alphabet = 'ab ,"\n\t\u2028é;'
    rows = [
        ["".join(rng.choices(alphabet, k=rng.randrange(1, 9))) for _ in range(3)]
        for _ in range(300)
    ]
    for ending in ("\n", "\r\n"):
        path = tmp_path / "rows.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator=ending).writerows(rows)
        assert fields(str(path), ",", '"') == rows


def test_csv_rows_that_span_lines_know_where_they_start(write):
    path = write('h,i\n"a\nb\nc",1\n\nd,"2"\n')
    rows = list(read_table(path, ",", '"'))
    assert [(row.fields, row.source.split()[-1]) for row in rows] == [
        (["h", "i"], "1"),
        (["a\nb\nc", "1"], "2"),
        (["d", "2"], "6"),
    ]


@pytest.mark.parametrize("row", ['"open,1', '"a"b,1'])
def test_broken_quoting_names_the_line(write, row):
    path = write(f"x,y\nfine,0\n{row}\n", "rows.csv")
    with pytest.raises(DataError) as error:
        fields(path, ",", '"')
    assert f"{path}, line 3" in str(error.value)


def test_bytes_that_are_not_utf8_are_shown_with_their_place(write):
    path = write(b"good\nna\xefve text\nlast\n")
    with pytest.raises(DataError) as error:
        fields(path)
    message = str(error.value)
    assert f"byte 2 of {path}, line 2" in message
    assert r"\xefve text"[:8] in message


@pytest.mark.parametrize(
    "bad", [b"\xed\xa0\x80", b"\xc0\xaf", b"\xf5\x80", b"\xe4\xbd"]
)
def test_other_bytes_that_are_not_utf8(write, bad):
    """A surrogate, an overlong form, beyond Unicode, a character cut short."""
    with pytest.raises(DataError, match="line 3"):
        read_lines(write(b"a\nb\n" + bad + b"\n"))


@pytest.mark.parametrize("content", ["", "\n", "\r\n\r\n", "\ufeff", " \n\t\n"])
def test_an_empty_file(write, content):
    path = write(content)
    with pytest.raises(DataError, match="empty file") as error:
        fields(path)
    assert path in str(error.value)


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none.tsv", tmp_path):
        with pytest.raises(DataError, match="found none") as error:
            fields(str(path))
        assert str(path) in str(error.value)


def test_a_short_row_names_line_column_and_what_was_sought(write):
    path = write("a\tb\nc\n")
    row = list(read_table(path, "\t", None))[1]
    assert row.field(0, "the text") == "c"
    with pytest.raises(DataError) as error:
        row.field(1, "the label")
    message = str(error.value)
    assert "the label in column 1" in message and "found 1 column in" in message
    assert f"{path}, line 2" in message


def test_json_lines(write):
    path = write('{"a": "x\u2028y", "b": [1]}\r\n\n  \n{"a": null}\n', "rows.jsonl")
    assert list(read_json_lines(path)) == [
        ({"a": "x\u2028y", "b": [1]}, f"{path}, line 1"),
        ({"a": None}, f"{path}, line 4"),
    ]


@pytest.mark.parametrize("line", ['{"a": ', "[1]", '"text"', "3", "a\tb", "{'a': 1}"])
def test_a_line_that_is_no_json_object(write, line):
    path = write('{"a": 1}\n' + line + "\n", "rows.jsonl")
    with pytest.raises(DataError, match="JSON object") as error:
        list(read_json_lines(path))
    assert f"{path}, line 2" in str(error.value) and repr(line) in str(error.value)


@pytest.mark.parametrize(
    ("path", "named", "expected"),
    [
        ("a/train.tsv", "auto", "tsv"),
        ("a/train.CSV", "auto", "csv"),
        ("a/train.jsonl", "auto", "jsonl"),
        ("a/train.ndjson", "auto", "jsonl"),
        ("a.csv/train.txt", "auto", "tsv"),
        ("a/SMSSpamCollection", "auto", "tsv"),
        ("a/train.tsv", "csv", "csv"),
    ],
)
def test_the_format_goes_by_the_extension_unless_named(path, named, expected):
    assert file_format(path, named) == expected
