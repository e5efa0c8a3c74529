"""docs/scale.md has what the program prints; bad flags end in one sentence."""

import json
import re
import subprocess
import sys

import pytest
from absl import flags

from benchmarks import scale, scale_charts
from benchmarks.cluster import Outcome
from benchmarks.runs import pretraining
from benchmarks.scale_tables import Assumptions, assume
from tests.programs import ROOT
from tests.test_docs import defaults, table

PAGE = ROOT / "docs" / "scale.md"


def test_the_pages_tables_are_the_programs(capsys):
    assert scale.main([]) == 0
    printed = re.findall(r"^\|[^\0]*?\n(?=\n|\Z)", capsys.readouterr().out, re.M)
    page = re.findall(r"^\|[^\0]*?\n(?=\n|\Z)", PAGE.read_text(), re.M)
    *found, own_flags = page
    assert "`prices`" in own_flags
    assert sorted(found) == sorted(printed)


def test_the_table_of_flags_is_the_programs():
    values = flags.FlagValues()
    for group in scale.GROUPS:
        group.define(values)
    assert table("scale.md") == defaults(values)


def test_the_pages_pictures_are_those_that_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(
        Assumptions, "simulated", lambda *_, **__: Outcome(1.0, 0.2, 0.5, 0.3)
    )
    written = list(scale_charts.write(tmp_path, assume()))
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    shown = re.findall(r"\]\(scale/(\w+)\.png\)", PAGE.read_text())
    assert sorted(shown) == sorted(path.stem for path in written)


def test_prices_and_shares_can_be_given(tmp_path, capsys):
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({"A100": 1.5}))
    before, now = assume(), assume({"A100": 1.5}, {"A100": 0.5})
    run = pretraining("Base")
    seconds = now.seconds(run, "A100", 8)
    assert seconds[0] == seconds[1] < before.seconds(run, "A100", 8)[0]
    assert now.dollars(run, "A100", 8)[0] == pytest.approx(seconds[0] * 8 * 1.5 / 3600)
    assert now.dollars(run, "V100", 8) == before.dollars(run, "V100", 8)
    assert scale.main([f"--prices={path}", "--utilisation=A100=0.5,T4=0.1"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    a100 = next(row for row in rows if row[1:4] == ["A100", "|", "312"])
    assert {"50", "given", "1.5"} <= set(a100)


@pytest.mark.parametrize(
    "content, message",
    [
        ("A100", "Expected JSON such as"),
        ("[1]", "Expected a JSON object in .*, found list; write"),
        ('{"A1000": 1}', "Expected devices of TPU v2, .*, found 'A1000'; name"),
        ('{"A100": "2"}', "Expected dollars an hour for A100 in .*, found '2'; give"),
        ('{"A100": true}', "found True; give a number of 0 or more"),
        ('{"A100": -1}', "found -1; give"),
        ('{"A100": NaN}', "found nan; give"),
    ],
)
def test_bad_prices(tmp_path, capsys, content, message):
    path = tmp_path / "prices.json"
    path.write_text(content)
    ends_in(capsys, [f"--prices={path}"], message)


def ends_in(capsys, arguments, message):
    assert scale.main(arguments) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(f"scale: .*{message}.*\n", printed.err)


@pytest.mark.parametrize("given", ["A100", "A100=x", "A100=0", "A100=40", "B100=0.4"])
def test_bad_shares(capsys, given):
    message = f"Expected --utilisation=NAME=SHARE.*, got '{given}'; write it as"
    ends_in(capsys, [f"--utilisation=T4=0.3,{given}"], message)


def test_a_missing_file_and_an_unknown_flag(tmp_path, capsys):
    ends_in(
        capsys,
        [f"--prices={tmp_path / 'none'}"],
        "Expected a JSON file at .*/none, found .*check",
    )
    ends_in(capsys, ["--price=1"], "Unknown command line flag 'price'.*")


def test_the_program_needs_no_tensorflow():
    code = "import sys, benchmarks.scale; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
