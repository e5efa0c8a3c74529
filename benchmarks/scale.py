"""What training BERT costs on how many of which devices, and what it waits for.

    python -m benchmarks.scale [--prices=FILE] [--utilisation=A100=0.5,...]

Prints the tables of docs/scale.md; nothing is run but the simulation of
`benchmarks/cluster.py`. Each figure is said to be measured, published or assumed.
"""

import importlib.util
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks.devices import DEVICES
from benchmarks.results import markdown
from benchmarks.scale_tables import assume, tables
from bert_tf.errors import ConfigError, DataError
from bert_tf.tools.command_line import Group, run_tool


def read_prices(path: str) -> dict[str, float]:
    """Reads a JSON object of US dollars an hour by device.

    Raises:
      DataError: There is no such file, or it holds something else.
    """
    try:
        found = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise DataError(
            f"Expected a JSON file at {path}, found none that can be read "
            f"({error.strerror}); check --prices."
        ) from error
    except ValueError as error:
        raise DataError(
            f'Expected JSON such as {{"A100": 2.5}} in {path}, got text that is not: '
            f"{error}; correct it."
        ) from error
    if not isinstance(found, dict):
        raise DataError(
            f"Expected a JSON object in {path}, found {type(found).__name__}; write "
            'it as {"A100": 2.5}.'
        )
    for name, price in found.items():
        if name not in DEVICES:
            raise DataError(
                f"Expected devices of {', '.join(DEVICES)} in {path}, found {name!r}; "
                "name one of these."
            )
        is_number = isinstance(price, int | float) and not isinstance(price, bool)
        if not (is_number and 0 <= price < math.inf):
            raise DataError(
                f"Expected dollars an hour for {name} in {path}, found {price!r}; give "
                "a number of 0 or more."
            )
    return found


def parse_shares(given: Sequence[str]) -> dict[str, float]:
    """Returns shares of peaks by device, as `--utilisation` has them.

    Raises:
      ConfigError: One of them is not NAME=SHARE.
    """
    found = {}
    for each in given:
        name, _, text = each.partition("=")
        try:
            share = float(text)
        except ValueError:
            share = math.nan
        if name not in DEVICES or not 0 < share <= 1:
            raise ConfigError(
                f"Expected --utilisation=NAME=SHARE, a device of {', '.join(DEVICES)} "
                f"and a number over 0 and up to 1, got {each!r}; write it as A100=0.4."
            )
        found[name] = share
    return found


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "prices",
        None,
        "A JSON file of US dollars an hour by device, in place of those assumed here.",
        flag_values=values,
    )
    flags.DEFINE_list(
        "utilisation",
        [],
        "Shares of their peak that devices reach, in place of those assumed here.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "output_dir", None, "Where pictures are written.", flag_values=values
    )


GROUPS = (Group("Scale", _define_flags),)


def _run(values: Any) -> None:
    if values.output_dir and importlib.util.find_spec("matplotlib") is None:
        raise ConfigError(
            "Expected matplotlib for the pictures of --output_dir, found none; "
            "install it, or leave out the flag."
        )
    prices = read_prices(values.prices) if values.prices else None
    given = assume(prices, parse_shares(values.utilisation))
    for title, rows in tables(given):
        print(f"## {title}\n\n{markdown(rows)}", flush=True)
    if values.output_dir:
        from benchmarks import scale_charts

        for path in scale_charts.write(Path(values.output_dir), given):
            print(path, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the tables, with the given arguments, this process's if None."""
    return run_tool(
        "scale",
        "Says what training BERT costs on how many of which devices, and when the "
        "network or the input is what it waits for.",
        GROUPS,
        _run,
        argv,
    )


if __name__ == "__main__":
    sys.exit(main())
