"""How much memory training will take, and what to do when there is too little.

The estimate is a sum of the tensors that a step keeps, as read off TensorFlow's own
record of its allocations on CPU; benchmarks/NOTES.md has the measurements.

Letters: R rows that are worked on at a time, S sequence, T = R*S tokens, H hidden,
I intermediate, N heads, V vocabulary, P masked positions, L blocks, c bytes of a
number that is computed with (4, or 2 in half precision).
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from bert_tf.config import BertConfig
from bert_tf.errors import ConfigError
from bert_tf.host import available, held_by_process, in_gb

_GB = 10**9
_MB = 10**6

# Tensors [T, I] that a block keeps for the backward pass. `gelu` (tanh form): x, x^2,
# x/2, 1 + tanh and the product; `gelu_erf` computes without the square. The others
# keep their output, and its gradient until that of the weights is taken.
_KEPT_BY_ACTIVATION = {"gelu": 5, "gelu_erf": 4, "relu": 2, "tanh": 2, "linear": 1}

# Host memory of the traced graph, measured: in all, per block, and per block and
# lever that makes the graph larger (recomputing, parts).
_GRAPH, _GRAPH_BLOCK, _GRAPH_BLOCK_LEVER = 45 * _MB, 22 * _MB, 7 * _MB


@dataclasses.dataclass(frozen=True)
class Workload:
    """What one device does in a training step.

    Attributes:
      config: The architecture.
      rows: Rows of a batch per device.
      length: Pieces per row, S.
      micro_batch_size: Rows at a time, R; None for all.
      precision: `float32`, `bfloat16` or `float16`.
      recompute: Whether blocks are computed a second time in the backward pass.
      one_hot_embeddings: Whether words are looked up by a matmul.
      num_labels: Of a classifier.
      num_predictions: Masked positions per row, P; 0 unless it is pretrained.
    """

    config: BertConfig
    rows: int
    length: int
    micro_batch_size: int | None = None
    precision: str = "float32"
    recompute: bool = False
    one_hot_embeddings: bool = False
    num_labels: int = 2
    num_predictions: int = 0

    @property
    def rows_at_a_time(self) -> int:
        """R."""
        return self.micro_batch_size or self.rows

    @property
    def in_parts(self) -> bool:
        """Whether gradients of parts are added up."""
        return self.rows_at_a_time < self.rows

    def __str__(self) -> str:
        parts = f", {self.rows_at_a_time} at a time" if self.in_parts else ""
        return f"{self.rows} rows of {self.length} pieces{parts}"


@dataclasses.dataclass(frozen=True)
class MemoryEstimate:
    """The parts of a training step's peak, in bytes.

    Attributes:
      weights: The model's variables.
      slots: Adam's two per weight.
      gradients: One number per weight, and in parts another one for their sum.
      activations: What the forward pass keeps for the backward pass.
      workspace: What is needed for a moment where most is kept: in the backward
        pass, or if that is more, in the update.
      program: What the process held before, and the traced graph; 0 on accelerators.
    """

    weights: int
    slots: int
    gradients: int
    activations: int
    workspace: int
    program: int

    @property
    def total(self) -> int:
        """The peak, in bytes."""
        return sum(dataclasses.astuple(self))

    def __str__(self) -> str:
        """Returns what it is made of, in GB."""
        parts = {
            "weights and Adam": self.weights + self.slots,
            "gradients": self.gradients,
            "activations": self.activations,
            "workspace": self.workspace,
            "the program": self.program,
        }
        shown = [f"{n} {x / _GB:.1f}" for n, x in parts.items() if x >= _GB / 20]
        made_of = f" ({', '.join(shown)})" if shown else ""
        return f"about {in_gb(self.total)}{made_of}"


def estimate(work: Workload, held: int | None = None) -> MemoryEstimate:
    """Returns the peak of training, evaluation aside.

    Args:
      work: What a device does in a step.
      held: Bytes that the process held before model and optimizer were created
        (`held_by_process`); None for an accelerator, which holds nothing of it.
    """
    config, recompute = work.config, work.recompute
    blocks, vocab_size = config.num_hidden_layers, config.vocab_size
    hidden, c = config.hidden_size, _bytes_per_number(work.precision)
    weights = 4 * num_weights(work)
    tokens = work.rows_at_a_time * work.length  # T
    # Embeddings, their LayerNorm's product and result, its dropout's mask.
    kept = tokens * hidden * (4 + 4 + c + bool(config.hidden_dropout_prob))
    if work.one_hot_embeddings:
        kept += 4 * tokens * vocab_size
    if recompute:
        kept += (blocks - 1) * tokens * hidden * c  # their inputs
    kept += (1 if recompute else blocks) * _kept_by_block(work)

    scores = work.rows_at_a_time * config.num_attention_heads * work.length**2
    # The gradients of what is widest in a block, next to a few of its output.
    backward = max(tokens * config.intermediate_size * c, 2 * 4 * scores)
    backward += 4 * tokens * hidden * 4
    if work.num_predictions:
        logits = work.rows_at_a_time * work.num_predictions * vocab_size
        # The logits, which the accuracy is counted of, and their gradient, in float32,
        # and in half precision its copy; the table's own from the logits, and with the
        # rows of that from the lookup.
        per_logit = 4 + 4 + (c if c < 4 else 0)
        backward = max(backward, per_logit * logits + 2 * 4 * vocab_size * hidden)
    # The update takes one variable after the other: copies of its two slots and what
    # they become.
    update = 4 * 4 * vocab_size * hidden
    program = 0
    if held is not None:
        levers_used = recompute + work.in_parts
        per_block = _GRAPH_BLOCK + levers_used * _GRAPH_BLOCK_LEVER
        program = held + _GRAPH + blocks * per_block
    return MemoryEstimate(
        weights=weights,
        slots=2 * weights,
        gradients=(1 + work.in_parts) * weights,
        activations=kept,
        workspace=max(backward, update - kept),
        program=program,
    )


def _kept_by_block(work: Workload) -> int:
    """Returns the bytes that one block keeps for its backward pass."""
    config, c = work.config, _bytes_per_number(work.precision)
    hidden, wide = config.hidden_size, config.intermediate_size
    tokens = work.rows_at_a_time * work.length
    # Query, key, value and context; of two LayerNorms the input and the product in
    # float32 and the result.
    per_hidden = 4 * c + 2 * (4 + 4 + c) + 2 * bool(config.hidden_dropout_prob)
    # Probabilities in float32; what is left of them after dropout, or in half
    # precision their copy; dropout's mask.
    dropped = bool(config.attention_probs_dropout_prob)
    per_score = 4 + (c if dropped or c < 4 else 0) + dropped
    scores = work.rows_at_a_time * config.num_attention_heads * work.length**2
    weights_in_half = c * (4 * hidden**2 + 2 * hidden * wide) if c < 4 else 0
    return (
        tokens * hidden * per_hidden
        + tokens * wide * c * _KEPT_BY_ACTIVATION[config.hidden_act]
        + scores * per_score
        + weights_in_half
    )


def _bytes_per_number(precision: str) -> int:
    return 4 if precision == "float32" else 2


def num_weights(work: Workload) -> int:
    """Returns how many numbers the model's variables hold."""
    config = work.config
    hidden, wide = config.hidden_size, config.intermediate_size
    norm = 2 * hidden
    rows = config.vocab_size + config.type_vocab_size + config.max_position_embeddings
    embeddings = rows * hidden + norm
    attention = 4 * _dense(hidden, hidden) + norm
    block = attention + _dense(hidden, wide) + _dense(wide, hidden) + norm
    if work.num_predictions:
        head = _dense(hidden, hidden) + norm + config.vocab_size + _dense(hidden, 2)
    else:
        head = _dense(hidden, work.num_labels)
    pooler = _dense(hidden, hidden)
    return embeddings + config.num_hidden_layers * block + pooler + head


def _dense(inputs: int, outputs: int) -> int:
    return (inputs + 1) * outputs


@dataclasses.dataclass(frozen=True)
class Lever:
    """One thing to do about too little memory.

    Attributes:
      flag: What to add to the command.
      price: What it costs.
      total: Bytes that training would then take.
    """

    flag: str
    price: str
    total: int

    def __str__(self) -> str:
        return f"{self.flag} ({self.price}): about {in_gb(self.total)}"


def levers(
    work: Workload, held: int | None = None, room: int | None = None
) -> list[Lever]:
    """Returns what can be done besides what is done, in the order of its price.

    Args:
      work, held: As for `estimate`.
      room: Bytes that training may take; None if that is not known.
    """

    def lever(flag: str, price: str, **change: Any) -> Lever:
        changed = dataclasses.replace(work, **change)
        return Lever(flag, price, estimate(changed, held).total)

    found = []
    parts = [
        lever(
            f"--micro_batch_size={size}",
            "the same results, a little slower",
            micro_batch_size=size,
        )
        for size in range(work.rows_at_a_time - 1, 0, -1)
        if work.rows % size == 0
    ]
    if parts:
        # The next smaller one, or what fits, or what comes nearest to it.
        fits = (part for part in parts if room is None or part.total <= room)
        found.append(next(fits, parts[-1]))
    if not work.recompute:
        price = "the same results, about a third slower"
        found.append(lever("--recompute", price, recompute=True))
    if work.precision == "float32":
        price = "results differ in the third digit"
        found.append(lever("--precision=bfloat16", price, precision="bfloat16"))
    if work.length >= 32:
        half = work.length // 2
        price = "longer texts are cut"
        found.append(lever(f"--max_seq_length={half}", price, length=half))
    return found


def advice(work: Workload, held: int | None = None, room: int | None = None) -> str:
    """Returns the levers in words, and what is left when there are none."""
    shown = [str(lever) for lever in levers(work, held, room)]
    return "; ".join([*shown, "or a smaller model"])


def report(work: Workload, held: int | None = None) -> tuple[str, bool]:
    """Returns what training will take, in words, and whether there is that much.

    Args:
      work: What a device does in a step.
      held: As for `estimate`.
    """
    needed = estimate(work, held)
    line = f"memory: training takes {needed}"
    if held is None:
        return line, True
    room = held_by_process() + available()  # model and optimizer may be there
    if needed.total <= room:
        return f"{line}; there are {in_gb(room)} for it", True
    return (
        f"{line}, but there are only {in_gb(room)} for it; to take less, in this "
        f"order: {advice(work, held, room)}"
    ), False


@contextlib.contextmanager
def explained(work: Workload, held: int | None = None) -> Iterator[None]:
    """Turns running out of memory into a ConfigError that says what to do.

    Args:
      work, held: As for `estimate`.
    """
    import tensorflow as tf  # the estimate does without it

    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise ConfigError(
            f"Expected enough memory to train on {work}, {estimate(work, held)}, and "
            f"ran out of it; to take less, in this order: {advice(work, held)}."
        ) from error
