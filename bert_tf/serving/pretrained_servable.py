"""What can be asked of a pretrained model: vectors of texts, and pieces for [MASK]."""

from collections.abc import Collection, Mapping
from typing import Any

import keras
import tensorflow as tf

from bert_tf.config import BertConfig
from bert_tf.errors import ConfigError
from bert_tf.modeling import BertModel, BertPretrainer
from bert_tf.serving.features import POOLINGS, pooled
from bert_tf.tasks.servable import DEFAULT_SIGNATURE, Servable, Signature
from bert_tf.tokenization import GraphTokenizer, packing
from bert_tf.tokenization.graph_masked_text import mask_id, tokenize_masked

# What of the parts of a checkpoint of pretraining not all checkpoints have.
POOLER, MASKED_LM_HEAD, NEXT_SENTENCE = "bert/pooler/", "cls/predictions/", "cls/seq"

_POOLINGS = tuple(name for name in POOLINGS if name != "none")


class PretrainedEncoder(BertPretrainer):
    """A `BertPretrainer` that also returns what its heads stand on."""

    def call(
        self, features: Any, training: Any = False, dropout_seed: Any = None
    ) -> dict[str, Any]:
        outputs = self._run_graph(features, None)
        logits = self.cls.predictions(
            outputs["sequence_output"],
            features["masked_lm_positions"],
            self.bert.embeddings.word_embeddings,
        )
        return {**outputs, "masked_lm_logits": logits}


class PretrainedServable(Servable):
    """A pretrained encoder, with its masked-LM head if it has one.

    Args:
      config: The architecture.
      tokenizer: Of the checkpoint's vocabulary.
      variables: The names of what the checkpoint holds.
      max_seq_length: Most pieces of a text, special ones included; what is beyond is
        left out.
      pooling: What becomes of a text's pieces: `mean` or `max` over all of them,
        `[CLS]` and `[SEP]` included, or `cls`, the vector of `[CLS]`.
      top_k: How many pieces there are for each mask.

    Raises:
      ConfigError: An argument is out of range.
      DataError: The vocabulary lacks `[MASK]`, although there is a head.
    """

    def __init__(
        self,
        config: BertConfig,
        tokenizer: GraphTokenizer,
        variables: Collection[str],
        *,
        max_seq_length: int,
        pooling: str = "mean",
        top_k: int = 5,
    ):
        if pooling not in _POOLINGS:
            raise ConfigError(
                f"Expected pooling to be one of {', '.join(_POOLINGS)}, got "
                f"{pooling!r}."
            )
        self.config = config
        self.tokenizer = tokenizer
        self.max_seq_length = max_seq_length
        self.pooling = pooling
        self.top_k = min(top_k, config.vocab_size)
        self.has_pooler = any(name.startswith(POOLER) for name in variables)
        self.fills_masks = any(name.startswith(MASKED_LM_HEAD) for name in variables)
        if self.fills_masks:
            self._mask_id = mask_id(tokenizer)
            self.model_features = (*self.model_features, "masked_lm_positions")

    @property
    def absent(self) -> tuple[str, ...]:
        """What the names of variables begin with that the checkpoint may lack."""
        return (NEXT_SENTENCE,) if self.has_pooler else (NEXT_SENTENCE, POOLER)

    def create_model(self, **options: Any) -> keras.Model:
        model = PretrainedEncoder if self.fills_masks else BertModel
        return model(self.config, **options)

    def create_public_model(self) -> keras.Model:
        """Returns one with all parts, whether the checkpoint has them or not."""
        return (BertPretrainer if self.fills_masks else BertModel)(self.config)

    def model_outputs(
        self, model: Any, features: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Returns `sequence_output` `[r, S, H]`, and what else the checkpoint has.

        That is `pooled_output` `[r, H]` and `masked_lm_logits` `[r, P, V]`.
        """
        has = {"pooled_output": self.has_pooler, "masked_lm_logits": self.fills_masks}
        outputs = model(features)
        kept = ["sequence_output", *(name for name in has if has[name])]
        return {name: outputs[name] for name in kept}

    @property
    def signatures(self) -> Mapping[str, Signature]:
        text = [tf.TensorSpec([None], tf.string, name="text")]
        embed = Signature(text, self._embed)
        found = {DEFAULT_SIGNATURE: embed, "embeddings": embed}
        if self.fills_masks:
            found["fill_mask"] = Signature(text, self._fill)
        return found

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Does so with `[MASK]` as one piece, if the model knows what to put there."""
        if self.fills_masks:
            return tokenize_masked(self.tokenizer, texts)
        return self.tokenizer.tokenize(texts)

    def serve_rows(
        self, model: Any, features: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Returns `embedding` `[r, H]`, `sequence_output` `[r, S, H]`, both float32.

        And `pooled_output` `[r, H]`, if the checkpoint has a pooler.
        """
        no_masks = tf.zeros([tf.shape(features["input_ids"])[0], 0], tf.int32)
        outputs = model({**features, "masked_lm_positions": no_masks})
        sequence = tf.cast(outputs["sequence_output"], tf.float32)
        found = {
            "embedding": pooled(sequence, features["input_mask"], self.pooling),
            "sequence_output": sequence,
        }
        if self.has_pooler:
            found["pooled_output"] = tf.cast(outputs["pooled_output"], tf.float32)
        return found

    def _embed(self, model: Any, text: tf.Tensor) -> dict[str, tf.Tensor]:
        features = self.tokenizer.pack(
            text, max_seq_length=self.max_seq_length, pad_to_max=False
        )
        return {"embedding": self.serve_rows(model, features)["embedding"]}

    def _fill(self, model: Any, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the likeliest pieces for each mask, and their probabilities.

        Returns:
          `pieces`, string, and `probabilities`, float32, both `[n, M, K]`, M being the
          masks of the text that has most; behind those of others, empty strings and 0.
        """
        ids = tokenize_masked(self.tokenizer, text)
        features = packing.arrange(
            packing.fit([ids], self.max_seq_length),
            *self.tokenizer.special_ids,
            self.max_seq_length,
            pad_to_max=False,
        )
        is_mask = features["input_ids"] == self._mask_id
        places = tf.where(is_mask)
        positions = tf.RaggedTensor.from_value_rowids(
            tf.cast(places[:, 1], tf.int32), places[:, 0], nrows=tf.size(text, tf.int64)
        )
        outputs = model({**features, "masked_lm_positions": positions.to_tensor()})
        likely = tf.nn.softmax(outputs["masked_lm_logits"])  # [n, M, V]
        probabilities, best = tf.math.top_k(likely, self.top_k)
        count = tf.reduce_sum(tf.cast(is_mask, tf.int32), axis=1)
        is_real = tf.sequence_mask(count)[:, :, tf.newaxis]  # [n, M, 1]
        return {
            "pieces": tf.where(is_real, self.tokenizer.pieces(best), ""),
            "probabilities": tf.where(is_real, probabilities, 0.0),
        }
