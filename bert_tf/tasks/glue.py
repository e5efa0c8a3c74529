"""The data sets of the release, and SST-2, in GLUE's files.

Source of CoLA, MNLI, MRPC, XNLI: the processors in run_classifier.py of
google-research/bert, guids included. SST-2 follows GLUE's own layout.
"""

import os

from bert_tf.errors import DataError
from bert_tf.tasks.classification import DataProcessor, InputExample
from bert_tf.tasks.table_files import Row, read_table


def _rows(data_dir: str, *parts: str) -> list[Row]:
    return list(read_table(os.path.join(data_dir, *parts), "\t", None))


def _body(rows: list[Row]) -> list[Row]:
    """Returns the rows below a header."""
    return [row for row in rows if row.index > 0]


class MrpcProcessor(DataProcessor):
    """Microsoft Research Paraphrase Corpus: does one sentence say the other."""

    is_pair = True

    def get_train_examples(self, data_dir: str) -> list[InputExample]:
        return self._examples(data_dir, "train")

    def get_dev_examples(self, data_dir: str) -> list[InputExample]:
        return self._examples(data_dir, "dev")

    def get_test_examples(self, data_dir: str) -> list[InputExample]:
        return self._examples(data_dir, "test")

    def get_labels(self) -> list[str]:
        return ["0", "1"]

    def _examples(self, data_dir: str, set_type: str) -> list[InputExample]:
        return [
            InputExample(
                guid=f"{set_type}-{row.index}",
                text_a=row.field(3, "the first sentence"),
                text_b=row.field(4, "the second sentence"),
                label="0" if set_type == "test" else row.field(0, "the label"),
                source=row.source,
            )
            for row in _body(_rows(data_dir, f"{set_type}.tsv"))
        ]


class MnliProcessor(DataProcessor):
    """MultiNLI: entailment, contradiction or neither; the matched dev and test sets."""

    is_pair = True

    def get_train_examples(self, data_dir: str) -> list[InputExample]:
        return self._examples(data_dir, "train", "train")

    def get_dev_examples(self, data_dir: str) -> list[InputExample]:
        return self._examples(data_dir, "dev_matched", "dev_matched")

    def get_test_examples(self, data_dir: str) -> list[InputExample]:
        return self._examples(data_dir, "test_matched", "test")

    def get_labels(self) -> list[str]:
        return ["contradiction", "entailment", "neutral"]

    def _examples(self, data_dir: str, name: str, set_type: str) -> list[InputExample]:
        return [
            InputExample(
                guid=f"{set_type}-{row.field(0, 'the index')}",
                text_a=row.field(8, "the first sentence"),
                text_b=row.field(9, "the second sentence"),
                # The last column: dev files hold single annotations before it.
                label="contradiction" if set_type == "test" else row.fields[-1],
                source=row.source,
            )
            for row in _body(_rows(data_dir, f"{name}.tsv"))
        ]


class ColaProcessor(DataProcessor):
    """Corpus of Linguistic Acceptability; only its test file has a header."""

    is_pair = False

    def get_train_examples(self, data_dir: str) -> list[InputExample]:
        return self._labelled(data_dir, "train")

    def get_dev_examples(self, data_dir: str) -> list[InputExample]:
        return self._labelled(data_dir, "dev")

    def get_test_examples(self, data_dir: str) -> list[InputExample]:
        return [
            InputExample(
                guid=f"test-{row.index}",
                text_a=row.field(1, "the sentence"),
                label="0",
                source=row.source,
            )
            for row in _body(_rows(data_dir, "test.tsv"))
        ]

    def get_labels(self) -> list[str]:
        return ["0", "1"]

    def _labelled(self, data_dir: str, set_type: str) -> list[InputExample]:
        return [
            InputExample(
                guid=f"{set_type}-{row.index}",
                text_a=row.field(3, "the sentence"),
                label=row.field(1, "the label"),
                source=row.source,
            )
            for row in _rows(data_dir, f"{set_type}.tsv")
        ]


class Sst2Processor(DataProcessor):
    """Stanford Sentiment Treebank: negative (0) or positive (1)."""

    is_pair = False

    def get_train_examples(self, data_dir: str) -> list[InputExample]:
        return self._examples(data_dir, "train")

    def get_dev_examples(self, data_dir: str) -> list[InputExample]:
        return self._examples(data_dir, "dev")

    def get_test_examples(self, data_dir: str) -> list[InputExample]:
        return self._examples(data_dir, "test")

    def get_labels(self) -> list[str]:
        return ["0", "1"]

    def _examples(self, data_dir: str, set_type: str) -> list[InputExample]:
        is_test = set_type == "test"  # there, an index stands before the sentence
        return [
            InputExample(
                guid=f"{set_type}-{row.index}",
                text_a=row.field(1 if is_test else 0, "the sentence"),
                label="0" if is_test else row.field(1, "the label"),
                source=row.source,
            )
            for row in _body(_rows(data_dir, f"{set_type}.tsv"))
        ]


class XnliProcessor(DataProcessor):
    """Cross-lingual NLI: trained on machine-translated MultiNLI.

    Args:
      language: Which language's rows and training file to take.
    """

    is_pair = True

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
