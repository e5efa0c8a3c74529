"""Imports point down only, and importing the package is cheap."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From low to high. A module imports from its own layer and from those below.
LAYERS = (
    {"errors", "version"},
    {"checkpoint_index", "config", "files", "host", "naming"},
    {"tokenization"},
    {
        "data",
        "modeling",
        "checkpoint",
        "model_extension",
        "run_folder",
        "optimization",
        "losses",
        "metrics",
        "interchange",
    },
    {"tasks"},
    {"training", "serving"},
    {"tools"},
)
LEVEL = {part: level for level, layer in enumerate(LAYERS) for part in layer}

# What a part must not import although its layer would allow it.
FORBIDDEN = {
    "modeling": ("bert_tf.data", "bert_tf.tokenization"),
    "data": ("bert_tf.modeling", "keras"),
    "tokenization": ("bert_tf.modeling", "keras"),
}


def module_name(path: Path) -> str:
    """`bert_tf/data/records.py` -> `bert_tf.data.records`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Yields line and full dotted name of all that a file imports, lazily or not.

    `from bert_tf.data import records` gives `bert_tf.data.records`, and so does
    `from . import records`; `from absl import flags` gives `absl.flags`. The
    attribute `tf.keras` counts as an import of Keras.
    """
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            base += node.module.split(".") if node.module else []
            for alias in node.names:
                yield node.lineno, ".".join([*base, alias.name])
        elif (
            isinstance(node, ast.Attribute)
            and node.attr == "keras"
            and isinstance(node.value, ast.Name)
            and node.value.id in ("tf", "tensorflow")
        ):
            yield node.lineno, "keras"


def violation(importer: str, name: str) -> str | None:
    """Returns why module `importer` must not import `name`, or None."""
    part = importer.split(".")[1]
    if part not in LEVEL:
        return f"bert_tf.{part} stands in no layer: give it a place in LAYERS"
    for forbidden in FORBIDDEN.get(part, ()):
        if f"{name}.".startswith(f"{forbidden}."):
            return f"bert_tf.{part} must not import {forbidden}"
    if f"{name}.".startswith("absl.flags.") and part != "tools":
        return "only bert_tf.tools knows flags"
    head, *rest = name.split(".")
    if head != "bert_tf":
        return None
    if not rest or not is_module(f"bert_tf.{rest[0]}"):
        return f"import {name} from the module that defines it, not from bert_tf"
    if rest[0] in LEVEL and LEVEL[rest[0]] > LEVEL[part]:
        return f"bert_tf.{part} is below bert_tf.{rest[0]}"
    return None


MODULES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "bert_tf").rglob("*.py")
    if path != ROOT / "bert_tf" / "__init__.py"
)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    path = ROOT / module
    found = [
        f"{module}:{line}: {reason}"
        for line, name in imported(path)
        if (reason := violation(module_name(path), name))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("importer", "name", "allowed"),
    [
        ("bert_tf.modeling.heads", "bert_tf.config.BertConfig", True),
        ("bert_tf.modeling.heads", "bert_tf.modeling.attention", True),
        ("bert_tf.modeling.heads", "bert_tf.tokenization.rules", False),
        ("bert_tf.modeling.heads", "bert_tf.data", False),
        ("bert_tf.data.records", "keras.ops", False),
        ("bert_tf.data.records", "keras_like", True),
        ("bert_tf.config", "bert_tf.checkpoint", False),
        ("bert_tf.serving.export", "bert_tf.training.trainer", True),
        ("bert_tf.training.trainer", "absl.flags", False),
        ("bert_tf.training.trainer", "absl.logging", True),
        ("bert_tf.tools.export", "absl.flags", True),
        ("bert_tf.tasks.glue", "bert_tf.BertConfig", False),
        ("bert_tf.tasks.glue", "bert_tf.errors", True),
        ("bert_tf.unheard_of", "numpy", False),
    ],
)
def test_the_rules_tell_good_from_bad(importer, name, allowed):
    assert (violation(importer, name) is None) == allowed


@pytest.mark.parametrize("name", ["bert_tf", "bert_tf.tools.main"])
def test_importing_is_cheap(name):
    """Flags are read before the seconds that TensorFlow's import takes."""
    program = (
        f"import sys, {name}; "
        "print(*{'tensorflow', 'keras'} & {name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not done.stdout.split(), f"import {name} brought {done.stdout.strip()}"
