"""Classification of a text or a pair of texts.

`DataProcessor` and `InputExample` are the release's: whoever has written a processor
for `run_classifier.py` hands it in as it is.
"""

import csv
import dataclasses
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from bert_tf.tasks.task import FineTuningTask
from bert_tf.tokenization import GraphTokenizer

# Texts tokenized at a time: enough to keep the cores busy, small in memory.
_TEXTS_AT_A_TIME = 1024
_TEXT_A_AND_B = [tf.TensorSpec([None], tf.string)] * 2


Submission = Callable[[Sequence[Any], Sequence[str | float]], dict[str, str]]


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


class ClassificationTask(FineTuningTask):
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
      submission: Returns further files of a prediction, of the examples and the names
        or numbers predicted for them.
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
        submission: Submission | None = None,
    ):
        self.submission = submission
        self.name = name
        self.config = config
        self.tokenizer = tokenizer
        self.kind = KINDS[label_kind](labels, label_separator)
        self.labels: list[str] = self.kind.labels
        self.num_outputs = self.kind.num_outputs
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
        return BertClassifier(self.config, self.num_outputs, **options)

    def check(self, examples: Sequence[InputExample]) -> None:
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
        self.check(examples)
        windows = self.count_rows(examples)
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
            targets = self._targets(texts)
            yield {
                **{name: x.numpy() for name, x in packed.items()},
                **{n: np.repeat(x, windows, axis=0) for n, x in targets.items()},
                "is_real_example": np.ones(len(packed["input_ids"]), np.int64),
            }

    def _targets(self, examples: Sequence[InputExample]) -> dict[str, np.ndarray]:
        """Returns the features of what is to be learned of examples, `[n, ...]`."""
        label_ids = [self.kind.encode(each.label) for each in examples]
        return {"label_ids": np.array(label_ids)}

    def count_rows(self, examples: Sequence[InputExample]) -> np.ndarray:
        if self.long_text != "windows":
            return np.ones(len(examples), np.int32)
        counts = [self._count(*_texts(texts)).numpy() for texts in _parts(examples)]
        return np.concatenate(counts)

    def size(self, examples: Sequence[InputExample], rows: int) -> str:
        if self.long_text != "windows":
            return f"{len(examples)} examples"
        return f"{len(examples)} texts in {rows} windows"

    @property
    def model_note(self) -> Mapping[str, Any]:
        return {"task_name": self.name, **self.kind.note, "is_pair": self.is_pair}

    @property
    def row_note(self) -> Mapping[str, Any]:
        return {
            "max_seq_length": self.max_seq_length,
            "long_text": self.long_text,
            "doc_stride": self.doc_stride,
        }

    @property
    def training_note(self) -> Mapping[str, Any]:
        return {"class_weights": self.kind.weighing}

    def content(self, example: InputExample) -> Sequence[str]:
        label = np.asarray(self.kind.encode(example.label)).tolist()
        return example.text_a, example.text_b or "", str(label)

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

    def join(
        self, examples: Sequence[InputExample], rows: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Returns `logits` `[n, L]`, the means of each text's rows, and `label_ids`."""
        windows = self.count_rows(examples)
        first = np.cumsum(windows) - windows
        # The sum of a long text's thousands of windows is not exact in float32.
        totals = np.add.reduceat(rows["logits"], first, axis=0, dtype=np.float64)
        return {
            "logits": (totals / windows[:, np.newaxis]).astype(np.float32),
            "label_ids": rows["label_ids"][first],
        }

    def metrics(
        self, rows: Mapping[str, np.ndarray], batch_size: int
    ) -> dict[str, Any]:
        logits, label_ids = rows["logits"], rows["label_ids"]
        losses = self.kind.losses(logits, label_ids)
        starts = range(0, len(losses), batch_size)
        found = {
            **self.kind.scores(self.kind.predict(logits), label_ids),
            "eval_loss": losses.mean(),
            "loss": np.mean([losses[s : s + batch_size].mean() for s in starts]),
        }
        return {name: np.float32(value) for name, value in found.items()}

    def report(self, outcome: Mapping[str, np.ndarray]) -> str | None:
        return self.kind.report(
            self.kind.predict(outcome["logits"]), outcome["label_ids"]
        )

    def figure(self, outcome: Mapping[str, np.ndarray]) -> tuple[str, Any] | None:
        return self.kind.figure(
            self.kind.predict(outcome["logits"]), outcome["label_ids"]
        )

    def prediction_files(
        self, examples: Sequence[InputExample], outcome: Mapping[str, np.ndarray]
    ) -> dict[str, str]:
        """Returns the release's `test_results.tsv`, `predictions.tsv`, and more."""
        predictions = self.kind.predict(outcome["logits"])
        numbers = [[str(x) for x in row] for row in predictions]
        columns: dict[str, Sequence[str]] = {
            "id": [example.guid for example in examples],
            "text_a": [as_text(example.text_a) for example in examples],
        }
        if self.is_pair:
            columns["text_b"] = [as_text(example.text_b) for example in examples]
        names = self.kind.names(predictions)
        if names is not None:
            columns["label"] = names
        header = [*columns, *self.kind.columns]
        table = [
            [*row, *values]
            for row, values in zip(
                zip(*columns.values(), strict=True), numbers, strict=True
            )
        ]
        files = {
            "test_results.tsv": "".join("\t".join(row) + "\n" for row in numbers),
            "predictions.tsv": _tsv([header, *table]),
        }
        if self.submission is not None:
            said = predictions[:, 0].tolist() if names is None else names
            files |= self.submission(examples, said)
        return files

    @property
    def serving_inputs(self) -> Sequence[tf.TensorSpec]:
        names = ("text_a", "text_b") if self.is_pair else ("text_a",)
        return [tf.TensorSpec([None], tf.string, name=name) for name in names]

    def serve(
        self, model: Any, text_a: tf.Tensor, text_b: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Returns what the task's kind of label says of texts.

        `label` `[n]`, the name of the likeliest; `labels` `[n, L]`, all names;
        `probabilities` float32 `[n, L]`. Where a text can have several labels there is
        no `label`; where labels are numbers there is only `score` float32 `[n]`.
        """
        features, windows = self.pack(text_a, text_b, pad_to_max=False)
        text = tf.repeat(tf.range(tf.size(windows)), windows)
        # The sum of a long text's thousands of windows is not exact in float32.
        logits = tf.cast(model(features), tf.float64)
        means = tf.math.unsorted_segment_mean(logits, text, tf.size(windows))
        return self.kind.serve(tf.cast(means, tf.float32))

    def serve_rows(
        self, model: Any, features: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Returns what `serve` does, of each row for itself."""
        return self.kind.serve(model(features))


def _parts(examples: Sequence[InputExample]) -> Iterator[Sequence[InputExample]]:
    for start in range(0, len(examples), _TEXTS_AT_A_TIME):
        yield examples[start : start + _TEXTS_AT_A_TIME]


def _texts(examples: Sequence[InputExample]) -> tuple[tf.Tensor, tf.Tensor]:
    return (
        tf.constant([_encoded(example.text_a) for example in examples]),
        tf.constant([_encoded(example.text_b) for example in examples]),
    )


def _tsv(rows: Sequence[Sequence[str]]) -> str:
    """Returns a table whose fields may hold tabs, quotes and any line end."""
    text = io.StringIO(newline="")
    for row in rows:
        line = io.StringIO(newline="")
        # What ends a row is what gets a field quoted: both characters, therefore.
        csv.writer(line, delimiter="\t", lineterminator="\r\n").writerow(row)
        text.write(line.getvalue().removesuffix("\r\n") + "\n")
    return text.getvalue()


def as_text(text: str | bytes | None) -> str:
    """Returns a text of an example as one; an empty one for none."""
    if isinstance(text, bytes):
        return text.decode("utf-8", "ignore")
    return text or ""


def _encoded(text: str | bytes | None) -> bytes:
    """Returns UTF-8; a lone surrogate, which UTF-8 cannot hold, is dropped."""
    if isinstance(text, bytes):
        return text
    return (text or "").encode("utf-8", "ignore")
