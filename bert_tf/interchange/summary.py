"""What a checkpoint holds, from the names and shapes of its tensors alone."""

import dataclasses
import math
import re
from collections.abc import Mapping

from bert_tf.checkpoint import is_weight
from bert_tf.config import BertConfig
from bert_tf.errors import CheckpointError
from bert_tf.interchange.names import expand, row_of, shape_of

Shapes = Mapping[str, tuple[int, ...]]

# What a part is called -> what the names of its tensors begin with.
_PARTS = {
    "word embeddings": "bert/embeddings/word_embeddings",
    "position embeddings": "bert/embeddings/position_embeddings",
    "segment embeddings": "bert/embeddings/token_type_embeddings",
    "their LayerNorm": "bert/embeddings/LayerNorm/",
    "encoder": "bert/encoder/",
    "pooler": "bert/pooler/",
    "masked-LM head": "cls/predictions/",
    "next-sentence head": "cls/seq_relationship/",
    "head for answers": "cls/squad/",
    "head for labels": "output_",
}
_LAYER = re.compile(r"^bert/encoder/layer_(\d+)/")


@dataclasses.dataclass(frozen=True)
class Summary:
    """What there is.

    Attributes:
      parts: What a part is called -> how many numbers it holds; in this order they are
        embeddings, encoder, pooler, heads, and `others` for what is not BERT's.
      state: How many numbers of a training's state there are besides.
      layers: How many blocks the encoder has.
      sizes: `vocab_size`, `hidden_size` and so on, as far as shapes tell them.
      num_labels: How many labels there are a head for; None without one.
    """

    parts: dict[str, int]
    state: int
    layers: int
    sizes: dict[str, int]
    num_labels: int | None

    @property
    def model(self) -> int:
        """How many numbers encoder, embeddings and pooler hold."""
        parts = list(_PARTS)[: list(_PARTS).index("pooler") + 1]
        return sum(self.parts.get(part, 0) for part in parts)

    @property
    def total(self) -> int:
        """How many numbers there are without the state of a training."""
        return sum(self.parts.values())

    @property
    def formula(self) -> int:
        """V*H + 12*L*H^2, by which the size of a model is often told."""
        width = self.sizes["hidden_size"]
        return self.sizes["vocab_size"] * width + 12 * self.layers * width**2


def summarize(shapes: Shapes, source: str) -> Summary:
    """Returns what a checkpoint holds.

    Args:
      shapes: Of its tensors, by Google's names.
      source: Where it is, for messages.

    Raises:
      CheckpointError: It holds no BERT encoder.
    """
    words = shapes.get("bert/embeddings/word_embeddings", ())
    blocks = {int(match[1]) for match in map(_LAYER.match, shapes) if match}
    if len(words) != 2 or not blocks:
        raise CheckpointError(
            f"Expected a BERT encoder in {source}, found "
            f"{', '.join(sorted(shapes)[:3]) or 'nothing'} and the like; name a BERT "
            "checkpoint, or convert it first."
        )
    parts: dict[str, int] = {}
    state = 0
    for name, shape in shapes.items():
        count = math.prod(shape)
        if not is_weight(name):
            state += count
            continue
        known = row_of(name) is not None
        begins = (part for part, start in _PARTS.items() if name.startswith(start))
        part = next(begins, "others") if known else "others"
        parts[part] = parts.get(part, 0) + count
    parts = {part: parts[part] for part in (*_PARTS, "others") if part in parts}
    sizes = {"vocab_size": words[0], "hidden_size": words[1]}
    for size, name in (
        ("max_position_embeddings", "bert/embeddings/position_embeddings"),
        ("type_vocab_size", "bert/embeddings/token_type_embeddings"),
        ("intermediate_size", "bert/encoder/layer_0/intermediate/dense/bias"),
    ):
        if shapes.get(name):
            sizes[size] = shapes[name][0]
    labels = shapes.get("output_weights")
    return Summary(parts, state, len(blocks), sizes, labels[0] if labels else None)


def misfits(shapes: Shapes, config: BertConfig) -> list[str]:
    """Returns in words what of a checkpoint a config does not fit."""
    found = []
    for row, block in expand(config):
        name = row.google.format(block)
        if "L" in row.shape:
            continue
        expected = shape_of(row, config)
        if name in shapes and shapes[name] != expected:
            found.append(
                f"{name} is {list(shapes[name])}, not {list(expected)} as the config "
                "says"
            )
        elif name not in shapes and name.startswith(("bert/emb", "bert/enc")):
            found.append(f"{name} is not there")
    surplus = {int(match[1]) for match in map(_LAYER.match, shapes) if match} - set(
        range(config.num_hidden_layers)
    )
    if surplus:
        found.append(
            f"there are {len(surplus)} layers more than the config's "
            f"{config.num_hidden_layers}"
        )
    return found
