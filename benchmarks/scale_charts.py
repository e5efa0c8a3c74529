"""Pictures of what `benchmarks/scale_tables.py` computes."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.charts import BLUE, GREY, LIGHT_BLUE, new_figure
from benchmarks.cluster import Outcome
from benchmarks.devices import ethernet
from benchmarks.runs import DAY, in_batches, pretraining
from benchmarks.scale_tables import (
    ACCELERATORS,
    COUNTS,
    Assumptions,
    joined,
    on_cores,
    span,
)
from bert_tf.training.curves import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of Okabe and Ito's colours, as in benchmarks/charts.py.
_ORANGE, _GREEN, _PURPLE = "#D55E00", "#009E73", "#CC79A7"
_ON = 8  # devices that costs are shown for


def write(folder: Path, given: Assumptions) -> Iterator[Path]:
    """Writes all pictures as PNG; yields their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in _CHARTS.items():
        path = folder / f"{name}.png"
        save_figure(draw(given), str(path))
        yield path


def _costs(given: Assumptions) -> "Figure":
    """Draws what pretraining on eight of each device costs, the least and the most."""
    picture = new_figure(
        3.6,
        f"Pretraining on {_ON} devices: least (dark) and most (light) that it costs",
    )
    for axis, model in zip(picture.subplots(1, 2), ("Base", "Large"), strict=True):
        run = pretraining(model)
        least, most = zip(
            *(given.dollars(run, name, _ON) for name in ACCELERATORS), strict=True
        )
        axis.barh(ACCELERATORS, most, color=LIGHT_BLUE)
        axis.barh(ACCELERATORS, least, color=BLUE)
        for place, name in enumerate(ACCELERATORS):
            low, high = given.seconds(run, name, _ON)
            days = span(low / DAY, high / DAY)
            text = f" ${span(least[place], most[place])}, {days} days"
            axis.text(most[place], place, text, va="center", fontsize=7.5)
        axis.invert_yaxis()
        axis.set_xlim(0, 2.1 * max(most))
        axis.set_title(f"BERT-{model}", loc="left")
        axis.xaxis.set_visible(False)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
    return picture


def _networks(given: Assumptions) -> "Figure":
    """Draws how many times as fast as one device many are, by what joins them."""
    a100 = given.devices["A100"]
    lines = [
        ("NVLink alone", dataclasses.replace(a100, between=None), BLUE, "o-"),
        *(
            (f"8 a host, {gigabits} Gbit/s", joined(a100, 8, ethernet(gigabits)), *look)
            for gigabits, look in (
                (100, (_GREEN, "^:")),
                (25, (_PURPLE, "v-.")),
                (10, (_ORANGE, "s--")),
            )
        ),
        ("1 a host, 10 Gbit/s", joined(a100, 1, ethernet(10)), GREY, "d-"),
    ]
    picture = new_figure(3.4, "BERT-Base on A100: times as fast as one of them")
    axes = picture.subplots(1, 3, sharey=True)
    for axis, batch in zip(axes, (256, 4096, 32768), strict=True):
        run = in_batches("Base", batch)
        alone = given.simulated(run, a100, 1).step
        axis.plot(COUNTS, COUNTS, color="black", linewidth=0.8, alpha=0.5)
        for label, device, color, style in lines:
            speeds = [alone / given.simulated(run, device, n).step for n in COUNTS]
            axis.plot(COUNTS, speeds, style, color=color, label=label, markersize=4)
        axis.set_title(f"batches of {batch:,}", loc="left")
        axis.set_xlabel("devices")
        axis.set_xscale("log", base=2)
        axis.set_yscale("log", base=2)
        axis.set_ylim(0.2, 300)
        for each in (axis.xaxis, axis.yaxis):
            each.set_major_formatter("{x:g}")
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].legend(frameon=False, fontsize=7, loc="lower right")
    return picture


def _steps(given: Assumptions) -> "Figure":
    """Draws where a step's time goes, for some clusters."""
    a100 = given.devices["A100"]

    def base(batch: int, count: int, gigabits: int) -> Outcome:
        device = joined(a100, 8, ethernet(gigabits))
        return given.simulated(in_batches("Base", batch), device, count)

    cases: Mapping[str, Outcome] = {
        "Base, 256 rows, 8 x A100": base(256, 8, 100),
        "Base, 256 rows, 64 x A100, 100 Gbit/s": base(256, 64, 100),
        "Base, 4,096 rows, 64 x A100, 100 Gbit/s": base(4096, 64, 100),
        "Base, 32,768 rows, 64 x A100, 100 Gbit/s": base(32768, 64, 100),
        "Base, 32,768 rows, 64 x A100, 10 Gbit/s": base(32768, 64, 10),
        **{
            f"Small, 512 rows, 8 x H100, {cores} cores": on_cores(given, cores)
            for cores in (2, 8, 16)
        },
    }
    picture = new_figure(2.9, "Where a step's time goes")
    axis = picture.subplots()
    begin = [0.0] * len(cases)
    for part, color in (
        ("waiting", _ORANGE),
        ("computing", BLUE),
        ("network", GREY),
    ):
        shares = [getattr(outcome, part) for outcome in cases.values()]
        label = "input" if part == "waiting" else part
        bars = axis.barh(list(cases), shares, left=begin, color=color, label=label)
        texts = [f"{share:.0%}" if share > 0.04 else "" for share in shares]
        axis.bar_label(bars, texts, label_type="center", color="white", fontsize=7.5)
        begin = [x + share for x, share in zip(begin, shares, strict=True)]
    axis.invert_yaxis()
    axis.set_xlim(0, 1)
    axis.xaxis.set_visible(False)
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    return picture


_CHARTS: Mapping[str, Callable[[Assumptions], "Figure"]] = {
    "costs": _costs,
    "networks": _networks,
    "steps": _steps,
}
