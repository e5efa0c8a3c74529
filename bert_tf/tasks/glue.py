"""GLUE's data sets and XNLI, in their own files, and what GLUE's site takes.

Source of CoLA, MNLI, MRPC, XNLI: the processors in run_classifier.py of
google-research/bert, guids included. The others follow GLUE's own layout.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from bert_tf.errors import DataError
from bert_tf.tasks.classification import DataProcessor, InputExample
from bert_tf.tasks.table_files import Row, read_table


def _rows(path: str) -> list[Row]:
    return list(read_table(path, "\t", None))


def _body(rows: list[Row]) -> list[Row]:
    """Returns the rows below a header."""
    return [row for row in rows if row.index > 0]


@dataclasses.dataclass
class GlueExample(InputExample):
    """An example that knows what its test file calls it.

    Attributes:
      index: The first column of a test file; None in other sets.
    """

    index: str | None = None


class GlueProcessor(DataProcessor):
    """A data set of GLUE: TSV files in one folder.

    Subclasses say what stands in which column, counted from 0. The test files of GLUE
    hold no labels; the first label stands in for them, or 0 for a number.
    """

    label_kind = "single"
    labels: tuple[str, ...] = ("0", "1")
    # Set -> its file, less the extension.
    files: Mapping[str, str] = {"train": "train", "dev": "dev", "test": "test"}
    # Which of these files start with column names.
    with_header: tuple[str, ...] = ("train", "dev", "test")
    # One sentence, or two; in the test file, if they stand elsewhere there.
    text_columns: tuple[int, ...] = (1, 2)
    test_columns: tuple[int, ...] = ()
    label_column = 3
    # Whether guids go by the first column, or by the number of the row.
    guid_by_index = True
    # What GLUE's site wants the predictions of the test set to be called.
    submission_file: str

    @property
    def is_pair(self) -> bool:
        return len(self.text_columns) == 2

    def get_train_examples(self, data_dir: str) -> list[InputExample]:
        return self._examples(data_dir, "train")

    def get_dev_examples(self, data_dir: str) -> list[InputExample]:
        return self._examples(data_dir, "dev")

    def get_test_examples(self, data_dir: str) -> list[InputExample]:
        return self._examples(data_dir, "test")

    def get_labels(self) -> list[str]:
        return list(self.labels)

    def submission(
        self, examples: Sequence[Any], predicted: Sequence[str | float]
    ) -> dict[str, str]:
        """Returns `submission_file` and its text.

        Args:
          examples: From `get_test_examples`, all of them and in order.
          predicted: The label's name, or the number, that is predicted for each.

        Returns:
          By its name, `index<TAB>prediction` below a header, with the test file's
          indices.
        """
        rows = [
            f"{example.index}\t{self._answer(each)}"
            for example, each in zip(examples, predicted, strict=True)
        ]
        return {self.submission_file: "\n".join(["index\tprediction", *rows, ""])}

    def _answer(self, predicted: str | float) -> str:
        return str(predicted)

    def _examples(self, data_dir: str, set_type: str) -> list[InputExample]:
        rows = _rows(self._path(data_dir, set_type))
        if set_type in self.with_header:
            rows = _body(rows)
        return [self._example(row, set_type) for row in self._usable(rows, set_type)]

    def _path(self, data_dir: str, set_type: str) -> str:
        return os.path.join(data_dir, f"{self.files[set_type]}.tsv")

    def _usable(self, rows: list[Row], set_type: str) -> list[Row]:
        return rows

    def _example(self, row: Row, set_type: str) -> InputExample:
        is_test = set_type == "test"
        columns = self.test_columns if is_test else ()
        texts = [
            row.field(column, f"the {which}sentence")
            for column, which in zip(
                columns or self.text_columns,
                ("first ", "second ") if self.is_pair else ("",),
                strict=True,
            )
        ]
        name = "test" if is_test else self.files[set_type]
        return GlueExample(
            guid=f"{name}-{row.fields[0] if self.guid_by_index else row.index}",
            text_a=texts[0],
            text_b=texts[1] if self.is_pair else None,
            label=self._placeholder() if is_test else self._label(row),
            source=row.source,
            index=row.fields[0] if is_test else None,
        )

    def _label(self, row: Row) -> str:
        return row.field(self.label_column, "the label")

    def _placeholder(self) -> str:
        return self.labels[0] if self.labels else "0"


class ColaProcessor(GlueProcessor):
    """Corpus of Linguistic Acceptability; only its test file has a header."""

    with_header = ("test",)
    text_columns, test_columns, label_column = (3,), (1,), 1
    guid_by_index = False
    submission_file = "CoLA.tsv"


class Sst2Processor(GlueProcessor):
    """Stanford Sentiment Treebank: negative (0) or positive (1)."""

    # In the test file, an index stands before the sentence.
    text_columns, test_columns, label_column = (0,), (1,), 1
    guid_by_index = False
    submission_file = "SST-2.tsv"


class MrpcProcessor(GlueProcessor):
    """Microsoft Research Paraphrase Corpus: does one sentence say the other."""

    text_columns, label_column = (3, 4), 0
    guid_by_index = False
    submission_file = "MRPC.tsv"


class StsbProcessor(GlueProcessor):
    """Semantic Textual Similarity Benchmark: how much alike, from 0 to 5."""

    label_kind = "regression"
    labels = ()
    text_columns, label_column = (7, 8), 9
    submission_file = "STS-B.tsv"

    def _answer(self, predicted: str | float) -> str:
        # A model may leave the range; the site takes nothing outside it.
        return f"{min(max(float(predicted), 0.0), 5.0):.3f}"


class QqpProcessor(GlueProcessor):
    """Quora Question Pairs: do both ask the same."""

    text_columns, test_columns, label_column = (3, 4), (1, 2), 5
    submission_file = "QQP.tsv"

    def _usable(self, rows: list[Row], set_type: str) -> list[Row]:
        """Passes over rows that line ends within questions broke into pieces.

        GLUE's train.tsv holds a few, which its other readers leave out as well. The
        test set is predicted as a whole.
        """
        if set_type == "test":
            return rows
        whole = [row for row in rows if len(row.fields) > self.label_column]
        broken = [row for row in rows if len(row.fields) <= self.label_column]
        if broken:
            logging.warning(
                "passed over %d of %d rows, which have fewer than %d columns; the "
                "first is %s",
                len(broken),
                len(rows),
                self.label_column + 1,
                broken[0].source,
            )
        return whole


class MnliProcessor(GlueProcessor):
    """MultiNLI: entailment, contradiction or neither; the matched dev and test sets."""

    labels = ("contradiction", "entailment", "neutral")
    files: Mapping[str, str] = {
        "train": "train",
        "dev": "dev_matched",
        "test": "test_matched",
    }
    text_columns = (8, 9)
    submission_file = "MNLI-m.tsv"

    def _label(self, row: Row) -> str:
        # The last column: dev files hold single annotations before it.
        return row.fields[-1]


class MnliMismatchedProcessor(MnliProcessor):
    """MultiNLI, with the dev and test sets from sources that training lacks."""

    files: Mapping[str, str] = {
        "train": "train",
        "dev": "dev_mismatched",
        "test": "test_mismatched",
    }
    submission_file = "MNLI-mm.tsv"


class AxProcessor(GlueProcessor):
    """GLUE's diagnostic set: sentences to predict with a model of MultiNLI."""

    labels = MnliProcessor.labels
    submission_file = "AX.tsv"

    def _path(self, data_dir: str, set_type: str) -> str:
        # GLUE's archives name it either way; there is no other set.
        for name in ("AX.tsv", "diagnostic.tsv"):
            path = os.path.join(data_dir, name)
            if tf.io.gfile.exists(path):
                return path
        raise DataError(
            f"Expected AX.tsv or diagnostic.tsv in {data_dir}, found neither; check "
            "--data_dir."
        )


class QnliProcessor(GlueProcessor):
    """Question NLI, from SQuAD: does the sentence hold the answer."""

    labels = ("entailment", "not_entailment")
    submission_file = "QNLI.tsv"


class RteProcessor(GlueProcessor):
    """Recognizing Textual Entailment: does the first text entail the second."""

    labels = ("entailment", "not_entailment")
    submission_file = "RTE.tsv"


class WnliProcessor(GlueProcessor):
    """Winograd NLI: does a pronoun mean what the second sentence says."""

    submission_file = "WNLI.tsv"


# By the name of the task.
PROCESSORS: Mapping[str, type[GlueProcessor]] = {
    "cola": ColaProcessor,
    "sst-2": Sst2Processor,
    "mrpc": MrpcProcessor,
    "sts-b": StsbProcessor,
    "qqp": QqpProcessor,
    "mnli": MnliProcessor,
    "mnli-mm": MnliMismatchedProcessor,
    "ax": AxProcessor,
    "qnli": QnliProcessor,
    "rte": RteProcessor,
    "wnli": WnliProcessor,
}


class XnliProcessor(DataProcessor):
    """Cross-lingual NLI: trained on machine-translated MultiNLI.

    Args:
      language: Which language's rows and training file to take.
    """

    is_pair = True
    label_kind = "single"

    def __init__(self, language: str = "zh"):
        self.language = language

    def get_train_examples(self, data_dir: str) -> list[InputExample]:
        examples = []
        for row in _body(_rows(self._train_file(data_dir))):
            label = row.field(2, "the label")
            examples.append(
                InputExample(
                    guid=f"train-{row.index}",
                    text_a=row.field(0, "the first sentence"),
                    text_b=row.field(1, "the second sentence"),
                    # The training file spells one label unlike the dev file.
                    label="contradiction" if label == "contradictory" else label,
                    source=row.source,
                )
            )
        return examples

    def get_dev_examples(self, data_dir: str) -> list[InputExample]:
        rows = _body(_rows(os.path.join(data_dir, "xnli.dev.tsv")))
        examples = [
            InputExample(
                guid=f"dev-{row.index}",
                text_a=row.field(6, "the first sentence"),
                text_b=row.field(7, "the second sentence"),
                label=row.field(1, "the label"),
                source=row.source,
            )
            for row in rows
            if row.fields[0] == self.language
        ]
        if not examples:
            known = sorted({row.fields[0] for row in rows})
            raise DataError(
                f"Expected rows in the language {self.language!r} in "
                f"{os.path.join(data_dir, 'xnli.dev.tsv')}, found "
                f"{', '.join(known)}; correct --xnli_language."
            )
        return examples

    def get_labels(self) -> list[str]:
        return ["contradiction", "entailment", "neutral"]

    def _train_file(self, data_dir: str) -> str:
        """Returns its path; a DataError names the languages there are instead."""
        start = os.path.join(data_dir, "multinli", "multinli.train.")
        path = f"{start}{self.language}.tsv"
        others = tf.io.gfile.glob(f"{start}*.tsv")
        if others and not tf.io.gfile.exists(path):
            known = sorted(each[len(start) : -len(".tsv")] for each in others)
            raise DataError(
                f"Expected a training file in the language {self.language!r} at "
                f"{path}, found those of {', '.join(known)}; correct --xnli_language."
            )
        return path
