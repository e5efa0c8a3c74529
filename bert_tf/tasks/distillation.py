"""Classification by a student that learns what a teacher says."""

import dataclasses
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from bert_tf.data.records import FeatureSpec
from bert_tf.tasks.classification import ClassificationTask, InputExample, as_text

_SEED = 12345
_REPLACED = 0.2
_JOINTS = (", but ", " and ", ", ", " - ", ". ")


@dataclasses.dataclass
class DistilledExample(InputExample):
    """One text, or pair, with what a teacher says of it.

    Attributes:
      is_labelled: Whether its label is known; if not, `label` is any valid one.
      teacher_logits: float32 `[L]`.
    """

    is_labelled: bool = True
    teacher_logits: np.ndarray | None = None


def varied(examples: Sequence[InputExample], copies: int) -> Iterator[DistilledExample]:
    """Yields variants of texts, for a teacher to label; the same ones every time.

    Of each text one for each copy: in the first copy, the third and so on, a fifth of
    its words are others, drawn from all texts; in the second, the fourth and so on, it
    goes on with another text. Of pairs, words are replaced alone.

    Args:
      examples: Whose texts.
      copies: How many variants of each.
    """
    draw = random.Random(_SEED)
    texts = [as_text(each.text_a) for each in examples]
    words = [word for text in texts for word in text.split()]

    def replaced(text: str) -> str:
        return " ".join(
            draw.choice(words) if draw.random() < _REPLACED else word
            for word in text.split()
        )

    for copy in range(copies):
        for each, text in zip(examples, texts, strict=True):
            joined = copy % 2 and not each.text_b
            if joined:
                variant = draw.choice(_JOINTS).join((text, draw.choice(texts)))
            else:
                variant = replaced(text)
            yield DistilledExample(
                f"{each.guid}-{copy}",
                variant,
                replaced(as_text(each.text_b)) if each.text_b else None,
                each.label,
                each.source,
                is_labelled=False,
            )


class DistillationTask(ClassificationTask):
    """Learns from a teacher's logits, and from labels as far as these are known.

    The loss is `(1 - w) * soft + w * hard`: `soft`, the mean over all rows of how far
    the student is from the teacher at a temperature; `hard`, the mean over the labelled
    rows of what training without a teacher minimises. All else is as without one.

    Args:
      *args, **kwargs: As for `ClassificationTask`.
      temperature: By which both logits are divided before the softmax.
      hard_label_weight: w, from 0 to 1.
      teacher: What tells the teacher from another.
    """

    def __init__(
        self,
        *args: Any,
        temperature: float,
        hard_label_weight: float,
        teacher: str,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.temperature = temperature
        self.hard_label_weight = hard_label_weight
        self.teacher = teacher

    @property
    def feature_spec(self) -> FeatureSpec:
        return {
            **super().feature_spec,
            "teacher_logits": tf.io.FixedLenFeature([self.num_outputs], tf.float32),
            "is_labelled": tf.io.FixedLenFeature([], tf.int64),
        }

    def _targets(self, examples: Sequence[InputExample]) -> dict[str, np.ndarray]:
        # What is evaluated and predicted has labels alone, and needs nothing else.
        silent = np.zeros(self.num_outputs, np.float32)
        logits = [getattr(each, "teacher_logits", None) for each in examples]
        return {
            **super()._targets(examples),
            "teacher_logits": np.stack([silent if x is None else x for x in logits]),
            "is_labelled": np.array(
                [getattr(each, "is_labelled", True) for each in examples], np.int64
            ),
        }

    @property
    def training_note(self) -> Mapping[str, Any]:
        return {
            **super().training_note,
            "teacher": self.teacher,
            "temperature": self.temperature,
            "hard_label_weight": self.hard_label_weight,
        }

    def sums(self, outputs: Any, batch: dict[str, Any]) -> dict[str, Any]:
        labelled = ops.cast(batch["is_labelled"], "float32")
        soft = self.kind.soft_losses(outputs, batch["teacher_logits"], self.temperature)
        hard = self.kind.hard_losses(outputs, batch["label_ids"])
        sums = {"soft": ops.sum(soft), "hard": ops.sum(labelled * hard)}
        if self.train_metric_names:
            hits = self.kind.hits(outputs, batch["label_ids"])
            sums["accuracy"] = ops.sum(labelled * hits)
        return sums

    def weights(self, batch: dict[str, Any]) -> dict[str, Any]:
        labelled = ops.sum(ops.cast(batch["is_labelled"], "float32"))
        rows = ops.cast(ops.shape(batch["input_ids"])[0], "float32")
        weights = {"soft": rows, "hard": labelled}
        return {**weights, **dict.fromkeys(self.train_metric_names, labelled)}

    def means(self, sums: dict[str, Any], weights: dict[str, Any]) -> dict[str, Any]:
        means = {
            name: ops.divide_no_nan(value, weights[name])
            for name, value in sums.items()
        }
        share = self.hard_label_weight
        loss = (1.0 - share) * means.pop("soft") + share * means.pop("hard")
        return {"loss": loss, **means}
