"""What a set of pretraining records amounts to, as a figure.

matplotlib is imported when a figure is asked for; it is an extra of the package.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from bert_tf.data.record_summary import RecordSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL_SIZE = (4.8, 3.6)  # inches
_DOTS_PER_INCH = 110
_BARS = 64
_CELLS = 32
_NEXT = {"actual next": "Blues", "random next": "Oranges"}


def draw_summary(summary: RecordSummary) -> Any:
    """Draws lengths, masks and the lengths of pairs, a panel each.

    Raises:
      ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib import figure as figures
    from matplotlib.ticker import MaxNLocator

    masked = len(summary.masks_histogram) > 1
    rows, columns = (2, 2) if masked else (1, 3)
    size = (_PANEL_SIZE[0] * columns, _PANEL_SIZE[1] * rows)
    figure = figures.Figure(figsize=size, dpi=_DOTS_PER_INCH, layout="constrained")
    panels = iter(figure.subplots(rows, columns).flat)
    _draw_histogram(next(panels), summary.counts.length_histogram, "pieces per record")
    if masked:
        _draw_histogram(next(panels), summary.masks_histogram, "masks per record")
    for label, (name, colours) in enumerate(_NEXT.items()):
        panel = next(panels)
        pairs = summary.pair_lengths[label]
        share = pairs.sum() / summary.counts.records
        panel.set_title(f"{name}: {share:.1%} of all")
        image = _draw_pairs(panel, pairs, colours)
        whole = MaxNLocator(nbins=6, integer=True)
        figure.colorbar(image, ax=panel, label="records", ticks=whole)
    return figure


def _draw_histogram(panel: "Axes", histogram: np.ndarray, title: str) -> None:
    edges = _edges(len(histogram), _BARS)
    counts = np.add.reduceat(histogram, edges[:-1])
    # The many full records would leave nothing to see of the short ones.
    panel.set_yscale("log")
    panel.yaxis.set_major_formatter("{x:,.0f}")
    panel.yaxis.set_minor_formatter("")
    panel.bar(edges[:-1] - 0.5, counts, np.diff(edges), align="edge", color="tab:blue")
    panel.set_xlim(-1, len(histogram))
    panel.set_ylim(bottom=0.7)
    panel.set_title(title)
    panel.set_ylabel("records, logarithmic")
    panel.grid(axis="y", alpha=0.3)


def _draw_pairs(panel: "Axes", pairs: np.ndarray, colours: str) -> Any:
    edges = _edges(len(pairs), _CELLS)
    for axis in (0, 1):
        pairs = np.add.reduceat(pairs, edges[:-1], axis=axis)
    panel.set_xlabel("pieces of A")
    panel.set_ylabel("pieces of B")
    panel.set_aspect("equal")
    shown = np.ma.masked_equal(pairs.T, 0)
    return panel.pcolormesh(edges - 0.5, edges - 0.5, shown, cmap=colours, vmin=0)


def _edges(numbers: int, most: int) -> np.ndarray:
    """Returns where bins begin, and the end: equal ones, but the first may be small.

    From the end, since what lies there, the full records, are most.
    """
    width = -(-numbers // most)
    return np.unique(np.maximum(np.arange(numbers, -width, -width), 0))
