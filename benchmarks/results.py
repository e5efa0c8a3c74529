"""What was measured: as JSON, and as tables to read."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import targets
from benchmarks.side_by_side import OURS, Result
from bert_tf.errors import ConfigError, DataError
from bert_tf.files import write_local_file

_FILE = "results.json"
# Figures of one folder have to be of one machine.
_SAME = ("CPU", "cores")


def read(folder: Path, machine: Mapping[str, Any]) -> dict[str, Result]:
    """Returns the results of earlier runs in a folder, by title; none if it is new.

    Raises:
      ConfigError: They are of another machine.
      DataError: The file is damaged.
    """
    path = folder / _FILE
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
        before = {name: found["machine"][name] for name in _SAME}
        results = {each["title"]: Result(**each) for each in found["results"]}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"Expected results of benchmarks in {path}, found something else; remove "
            "it or name another --output_dir."
        ) from error
    now = {name: machine[name] for name in _SAME}
    if before != now:
        raise ConfigError(
            f"Expected results of {now['CPU']} with {now['cores']} cores in {path}, "
            f"found those of {before['CPU']} with {before['cores']}; name another "
            "--output_dir."
        )
    return results


def write(
    folder: Path, machine: Mapping[str, Any], results: Mapping[str, Result]
) -> None:
    """Writes results.json and results.md into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    values = [dataclasses.asdict(result) for result in results.values()]
    content = json.dumps({"machine": machine, "results": values}, indent=1)
    write_local_file(str(folder / _FILE), content + "\n")
    write_local_file(str(folder / "results.md"), _document(machine, results))


def _document(machine: Mapping[str, Any], results: Mapping[str, Result]) -> str:
    parts = [
        "# Beside its peers\n\nWritten by `make bench`. A cell is the median of all "
        "rounds and, in brackets, how many times as long as `bert_tf` that took, "
        "round by round: above 1, `bert_tf` is faster.\n",
        "## Machine\n",
        markdown([["", ""], *([name, _told(x)] for name, x in machine.items())]),
        "## Targets\n",
        markdown(list(targets.rows(results))),
    ]
    for result in results.values():
        parts += [f"## {result.title}\n", markdown(list(table(result)))]
        parts += [f"{name} is skipped: {why}\n" for name, why in result.skipped.items()]
    return "\n".join(parts)


def _told(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def table(result: Result) -> Iterator[list[str]]:
    """Yields the rows of one case's table, its header first."""
    names = list(result.seconds)
    unit = "MB/s" if result.unit == "MB" else "ms"
    yield [unit, *names]
    for row in result.units:
        yield [row, *(_cell(result, name, row) for name in names)]
    yield ["start, s", *(f"{result.start[name]:.1f}" for name in names)]
    yield ["peak, MB", *(f"{result.peak[name] / 1e6:.0f}" for name in names)]
    if result.apart:
        yield ["apart", *(_number(result.apart.get(name), ".1e") for name in names)]


def _cell(result: Result, name: str, row: str) -> str:
    if row not in result.seconds[name]:
        return ""
    median = figure(shown(result, name, row))
    if name == OURS or row not in result.seconds.get(OURS, {}):
        return median
    return f"{median} ({result.ratio(name, row):.2f})"


def shown(result: Result, name: str, row: str) -> float:
    """Returns a median as tables have it: in MB/s, or in ms."""
    seconds = result.median(name, row)
    return result.units[row] / seconds if result.unit == "MB" else 1000 * seconds


def figure(value: float) -> str:
    """Returns a number in three digits, or more if it is above a thousand."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Returns a table in Markdown, in columns that also read as plain text."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(cells: Iterable[str]) -> str:
        padded = (x.ljust(width) for x, width in zip(cells, widths, strict=True))
        return f"| {' | '.join(padded)} |\n"

    rule = line("-" * width for width in widths)
    return line(rows[0]) + rule + "".join(map(line, rows[1:]))
