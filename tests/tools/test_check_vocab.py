"""The tool says what is in a vocabulary, and ends with 1 if it serves no model."""

import json
import re

import pytest

from bert_tf.tools import check_vocab as tool

SPECIAL = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"


@pytest.fixture
def say(tmp_path, capsys):
    """Runs the tool on a vocabulary; returns exit code, report and last line."""

    def run(content: str | bytes, *flags: str) -> tuple[int, str, str]:
        path = tmp_path / "vocab.txt"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        code = tool.main([f"--vocab_file={path}", *flags])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, (err.rstrip("\n").split("\n") or [""])[-1]

    return run


def test_a_report(testdata, say):
    vocab = (testdata / "vocab_uncased.txt").read_text("utf-8")
    code, out, _ = say(
        vocab,
        f"--bert_config_file={testdata}/bert_config.json",
        f"--input_file={testdata}/corpus.txt",
    )
    assert code == 0
    found = dict(re.findall(r"^(\S[^\n]*?)  +(.*)$", out, re.M))
    assert found["pieces"] == "1,600"
    assert found["special"] == "[PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, [MASK] 4"
    inside = vocab.count("\n##")
    assert found["inside words (##)"].startswith(f"{inside}, {inside / 16:.1f} % ")
    assert found["casing"].startswith("lower-cased: capitals in 0 of 1,595 pieces")
    assert found["longest piece"] == f"{'a' * 40}, 193 characters"
    assert found["never matched"] == "0, 0.0 %"
    assert found["model"] == "fits vocab_size=1600"
    assert found["pieces per word"] == "1.119"
    assert found["unknown"].startswith("0.0000 % of the words; 0.0000 % of the pieces")
    assert "\n  3 of chimneys: chim ##ney ##s\n" in out
    assert "note" not in out


def test_notes(say):
    content = "[UNK]\n[PAD]\n[CLS]\n[SEP]\n[MASK]\n<S>\nb \n##\u2028\n\nParis\ndon't\n"
    code, out, _ = say(content, "--do_lower_case")
    assert code == 0
    for line in (
        "others in brackets  1: <S>",
        "never matched       4, 36.4 %",
        "  1 with what texts lose before (case, accents, control characters): 'Paris' "
        "-> 'paris'",
        "  1 that texts have split before (at punctuation, ideographs, spaces): "
        '"don\'t" -> "don \' t"',
        "  2 without a character",
        "note: id 0, which rows are filled up with, is not [PAD]",
        "note: nothing on line 9",
        "note: whitespace that is no part of a piece on lines 7, 8",
    ):
        assert f"\n{line}\n" in out
    assert "note: training stops here: --do_lower_case=True lower-cases" in out
    assert "stops here" not in say(content, "--nodo_lower_case")[1]


def test_unknown_words(say, tmp_path):
    (tmp_path / "text.txt").write_text(f"x a x ab {'a' * 201}\nÄ")
    _, out, _ = say(f"{SPECIAL}a\n##b\n", f"--input_file={tmp_path}/*t.txt")
    assert "\npieces per word     1.167\n" in out
    assert "50.0000 % of the words; 42.8571 % of the pieces are [UNK]" in out
    assert "\n  2 times x\n  1 times of over 200 characters\ncut into most" in out
    assert out.endswith("\n  2 of ab: a ##b\n")


@pytest.mark.parametrize(
    ("content", "reported", "says"),
    [
        (f"{SPECIAL}a\nb\na\n", "note: 'a' is on lines 6, 8", "'a' on lines 6 and 8;"),
        ("[PAD]\n[UNK]\n[CLS]\n[SEP]\n", "[MASK] missing", "lacks [MASK]; add"),
        (f"{SPECIAL}a\n##{'ส' * 86}\n", "1 longer than 200", "256 bytes, but"),
        (f"{SPECIAL}a\n", "pieces              6", "Expected 1600 pieces"),
    ],
)
def test_no_model_can_be_trained(say, testdata, content, reported, says):
    code, out, last = say(content, f"--bert_config_file={testdata}/bert_config.json")
    if says.startswith("256"):
        code, out, last = say(content)
    assert code == 1
    assert reported in out and "fits" not in out
    assert last.startswith("check_vocab: Expected ") and says in last


@pytest.mark.parametrize(
    ("content", "flags", "says"),
    [
        (b"", [], "vocab.txt is empty"),
        (b"[PAD]\na\xffb\n", [], "line 2 holds the byte 0xff"),
        (SPECIAL, ["--vocab_file=none.txt"], "none.txt does not exist"),
        (SPECIAL, ["--vocab_file="], "Expected --vocab_file, got none"),
        (SPECIAL, ["--bert_config_file=no.json"], "--bert_config_file=no.json"),
        (SPECIAL, ["--bert_config_file={bad}"], "vocab_size"),
        (SPECIAL, ["--input_file=none-*.txt"], "found none; check --input_file"),
        (SPECIAL, ["--input_file={empty}"], "found no word"),
    ],
)
def test_bad_input(say, tmp_path, content, flags, says):
    (tmp_path / "bad.json").write_text(json.dumps({"hidden_size": 8}))
    (tmp_path / "empty").write_text("\n")
    paths = {"bad": tmp_path / "bad.json", "empty": tmp_path / "empty"}
    code, _, last = say(content, *(flag.format(**paths) for flag in flags))
    assert code == 1
    assert last.startswith("check_vocab: ") and says in last


@pytest.mark.parametrize(
    ("name", "size", "kind"),
    [
        ("uncased", 30522, "lower-cased: capitals in 0 of 29,523"),
        ("cased", 28996, "cased: capitals in 8,366 of 28,890"),
        ("chinese", 21128, "lower-cased: capitals in 0 of 21,022"),
        ("multi_cased", 119547, "cased: capitals in 18,992 of 119,441"),
        ("multi_uncased", 105879, "lower-cased: capitals in 0 of 105,773"),
    ],
)
def test_googles_vocabularies(real_data, tmp_path, capsys, name, size, kind):
    config = tmp_path / "bert_config.json"
    config.write_text(json.dumps({"vocab_size": size}))
    path = real_data / "vocab" / f"{name}_vocab.txt"
    assert tool.main([f"--vocab_file={path}", f"--bert_config_file={config}"]) == 0
    out = capsys.readouterr().out
    assert f"\nmodel               fits vocab_size={size}\n" in out
    assert f"\ncasing              {kind} pieces" in out
    assert "[PAD] 0, [UNK] 100, [CLS] 101, [SEP] 102, [MASK] 103" in out
    assert "stops here" not in out
