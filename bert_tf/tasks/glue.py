"""The data sets of the release, and more of GLUE, in GLUE's files.

Source of CoLA, MNLI, MRPC, XNLI: the processors in run_classifier.py of
google-research/bert, guids included. RTE, SST-2 and STS-B follow GLUE's own layout.
"""

import os
from collections.abc import Mapping

from bert_tf.errors import DataError
from bert_tf.tasks.classification import DataProcessor, InputExample
from bert_tf.tasks.table_files import Row, read_table


def _rows(data_dir: str, *parts: str) -> list[Row]:
    return list(read_table(os.path.join(data_dir, *parts), "\t", None))


def _body(rows: list[Row]) -> list[Row]:
    """Returns the rows below a header."""
    return [row for row in rows if row.index > 0]


class _GlueProcessor(DataProcessor):
    """A data set of GLUE: three TSV files in one folder.

    Subclasses say what stands in which column. The test files of GLUE hold no labels;
    the first label stands in for them, or 0 for a number.
    """

    is_pair = False
    label_kind = "single"
    labels: tuple[str, ...] = ("0", "1")
    # Set -> its file, less the extension.
    files: Mapping[str, str] = {"train": "train", "dev": "dev", "test": "test"}
    # Which of these files start with column names.
    with_header: tuple[str, ...] = ("train", "dev", "test")

    def get_train_examples(self, data_dir: str) -> list[InputExample]:
        return self._examples(data_dir, "train")

    def get_dev_examples(self, data_dir: str) -> list[InputExample]:
        return self._examples(data_dir, "dev")

    def get_test_examples(self, data_dir: str) -> list[InputExample]:
        return self._examples(data_dir, "test")

    def get_labels(self) -> list[str]:
        return list(self.labels)

    def _examples(self, data_dir: str, set_type: str) -> list[InputExample]:
        rows = _rows(data_dir, f"{self.files[set_type]}.tsv")
        if set_type in self.with_header:
            rows = _body(rows)
        return [self._example(row, set_type) for row in rows]

    def _example(self, row: Row, set_type: str) -> InputExample:
        raise NotImplementedError

    def _label(self, row: Row, set_type: str, column: int) -> str:
        if set_type == "test":
            return self.labels[0] if self.labels else "0"
        return row.fields[-1] if column < 0 else row.field(column, "the label")


class MrpcProcessor(_GlueProcessor):
    """Microsoft Research Paraphrase Corpus: does one sentence say the other."""

    is_pair = True

    def _example(self, row: Row, set_type: str) -> InputExample:
        return InputExample(
            guid=f"{set_type}-{row.index}",
            text_a=row.field(3, "the first sentence"),
            text_b=row.field(4, "the second sentence"),
            label=self._label(row, set_type, 0),
            source=row.source,
        )


class MnliProcessor(_GlueProcessor):
    """MultiNLI: entailment, contradiction or neither; the matched dev and test sets."""

    is_pair = True
    labels = ("contradiction", "entailment", "neutral")
    files: Mapping[str, str] = {
        "train": "train",
        "dev": "dev_matched",
        "test": "test_matched",
    }

    def _example(self, row: Row, set_type: str) -> InputExample:
        named = "dev_matched" if set_type == "dev" else set_type
        return InputExample(
            guid=f"{named}-{row.field(0, 'the index')}",
            text_a=row.field(8, "the first sentence"),
            text_b=row.field(9, "the second sentence"),
            # The last column: dev files hold single annotations before it.
            label=self._label(row, set_type, -1),
            source=row.source,
        )


class ColaProcessor(_GlueProcessor):
    """Corpus of Linguistic Acceptability; only its test file has a header."""

    with_header = ("test",)

    def _example(self, row: Row, set_type: str) -> InputExample:
        return InputExample(
            guid=f"{set_type}-{row.index}",
            text_a=row.field(1 if set_type == "test" else 3, "the sentence"),
            label=self._label(row, set_type, 1),
            source=row.source,
        )


class Sst2Processor(_GlueProcessor):
    """Stanford Sentiment Treebank: negative (0) or positive (1)."""

    def _example(self, row: Row, set_type: str) -> InputExample:
        return InputExample(
            guid=f"{set_type}-{row.index}",
            # In the test file, an index stands before the sentence.
            text_a=row.field(1 if set_type == "test" else 0, "the sentence"),
            label=self._label(row, set_type, 1),
            source=row.source,
        )


class RteProcessor(_GlueProcessor):
    """Recognizing Textual Entailment: does the first text entail the second."""

    is_pair = True
    labels = ("entailment", "not_entailment")

    def _example(self, row: Row, set_type: str) -> InputExample:
        return InputExample(
            guid=f"{set_type}-{row.field(0, 'the index')}",
            text_a=row.field(1, "the first sentence"),
            text_b=row.field(2, "the second sentence"),
            label=self._label(row, set_type, 3),
            source=row.source,
        )


class StsbProcessor(_GlueProcessor):
    """Semantic Textual Similarity Benchmark: how much alike, from 0 to 5."""

    is_pair = True
    label_kind = "regression"
    labels = ()

    def _example(self, row: Row, set_type: str) -> InputExample:
        return InputExample(
            guid=f"{set_type}-{row.field(0, 'the index')}",
            text_a=row.field(7, "the first sentence"),
            text_b=row.field(8, "the second sentence"),
            label=self._label(row, set_type, 9),
            source=row.source,
        )


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
        rows = _rows(data_dir, "multinli", f"multinli.train.{self.language}.tsv")
        examples = []
        for row in _body(rows):
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
        rows = _body(_rows(data_dir, "xnli.dev.tsv"))
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
