"""Training curves: read from TensorBoard's event files, drawn as one picture.

Nothing here imports TensorFlow, so that a look at a running training costs it little.
"""

import dataclasses
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bert_tf.errors import ConfigError, DataError
from bert_tf.files import write_local_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What is no metric, with its panel's title. These panels come last, in this order.
_OTHER = {
    "learning_rate": "learning rate",
    "gradient_norm": "gradient norm",
    "examples_per_second": "examples per second",
    "sequences_per_second": "sequences per second",
    "tokens_per_second": "tokens per second",
}
_COLUMNS = 3
_PANEL_SIZE = (4.8, 3.2)  # inches
_DOTS_PER_INCH = 110
_CHARACTER = 0.09  # inches of a legend's letter, about
_VALIDATION: dict[str, Any] = {"linestyle": "--", "marker": "o", "markersize": 5}
# A smoothed point is the mean over this share of the curve.
_SMOOTHED_SHARE = 1 / 15


@dataclasses.dataclass(frozen=True)
class Curve:
    """A scalar over time.

    Attributes:
      steps: int64 `[n]`, rising.
      values: float64 `[n]`.
    """

    steps: np.ndarray
    values: np.ndarray

    def smoothed(self) -> np.ndarray:
        """Returns centred means over a share of the points, float64 `[n]`."""
        half = int(len(self.values) * _SMOOTHED_SHARE / 2 + 0.5)
        window = np.ones(2 * half + 1)

        def sums(values: np.ndarray) -> np.ndarray:
            return np.convolve(np.pad(values, half), window, "valid")

        # At the ends, over as many as there are.
        return sums(self.values) / sums(np.ones_like(self.values))


@dataclasses.dataclass(frozen=True)
class RunCurves:
    """The curves of one run.

    Attributes:
      training: By quantity, such as `loss`, `learning_rate`.
      validation: By quantity, such as `loss` for what was logged as `eval_loss`.
    """

    training: Mapping[str, Curve]
    validation: Mapping[str, Curve]


def read_run(folder: str) -> RunCurves:
    """Reads what `TrainingReporter` left in a run's output folder.

    Raises:
      DataError: There are no event files with scalars in it.
    """
    training = read_scalars(folder)
    validation = read_scalars(os.path.join(folder, "eval"))
    if not training and not validation:
        raise DataError(
            f"Expected TensorBoard's event files in {folder}, found none with scalars; "
            "name the --output_dir of a run that has trained."
        )
    # Of a classifier's, `loss` is a mean over batches, and `eval_loss` what is meant.
    prefixed = {
        tag.removeprefix("eval_"): curve
        for tag, curve in validation.items()
        if tag.startswith("eval_")
    }
    return RunCurves(training, prefixed or validation)


def read_scalars(folder: str) -> dict[str, Curve]:
    """Returns all scalars in the event files that lie in a folder, by tag.

    A run that was killed and continued wrote some steps twice: of these, the value that
    was written last counts.
    """
    newest: dict[str, dict[int, tuple[float, float]]] = {}
    for path in sorted(Path(folder).glob("*tfevents*")):
        for event in _events(str(path)):
            for value in event.summary.value:
                number = _number(value)
                if number is None:
                    continue
                points = newest.setdefault(value.tag, {})
                before = points.get(event.step)
                if before is None or before[0] <= event.wall_time:
                    points[event.step] = (event.wall_time, number)
    return {
        tag: Curve(
            np.array(sorted(points), np.int64),
            np.array([points[step][1] for step in sorted(points)], np.float64),
        )
        for tag, points in newest.items()
    }


def _events(path: str) -> Iterator[Any]:
    """Yields the events of a file, up to where its writer was killed."""
    # EventFileLoader is this reader, but imports TensorFlow where there is one.
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.tensorflow_stub import errors
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

    reader = PyRecordReader_New(path)
    while True:
        try:
            reader.GetNext()
        except (errors.OutOfRangeError, errors.DataLossError):
            return
        yield Event.FromString(reader.record())


def _number(value: Any) -> float | None:
    """Returns a summary's number, None if it is something else."""
    from tensorboard.util.tensor_util import make_ndarray

    if value.HasField("simple_value"):
        return value.simple_value
    if not value.HasField("tensor") or value.tensor.tensor_shape.dim:
        return None
    array = make_ndarray(value.tensor)
    return float(array) if array.dtype.kind in "fiu" else None


def short_names(folders: Sequence[str]) -> list[str]:
    """Returns the shortest names that tell different folders apart.

    >>> short_names(["runs/a/seed1", "runs/a/seed2", "runs/b/seed1"])
    ['a/seed1', 'a/seed2', 'b/seed1']
    """
    names = [Path(folder).resolve().parts for folder in folders]
    for end in (0, -1):
        while min(map(len, names)) > 1 and len({name[end] for name in names}) == 1:
            names = [name[1:] if end == 0 else name[:-1] for name in names]
    return ["/".join(name) for name in names]


def draw_runs(runs: Mapping[str, RunCurves]) -> "Figure":
    """Draws the curves of one or several runs, a panel for each quantity.

    Args:
      runs: By the name in the legend.

    Raises:
      ConfigError: matplotlib is not installed.
    """
    try:
        from matplotlib import colormaps
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            "Expected matplotlib, which draws the curves, found that it is not "
            "installed; run pip install 'bert-tf[plots]'."
        ) from error

    from matplotlib.lines import Line2D

    quantities = _quantities(runs.values())
    columns = min(_COLUMNS, len(quantities))
    rows = -(-len(quantities) // columns)
    size = (_PANEL_SIZE[0] * columns, _PANEL_SIZE[1] * rows)
    figure = Figure(figsize=size, layout="constrained")
    colours = list(colormaps["tab10"].colors)  # type: ignore[attr-defined]
    if len(runs) > len(colours):
        colours = list(colormaps["turbo"](np.linspace(0.05, 0.95, len(runs))))
    panels: list[Axes] = []
    for quantity in quantities:
        panel = figure.add_subplot(
            rows, columns, len(panels) + 1, sharex=panels[0] if panels else None
        )
        for colour, run in zip(colours, runs.values(), strict=False):
            _draw(panel, run, quantity, colour)
        _describe(panel, runs.values(), quantity)
        panels.append(panel)
    width = _CHARACTER * (max(map(len, runs)) + 6)
    figure.legend(
        handles=[
            Line2D([], [], color=colour, label=name, linewidth=3)
            for colour, name in zip(colours, runs, strict=False)
        ],
        loc="outside upper center",
        ncols=max(1, min(len(runs), int(size[0] / width))),
        frameon=False,
    )
    return figure


def _quantities(runs: Iterable[RunCurves]) -> list[str]:
    """Returns what there is to draw, in the order of the panels."""
    found = {name for run in runs for name in (*run.training, *run.validation)}
    metrics = sorted(found - set(_OTHER), key=lambda name: (name != "loss", name))
    return [*metrics, *(name for name in _OTHER if name in found)]


def _draw(panel: "Axes", run: RunCurves, quantity: str, colour: Any) -> None:
    if curve := run.training.get(quantity):
        style = {"color": colour, "marker": "." if len(curve.steps) == 1 else ""}
        if quantity == "learning_rate":
            panel.plot(curve.steps, curve.values, **style)
        else:
            panel.plot(curve.steps, curve.values, alpha=0.25, **style)
            panel.plot(curve.steps, curve.smoothed(), **style)
    if curve := run.validation.get(quantity):
        panel.plot(curve.steps, curve.values, color=colour, **_VALIDATION)


def _describe(panel: "Axes", runs: Iterable[RunCurves], quantity: str) -> None:
    from matplotlib.lines import Line2D

    title = _OTHER.get(quantity, quantity.replace("_", " "))
    if any(quantity in run.validation for run in runs):
        if any(quantity in run.training for run in runs):
            styles = [
                Line2D([], [], color="grey", label="training, smoothed"),
                Line2D([], [], color="grey", label="validation", **_VALIDATION),
            ]
            panel.legend(handles=styles, frameon=False)
        else:
            title = f"validation {title}"
    elif quantity not in _OTHER:
        title = f"training {title}"
    panel.set_title(title)
    panel.set_xlabel("step")
    panel.grid(alpha=0.3)


def save_figure(figure: "Figure", path: str) -> None:
    """Writes a figure as PNG, whole or not at all."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DOTS_PER_INCH)
    write_local_file(path, content.getvalue())
