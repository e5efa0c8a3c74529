"""Runs a notebook's cells as a kernel does: in its folder, in order, in one process."""

import json
from pathlib import Path
from typing import Any

from tests.programs import ROOT, run


def read(path: Path) -> dict[str, Any]:
    """Returns a notebook as the JSON that it is."""
    return json.loads(path.read_text("utf-8"))


def source(cell: dict[str, Any]) -> str:
    """Returns a cell's text, which may be stored as lines."""
    return "".join(cell["source"])


def execute(path: Path, settings: dict[str, Any], then: str, folder: Path) -> str:
    """Runs all code cells, and returns what was printed.

    Args:
      path: The notebook.
      settings: Values of variables, set after the cell tagged `parameters`.
      then: Code to run after the last cell.
      folder: Where to write the program.
    """
    parts = [f"import os, sys\nos.chdir({str(path.parent)!r})\nsys.path.insert(0, '')"]
    for cell in read(path)["cells"]:
        if cell["cell_type"] == "code":
            parts.append(source(cell))
            if "parameters" in cell["metadata"].get("tags", []):
                parts += [f"{name} = {value!r}" for name, value in settings.items()]
    program = folder / "cells.py"
    program.write_text("\n\n".join([*parts, then]), "utf-8")
    return run(program, timeout=900, PYTHONPATH=str(ROOT), MPLBACKEND="Agg")
