"""This package beside its peers, area by area: what `make bench` runs.

    python -m benchmarks [--areas=forward,...] [--text=FILE --vocab=FILE]

Hours for all of it; what was measured is written after each case.
"""

import importlib
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from absl import flags

from benchmarks import results, targets
from benchmarks.machine import describe
from benchmarks.side_by_side import Case, compare
from bert_tf.errors import ConfigError
from bert_tf.tools.command_line import Group, run_tool

AREAS = (
    "tokenization",
    "pretraining_data",
    "checkpoints",
    "start_up",
    "sentences",
    "forward",
    "training",
    "growth",
)
_OF_TEXT = ("tokenization", "pretraining_data", "sentences")


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_list("areas", ",".join(AREAS), "What to compare.", flag_values=values)
    flags.DEFINE_string(
        "only", "", "Only cases with this in their title.", flag_values=values
    )
    flags.DEFINE_integer(
        "rounds", 5, "How often everyone's turn comes.", 1, flag_values=values
    )
    flags.DEFINE_string(
        "text",
        None,
        "English text, one sentence a line, 2 MB or more; without it and --vocab, "
        f"{', '.join(_OF_TEXT)} are skipped.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "vocab", None, "Vocabulary of 30,522 pieces.", flag_values=values
    )
    flags.DEFINE_string(
        "output_dir",
        "benchmarks/results",
        "Where results.json, results.md and charts are written; what is there of "
        "cases that do not run now stays.",
        flag_values=values,
    )


GROUPS = (Group("Benchmarks", _define_flags),)


def cases_of(area: str, text: str | None, vocab: str | None) -> Iterable[Case]:
    """Returns an area's cases; none, and says so, if it lacks its files."""
    if area == "growth":
        return importlib.import_module("benchmarks.forward").curves()
    module = importlib.import_module(f"benchmarks.{area}")
    if area not in _OF_TEXT:
        return module.cases()
    if text and vocab:
        return module.cases(str(Path(text).resolve()), str(Path(vocab).resolve()))
    _say(f"{area} is skipped: it needs --text and --vocab.")
    return ()


def _run(values: flags.FlagValues) -> None:
    unknown = [area for area in values.areas if area not in AREAS]
    if unknown:
        raise ConfigError(
            f"Expected --areas of {', '.join(AREAS)}, got {unknown[0]!r}; name some "
            "of these."
        )
    areas = [area for area in AREAS if area in values.areas]
    cases = [
        case
        for area in areas
        for case in cases_of(area, values.text, values.vocab)
        if values.only in case.title
    ]
    machine, folder = describe(), Path(values.output_dir)
    measured = results.read(folder, machine)
    try:
        with tempfile.TemporaryDirectory() as prepared:
            for case in cases:
                _say(case.title)
                contenders = importlib.import_module(case.area).CONTENDERS
                result = compare(case, contenders, Path(prepared), values.rounds, _say)
                measured[case.title] = result
                results.write(folder, machine, measured)
                _say("\n" + results.markdown(list(results.table(result))))
    finally:  # after Ctrl-C as well
        if measured:
            _say(results.markdown(list(targets.rows(measured))))
            _draw(folder, measured)


def _draw(folder: Path, measured: dict[str, results.Result]) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        _say("Charts are skipped: matplotlib is not installed.")
        return
    from benchmarks import charts

    for path in charts.write(folder, measured):
        _say(str(path))


def _say(line: str) -> None:
    print(line, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmarks with the given arguments, this process's if None."""
    return run_tool(
        "benchmarks",
        "Times this package beside its peers, each in a process of its own, and "
        "writes tables and charts.",
        GROUPS,
        _run,
        argv,
        after_interrupt="; what was measured is written",
    )


if __name__ == "__main__":
    sys.exit(main())
