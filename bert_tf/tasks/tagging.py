"""A tag for every word: named entities, parts of speech."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from bert_tf.config import BertConfig
from bert_tf.data.records import FeatureSpec, tagging_features
from bert_tf.errors import DataError
from bert_tf.losses import cross_entropy
from bert_tf.modeling import BertTokenClassifier
from bert_tf.tasks import entities, report
from bert_tf.tasks.tag_files import TaggedSentence
from bert_tf.tasks.task import FineTuningTask
from bert_tf.tasks.word_rows import WordRows
from bert_tf.tokenization import GraphTokenizer
from bert_tf.tokenization.word_windows import WordWindows

_NAMES_SHOWN = 10


class Outcome(NamedTuple):
    """What is said of the words of some sentences, one sentence after the other.

    Attributes:
      sentences: These.
      tags: int `[w]`, the id of the likeliest tag of each word.
      probabilities: float32 `[w]`, of that tag.
      losses: float32 `[w]`, of the tags that are right, where they are known.
    """

    sentences: Sequence[TaggedSentence]
    tags: np.ndarray
    probabilities: np.ndarray
    losses: np.ndarray


class TaggingTask(FineTuningTask):
    """The words of a sentence to their tags.

    A word's tag is that of its first piece, in the row where most stands around it.

    Args:
      config: The architecture.
      tokenizer: Of the checkpoint's vocabulary.
      labels: All tags, in the order of their ids.
      max_seq_length: Pieces per row, special ones included.
      doc_stride: How many pieces further than the one before a row of a longer
        sentence begins; None for half of what it holds.
    """

    name = "tagging"
    unit = "rows"
    serving_name = "tags"
    train_metric_names = ("accuracy",)

    def __init__(
        self,
        config: BertConfig,
        tokenizer: GraphTokenizer,
        labels: Sequence[str],
        *,
        max_seq_length: int = 128,
        doc_stride: int | None = None,
    ):
        self.config = config
        self.tokenizer = tokenizer
        self.labels: list[str] = list(labels)
        self.num_outputs = len(self.labels)
        self.max_seq_length = max_seq_length
        self.doc_stride = doc_stride
        self._ids = {label: index for index, label in enumerate(self.labels)}
        self._rows = WordRows(
            tokenizer,
            lambda sentence: sentence.words,
            max_seq_length=max_seq_length,
            doc_stride=doc_stride,
            every_word=True,
        )
        self.has_entities = entities.mark_entities(self.labels)
        entity_names = ("eval_f1", "eval_precision", "eval_recall")
        self.metric_names = (
            *(entity_names if self.has_entities else ()),
            "eval_accuracy",
            "eval_loss",
        )

    @property
    def feature_spec(self) -> FeatureSpec:
        return tagging_features(self.max_seq_length)

    def create_model(self, **options: Any) -> keras.Model:
        return BertTokenClassifier(self.config, self.num_outputs, **options)

    # From examples to rows.

    def check(self, examples: Sequence[TaggedSentence]) -> None:
        for sentence in examples:
            for word, tag in enumerate(sentence.tags or ()):
                if tag not in self._ids:
                    shown = ", ".join(self.labels[:_NAMES_SHOWN])
                    more = ", ..." if len(self.labels) > _NAMES_SHOWN else ""
                    raise DataError(
                        f"Expected one of the tags {shown}{more}, found {tag!r} in "
                        f"{sentence.where(word)}; correct it, train on a file that "
                        "holds it, or say --tag_column."
                    )

    def count_rows(self, examples: Sequence[TaggedSentence]) -> np.ndarray:
        return self._rows.count(examples)

    def size(self, examples: Sequence[TaggedSentence], rows: int) -> str:
        in_rows = f" in {rows} rows" if rows != len(examples) else ""
        return f"{len(examples)} sentences{in_rows}"

    def features(
        self, examples: Sequence[TaggedSentence]
    ) -> Iterator[dict[str, np.ndarray]]:
        for part, windows in self._rows.of(examples):
            tags = [self._ids[tag] for each in part for tag in self._known(each)]
            tag_ids = np.full(windows.features["input_ids"].shape, -1)
            tag_ids[_first_pieces(windows)] = tags
            yield {
                **windows.features,
                "tag_ids": tag_ids,
                "is_real_example": np.ones(len(tag_ids), np.int64),
            }

    def _known(self, sentence: TaggedSentence) -> Sequence[str]:
        """Returns the tags of a sentence, any where they are not known."""
        return sentence.tags or [self.labels[0]] * len(sentence.offsets)

    # What a training run notes of itself.

    @property
    def model_note(self) -> Mapping[str, Any]:
        return {"task_name": self.name}

    @property
    def row_note(self) -> Mapping[str, Any]:
        return {"max_seq_length": self.max_seq_length, "doc_stride": self.doc_stride}

    def content(self, example: TaggedSentence) -> Sequence[str]:
        return (*example.words, *self._known(example))

    # On the device.

    def sums(self, outputs: Any, batch: dict[str, Any]) -> dict[str, Any]:
        tag_ids = batch["tag_ids"]
        losses = cross_entropy(outputs, ops.maximum(tag_ids, 0))
        hits = ops.equal(ops.cast(ops.argmax(outputs, axis=-1), tag_ids.dtype), tag_ids)
        here = ops.cast(ops.greater_equal(tag_ids, 0), "float32")
        return {
            "loss": ops.sum(losses * here),
            "accuracy": ops.sum(ops.cast(hits, "float32")),  # no tag is -1
        }

    def weights(self, batch: dict[str, Any]) -> dict[str, Any]:
        here = ops.sum(ops.cast(ops.greater_equal(batch["tag_ids"], 0), "float32"))
        return {"loss": here, "accuracy": here}

    def means(self, sums: dict[str, Any], weights: dict[str, Any]) -> dict[str, Any]:
        # Rows of one endless word hold no word's first piece.
        least = {name: ops.maximum(weight, 1.0) for name, weight in weights.items()}
        return super().means(sums, least)

    def per_example(self, outputs: Any, batch: dict[str, Any]) -> dict[str, Any]:
        """Returns `[B, S]` of the likeliest tag, not `[B, S, L]` of all."""
        missing = self.max_seq_length - batch["input_ids"].shape[1]
        found = {
            "tags": ops.cast(ops.argmax(outputs, axis=-1), "int32"),
            "probabilities": ops.max(ops.softmax(outputs, axis=-1), axis=-1),
            "losses": cross_entropy(outputs, ops.maximum(batch["tag_ids"], 0)),
        }
        return {name: ops.pad(x, [[0, 0], [0, missing]]) for name, x in found.items()}

    # From rows to tags.

    def join(
        self, examples: Sequence[TaggedSentence], rows: Mapping[str, np.ndarray]
    ) -> Outcome:
        found: dict[str, list[np.ndarray]] = {name: [] for name in rows}
        before = 0
        for _, windows in self._rows.of(examples):
            row, place = _first_pieces(windows)
            for name, parts in found.items():
                parts.append(rows[name][row + before, place])
            before += len(windows.text)
        return Outcome(
            examples, **{name: np.concatenate(parts) for name, parts in found.items()}
        )

    def metrics(self, rows: Outcome, batch_size: int) -> dict[str, Any]:
        """Returns scores of the entities, if tags are of any, and of the words."""
        right, predicted = self._gold(rows), self._predicted(rows)
        tag_ids = np.array([self._ids[tag] for tags in right for tag in tags])
        found: dict[str, Any] = {
            "eval_accuracy": (tag_ids == rows.tags).mean(),
            "eval_loss": rows.losses.astype(np.float64).mean(),
        }
        if self.has_entities:
            for name, score in entities.scores(right, predicted).items():
                found[f"eval_{name}"] = score
        return {name: np.float32(value) for name, value in found.items()}

    def labelled(self, examples: Sequence[TaggedSentence]) -> bool:
        return all(sentence.tags is not None for sentence in examples)

    def report(self, outcome: Outcome) -> str | None:
        right, predicted = self._gold(outcome), self._predicted(outcome)
        if self.has_entities:
            return entities.table(right, predicted)
        return report.class_table(*self._kinds(outcome), self.labels)

    def figure(self, outcome: Outcome) -> tuple[str, Any] | None:
        kinds = self._names_of_kinds()
        if len(kinds) > report.MOST_PAIRED_LABELS:
            return None
        figure = report.confusion_figure(*self._kinds(outcome), kinds)
        return "confusion_matrix.png", figure

    def prediction_files(
        self, examples: Sequence[TaggedSentence], outcome: Outcome
    ) -> dict[str, str]:
        """Returns `predictions.conll`, as conlleval takes it, and `.jsonl`.

        The first holds a word a line, its right tag if all are known, and the predicted
        one, with tabs between. The second a sentence a line: `text`, `words` (each with
        `start` and `end` in characters of the text, `tag`, `probability`), and
        `entities`, if tags are of any.
        """
        predicted = self._predicted(outcome)
        columns = [[each.words for each in examples], predicted]
        if self.labelled(examples):
            columns.insert(1, self._gold(outcome))
        lines = []
        for sentence in zip(*columns, strict=True):
            lines += ["\t".join(fields) for fields in zip(*sentence, strict=True)]
            lines.append("")
        probabilities = iter(outcome.probabilities.tolist())
        objects = [
            self._as_json(sentence, tags, [next(probabilities) for _ in tags])
            for sentence, tags in zip(examples, predicted, strict=True)
        ]
        return {
            "predictions.conll": "\n".join(lines) + "\n",
            "predictions.jsonl": "\n".join(objects) + "\n",
        }

    def _as_json(
        self, sentence: TaggedSentence, tags: list[str], probabilities: list[float]
    ) -> str:
        """Returns what is said of a sentence as a line of JSON."""
        text, offsets = sentence.text, sentence.offsets
        words = [
            {
                "word": text[start:end],
                "start": start,
                "end": end,
                "tag": tag,
                "probability": round(probability, 6),
            }
            for (start, end), tag, probability in zip(
                offsets, tags, probabilities, strict=True
            )
        ]
        said: dict[str, Any] = {"text": text, "words": words}
        if self.has_entities:
            spans = [
                (kind, offsets[first][0], offsets[last][1])
                for kind, first, last in entities.find(tags)
            ]
            said["entities"] = [
                {"type": kind, "text": text[start:end], "start": start, "end": end}
                for kind, start, end in spans
            ]
        return json.dumps(said, ensure_ascii=False)

    def _gold(self, outcome: Outcome) -> list[list[str]]:
        return [list(self._known(sentence)) for sentence in outcome.sentences]

    def _predicted(self, outcome: Outcome) -> list[list[str]]:
        names = [self.labels[index] for index in outcome.tags]
        ends = np.cumsum([len(each.offsets) for each in outcome.sentences])
        starts = [0, *ends[:-1]]
        return [names[start:end] for start, end in zip(starts, ends, strict=True)]

    def _names_of_kinds(self) -> list[str]:
        """Returns what words are confused for: tags, or the types of entities."""
        if not self.has_entities:
            return self.labels
        return sorted({entities.type_of(label) for label in self.labels})

    def _kinds(self, outcome: Outcome) -> tuple[np.ndarray, np.ndarray]:
        """Returns of each word what it is and was taken for, among these."""
        name = entities.type_of if self.has_entities else str
        ids = {each: index for index, each in enumerate(self._names_of_kinds())}
        right, predicted = (
            np.array([ids[name(tag)] for tags in sentences for tag in tags])
            for sentences in (self._gold(outcome), self._predicted(outcome))
        )
        return right, predicted

    # As a SavedModel.

    @property
    def serving_inputs(self) -> Sequence[tf.TensorSpec]:
        return [tf.TensorSpec([None], tf.string, name="text")]

    def serve(self, model: Any, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the tags of sentences whose words stand between spaces.

        `words` and `tags`, string `[n, W]`, and `probabilities`, float32 `[n, W]`, W
        being the words of the longest; behind the words of others, empty strings and 0.
        """
        words = tf.strings.split(text)
        windows = self._rows.pack(words, pad_to_max=False)
        row, place = _first_pieces_in_graph(windows)
        logits = tf.gather_nd(model(windows.features), tf.stack([row, place], axis=1))
        return {"words": words.to_tensor()} | {
            name: words.with_values(said).to_tensor()
            for name, said in self._likeliest(logits).items()
        }

    def serve_rows(
        self, model: Any, features: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Returns of each piece its `tags`, string `[r, S]`, and `probabilities`."""
        return self._likeliest(model(features))

    def _likeliest(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns names of tags, and their probabilities, of logits `[..., L]`."""
        best = tf.argmax(logits, axis=-1)
        return {
            "tags": tf.gather(tf.constant(self.labels), best),
            "probabilities": tf.reduce_max(tf.nn.softmax(logits, axis=-1), axis=-1),
        }


def _first_pieces(windows: WordWindows) -> tuple[np.ndarray, np.ndarray]:
    """Returns where the first piece of each word stands: rows and places, int `[w]`."""
    row, place = _first_pieces_in_graph(windows)
    return row.numpy(), place.numpy()


def _first_pieces_in_graph(windows: WordWindows) -> tuple[tf.Tensor, tf.Tensor]:
    piece = tf.range(tf.size(windows.pieces))
    text = tf.searchsorted(windows.splits[1:], piece, side="right")
    # Words are counted anew in each text.
    before = tf.roll(windows.word, 1, 0)
    starts_text = tf.gather(windows.splits, text) == piece
    piece = piece[starts_text | (windows.word != before)]
    text = text[starts_text | (windows.word != before)]
    row = tf.gather(windows.best_row, piece)
    within = piece - tf.gather(windows.splits, text) - tf.gather(windows.start, row)
    return row, within + tf.gather(windows.offset, row)
