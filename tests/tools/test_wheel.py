"""The wheel holds the package, all of it and nothing else, and its command runs."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bert_tf.version import __version__

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Builds from a copy, which is all that a build may write into."""
    tree = tmp_path_factory.mktemp("tree") / "source"
    shutil.copytree(
        ROOT,
        tree,
        ignore=shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "dist"),
    )
    target = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "-o",
            target,
            tree,
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [path] = target.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    done = subprocess.run(
        [*pip, "--target", target, wheel], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def run(installed: Path, tmp_path: Path, *program: str):
    return subprocess.run(
        [sys.executable, *program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel):
    assert wheel.name == f"bert_tf-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    info = f"bert_tf-{__version__}.dist-info/"
    package = ROOT / "bert_tf"
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if not name.startswith(info)} == expected
    assert "bert_tf/py.typed" in expected and "bert_tf/tools/main.py" in expected
    held = {name.removeprefix(info) for name in names if name.startswith(info)}
    assert {"licenses/LICENSE", "licenses/NOTICE", "entry_points.txt"} <= held


def test_every_module_is_a_part_of_a_package():
    """Without `__init__.py` a folder's modules would be left out of the wheel."""
    folders = {path.parent for path in (ROOT / "bert_tf").rglob("*.py")}
    assert [f for f in sorted(folders) if not (f / "__init__.py").is_file()] == []


def test_the_installed_module_runs(installed, tmp_path):
    done = run(
        installed, tmp_path, "-m", "bert_tf.tools.main", "run_classifier", "--help"
    )
    assert done.returncode == 0, done.stderr
    assert "--init_checkpoint" in done.stdout


def test_the_installed_command_runs(installed, tmp_path):
    script = installed / "bin/bert-tf"
    done = run(installed, tmp_path, str(script), "run_classifier", "--help")
    assert done.returncode == 0, done.stderr
    assert "--init_checkpoint" in done.stdout
    bad = run(installed, tmp_path, str(script), "run_classifier", "--nonsense")
    assert bad.returncode == 1
    assert bad.stderr == "run_classifier: Unknown command line flag 'nonsense'\n"
    where = run(installed, tmp_path, "-c", "import bert_tf; print(bert_tf.__file__)")
    assert Path(where.stdout.strip()) == installed / "bert_tf/__init__.py"


def test_the_installed_package_reads_a_checkpoint(installed, tmp_path, testdata):
    program = (
        "import sys, bert_tf; "
        "config = bert_tf.BertConfig.from_json_file(sys.argv[1] + '/bert_config.json');"
        "model = bert_tf.BertPretrainer(config); "
        "report = bert_tf.load_checkpoint(model, sys.argv[1] + '/bert_model.ckpt'); "
        "print(len(report.loaded), len(report.fresh), len(report.unused))"
    )
    done = run(installed, tmp_path, "-c", program, str(testdata))
    assert done.stdout.split() == ["62", "0", "0"], done.stderr
