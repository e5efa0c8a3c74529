"""What a training run takes: operations, bytes of gradients, seconds on devices.

And what share of a device's peak such runs were seen to use, here and by others.
"""

import dataclasses
from collections.abc import Mapping

from benchmarks.cluster import all_reduce_seconds
from benchmarks.devices import Device
from benchmarks.gpu import forward_flops
from bert_tf.config import BertConfig
from bert_tf.training.memory import Workload, num_weights

MODELS = ("Small", "Medium", "Base", "Large")
DAY = 86400.0
# Weight, gradient and both of Adam's slots are read, all but the gradient written.
_PASSES_OF_UPDATE = 7
_FLOAT = 4  # bytes: gradients of float32 weights, whatever the layers compute in


@dataclasses.dataclass(frozen=True)
class Phase:
    """Steps of one shape: rows `batch`, pieces `length`, masked positions of a row."""

    steps: int
    batch: int
    length: int
    predictions: int = 0


@dataclasses.dataclass(frozen=True)
class Run:
    """A training: `task` is `pretraining`, `classification` or `squad`."""

    model: str
    task: str
    phases: tuple[Phase, ...]

    @property
    def config(self) -> BertConfig:
        return BertConfig.from_name(f"BERT-{self.model}")

    @property
    def flops(self) -> float:
        """Operations of the whole run."""
        return float(
            sum(
                phase.steps * phase.batch * train_flops(self.config, phase)
                for phase in self.phases
            )
        )

    @property
    def gradient_bytes(self) -> int:
        """Bytes that each replica gives to an all-reduce, once per step."""
        return _FLOAT * gradient_elements(self.config, self.task)


def pretraining(model: str) -> Run:
    """Returns Google's: a million steps of 256 rows, a tenth of them at 512.

    Source: Devlin et al., "BERT" (arXiv 1810.04805), A.2; predictions as in the
    release's README.
    """
    phases = Phase(900_000, 256, 128, 20), Phase(100_000, 256, 512, 80)
    return Run(model, "pretraining", phases)


def in_batches(model: str, batch: int, length: int = 128, predictions: int = 20) -> Run:
    """Returns one step of pretraining."""
    return Run(model, "pretraining", (Phase(1, batch, length, predictions),))


def fine_tuning(model: str) -> dict[str, Run]:
    """Returns MNLI and SQuAD 1.1, in batches of 32; a question is taken for one row."""
    return {
        "MNLI": Run(model, "classification", (Phase(392_702 * 3 // 32, 32, 128),)),
        "SQuAD 1.1": Run(model, "squad", (Phase(87_599 * 2 // 32, 32, 384),)),
    }


def train_flops(config: BertConfig, phase: Phase) -> int:
    """Returns operations for a row, forward and backward, which is twice forward.

    To the encoder's come, of each of P masked positions, the transform `[H, H]` and
    the logits `[H, V]`.
    """
    width = config.hidden_size
    head = 2 * phase.predictions * width * (width + config.vocab_size)
    return 3 * (forward_flops(config, phase.length) + head)


def gradient_elements(config: BertConfig, task: str) -> int:
    """Returns how many numbers `clip_and_reduce` adds up over replicas, per step.

    Of every weight that has a gradient; the table of words as a whole, since its
    slices have been added up by then.
    """
    work = Workload(
        config,
        rows=1,
        length=1,
        num_predictions=int(task == "pretraining"),
        num_labels=2 if task == "squad" else 3,
    )
    pooler = (config.hidden_size + 1) * config.hidden_size
    # Answers do without the pooler, which then has no gradient.
    return num_weights(work) - (pooler if task == "squad" else 0)


def _fixed_seconds(run: Run, device: Device, count: int) -> tuple[float, float]:
    """Returns seconds of an update and an all-reduce, which rows do not change."""
    size = run.gradient_bytes
    update = _PASSES_OF_UPDATE * size / device.memory
    return update, all_reduce_seconds(device, count, size)


def step_seconds(
    run: Run, phase: Phase, device: Device, count: int, utilisation: float
) -> tuple[float, float]:
    """Returns seconds in which each device computes, and those of the all-reduce.

    Args:
      run: What is trained.
      phase: One of its phases; its rows are split evenly.
      device: What it is trained on.
      count: How many of them.
      utilisation: Share of their peak that matmuls get; few rows are taken to be as
        fast as many.
    """
    rows = phase.batch / count
    matmuls = rows * train_flops(run.config, phase) / (device.peak * utilisation)
    update, reduce = _fixed_seconds(run, device, count)
    return matmuls + update, reduce


def run_seconds(run: Run, device: Device, count: int, utilisation: float) -> float:
    """Returns seconds of a run whose input keeps up, on devices without jitter."""
    return sum(
        phase.steps * sum(step_seconds(run, phase, device, count, utilisation))
        for phase in run.phases
    )


@dataclasses.dataclass(frozen=True)
class Evidence:
    """A run that somebody timed.

    Attributes:
      kind: `measured` by this package's own benchmarks, or `published` by others.
      device: Its name.
      count: How many there were.
      run: What ran.
      seconds: How long it took.
      source: Who says so.
    """

    kind: str
    device: str
    count: int
    run: Run
    seconds: float
    source: str

    def utilisation(self, device: Device) -> float:
        """Returns the share of the peak that explains the time."""
        fixed = sum(_fixed_seconds(self.run, device, self.count))
        steps = sum(phase.steps for phase in self.run.phases)
        return self.run.flops / (
            self.count * device.peak * (self.seconds - steps * fixed)
        )


def _ours(task: str, rows: int, seconds: float) -> Evidence:
    phase = Phase(1, rows, 128, 20 if task == "pretraining" else 0)
    source = "docs/performance/results.md, bfloat16, 2026-11-24"
    run = Run("Base", task, (phase,))
    return Evidence("measured", "2 CPU cores", 1, run, seconds, source)


_GOOGLE = "Devlin et al. 2018: 4 days (the chips taken for v2)"
_NVIDIA = "NVIDIA DeepLearningExamples, TensorFlow 2, 21.02, float16"
EVIDENCE = (
    Evidence("published", "TPU v2", 16, pretraining("Base"), 4 * DAY, _GOOGLE),
    Evidence("published", "TPU v2", 64, pretraining("Large"), 4 * DAY, _GOOGLE),
    *(
        Evidence("published", device, 1, run, run.phases[0].batch / rows, _NVIDIA)
        for device, run, rows in (
            ("V100", in_batches("Large", 61440, 128, 20), 206.5),
            ("V100", in_batches("Large", 30720, 512, 80), 40.95),
            ("A100", in_batches("Large", 79872, 128, 20), 485.59),
            ("A100", in_batches("Large", 30720, 512, 80), 96.52),
        )
    ),
    _ours("pretraining", 8, 1.397),
    _ours("pretraining", 32, 4.746),
    _ours("classification", 8, 1.276),
    _ours("classification", 32, 4.137),
)


@dataclasses.dataclass(frozen=True)
class Utilisation:
    """The least and the most of a peak that matmuls get, and how that is known."""

    low: float
    high: float
    kind: str


def utilisations(devices: Mapping[str, Device]) -> dict[str, Utilisation]:
    """Returns what evidence says of each device, or of those it is taken to be like."""
    found: dict[str, Utilisation] = {}
    for name, device in devices.items():
        of = device.like or (name,)
        known = [each for each in EVIDENCE if each.device in of]
        shares = [each.utilisation(devices[each.device]) for each in known]
        kind = "assumed" if device.like else known[0].kind
        found[name] = Utilisation(min(shares), max(shares), kind)
    return found
