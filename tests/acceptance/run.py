"""Runs every test that measures something and prints the figures as one table."""

import os
import sys

import pytest


class Figures:
    """Collects what the fixture `measured` noted, and the tests that did not pass."""

    def __init__(self):
        self.rows: list[tuple[str, object, str]] = []
        self.others: list[str] = []

    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            for name, value in report.user_properties:
                if name == "measured":
                    self.rows.append(value)
        if report.failed or report.skipped:
            self.others.append(f"{report.outcome}: {report.nodeid}")


def main() -> int:
    """Returns 0 if every promise was measured and kept."""
    if not os.environ.get("BERT_TF_DATA"):
        print(
            "acceptance: set BERT_TF_DATA to the folder of real data", file=sys.stderr
        )
        return 1
    figures = Figures()
    code = pytest.main(
        [
            "-q",
            "-m",
            "measured",
            "--override-ini=addopts=--import-mode=importlib --strict-markers",
            *sys.argv[1:],
        ],
        plugins=[figures],
    )
    width = max((len(row[0]) for row in figures.rows), default=0)
    print(f"\n{'what':<{width}}  {'measured':>12}  bound")
    for what, value, bound in figures.rows:
        shown = f"{value:.3g}" if isinstance(value, float) else str(value)
        print(f"{what:<{width}}  {shown:>12}  {bound}")
    for line in figures.others:
        print(line)
    return int(code) or (1 if figures.others else 0)


if __name__ == "__main__":
    sys.exit(main())
