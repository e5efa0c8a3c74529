"""How many times as long as this package its peers are to take, at the least.

The floors were set for two cores with AMX (bfloat16 in matrix units); on others,
libraries are apart by other factors. What is `reach` is hoped for.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from benchmarks.side_by_side import OURS, Result

# With weights in bfloat16, or in float32 and converted as they are used.
_TRANSFORMERS = ("transformers", "transformers, autocast")


@dataclasses.dataclass(frozen=True)
class Target:
    """What is wanted of one row of a case.

    Attributes:
      case: The case's title.
      row: One of its rows.
      contenders: Names; the fastest of these counts.
      floor: The ratio, the contender's time over ours, that is promised.
      reach: The one that is hoped for.
    """

    case: str
    row: str
    contenders: tuple[str, ...]
    floor: float
    reach: float

    def measured(self, results: Mapping[str, Result]) -> float | None:
        """Returns the ratio; None if ours, or all of them, are not there."""
        result = results.get(self.case)
        if result is None or self.row not in result.seconds.get(OURS, {}):
            return None
        return min(
            (
                result.ratio(name, self.row)
                for name in self.contenders
                if self.row in result.seconds.get(name, {})
            ),
            default=None,
        )

    def verdict(self, ratio: float | None) -> str:
        """Returns what a ratio means."""
        if ratio is None:
            return "not measured"
        if ratio < self.floor:
            return "below floor"
        return "below reach" if ratio < self.reach else "ok"


_BASE = "Forward, base, bfloat16"
_SENTENCES = "1,000 sentences"

TARGETS = (
    Target("Tokenization, English", "lines to ids", ("tokenizers",), 4, 6),
    # At most 1.5 (1.1) times as long as reading all its tensors.
    Target("Checkpoint, base", "load", ("tf.train.load_checkpoint",), 1 / 1.5, 1 / 1.1),
    *(
        Target(
            f"Natural sentences, minilm, {precision}",
            _SENTENCES,
            ("sentence-transformers",),
            1.1,
            1.5,
        )
        for precision in ("float32", "bfloat16")
    ),
    *(
        Target(f"Forward, minilm, {precision}", "1x32", _TRANSFORMERS, 1.1, 1.4)
        for precision in ("float32", "bfloat16")
    ),
    Target("Forward, base, float32", "8x128", ("transformers",), 1.0, 1.1),
    Target(_BASE, "8x128", _TRANSFORMERS, 1.3, 1.5),
    Target(_BASE, "8x128", ("openvino",), 0.87, 1.05),
    Target(_BASE, "8x128", ("keras_hub",), 2.5, 3.0),
    Target(
        "Training, pretraining, base, bfloat16", "8x128", ("transformers",), 1.05, 1.3
    ),
    Target(
        "Training, classification, base, bfloat16", "8x128", ("transformers",), 1.0, 1.2
    ),
)


def rows(
    results: Mapping[str, Result], targets: Iterable[Target] = TARGETS
) -> Iterator[list[str]]:
    """Yields a table's rows, its header first."""
    yield ["case", "row", "against", "floor", "reach", "measured", ""]
    for target in targets:
        ratio = target.measured(results)
        yield [
            target.case,
            target.row,
            " or ".join(target.contenders),
            f"{target.floor:.2f}",
            f"{target.reach:.2f}",
            "" if ratio is None else f"{ratio:.2f}",
            target.verdict(ratio),
        ]
