"""Masked words and next sentence: what BERT is pretrained on."""

from typing import Any

import keras
import numpy as np
from keras import ops

from bert_tf.config import BertConfig
from bert_tf.data.records import FeatureSpec, pretraining_features
from bert_tf.losses import (
    cross_entropy,
    pretraining_means,
    pretraining_sums,
    pretraining_weights,
)
from bert_tf.modeling import BertPretrainer
from bert_tf.tasks.task import Task


class PretrainingTask(Task):
    """Google's two pretraining objectives.

    Args:
      config: The architecture.
      max_seq_length: Pieces per record.
      max_predictions_per_seq: Masked positions per record, P.

    Source: `model_fn_builder` in run_pretraining.py of google-research/bert.
    """

    name = "pretraining"
    train_metric_names = ("masked_lm_loss", "next_sentence_loss")
    metric_names = (
        "masked_lm_accuracy",
        "masked_lm_loss",
        "next_sentence_accuracy",
        "next_sentence_loss",
    )

    def __init__(
        self, config: BertConfig, max_seq_length: int, max_predictions_per_seq: int
    ):
        self.config = config
        self.max_seq_length = max_seq_length
        self.max_predictions_per_seq = max_predictions_per_seq

    @property
    def feature_spec(self) -> FeatureSpec:
        return pretraining_features(self.max_seq_length, self.max_predictions_per_seq)

    def create_model(self, **options: Any) -> keras.Model:
        return BertPretrainer(self.config, **options)

    def sums(self, outputs: Any, batch: dict[str, Any]) -> dict[str, Any]:
        return pretraining_sums(outputs, batch)

    def weights(self, batch: dict[str, Any]) -> dict[str, Any]:
        return pretraining_weights(batch)

    def means(self, sums: dict[str, Any], weights: dict[str, Any]) -> dict[str, Any]:
        return pretraining_means(sums, weights)

    def per_example(self, outputs: Any, batch: dict[str, Any]) -> dict[str, Any]:
        masked_lm_logits = outputs["masked_lm_logits"]
        next_sentence_logits = outputs["next_sentence_logits"]
        labels = ops.reshape(batch["next_sentence_labels"], (-1,))
        return {
            "masked_lm_losses": cross_entropy(masked_lm_logits, batch["masked_lm_ids"]),
            "masked_lm_hits": _hits(masked_lm_logits, batch["masked_lm_ids"]),
            "masked_lm_weights": batch["masked_lm_weights"],
            "next_sentence_losses": cross_entropy(next_sentence_logits, labels),
            "next_sentence_hits": _hits(next_sentence_logits, labels),
        }

    def metrics(
        self, rows: dict[str, np.ndarray], batch_size: int
    ) -> dict[str, np.floating]:
        """Returns the release's four metrics, each a mean over all rows.

        Source: `metric_fn` in run_pretraining.py of google-research/bert.
        """
        weights = rows["masked_lm_weights"]
        total = max(float(weights.sum()), 1e-5)
        masked = {
            "masked_lm_accuracy": (rows["masked_lm_hits"] * weights).sum() / total,
            "masked_lm_loss": (rows["masked_lm_losses"] * weights).sum() / total,
        }
        return {
            **{name: np.float32(value) for name, value in masked.items()},
            "next_sentence_accuracy": np.float32(rows["next_sentence_hits"].mean()),
            "next_sentence_loss": np.float32(rows["next_sentence_losses"].mean()),
        }


def _hits(logits: Any, labels: Any) -> Any:
    found = ops.cast(ops.argmax(logits, axis=-1), labels.dtype)
    return ops.cast(ops.equal(found, labels), "float32")
