"""BUILD names every Python file once, with the dependencies that it imports.

BUILD is read with `ast`: the part of Starlark that it uses is Python's syntax.
"""

import ast
import graphlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("bert_tf", "tests", "examples", "benchmarks")
PYTHON_RULES = ("py_library", "py_binary", "py_test")

# Distributions whose import name is another; the rest have the same name.
DISTRIBUTIONS = {
    "absl": "absl-py",
    "google.protobuf": "protobuf",
    "official": "tf-models-official",
    "orbit": "tf-models-official",
    "sklearn": "scikit-learn",
}


def python_files() -> list[str]:
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    names = {path.relative_to(ROOT).as_posix() for path in [*found, *ROOT.glob("*.py")]}
    return sorted(name for name in names if "__pycache__" not in name)


def read_build() -> list[tuple[str, dict]]:
    """Returns (rule, attributes) of every target; a glob's value is None."""
    targets = []
    for node in ast.parse((ROOT / "BUILD").read_text("utf-8"), "BUILD").body:
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
            continue
        attributes = {
            str(keyword.arg): None
            if isinstance(keyword.value, ast.Call)
            else ast.literal_eval(keyword.value)
            for keyword in node.value.keywords
        }
        if "name" in attributes:
            targets.append((ast.unparse(node.value.func), attributes))
    return targets


def pinned() -> set[str]:
    """Returns the distributions of constraints.txt as labels spell them."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return {
        label(line.split("==")[0])
        for line in lines
        if line and not line.startswith("#")
    }


def label(distribution: str) -> str:
    return re.sub(r"[-_.]+", "_", distribution).lower()


TARGETS = read_build()
PYTHON_TARGETS = [(rule, each) for rule, each in TARGETS if rule in PYTHON_RULES]
OWNER = {
    src: each["name"] for _, each in PYTHON_TARGETS for src in each.get("srcs", [])
}
PINNED = pinned()


def local_file(name: str, importer: str) -> str | None:
    """Returns the file of the project that dotted `name` is, if it is one."""
    bases = [Path()]
    if not importer.startswith("bert_tf/"):
        bases.append(Path(importer).parent)  # programs import their neighbours
    for base in bases:
        path = base.joinpath(*name.split("."))
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if (ROOT / candidate).is_file():
                return candidate.as_posix()
    return None


def imports(file: str) -> set[str]:
    """Returns the labels of all that a file imports, at its top or in functions."""
    package = Path(file).parent.parts
    labels = set()

    def add(name: str) -> bool:
        if found := local_file(name, file):
            labels.add(f":{OWNER.get(found, found)}")
            return True
        return False

    def add_external(name: str) -> None:
        head = "google.protobuf" if name.startswith("google.protobuf") else name
        head = head if head in DISTRIBUTIONS else name.split(".")[0]
        distribution = label(DISTRIBUTIONS.get(head, head))
        if head not in sys.stdlib_module_names and distribution in PINNED:
            labels.add(f"@pypi//{distribution}")

    for node in ast.walk(ast.parse((ROOT / file).read_text("utf-8"), file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                add(alias.name) or add_external(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) + 1 - node.level]) if node.level else []
            base += node.module.split(".") if node.module else []
            name = ".".join(base)
            # What is no submodule is a name that the package itself defines.
            own = [a for a in node.names if not add(f"{name}.{a.name}".lstrip("."))]
            if own:
                add(name) or add_external(name)
    return labels - {f":{OWNER.get(file)}"}


def expected_deps(file: str) -> set[str]:
    """Returns what a file imports, and for a test what pytest loads for it."""
    labels = imports(file)
    if Path(file).name.startswith("test_"):
        labels.add("@pypi//pytest")
        for folder in Path(file).parents:
            conftest = (folder / "conftest.py").as_posix()
            if (ROOT / conftest).is_file():
                labels.add(f":{OWNER.get(conftest, conftest)}")
    return labels


def test_every_python_file_is_in_one_target():
    listed = [src for _, each in PYTHON_TARGETS for src in each.get("srcs", [])]
    assert sorted(listed) == python_files()


def test_targets_are_named_after_their_file():
    for _, each in PYTHON_TARGETS:
        assert each["srcs"] == [f"{each['name']}.py"]


def test_rules_fit_the_files():
    for rule, each in PYTHON_TARGETS:
        [src] = each["srcs"]
        tree = ast.parse((ROOT / src).read_text("utf-8"), src)
        is_program = any(
            isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)
            for node in tree.body
        )
        if Path(src).name.startswith("test_"):
            assert rule == "py_test", src
        else:
            assert rule == ("py_binary" if is_program else "py_library"), src


def test_names_are_unique():
    names = [each["name"] for _, each in TARGETS]
    assert len(names) == len(set(names))


def test_deps_exist():
    names = {each["name"] for _, each in TARGETS}
    for _, each in PYTHON_TARGETS:
        for dep in each.get("deps", []):
            if dep.startswith("@pypi//"):
                assert dep.removeprefix("@pypi//") in PINNED, (each["name"], dep)
            else:
                assert dep.startswith(":") and dep[1:] in names, (each["name"], dep)


@pytest.mark.parametrize("rule_and_target", PYTHON_TARGETS, ids=lambda t: t[1]["name"])
def test_deps_are_the_imports(rule_and_target):
    _, each = rule_and_target
    [src] = each["srcs"]
    deps = each.get("deps", [])
    assert len(deps) == len(set(deps))
    expected = expected_deps(src)
    if Path(src).name == "__init__.py":
        # Names that a package imports when first asked for are in no import.
        assert expected <= set(deps)
    else:
        assert set(deps) == expected


def test_no_target_depends_on_itself():
    graph = {
        each["name"]: [dep[1:] for dep in each.get("deps", []) if dep[0] == ":"]
        for _, each in PYTHON_TARGETS
    }
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.skipif(not shutil.which("bazel"), reason="bazel is not installed")
def test_bazel_reads_it():
    done = subprocess.run(
        ["bazel", "query", "--noshow_progress", "//..."],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if re.search(r"Error downloading|Unknown host|Could not resolve", done.stderr):
        pytest.skip("bazel cannot download rules_python")
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) >= {f"//:{each['name']}" for _, each in TARGETS}
