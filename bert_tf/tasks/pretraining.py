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

_ACCURACIES = {
    "masked_lm_accuracy": "masked_lm_loss",
    "next_sentence_accuracy": "next_sentence_loss",
}


class PretrainingTask(Task):
    """Google's two pretraining objectives.

    Args:
      config: The architecture.
      max_seq_length: Pieces per record.
      max_predictions_per_seq: Masked positions per record, P.
      nsp: Whether to learn the next sentence too. The model has its variables anyway.

    Source: `model_fn_builder` in run_pretraining.py of google-research/bert.
    """

    name = "pretraining"
    unit = "sequences"

    def __init__(
        self,
        config: BertConfig,
        max_seq_length: int,
        max_predictions_per_seq: int,
        nsp: bool = True,
    ):
        self.config = config
        self.max_seq_length = max_seq_length
        self.row_length = max_seq_length
        self.max_predictions_per_seq = max_predictions_per_seq
        self.nsp = nsp
        self.train_metric_names = self._known(
            "masked_lm_loss",
            "masked_lm_accuracy",
            "next_sentence_loss",
            "next_sentence_accuracy",
        )
        self.metric_names = ("loss", *sorted(self.train_metric_names))

    def _known(self, *names: str) -> tuple[str, ...]:
        return tuple(
            name for name in names if self.nsp or not name.startswith("next_sentence")
        )

    @property
    def feature_spec(self) -> FeatureSpec:
        return pretraining_features(self.max_seq_length, self.max_predictions_per_seq)

    def create_model(self, **options: Any) -> keras.Model:
        return BertPretrainer(self.config, **options)

    def sums(self, outputs: Any, batch: dict[str, Any]) -> dict[str, Any]:
        hits = _hits(outputs["masked_lm_logits"], batch["masked_lm_ids"])
        labels = ops.reshape(batch["next_sentence_labels"], (-1,))
        sums = pretraining_sums(outputs, batch) | {
            "masked_lm_accuracy": ops.sum(hits * batch["masked_lm_weights"]),
            "next_sentence_accuracy": ops.sum(
                _hits(outputs["next_sentence_logits"], labels)
            ),
        }
        return {name: sums[name] for name in self.train_metric_names}

    def weights(self, batch: dict[str, Any]) -> dict[str, Any]:
        weights = pretraining_weights(batch)
        return {
            name: weights[_ACCURACIES.get(name, name)]
            for name in self.train_metric_names
        }

    def means(self, sums: dict[str, Any], weights: dict[str, Any]) -> dict[str, Any]:
        accuracies = {
            name: ops.divide_no_nan(sums[name], weights[name])
            for name in self._known(*_ACCURACIES)
        }
        return pretraining_means(sums, weights) | accuracies

    def per_example(self, outputs: Any, batch: dict[str, Any]) -> dict[str, Any]:
        masked_lm_logits = outputs["masked_lm_logits"]
        rows = {
            "masked_lm_losses": cross_entropy(masked_lm_logits, batch["masked_lm_ids"]),
            "masked_lm_hits": _hits(masked_lm_logits, batch["masked_lm_ids"]),
            "masked_lm_weights": batch["masked_lm_weights"],
        }
        if self.nsp:
            logits = outputs["next_sentence_logits"]
            labels = ops.reshape(batch["next_sentence_labels"], (-1,))
            rows |= {
                "next_sentence_losses": cross_entropy(logits, labels),
                "next_sentence_hits": _hits(logits, labels),
            }
        return rows

    def metrics(
        self, rows: dict[str, np.ndarray], batch_size: int
    ) -> dict[str, np.floating]:
        """Returns the release's metrics: `loss` over batches, the rest over rows.

        Source: `metric_fn` in run_pretraining.py of google-research/bert, and
        TPUEstimator, which adds `loss`.
        """
        weights = rows["masked_lm_weights"]
        losses = rows["masked_lm_losses"] * weights
        total = max(float(weights.sum()), 1e-5)
        found = {
            "masked_lm_accuracy": (rows["masked_lm_hits"] * weights).sum() / total,
            "masked_lm_loss": losses.sum() / total,
        }
        starts = np.arange(0, len(weights), batch_size)

        def per_batch(values: np.ndarray) -> np.ndarray:
            return np.add.reduceat(values.reshape(len(values), -1).sum(axis=1), starts)

        loss = per_batch(losses) / (per_batch(weights) + 1e-5)
        if self.nsp:
            ones = np.ones(len(weights))
            loss += per_batch(rows["next_sentence_losses"]) / per_batch(ones)
            found["next_sentence_accuracy"] = rows["next_sentence_hits"].mean()
            found["next_sentence_loss"] = rows["next_sentence_losses"].mean()
        found["loss"] = loss.mean()
        return {name: np.float32(value) for name, value in found.items()}


def _hits(logits: Any, labels: Any) -> Any:
    found = ops.cast(ops.argmax(logits, axis=-1), labels.dtype)
    return ops.cast(ops.equal(found, labels), "float32")
