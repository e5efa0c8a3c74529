"""Charts of what was measured: this package in blue, its peers in grey or apart."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.results import figure, shown
from benchmarks.side_by_side import OURS, Result
from bert_tf.training.curves import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Results = Mapping[str, Result]

# Of Okabe and Ito's colours, which are told apart by everyone.
BLUE, LIGHT_BLUE, GREY = "#0072B2", "#8CC1E0", "#A6A6A6"
_LINES: Mapping[str, dict[str, Any]] = {
    OURS: {"color": BLUE, "marker": "o", "linewidth": 2.4},
    "transformers, autocast": {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    "openvino": {"color": "#009E73", "marker": "^", "linestyle": ":"},
}
_WIDTH = 7.0  # inches


def write(folder: Path, results: Results) -> Iterator[Path]:
    """Writes those charts whose cases were measured; yields their paths.

    Args:
      folder: Where PNGs are written.
      results: By title.
    """
    for name, draw in _CHARTS.items():
        picture = draw(results)
        if picture is not None:
            path = folder / f"{name}.png"
            save_figure(picture, str(path))
            yield path


def _bars_of_row(row: str, titles: Mapping[str, str], what: str) -> Callable:
    """Returns what draws a panel of bars for each case that has a row.

    Args:
      row: The row.
      titles: Case -> its panel's title.
      what: The figure's title.
    """

    def draw(results: Results) -> "Figure | None":
        panels = {}
        for case, title in titles.items():
            if case in results:
                found = results[case]
                panels[title] = {
                    name: shown(found, name, row)
                    for name, rows in found.seconds.items()
                    if row in rows
                }
        return _bars(panels, what)

    return draw


def _memory_and_start(results: Results) -> "Figure | None":
    panels = {}
    start = results.get("Start-up, minilm, float32")
    if start:
        panels["MiniLM: seconds from starting Python to the first answer"] = {
            name: start.median(name, row)
            for name, rows in start.seconds.items()
            for row in rows
        }
    for title, size in (
        ("Forward, base, float32", "Base"),
        ("Forward, minilm, float32", "MiniLM"),
    ):
        if title in results:
            panels[f"{size}, float32: peak memory in MB"] = {
                name: value / 1e6 for name, value in results[title].peak.items()
            }
    return _bars(panels, "Start and memory: shorter bars are better", columns=1)


def _bars(
    panels: Mapping[str, Mapping[str, float]], what: str, columns: int = 2
) -> "Figure | None":
    """Draws a panel of horizontal bars for each title."""
    if not panels:
        return None
    columns = min(columns, len(panels))
    grid = [list(panels)[i : i + columns] for i in range(0, len(panels), columns)]
    heights = [max(len(panels[title]) for title in row) + 1.6 for row in grid]
    picture = new_figure(0.27 * sum(heights) + 0.5, what)
    axes = picture.subplots(
        len(grid), columns, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for title, axis in zip(panels, axes.flat, strict=False):
        _draw_bars(axis, title, panels[title])
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    return picture


def _draw_bars(axis: "Axes", title: str, values: Mapping[str, float]) -> None:
    names = list(values)
    bars = axis.barh(names, list(values.values()), color=[_color(x) for x in names])
    axis.bar_label(bars, list(map(figure, values.values())), padding=3)
    axis.invert_yaxis()
    axis.set_title(title, loc="left")
    axis.margins(x=0.2)
    axis.xaxis.set_visible(False)
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    for label in axis.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() == OURS else "normal")


def _color(name: str) -> str:
    if name == OURS:
        return BLUE
    return LIGHT_BLUE if name.startswith(OURS) else GREY


def _growth(results: Results) -> "Figure | None":
    """Draws how time grows with length, batch and layers, as lines."""
    length = results.get("Growth, length, minilm, bfloat16")
    batch = results.get("Growth, batch, minilm, bfloat16")
    layers = {
        int(title.split()[1]): result
        for title, result in results.items()
        if title.startswith("Growth, ") and "layers" in title
    }
    panels: list[tuple[str, str, Any]] = []
    if length:
        panels.append(("tokens a row", "MiniLM, 8 rows: ms", _lines_of(length, 1)))
    if batch:
        lines = _lines_of(batch, 0, per_row=True)
        panels.append(("rows", "MiniLM, 64 tokens: ms a row", lines))
    if layers:
        lines = {
            name: [
                (count, shown(result, name, row))
                for count, result in sorted(layers.items())
                for row in result.seconds.get(name, {})
            ]
            for name in _LINES
        }
        panels.append(("layers", "Base's width, 4x64: ms", lines))
    if not panels:
        return None
    picture = new_figure(2.9, "Growth, bfloat16: lower is better")
    axes = picture.subplots(1, len(panels), squeeze=False)[0]
    for axis, (along, title, lines) in zip(axes, panels, strict=True):
        for name, points in lines.items():
            if points:
                axis.plot(*zip(*points, strict=True), label=name, **_LINES[name])
        axis.set_title(title, loc="left")
        axis.set_xlabel(along)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        if along == "rows":
            axis.set_xscale("log", base=2)
            axis.xaxis.set_major_formatter("{x:.0f}")
    axes[0].legend(frameon=False)
    return picture


def _lines_of(
    result: Result, along: int, per_row: bool = False
) -> dict[str, list[tuple[int, float]]]:
    """Returns points for each contender.

    Args:
      result: Of rows called as `8x128`.
      along: Which of the two numbers is the points' first.
      per_row: Divide times by the rows of the batch.
    """
    return {
        name: [
            (
                int(row.split("x")[along]),
                shown(result, name, row) / (result.units[row] if per_row else 1),
            )
            for row in result.seconds.get(name, {})
        ]
        for name in _LINES
    }


def new_figure(height: float, title: str) -> "Figure":
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams.update({"font.size": 8.5, "axes.titlesize": 9.5})
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure


_CHARTS: Mapping[str, Callable[[Results], "Figure | None"]] = {
    "forward": _bars_of_row(
        "8x128",
        {
            f"Forward, {size}, {precision}": f"{name}, {precision}"
            for size, name in (("base", "Base"), ("minilm", "MiniLM"))
            for precision in ("float32", "bfloat16")
        },
        "Forward, 8 rows of 128 tokens, ms: shorter bars are better",
    ),
    "training": _bars_of_row(
        "8x128",
        {
            f"Training, {task}, base, {precision}": f"{task.title()}, {precision}"
            for task in ("pretraining", "classification")
            for precision in ("float32", "bfloat16")
        },
        "A step of training, Base, 8 rows of 128 tokens, ms: shorter bars are better",
    ),
    "tokenization": _bars_of_row(
        "lines to ids",
        {"Tokenization, English": "English novels, lines to ids"},
        "Tokenization, MB/s: longer bars are better",
    ),
    "memory_and_start": _memory_and_start,
    "growth": _growth,
}
