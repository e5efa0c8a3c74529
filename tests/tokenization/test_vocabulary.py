"""Vocabulary files: ids, faults, casing."""

import pytest

from bert_tf.errors import ConfigError, DataError
from bert_tf.tokenization import (
    check_casing,
    check_vocab,
    load_vocab,
    validate_case_matches_checkpoint,
)

_SPECIAL = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"
_GOOGLE = {
    "uncased": (30522, True),
    "cased": (28996, False),
    "chinese": (21128, True),
    "multi_cased": (119547, False),
    "multi_uncased": (105879, True),
}


@pytest.fixture
def write(tmp_path):
    def write_bytes(content: bytes | str) -> str:
        path = tmp_path / "vocab.txt"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write_bytes


def test_ids_are_line_numbers(write):
    vocab = load_vocab(write("a\r\n\u2028\n b \n##\u2028\na\x1cb\nlast"))
    assert vocab == {"a": 0, "": 1, "b": 2, "##": 3, "a\x1cb": 4, "last": 5}
    assert load_vocab(write("a\nb\na\n")) == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf[PAD]\n", "line 1 begins with a byte order mark"),
        (b"[PAD]\nab\xffc\n", "line 2 holds the byte 0xff at position 2"),
    ],
)
def test_damaged_files(write, content, message):
    with pytest.raises(DataError, match=message):
        load_vocab(write(content))


def test_missing_files(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        load_vocab(str(tmp_path / "none.txt"))
    with pytest.raises(DataError, match="is a folder"):
        load_vocab(str(tmp_path))


def test_check_vocab(write):
    assert check_vocab(write(_SPECIAL + "a\n"), 6)["a"] == 5
    with pytest.raises(DataError, match="'b' on lines 6 and 8"):
        check_vocab(write(_SPECIAL + "b\na\nb\n"))
    with pytest.raises(DataError, match=r"lacks \[CLS\], \[MASK\];"):
        check_vocab(write("[PAD]\n[UNK]\n[SEP]\n"))
    with pytest.raises(DataError, match=r"Expected 7 pieces .* has 6 lines"):
        check_vocab(write(_SPECIAL + "a\n"), 7)


def test_check_casing():
    lower = {"[CLS]": 0, "<S>": 1, "the": 2, "##ℝ": 3}
    mixed = {**lower, "The": 4}
    check_casing(lower, True, "v.txt")
    check_casing(mixed, False, "v.txt")
    check_casing({"[CLS]": 0, "中": 1}, False, "v.txt")
    with pytest.raises(ConfigError, match=r"(?s)1 of the 3 .*v.txt.*--nocheck_casing"):
        check_casing(mixed, True, "v.txt")
    with pytest.raises(ConfigError, match=r"(?s)none of the 2 .*--do_lower_case=True"):
        check_casing(lower, False, "v.txt")


@pytest.mark.parametrize(
    ("do_lower_case", "checkpoint", "fits"),
    [
        (True, "/m/uncased_L-12_H-768_A-12/bert_model.ckpt", True),
        (False, "/m/uncased_L-12_H-768_A-12/bert_model.ckpt", False),
        (False, "chinese_L-12_H-768_A-12/bert_model.ckpt", False),
        (True, "gs://m/multi_cased_L-12_H-768_A-12/bert_model.ckpt", False),
        (False, "cased_L-24_H-1024_A-16/bert_model.ckpt", True),
        (True, "cased_L-24_H-1024_A-16/model.ckpt-3", True),
        (True, "mine/bert_model.ckpt", True),
        (True, None, True),
    ],
)
def test_casing_of_googles_folders(do_lower_case, checkpoint, fits):
    if fits:
        validate_case_matches_checkpoint(do_lower_case, checkpoint)
    else:
        with pytest.raises(ConfigError, match="contradicts"):
            validate_case_matches_checkpoint(do_lower_case, checkpoint)


@pytest.mark.real_data
@pytest.mark.parametrize("name", _GOOGLE)
def test_googles_vocabularies(name, real_data):
    size, lower_cased = _GOOGLE[name]
    path = str(real_data / "vocab" / f"{name}_vocab.txt")
    vocab = check_vocab(path, size)
    assert list(vocab.values()) == list(range(size))
    check_casing(vocab, lower_cased, path)
    with pytest.raises(ConfigError):
        check_casing(vocab, not lower_cased, path)
