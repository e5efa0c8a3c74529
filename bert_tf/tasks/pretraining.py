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

_MASKED_LM = ("masked_lm_accuracy", "masked_lm_loss")
_NEXT_SENTENCE = ("next_sentence_accuracy", "next_sentence_loss")


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
        self.train_metric_names = _MASKED_LM + (_NEXT_SENTENCE if nsp else ())
        self.metric_names = ("loss", *self.train_metric_names)

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
        of_accuracies = {
            "masked_lm_accuracy": weights["masked_lm_loss"],
            "next_sentence_accuracy": weights["next_sentence_loss"],
        }
        return weights | of_accuracies

    def means(self, sums: dict[str, Any], weights: dict[str, Any]) -> dict[str, Any]:
        accuracies = {
            name: ops.divide_no_nan(sums[name], weights[name])
            for name in ("masked_lm_accuracy", "next_sentence_accuracy")
            if name in sums
        }
        return pretraining_means(sums, weights) | accuracies

    def per_example(self, outputs: Any, batch: dict[str, Any]) -> dict[str, Any]:
        """Returns `[B]`: of each row its weight of masked positions and what is summed.

        Sums over a row's positions, so that what an evaluation keeps does not grow
        with their number.
        """
        logits, ids = outputs["masked_lm_logits"], batch["masked_lm_ids"]
        weights = batch["masked_lm_weights"]
        rows = {
            "masked_lm_weight": ops.sum(weights, axis=-1),
            "masked_lm_loss": ops.sum(weights * cross_entropy(logits, ids), axis=-1),
            "masked_lm_hits": ops.sum(weights * _hits(logits, ids), axis=-1),
        }
        if self.nsp:
            logits = outputs["next_sentence_logits"]
            labels = ops.reshape(batch["next_sentence_labels"], (-1,))
            rows |= {
                "next_sentence_loss": cross_entropy(logits, labels),
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
        exact = {name: x.astype(np.float64) for name, x in rows.items()}
        weight, loss = exact["masked_lm_weight"], exact["masked_lm_loss"]
        total = max(weight.sum(), 1e-5)
        found = {
            "masked_lm_accuracy": exact["masked_lm_hits"].sum() / total,
            "masked_lm_loss": loss.sum() / total,
        }
        starts = np.arange(0, len(weight), batch_size)
        batch_loss = np.add.reduceat(loss, starts) / (
            np.add.reduceat(weight, starts) + 1e-5
        )
        if self.nsp:
            found["next_sentence_accuracy"] = exact["next_sentence_hits"].mean()
            found["next_sentence_loss"] = exact["next_sentence_loss"].mean()
            sizes = np.diff([*starts, len(weight)])
            batch_loss += np.add.reduceat(exact["next_sentence_loss"], starts) / sizes
        found["loss"] = batch_loss.mean()
        return {name: np.float32(value) for name, value in found.items()}


def _hits(logits: Any, labels: Any) -> Any:
    found = ops.cast(ops.argmax(logits, axis=-1), labels.dtype)
    return ops.cast(ops.equal(found, labels), "float32")
