"""Classification of a text or a pair of texts.

`DataProcessor` and `InputExample` are the release's: whoever has written a processor
for `run_classifier.py` hands it in as it is.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bert_tf.config import BertConfig
from bert_tf.data.records import FeatureSpec, classification_features
from bert_tf.modeling import BertClassifier
from bert_tf.tasks.label_kind import SEPARATOR, Label
from bert_tf.tasks.label_kinds import KINDS
from bert_tf.tasks.table_files import read_table
from bert_tf.tasks.task import Task
from bert_tf.tokenization import GraphTokenizer

# Texts tokenized at a time: enough to keep the cores busy, small in memory.
_TEXTS_AT_A_TIME = 1024
_TEXT_A_AND_B = [tf.TensorSpec([None], tf.string)] * 2


@dataclasses.dataclass
class InputExample:
    """One text, or pair of texts, with its label.

    Attributes:
      guid: Unique id.
      text_a: The first text.
      text_b: The second text of a pair task; None or empty for none.
      label: The label: a name, a list of names, or a number; any valid one for
        examples to predict.
      source: Where it was read, `FILE, line N`, for error messages.
    """

    guid: str
    text_a: str
    text_b: str | None = None
    label: Label = None
    source: str | None = None


class DataProcessor:
    """Reads the examples of one data set; subclass it for your own.

    Source: `DataProcessor` in run_classifier.py of google-research/bert.
    """

    def get_train_examples(self, data_dir: str) -> list[InputExample]:
        """Returns the examples to train on."""
        raise NotImplementedError

    def get_dev_examples(self, data_dir: str) -> list[InputExample]:
        """Returns the examples to evaluate on."""
        raise NotImplementedError

    def get_test_examples(self, data_dir: str) -> list[InputExample]:
        """Returns the examples to predict."""
        raise NotImplementedError

    def get_labels(self) -> list[str]:
        """Returns all labels; a label's id is its place in this list.

        Where labels are numbers to predict, it is not asked.
        """
        raise NotImplementedError

    @classmethod
    def _read_tsv(cls, input_file: str, quotechar: str | None = None) -> list:
        """Returns the rows of a tab-separated file as lists of fields."""
        return [row.fields for row in read_table(input_file, "\t", quotechar)]


class ClassificationTask(Task):
    """A text, or pair, to its label.

    Args:
      name: Of the task, for messages.
      config: The architecture.
      tokenizer: Of the checkpoint's vocabulary.
      labels: All labels, in the order of their ids; none where they are numbers.
      max_seq_length: Pieces per example, special ones included.
      is_pair: Whether examples have a second text; decides what an export asks for.
      label_kind: One of `KINDS`: one of the labels, any of them, or a number.
      label_separator: What stands between several labels of one row.
      long_text: What becomes of a text that is too long for a row: `truncate` and
        `head_tail` cut it, as `GraphTokenizer.pack` does; `windows` gives it several
        rows, as `GraphTokenizer.pack_windows` does, each with its label, and what is
        said of it is of the mean of their logits.
      doc_stride: How far apart windows begin; None for half of a window.
    """

    def __init__(
        self,
        name: str,
        config: BertConfig,
        tokenizer: GraphTokenizer,
        labels: Sequence[str],
        max_seq_length: int,
        is_pair: bool,
        label_kind: str = "single",
        label_separator: str = SEPARATOR,
        *,
        long_text: str = "truncate",
        doc_stride: int | None = None,
    ):
        self.name = name
        self.config = config
        self.tokenizer = tokenizer
        self.kind = KINDS[label_kind](labels, label_separator)
        self.labels = self.kind.labels
        self.train_metric_names = self.kind.train_metric_names
        self.metric_names = (*self.kind.metric_names, "eval_loss", "loss")
        self.max_seq_length = max_seq_length
        self.is_pair = is_pair
        self.long_text = long_text
        self.doc_stride = doc_stride

    @property
    def feature_spec(self) -> FeatureSpec:
        return classification_features(self.max_seq_length, self.kind.feature)

    def create_model(self, **options: Any) -> keras.Model:
        return BertClassifier(self.config, self.kind.num_outputs, **options)

    def check_labels(self, examples: Sequence[InputExample]) -> None:
        """Raises a DataError that names an example whose label the task lacks."""
        for example in examples:
            self.kind.encode(example.label, example.source or example.guid)

    def balance(self, examples: Sequence[InputExample]) -> None:
        """Makes rare labels of the training rows count like common ones.

        In training only: the losses of an evaluation stay comparable.

        Raises:
          DataError: A label does not occur, or is none of the task's.
          ConfigError: Labels are numbers.
        """
        self.check_labels(examples)
        windows = self.count_windows(examples)
        self.kind = self.kind.balanced(
            [x.label for x, n in zip(examples, windows, strict=True) for _ in range(n)]
        )

    def features(
        self, examples: Sequence[InputExample]
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yields the features of `examples`, in order, many rows at a time.

        Source: `convert_single_example` in run_classifier.py of the release.
        """
        for texts in _parts(examples):
            packed, windows = self._pack(*_texts(texts))
            label_ids = np.array([self.kind.encode(each.label) for each in texts])
            yield {
                **{name: x.numpy() for name, x in packed.items()},
                "label_ids": np.repeat(label_ids, windows, axis=0),
                "is_real_example": np.ones(len(packed["input_ids"]), np.int64),
            }

    def count_windows(self, examples: Sequence[InputExample]) -> np.ndarray:
        """Returns how many rows of `features` each example has, int32 `[n]`."""
        if self.long_text != "windows":
            return np.ones(len(examples), np.int32)
        counts = [self._count(*_texts(texts)).numpy() for texts in _parts(examples)]
        return np.concatenate(counts)

    def pack(
        self, text_a: tf.Tensor, text_b: tf.Tensor | None, pad_to_max: bool = True
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Makes the model's input, as `GraphTokenizer.pack_windows` returns it.

        Args:
          text_a: string `[n]`.
          text_b: string `[n]`, or None.
          pad_to_max: Whether rows are `max_seq_length` long, or only as long as the
            longest row of the batch.

        Returns:
          The features, int32 `[r, S]`, and how many of these rows, which stand one
          after the other, each text or pair has, int32 `[n]`.
        """
        length = self.max_seq_length
        if self.long_text == "windows":
            return self.tokenizer.pack_windows(
                text_a, text_b, length, self.doc_stride, pad_to_max
            )
        features = self.tokenizer.pack(
            text_a, text_b, length, pad_to_max, long_text=self.long_text
        )
        return features, tf.ones([tf.size(text_a)], tf.int32)

    @tf.function(input_signature=_TEXT_A_AND_B, autograph=False)
    def _pack(self, text_a: tf.Tensor, text_b: tf.Tensor) -> Any:
        return self.pack(text_a, text_b)

    # TensorFlow leaves out of a function what its result does not depend on: here all
    # but the tokenizer.
    @tf.function(input_signature=_TEXT_A_AND_B, autograph=False)
    def _count(self, text_a: tf.Tensor, text_b: tf.Tensor) -> tf.Tensor:
        _, windows = self.pack(text_a, text_b)
        return windows

    def sums(self, outputs: Any, batch: dict[str, Any]) -> dict[str, Any]:
        return self.kind.sums(outputs, batch["label_ids"])

    def weights(self, batch: dict[str, Any]) -> dict[str, Any]:
        return self.kind.weights(batch["label_ids"])

    def per_example(self, outputs: Any, batch: dict[str, Any]) -> dict[str, Any]:
        return {"logits": outputs, "label_ids": batch["label_ids"]}

    def join_windows(
        self, rows: Mapping[str, np.ndarray], windows: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Makes of `per_example` of all rows that of all examples.

        Args:
          rows: `per_example` of the rows of `features`, in order.
          windows: How many rows each example has, `[n]`, as from `count_windows`.

        Returns:
          `logits` `[n, L]`, the means of each example's rows, and `label_ids`.
        """
        first = np.cumsum(windows) - windows
        # The sum of a long text's thousands of windows is not exact in float32.
        totals = np.add.reduceat(rows["logits"], first, axis=0, dtype=np.float64)
        return {
            "logits": (totals / windows[:, np.newaxis]).astype(np.float32),
            "label_ids": rows["label_ids"][first],
        }

    def metrics(
        self, rows: dict[str, np.ndarray], batch_size: int
    ) -> dict[str, np.floating]:
        logits, label_ids = rows["logits"], rows["label_ids"]
        losses = self.kind.losses(logits, label_ids)
        starts = range(0, len(losses), batch_size)
        found = {
            **self.kind.scores(self.kind.predict(logits), label_ids),
            "eval_loss": losses.mean(),
            "loss": np.mean([losses[s : s + batch_size].mean() for s in starts]),
        }
        return {name: np.float32(value) for name, value in found.items()}


def _parts(examples: Sequence[InputExample]) -> Iterator[Sequence[InputExample]]:
    for start in range(0, len(examples), _TEXTS_AT_A_TIME):
        yield examples[start : start + _TEXTS_AT_A_TIME]


def _texts(examples: Sequence[InputExample]) -> tuple[tf.Tensor, tf.Tensor]:
    return (
        tf.constant([_encoded(example.text_a) for example in examples]),
        tf.constant([_encoded(example.text_b) for example in examples]),
    )


def _encoded(text: str | bytes | None) -> bytes:
    """Returns UTF-8; a lone surrogate, which UTF-8 cannot hold, is dropped."""
    if isinstance(text, bytes):
        return text
    return (text or "").encode("utf-8", "ignore")
