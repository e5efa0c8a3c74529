"""A model between two packages, and what became of its tensors on the way."""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bert_tf.config import BertConfig
from bert_tf.errors import CheckpointError
from bert_tf.interchange.names import (
    DISTILBERT,
    KERAS_HUB,
    ROWS,
    Row,
    expand,
    shape_of,
)

# A head is there whole or not at all; what is of none of them has to be there.
_HEADS = (
    "bert/pooler/",
    "cls/predictions/",
    "cls/seq_relationship/",
    "cls/squad/",
    "output_",
)
_SHOWN = 4
_LONGEST_ROW = 512
NO_POOLER = "there is no pooler, which will start fresh"


@dataclasses.dataclass(frozen=True)
class Weights:
    """A model as Google would publish it, in memory.

    Attributes:
      config: The architecture.
      tensors: float32, by Google's names and in Google's shapes.
      vocab: What `vocab.txt` holds.
      note: What a training run would note of itself in `run_config.json`, as far as it
        is known: `do_lower_case`, and of a fine-tuned model its task.
      labels: The names of a classifier's labels, in the order of their ids.
    """

    config: BertConfig
    tensors: Mapping[str, np.ndarray]
    vocab: bytes
    note: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    labels: tuple[str, ...] = ()


def classifier_note(
    config: BertConfig, label_kind: str = "single", is_pair: bool = False
) -> dict[str, Any]:
    """Returns what `run_classifier` would have noted of a model from elsewhere.

    Args:
      config: The architecture.
      label_kind: `single`, `multi` or `regression`.
      is_pair: Whether its texts are pairs.
    """
    note = {"task_name": "custom", "label_kind": label_kind, "is_pair": is_pair}
    if label_kind == "multi":
        note["label_separator"] = "|"
    return {**note, "max_seq_length": longest_row(config)}


def longest_row(config: BertConfig) -> int:
    """Returns how long rows are taken to be where nothing says it."""
    return min(_LONGEST_ROW, config.max_position_embeddings)


@dataclasses.dataclass
class Step:
    """What became of tensors when they were read from a package, or written for one.

    Attributes:
      title: What was done, such as `read from Hugging Face`.
      mapped: Names of the tensors that were taken as they are.
      transposed: Those whose axes were turned.
      reshaped: Those whose axes were split or joined.
      created: Tensor -> why it had to be made up, and how.
      dropped: Tensor -> why it was left out.
      remarks: What else somebody should know.
    """

    title: str
    mapped: list[str] = dataclasses.field(default_factory=list)
    transposed: list[str] = dataclasses.field(default_factory=list)
    reshaped: list[str] = dataclasses.field(default_factory=list)
    created: dict[str, str] = dataclasses.field(default_factory=dict)
    dropped: dict[str, str] = dataclasses.field(default_factory=dict)
    remarks: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        counts = {
            "mapped": len(self.mapped),
            "transposed": len(self.transposed),
            "reshaped": len(self.reshaped),
            "created": len(self.created),
            "dropped": len(self.dropped),
        }
        shown = ", ".join(f"{name} {n}" for name, n in counts.items() if n)
        lines = [f"{self.title}: {shown or 'nothing'}"]
        for verb, named in (("created", self.created), ("dropped", self.dropped)):
            lines += [f"  {verb} {line}" for line in _by_reason(named)]
        return "\n".join([*lines, *(f"  {remark}" for remark in self.remarks)])


def _by_reason(named: Mapping[str, str]) -> list[str]:
    names: dict[str, list[str]] = {}
    for name, reason in named.items():
        names.setdefault(reason, []).append(name)
    return [
        f"{', '.join(each[:_SHOWN])}"
        f"{f' and {len(each) - _SHOWN} more' if len(each) > _SHOWN else ''}: {reason}"
        for reason, each in names.items()
    ]


def head_of(google: str) -> str | None:
    """Returns which head a tensor is of; None for one that every model has."""
    return next((head for head in _HEADS if google.startswith(head)), None)


def to_google(
    config: BertConfig,
    column: int,
    names: Collection[str],
    read: Callable[[str], np.ndarray],
    step: Step,
) -> dict[str, np.ndarray]:
    """Returns another package's tensors under Google's names and in Google's shapes.

    Args:
      config: The architecture.
      column: The package, as in `names.ROWS`.
      names: What there is, by that package's names.
      read: Returns one of them.
      step: Is told what became of them.

    Raises:
      CheckpointError: A tensor is missing, or of another size than the config says.
    """
    rows = [
        (row, row.google.format(block), name.format(block))
        for row, block in expand(config)
        if (name := row.others[column]) is not None
    ]
    _check_depth(config, [row.others[column] for row in ROWS], names)
    heads = _whole_heads(rows, names, step)
    found: dict[str, np.ndarray] = {}
    for row, google, theirs in rows:
        head = head_of(google)
        if head is not None and head not in heads:
            continue
        if theirs not in names:
            raise CheckpointError(
                f"Expected a tensor {theirs} for {google}, found none among "
                f"{len(names)}; is this a BERT model with "
                f"{config.num_hidden_layers} layers?"
            )
        value = np.asarray(read(theirs))
        found[google] = _google_layout(row, column, value, config, theirs, step)
    if "bert/pooler/" not in heads:
        step.remarks.append(NO_POOLER)
    known = {theirs for _, _, theirs in rows}
    step.dropped |= {
        name: "Google's graph has no place for it"
        for name in sorted(names)
        if name not in known and name not in step.dropped
    }
    if column == DISTILBERT:
        missing = "bert/embeddings/token_type_embeddings"
        found[missing] = np.zeros(
            (config.type_vocab_size, config.hidden_size), np.float32
        )
        step.created[missing] = "DistilBERT has no segments; zeros add nothing"
    return found


def _check_depth(
    config: BertConfig, rows: Iterable[str | None], names: Collection[str]
) -> None:
    """Raises a CheckpointError if there are more blocks than the config says."""
    count = config.num_hidden_layers
    for name in rows:
        if name and "{}" in name and name.format(count) in names:
            raise CheckpointError(
                f"Expected {count} layers, as the config says, found "
                f"{name.format(count)} of one more; use the config that belongs to "
                "these weights."
            )


def _whole_heads(
    rows: Sequence[tuple[Row, str, str]], names: Collection[str], step: Step
) -> set[str | None]:
    """Returns the heads that there are; what is there of others is left out."""
    heads = {head_of(google) for _, google, theirs in rows if theirs in names}
    for _, google, theirs in rows:
        head = head_of(google)
        # Who has half a pooler has lost something.
        if theirs not in names and head in heads - {"bert/pooler/"} and head:
            heads.discard(head)
            step.dropped |= {
                name: f"the head that it is of lacks {theirs}"
                for _, other, name in rows
                if head_of(other) == head and name in names
            }
    return heads


def _google_layout(
    row: Row,
    column: int,
    value: np.ndarray,
    config: BertConfig,
    theirs: str,
    step: Step,
) -> np.ndarray:
    keras = column >= KERAS_HUB
    turned = row.kind == ("labels" if keras else "kernel")
    laid_out = value.T if turned else value
    axis = "L" in row.shape and laid_out.ndim > 0
    expected = shape_of(row, config, laid_out.shape[0] if axis else 2)
    if keras and laid_out.size == np.prod(expected, dtype=int):
        laid_out = laid_out.reshape(expected)
    if laid_out.shape != expected:
        raise CheckpointError(
            f"Expected {theirs} to give {row.google} the shape {list(expected)}, got "
            f"{list(laid_out.shape)}; config and weights differ."
        )
    if turned:
        step.transposed.append(theirs)
    elif laid_out.shape != value.shape:
        step.reshaped.append(theirs)
    else:
        step.mapped.append(theirs)
    # A copy in order, as transposing alone leaves the numbers where they are.
    return np.ascontiguousarray(laid_out, dtype=np.float32)


def from_google(
    config: BertConfig, column: int, tensors: Mapping[str, np.ndarray], step: Step
) -> dict[str, np.ndarray]:
    """Returns tensors as another package calls them and lays them out.

    Args:
      config: The architecture.
      column: The package, as in `names.ROWS`.
      tensors: By Google's names.
      step: Is told what became of them.

    Raises:
      CheckpointError: A tensor is missing, or of another shape than the config says.
    """
    keras = column >= KERAS_HUB
    given: dict[str, np.ndarray] = {}
    for row, block in expand(config):
        google, theirs = row.google.format(block), row.others[column]
        if google not in tensors:
            continue
        if theirs is None:
            step.dropped[google] = "they have no place for it"
            continue
        value = tensors[google]
        laid_out = value
        if row.kind == ("labels" if keras else "kernel"):
            laid_out = np.ascontiguousarray(value.T)
            step.transposed.append(google)
        elif keras and (shape := _with_heads(row, config)) is not None:
            laid_out = value.reshape(shape)
            step.reshaped.append(google)
        else:
            step.mapped.append(google)
        given[theirs.format(block)] = laid_out
    return given


def _with_heads(row: Row, config: BertConfig) -> tuple[int, ...] | None:
    """Returns a shape in which attention's heads have an axis of their own."""
    width, heads = config.hidden_size, config.num_attention_heads
    if "/attention/self/" in row.google:
        return (*(width,) * (row.kind == "kernel"), heads, width // heads)
    if row.google.endswith("/attention/output/dense/kernel"):
        return heads, width // heads, width
    return None


def check_complete(
    config: BertConfig, tensors: Mapping[str, np.ndarray], source: str
) -> None:
    """Raises a CheckpointError unless tensors are a BERT model of these sizes."""
    _check_depth(config, [row.google for row in ROWS], tensors)
    heads = {head_of(name) for name in tensors}
    for row, block in expand(config):
        name, head = row.google.format(block), head_of(row.google)
        if name not in tensors:
            if head is not None and head not in heads:
                continue
            raise CheckpointError(
                f"Expected {name} in {source}, found none; is this BERT, of the sizes "
                "that its bert_config.json says?"
            )
        value = tensors[name]
        labels = value.shape[0] if "L" in row.shape and value.ndim else 2
        expected = shape_of(row, config, labels)
        if value.shape != expected:
            raise CheckpointError(
                f"Expected {name} of shape {list(expected)} by the config, found "
                f"{list(value.shape)} in {source}; use the bert_config.json that "
                "belongs to it."
            )
