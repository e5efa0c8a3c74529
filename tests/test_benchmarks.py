"""What `make bench` makes of what it measures; the peers here are toys."""

import itertools

import pytest

from benchmarks import __main__ as program
from benchmarks import results, side_by_side, targets
from benchmarks.side_by_side import Case, Result, compare
from bert_tf.errors import ConfigError, DataError
from tests import toy_area

MACHINE = {"CPU": "an abacus", "cores": 2, "flags": ["beads"]}


@pytest.fixture
def run_toys(tmp_path, monkeypatch):
    """Compares toys; returns the result and what was said."""
    monkeypatch.setattr(side_by_side, "_ROUND_SECONDS", 0.05)

    def run(*names):
        said = []
        case = Case("tests.toy_area", "Toys", [1, 2, 3], names, {"sum": 3}, "numbers")
        result = compare(case, toy_area.CONTENDERS, tmp_path, 2, said.append)
        return result, said

    return run


def test_ratios_and_those_who_are_skipped(run_toys):
    names = ("bert_tf", "slow", "absent", "dies", "dies later")
    result, said = run_toys(*names)
    assert 1.5 < result.ratio("slow", "sum") < 5  # three times the pause
    assert list(result.seconds) == ["bert_tf", "slow"]
    assert [len(rounds["sum"]) for rounds in result.seconds.values()] == [2, 2]
    assert result.apart == {"bert_tf": 0, "slow": 0}
    assert result.start.keys() >= result.peak.keys() == {"bert_tf", "slow"}
    assert result.skipped == {
        "absent": "no_such_package is not installed",
        "dies": "ValueError: Expected to live, died.",
        "dies later": "sum: exit code 3",
    }
    assert [line.split(" is skipped")[0].strip() for line in said] == list(names[2:])


def test_what_computes_something_else_stops_the_run(run_toys):
    with pytest.raises(SystemExit, match=r"wrong to compute the same.*0\.5 apart in T"):
        run_toys("bert_tf", "wrong")


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Returns all cases by title."""
    text = tmp_path_factory.mktemp("text") / "text"
    text.write_text("A line.\n")
    found = [program.cases_of(area, str(text), "vocab") for area in program.AREAS]
    return {case.title: case for case in itertools.chain(*found)}


def test_cases_name_what_exists(cases):
    for case in cases.values():
        contenders = program.importlib.import_module(case.area).CONTENDERS
        assert set(case.contenders) <= set(contenders)
        assert case.contenders[0] == side_by_side.OURS


@pytest.mark.parametrize("target", targets.TARGETS, ids=lambda x: f"{x.case} {x.row}")
def test_targets_name_what_exists(cases, target):
    case = cases[target.case]
    assert target.row in case.rows
    assert set(target.contenders) & set(case.contenders)
    assert target.floor <= target.reach


def made_up(**seconds):
    result = Result("Sums", "MB", {"sum": 6.0})
    result.seconds = {name: {"sum": each} for name, each in seconds.items()}
    result.start = dict.fromkeys(seconds, 1.25)
    result.peak = dict.fromkeys(seconds, 7_000_000)
    result.skipped = {"absent": "it is not installed"}
    return result


def test_the_table_of_targets():
    measured = {"Sums": made_up(bert_tf=[1, 2, 4], fast=[2, 4, 8], slow=[3, 6, 12])}
    wanted = [
        (("slow",), 1, 3, "3.00", "ok"),
        (("slow", "fast"), 1.5, 2.5, "2.00", "below reach"),  # the fastest counts
        (("fast", "absent"), 2.1, 2.5, "2.00", "below floor"),
        (("absent",), 1, 2, "", "not measured"),
    ]
    rows = targets.rows(
        measured, [targets.Target("Sums", "sum", *each[:3]) for each in wanted]
    )
    assert [row[-2:] for row in rows][1:] == [list(each[3:]) for each in wanted]
    nothing = targets.Target("Other sums", "sum", ("slow",), 1, 2)
    assert nothing.measured(measured) is None


def test_a_table_has_rates_and_ratios():
    table = list(results.table(made_up(bert_tf=[1, 2, 4], slow=[3, 6, 12])))
    assert table == [
        ["MB/s", "bert_tf", "slow"],
        ["sum", "3", "1 (3.00)"],
        ["start, s", "1.2", "1.2"],
        ["peak, MB", "7", "7"],
    ]


def test_results_are_kept_and_belong_to_a_machine(tmp_path):
    assert results.read(tmp_path, MACHINE) == {}
    measured = {"Sums": made_up(bert_tf=[1, 2, 4])}
    results.write(tmp_path, MACHINE, measured)
    assert results.read(tmp_path, MACHINE) == measured
    assert "absent is skipped: it is not" in (tmp_path / "results.md").read_text()
    with pytest.raises(ConfigError, match="found those of an abacus with 2; name"):
        results.read(tmp_path, {**MACHINE, "CPU": "a slide rule"})
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(DataError, match="found something else; remove"):
        results.read(tmp_path, MACHINE)


def test_areas_that_lack_a_text_say_so(capsys):
    assert list(program.cases_of("sentences", None, "vocab")) == []
    assert capsys.readouterr().out.startswith("sentences is skipped: it needs --text")


def test_unknown_areas(capsys):
    assert program.main(["--areas=forward,backward"]) == 1
    assert "Expected --areas of tokenization," in capsys.readouterr().err
