"""The public models: `BertModel`, `BertPretrainer`, and those that are fine-tuned.

Letters: B batch, S sequence, H hidden, P predictions, V vocabulary, L labels.
"""

from typing import Any

import keras
from keras import ops

from bert_tf.config import BertConfig
from bert_tf.errors import ConfigError, DataError
from bert_tf.modeling import kernels
from bert_tf.modeling.embeddings import BertEmbeddings
from bert_tf.modeling.encoder import BertEncoder
from bert_tf.modeling.heads import OutputLayer, PretrainingHeads
from bert_tf.naming import name_variables

# Dropout before the logits of labels, fixed in the release.
_OUTPUT_DROPOUT = 0.1


class BertGraph(keras.layers.Layer):
    """What lies below the scope `bert` in Google's checkpoints.

    The public models hold it rather than one another, so that its variables have the
    same names in each of them.
    """

    def __init__(
        self,
        config: BertConfig,
        recompute: bool = False,
        use_one_hot_embeddings: bool = False,
        **kwargs: Any,
    ):
        super().__init__(name="bert", **kwargs)
        self.config = config
        policy = {"dtype": self.dtype_policy}
        self.embeddings = BertEmbeddings(
            config, use_one_hot_embeddings, name="embeddings", **policy
        )
        self.encoder = BertEncoder(config, recompute, name="encoder", **policy)
        self.pooler = keras.layers.Dense(
            config.hidden_size,
            activation="tanh",
            kernel_initializer=kernels.initializer(config.initializer_range),
            name="dense",
            **policy,
        )

    def build(self, input_shape: Any = None) -> None:
        self.embeddings.build()
        self.encoder.build()
        with keras.name_scope("pooler"):
            self.pooler.build((None, self.config.hidden_size))

    def call(
        self, input_ids: Any, input_mask: Any, segment_ids: Any, seed: Any = None
    ) -> dict[str, Any]:
        embedding_output = self.embeddings(input_ids, segment_ids, seed=seed)
        encoder_layers = self.encoder(embedding_output, input_mask, seed=seed)
        sequence_output = encoder_layers[-1]
        return {
            "embedding_output": embedding_output,
            "encoder_layers": encoder_layers,
            "sequence_output": sequence_output,
            "pooled_output": self.pooler(sequence_output[:, 0]),
        }


class _GoogleModel(keras.Model):
    """What the public models share: the graph, its inputs, the config.

    Args:
      config: The architecture.
      recompute: Whether training keeps only each encoder block's input for the
        backward pass, and computes the rest of the block a second time.
      use_one_hot_embeddings: Whether words are looked up by a matmul: see
        `BertEmbeddings`.
      **kwargs: Of `keras.Model`: `dtype="mixed_bfloat16"` computes in bfloat16 with
        weights, softmax, LayerNorm statistics and logits in float32.
    """

    def __init__(
        self,
        config: BertConfig | dict[str, Any],
        *,
        recompute: bool = False,
        use_one_hot_embeddings: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if isinstance(config, dict):
            config = BertConfig.from_dict(config)
        if not isinstance(config, BertConfig):
            raise ConfigError(
                f"Expected a BertConfig, got {type(config).__name__}; read one with "
                "BertConfig.from_json_file(path)."
            )
        self.config = config
        self.recompute = recompute
        self.use_one_hot_embeddings = use_one_hot_embeddings
        self.bert = BertGraph(
            config, recompute, use_one_hot_embeddings, dtype=self.dtype_policy
        )

    def _finish(self) -> None:
        """Creates the variables and notes their names; the end of `__init__`."""
        self.build()
        name_variables(self)

    def build(self, input_shape: Any = None) -> None:
        self.bert.build()

    def get_config(self) -> dict[str, Any]:
        return {
            **keras.layers.Layer.get_config(self),
            "config": self.config.to_dict(),
            "recompute": self.recompute,
            "use_one_hot_embeddings": self.use_one_hot_embeddings,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        return cls(**config)

    def _run_graph(self, features: Any, seed: Any) -> dict[str, Any]:
        if not isinstance(features, dict) or "input_ids" not in features:
            raise DataError(
                "Expected a dictionary of features with input_ids, got "
                f"{sorted(features) if isinstance(features, dict) else type(features)}."
            )
        input_ids = features["input_ids"]
        length, longest = input_ids.shape[1], self.config.max_position_embeddings
        if length is not None and length > longest:
            raise ConfigError(
                f"Expected sequences of at most max_position_embeddings={longest} "
                f"tokens, got {length}; shorten the inputs."
            )
        input_mask = features.get("input_mask")
        segment_ids = features.get("segment_ids")
        if input_mask is None:
            input_mask = ops.ones_like(input_ids)
        if segment_ids is None:
            segment_ids = ops.zeros_like(input_ids)
        return self.bert(input_ids, input_mask, segment_ids, seed=seed)


def _seed(training: Any, dropout_seed: Any) -> Any:
    """Returns the seed for this call; None where nothing is to be dropped."""
    if not training:
        return None
    if keras.backend.backend() != "tensorflow":
        raise ConfigError(
            "Expected Keras's TensorFlow backend for training, got "
            f"{keras.backend.backend()}; set KERAS_BACKEND=tensorflow before Keras is "
            "imported."
        )
    return kernels.fresh_dropout_seed() if dropout_seed is None else dropout_seed


@keras.saving.register_keras_serializable("bert_tf")
class BertModel(_GoogleModel):
    """The encoder and pooler.

    Args:
      config: The architecture.

    Call:
      features: Dictionary of int32 `[B, S]`: `input_ids`, and optionally
        `input_mask` (1 for real tokens; default all ones) and `segment_ids`
        (default zeros).
      training: Whether to apply dropout.
      dropout_seed: int32 `[2]` that the masks are a function of; fresh at each call
        when absent.

    Returns:
      Dictionary of `embedding_output [B, S, H]`, `encoder_layers` (a list with one
      `[B, S, H]` per block), `sequence_output` (the last of them), `pooled_output
      [B, H]`.

    Source: `BertModel` in modeling.py of google-research/bert.
    """

    def __init__(self, config: BertConfig | dict[str, Any], **kwargs: Any):
        super().__init__(config, **kwargs)
        self._finish()

    def call(
        self, features: Any, training: Any = False, dropout_seed: Any = None
    ) -> dict[str, Any]:
        return self._run_graph(features, _seed(training, dropout_seed))


@keras.saving.register_keras_serializable("bert_tf")
class BertPretrainer(_GoogleModel):
    """The encoder with Google's two pretraining heads.

    Call:
      features: As for `BertModel`, and `masked_lm_positions`, int32 `[B, P]`.

    Returns:
      Dictionary of float32 `masked_lm_logits [B, P, V]`, `next_sentence_logits
      [B, 2]` (0: sentence B follows A; 1: it was drawn at random).

    Source: `model_fn_builder` in run_pretraining.py of google-research/bert.
    """

    def __init__(self, config: BertConfig | dict[str, Any], **kwargs: Any):
        super().__init__(config, **kwargs)
        self.cls = PretrainingHeads(self.config, dtype=self.dtype_policy, name="cls")
        self._finish()

    def build(self, input_shape: Any = None) -> None:
        super().build()
        self.cls.build()

    def call(
        self, features: Any, training: Any = False, dropout_seed: Any = None
    ) -> dict[str, Any]:
        outputs = self._run_graph(features, _seed(training, dropout_seed))
        if "masked_lm_positions" not in features:
            raise DataError(
                "Expected a dictionary of features with masked_lm_positions, got "
                f"{sorted(features)}."
            )
        return self.cls(
            outputs["sequence_output"],
            outputs["pooled_output"],
            features["masked_lm_positions"],
            self.bert.embeddings.word_embeddings,
        )


class _LabellingModel(_GoogleModel):
    """The encoder with one layer of logits on what a subclass takes of it.

    Args:
      config: The architecture.
      num_labels: L.
    """

    def __init__(
        self, config: BertConfig | dict[str, Any], num_labels: int, **kwargs: Any
    ):
        super().__init__(config, **kwargs)
        self.num_labels = num_labels
        self.dropout = kernels.Dropout(_OUTPUT_DROPOUT, "loss")
        self._finish()

    def build(self, input_shape: Any = None) -> None:
        super().build()
        # The release creates these two at the root, below no layer's scope, and
        # with 0.02 whatever initializer_range says.
        self.output_weights = self.add_weight(
            name="output_weights",
            shape=(self.num_labels, self.config.hidden_size),
            initializer=kernels.initializer(0.02),
            autocast=False,
        )
        self.output_bias = self.add_weight(
            name="output_bias",
            shape=(self.num_labels,),
            initializer="zeros",
            autocast=False,
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_labels": self.num_labels}

    def _logits(self, x: Any, seed: Any) -> Any:
        """Returns float32 `[..., L]` for `x [..., H]`."""
        # A few labels: float32 costs nothing, and bfloat16 has three digits.
        x = ops.cast(self.dropout(x, seed), "float32")
        return kernels.logits(x, self.output_weights, self.output_bias)


@keras.saving.register_keras_serializable("bert_tf")
class BertClassifier(_LabellingModel):
    """The encoder with one layer on the pooled output.

    Args:
      config: The architecture.
      num_labels: L.

    Call: as `BertModel`.

    Returns:
      float32 logits `[B, L]`. In training, 0.1 of the pooled output is dropped.

    Source: `create_model` in run_classifier.py of google-research/bert.
    """

    def call(
        self, features: Any, training: Any = False, dropout_seed: Any = None
    ) -> Any:
        seed = _seed(training, dropout_seed)
        return self._logits(self._run_graph(features, seed)["pooled_output"], seed)


@keras.saving.register_keras_serializable("bert_tf")
class BertTokenClassifier(_LabellingModel):
    """The encoder with one layer on each piece, for tags of words.

    Not in the release: its variables have the names of `BertClassifier`'s.

    Args:
      config: The architecture.
      num_labels: L.

    Call: as `BertModel`.

    Returns:
      float32 logits `[B, S, L]`. In training, 0.1 of the sequence output is dropped.
    """

    def call(
        self, features: Any, training: Any = False, dropout_seed: Any = None
    ) -> Any:
        seed = _seed(training, dropout_seed)
        return self._logits(self._run_graph(features, seed)["sequence_output"], seed)


@keras.saving.register_keras_serializable("bert_tf")
class BertSpanLabeler(_GoogleModel):
    """The encoder with one layer on each piece, for both ends of an answer.

    Args:
      config: The architecture.

    Call: as `BertModel`.

    Returns:
      Dictionary of float32 `start_logits` and `end_logits`, `[B, S]`.

    Source: `create_model` in run_squad.py of google-research/bert.
    """

    def __init__(self, config: BertConfig | dict[str, Any], **kwargs: Any):
        super().__init__(config, **kwargs)
        self.squad = OutputLayer(
            self.config.hidden_size, 2, 0.02, dtype=self.dtype_policy, name="squad"
        )
        self._finish()

    def build(self, input_shape: Any = None) -> None:
        super().build()
        with keras.name_scope("cls"):
            self.squad.build()

    def call(
        self, features: Any, training: Any = False, dropout_seed: Any = None
    ) -> dict[str, Any]:
        outputs = self._run_graph(features, _seed(training, dropout_seed))
        logits = self.squad(outputs["sequence_output"])  # [B, S, 2]
        return {"start_logits": logits[..., 0], "end_logits": logits[..., 1]}
