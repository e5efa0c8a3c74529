"""The drawn curves are those in the event files, as TensorFlow itself reads them."""

import math
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import tensorflow as tf

from bert_tf.errors import DataError
from bert_tf.tools import plot
from bert_tf.training.curves import Curve, draw_runs, read_run, short_names
from bert_tf.training.reporting import TrainingReporter
from tests.programs import ROOT

EPOCH_ENDS = [100, 200]
BLUE, ORANGE = (0x1F, 0x77, 0xB4), (0xFF, 0x7F, 0x0E)


def train(folder: Path, first_step: int, last_step: int, level: float) -> None:
    """Reports as a run does that starts and ends at these steps."""
    reporter = TrainingReporter(
        str(folder), EPOCH_ENDS, first_step, 32, lambda step: 5e-5 * (1 - step / 200)
    )
    for step in range(first_step + 1, last_step + 1):
        loss = level + math.exp(-step / 50)
        scalars = {"loss": loss, "accuracy": 1 / (1 + loss), "gradient_norm": 1.0}
        reporter.on_progress(step, {name: np.array([x]) for name, x in scalars.items()})
        if step in EPOCH_ENDS:
            results = {"eval_accuracy": 0.5 + step / 1000, "eval_loss": loss, "loss": 1}
            reporter.on_evaluation(step, {**results, "eval_f1": 0.25})
            reporter.on_epoch_end(step)
    reporter.close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Folders `a/output`, killed at step 158 and continued from 100, and `b/output`."""
    root = tmp_path_factory.mktemp("runs")
    train(root / "a/output", 0, 158, level=0.0)
    train(root / "a/output", 100, 200, level=0.1)
    train(root / "b/output", 0, 200, level=0.2)
    return root


def logged(folder: Path) -> dict[str, list[tuple[float, int, float]]]:
    """Returns `(time, step, value)` of all scalars, in the order of time."""
    found: dict[str, list] = {}
    for path in folder.glob("events*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                number = float(tf.make_ndarray(value.tensor))
                found.setdefault(value.tag, []).append(
                    (event.wall_time, event.step, number)
                )
    return {tag: sorted(points) for tag, points in found.items()}


@pytest.mark.parametrize("name", ["a", "b"])
def test_curves_are_what_the_event_files_hold(runs, name):
    folder = runs / name / "output"
    run = read_run(str(folder))
    training, validation = logged(folder), logged(folder / "eval")
    assert set(run.training) == set(training)
    assert set(run.training) == {
        "loss",
        "accuracy",
        "gradient_norm",
        "learning_rate",
        "examples_per_second",
    }
    assert set(run.validation) == {"accuracy", "loss", "f1"}
    for curves, points, prefix in (
        (run.training, training, ""),
        (run.validation, validation, "eval_"),
    ):
        for quantity, curve in curves.items():
            newest = {step: value for _, step, value in points[prefix + quantity]}
            assert curve.steps.tolist() == sorted(newest)
            np.testing.assert_array_equal(
                curve.values, [newest[step] for step in sorted(newest)]
            )


def test_of_a_step_that_was_repeated_the_newest_counts(runs):
    folder = runs / "a/output"
    assert len(list(folder.glob("events*"))) == 2
    steps = [step for _, step, _ in logged(folder)["loss"]]
    assert steps.count(120) == 2
    curve = read_run(str(folder)).training["loss"]
    assert curve.steps.tolist() == list(range(10, 201, 10))
    means = [
        np.mean([math.exp(-s / 50) for s in range(step - 9, step + 1)])
        for step in curve.steps
    ]
    expected = means + np.where(curve.steps <= 100, 0.0, 0.1)
    np.testing.assert_allclose(curve.values, expected, rtol=1e-6)


def test_what_a_killed_writer_left_is_read(runs, tmp_path):
    [path] = (runs / "b/output").glob("events*")
    (tmp_path / path.name).write_bytes(path.read_bytes()[:-7])
    whole, cut = read_run(str(runs / "b/output")), read_run(str(tmp_path))
    assert cut.training["loss"].steps.tolist() == whole.training["loss"].steps.tolist()
    assert len(cut.training["examples_per_second"].steps) == 19


def test_smoothing_takes_means_of_neighbours():
    draw = np.random.default_rng(0)
    curve = Curve(np.arange(60), draw.normal(size=60))
    expected = [curve.values[max(0, i - 2) : i + 3].mean() for i in range(60)]
    np.testing.assert_allclose(curve.smoothed(), expected, rtol=1e-12)
    short = Curve(np.arange(3), draw.normal(size=3))
    np.testing.assert_array_equal(short.smoothed(), short.values)


def test_a_panel_for_each_quantity(runs):
    both = {name: read_run(str(runs / name / "output")) for name in "ab"}
    figure = draw_runs(both)
    assert [panel.get_title() for panel in figure.axes] == [
        "loss",
        "accuracy",
        "validation f1",
        "learning rate",
        "gradient norm",
        "examples per second",
    ]
    assert {panel.get_xlabel() for panel in figure.axes} == {"step"}
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    loss = figure.axes[0].lines
    assert len(loss) == 6  # raw, smoothed and validation, twice
    for lines, run in ((loss[:3], both["a"]), (loss[3:], both["b"])):
        curve = run.training["loss"]
        assert lines[0].get_xdata().tolist() == curve.steps.tolist()
        assert lines[0].get_ydata().tolist() == curve.values.tolist()
        assert lines[1].get_ydata().tolist() == curve.smoothed().tolist()
        assert lines[2].get_ydata().tolist() == run.validation["loss"].values.tolist()


def test_panels_that_no_run_has_are_left_out(tmp_path):
    with tf.summary.create_file_writer(str(tmp_path)).as_default():
        tf.summary.scalar("loss", 1.0, step=3)
        tf.summary.text("note", "no scalar", step=3)
    figure = draw_runs({"one": read_run(str(tmp_path))})
    assert [panel.get_title() for panel in figure.axes] == ["training loss"]


def picture(path: Path) -> np.ndarray:
    """Returns uint8 `[height, width, 3]`."""
    return (matplotlib.image.imread(path)[..., :3] * 255).round().astype(np.uint8)


def count(pixels: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((pixels == colour).all(axis=-1).sum())


def test_the_picture_of_one_run(runs, capsys):
    folder = runs / "b/output"
    assert plot.main([str(folder)]) == 0
    path = folder / "curves.png"
    assert capsys.readouterr().out == f"{path}\n"
    pixels = picture(path)
    height, width, _ = pixels.shape
    assert 500 < height < 1000 < width < 2000
    assert count(pixels, BLUE) > 1000 and count(pixels, ORANGE) == 0


def test_the_picture_of_several_runs_needs_no_tensorflow(runs, tmp_path):
    """Nor does it need a display, nor pyplot."""
    for name in ("tensorflow", "keras"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('imported')\n")
    arguments = [str(runs / "a/output"), f"{runs}/b/output/", str(runs / "a/output")]
    done = subprocess.run(
        [sys.executable, "-m", "bert_tf.tools.main", "plot", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "curves.png\n"
    pixels = picture(tmp_path / "curves.png")
    assert count(pixels, BLUE) > 1000 and count(pixels, ORANGE) > 1000


def test_output_names_the_picture(runs, tmp_path):
    path = tmp_path / "new/all.png"
    assert plot.main([f"--output={path}", *map(str, runs.glob("*/output"))]) == 0
    assert picture(path).size and [each.name for each in path.parent.iterdir()] == [
        "all.png"
    ]


def test_twenty_runs_have_twenty_colours(runs):
    run = read_run(str(runs / "b/output"))
    figure = draw_runs({f"a rather long name of run {i}": run for i in range(20)})
    lines = figure.axes[0].lines
    assert len({tuple(line.get_color()) for line in lines}) == 20


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["runs/a"], ["a"]),
        (["runs/a", "runs/b"], ["a", "b"]),
        (["runs/a/output", "runs/b/output"], ["a", "b"]),
        (["x/a/seed1", "x/a/seed2", "x/b/seed1"], ["a/seed1", "a/seed2", "b/seed1"]),
        (["runs", "runs/a"], ["runs", "runs/a"]),
    ],
)
def test_short_names_tell_runs_apart(folders, names):
    assert short_names(folders) == names


def test_a_folder_without_curves_is_named(runs, tmp_path, capsys):
    assert plot.main([str(runs / "b/output"), str(tmp_path)]) == 1
    captured = capsys.readouterr()
    [line] = captured.err.splitlines()
    assert line.startswith("plot: Expected TensorBoard's event files in ")
    assert str(tmp_path) in line and captured.out == ""
    with pytest.raises(DataError, match="nowhere"):
        read_run("nowhere")


def test_a_folder_in_a_store(capsys):
    assert plot.main(["gs://bucket/run"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(
        "plot: Expected folders of this machine, got gs://bucket/run"
    )


def test_without_a_folder(capsys):
    assert plot.main([]) == 1
    assert capsys.readouterr().err == "plot: Expected RUN_DIR..., got none; name one.\n"


def test_the_help_shows_what_comes_without_a_flag(capsys):
    assert plot.main(["--help"]) == 0
    assert capsys.readouterr().out.startswith(
        "bert-tf plot RUN_DIR... --FLAG=VALUE ...\n"
    )


def test_without_matplotlib(runs, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert plot.main([str(runs / "b/output")]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "pip install 'bert-tf[plots]'" in line
