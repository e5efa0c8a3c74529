"""`BertConfig`: what `bert_config.json` holds, checked, and Google's model sizes."""

import dataclasses
import json
from typing import Any, Self

from absl import logging

from bert_tf.errors import ConfigError

ACTIVATIONS = ("gelu", "gelu_erf", "relu", "tanh", "linear")
_MAX_CONFIG_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """The architecture of a BERT model, field by field as in `bert_config.json`.

    Source: `BertConfig` in modeling.py of google-research/bert, defaults included.

    Attributes:
      vocab_size: Number of word pieces V; the only key without a default.
      hidden_size: Width H of the encoder.
      num_hidden_layers: Number of encoder blocks.
      num_attention_heads: Attention heads N per block; must divide H.
      intermediate_size: Width I of the feed-forward layer.
      hidden_act: `gelu` (Google's tanh form), `relu`, `tanh`, `linear`, or
        `gelu_erf` (this package's name for the exact form, used by weights that
        were trained elsewhere).
      hidden_dropout_prob: Dropout of embeddings and of each sub-layer's output.
      attention_probs_dropout_prob: Dropout of the attention probabilities.
      max_position_embeddings: The longest sequence that the model can read.
      type_vocab_size: Number of segment ids.
      initializer_range: Standard deviation of fresh weights.
      extra: Keys that this package does not use, kept so that they are written
        back (Google's Chinese and multilingual configs hold six).

    Raises:
      ConfigError: A value is of the wrong type or out of range.
    """

    vocab_size: int
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 16
    initializer_range: float = 0.02
    extra: dict[str, Any] = dataclasses.field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check_value(field.name, getattr(self, field.name))
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                f"hidden_size must be a multiple of num_attention_heads, got "
                f"{self.hidden_size} and {self.num_attention_heads}; check the "
                "BERT config."
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Returns the config of a parsed `bert_config.json`."""
        known = {f.name for f in dataclasses.fields(cls)} - {"extra"}
        if "vocab_size" not in values:
            raise ConfigError(
                "A BERT config must hold vocab_size, got the keys "
                f"{sorted(values) or 'none'}; is this Google's bert_config.json?"
            )
        extra = {k: v for k, v in values.items() if k not in known}
        if extra:
            logging.info("BERT config: keys not used here: %s", ", ".join(extra))
        return cls(**{k: v for k, v in values.items() if k in known}, extra=extra)

    @classmethod
    def from_json_file(cls, json_file: str) -> Self:
        """Reads `bert_config.json`, also from any filesystem TensorFlow knows."""
        import tensorflow as tf

        from bert_tf.files import read_bytes

        json_file = str(json_file)
        if not tf.io.gfile.exists(json_file) or tf.io.gfile.isdir(json_file):
            raise ConfigError(
                f"Expected a bert_config.json at {json_file}, found no such file; "
                "check --bert_config_file."
            )
        if tf.io.gfile.stat(json_file).length > _MAX_CONFIG_BYTES:
            raise ConfigError(
                f"Expected a small JSON file at {json_file}, found more than 1 MiB; "
                "check --bert_config_file."
            )
        try:
            values = json.loads(read_bytes(json_file).decode("utf-8-sig"))
        except ValueError as error:
            raise ConfigError(
                f"Expected JSON in {json_file}, got text that is not: {error}; "
                "check --bert_config_file."
            ) from error
        if not isinstance(values, dict):
            raise ConfigError(
                f"Expected a JSON object in {json_file}, got "
                f"{type(values).__name__}; check --bert_config_file."
            )
        try:
            return cls.from_dict(values)
        except ConfigError as error:
            raise ConfigError(f"{json_file}: {error}") from error

    @classmethod
    def from_name(cls, name: str) -> Self:
        """Returns the config of one of Google's published models.

        Args:
          name: Google's archive name such as `uncased_L-12_H-768_A-12`, or
            `BERT-Tiny`, `BERT-Mini`, `BERT-Small`, `BERT-Medium`, `BERT-Base`,
            `BERT-Large` (uncased).
        """
        folder = _SHORT_NAMES.get(name.lower(), name)
        if folder not in PUBLISHED_SIZES:
            raise ConfigError(
                f"Expected the name of a published BERT model, got {name!r}; known "
                f"are {', '.join(PUBLISHED_SIZES)}."
            )
        layers, hidden, vocab_size = PUBLISHED_SIZES[folder]
        return cls(
            vocab_size=vocab_size,
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=hidden // 64,
            intermediate_size=4 * hidden,
            type_vocab_size=2,
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns what `from_dict` reads, keys that are not used here included."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        extra = values.pop("extra")
        return {**values, **extra}

    def to_json_string(self) -> str:
        """Returns the text of a `bert_config.json`, keys sorted as Google's."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"


def _check_value(name: str, value: Any) -> None:
    if name == "extra":
        return
    if name == "hidden_act":
        if value not in ACTIVATIONS:
            raise ConfigError(
                f"hidden_act must be one of {', '.join(ACTIVATIONS)}, got {value!r}; "
                "check the BERT config."
            )
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if name.endswith("_prob"):
        if not (number and 0.0 <= value < 1.0):
            raise ConfigError(
                f"{name} must be a number from 0 to below 1, got {value!r}; check "
                "the BERT config."
            )
    elif name == "initializer_range":
        if not (number and 0.0 < value < float("inf")):
            raise ConfigError(
                f"{name} must be a number over 0, got {value!r}; check the BERT config."
            )
    elif not (number and isinstance(value, int) and value > 0):
        raise ConfigError(
            f"{name} must be a whole number over 0, got {value!r}; check the BERT "
            "config."
        )


_UNCASED, _CASED = 30522, 28996

# Archive name -> (num_hidden_layers, hidden_size, vocab_size). Every published
# model has heads of 64 units and a feed-forward layer of four times its width.
PUBLISHED_SIZES: dict[str, tuple[int, int, int]] = {
    **{
        f"uncased_L-{layers}_H-{hidden}_A-{hidden // 64}": (layers, hidden, _UNCASED)
        for layers in (2, 4, 6, 8, 10, 12)
        for hidden in (128, 256, 512, 768)
    },
    "uncased_L-24_H-1024_A-16": (24, 1024, _UNCASED),
    "cased_L-12_H-768_A-12": (12, 768, _CASED),
    "cased_L-24_H-1024_A-16": (24, 1024, _CASED),
    "wwm_uncased_L-24_H-1024_A-16": (24, 1024, _UNCASED),
    "wwm_cased_L-24_H-1024_A-16": (24, 1024, _CASED),
    "multilingual_L-12_H-768_A-12": (12, 768, 105879),
    "multi_cased_L-12_H-768_A-12": (12, 768, 119547),
    "chinese_L-12_H-768_A-12": (12, 768, 21128),
}

_SHORT_NAMES = {
    "bert-tiny": "uncased_L-2_H-128_A-2",
    "bert-mini": "uncased_L-4_H-256_A-4",
    "bert-small": "uncased_L-4_H-512_A-8",
    "bert-medium": "uncased_L-8_H-512_A-8",
    "bert-base": "uncased_L-12_H-768_A-12",
    "bert-large": "uncased_L-24_H-1024_A-16",
}
