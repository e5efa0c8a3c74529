"""What an export needs to know of what it exports."""

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from bert_tf.config import BertConfig
from bert_tf.tokenization import GraphTokenizer

# A row of pieces, as records, models and exports name it.
ROW_FEATURES = ("input_ids", "input_mask", "segment_ids")
DEFAULT_SIGNATURE: str = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY


@dataclasses.dataclass(frozen=True)
class Signature:
    """One way of asking an export: strings in, answers out.

    Attributes:
      inputs: What it takes: strings `[n]`, by name.
      run: Called with the model and the inputs; returns what is said of each, by name,
        `[n, ...]`.
    """

    inputs: Sequence[tf.TensorSpec]
    run: Callable[..., dict[str, tf.Tensor]]


class Servable(abc.ABC):
    """A model with its tokenizer, and what can be asked of it.

    "model" below is any callable that does what `create_model`'s does: it takes the
    features of rows, int32 `[r, S]`, and returns its outputs.
    """

    config: BertConfig
    tokenizer: GraphTokenizer
    # What the labels are called, in the order of their ids; None without any.
    labels: list[str] | None = None
    max_seq_length: int
    # What `model` takes.
    model_features: tuple[str, ...] = ROW_FEATURES

    @abc.abstractmethod
    def create_model(self, **options: Any) -> keras.Model:
        """Returns the model with its head, freshly initialised.

        Args:
          **options: `dtype`, `recompute` and `use_one_hot_embeddings`, as the public
            models take them.
        """

    def create_public_model(self) -> keras.Model:
        """Returns what takes the same weights, as a class of `bert_tf.modeling`."""
        return self.create_model()

    def model_outputs(
        self, model: Any, features: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Returns what the model itself says, float32 `[r, ...]`, by name.

        Args:
          model: As above.
          features: All of `model_features`.
        """
        outputs = model(features)
        return outputs if isinstance(outputs, dict) else {"logits": outputs}

    @property
    @abc.abstractmethod
    def signatures(self) -> Mapping[str, Signature]:
        """How it is asked with strings, by name; `serving_default` among them."""

    @abc.abstractmethod
    def serve_rows(
        self, model: Any, features: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Returns what the model says of rows, `[r, ...]`, by name.

        Args:
          model: As above.
          features: `input_ids`, `input_mask` and `segment_ids`, int32 `[r, S]`.
        """

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Returns the pieces of strings `[n]`, int32 `[n, None]`."""
        return self.tokenizer.tokenize(texts)
