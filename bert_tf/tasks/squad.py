"""Answers to questions, found in a text: SQuAD 1.1 and 2.0, in any language."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from bert_tf.config import BertConfig
from bert_tf.data.records import FeatureSpec, squad_features
from bert_tf.losses import cross_entropy
from bert_tf.modeling import BertSpanLabeler
from bert_tf.tasks import squad_scores
from bert_tf.tasks.answers import AnswerFinder, Answers, Context, Rules
from bert_tf.tasks.graph_answers import GraphAnswers, split_context
from bert_tf.tasks.squad_files import SquadExample
from bert_tf.tasks.task import FineTuningTask
from bert_tf.tasks.word_rows import WordRows, as_strings
from bert_tf.tokenization import GraphTokenizer
from bert_tf.tokenization.word_windows import WordWindows

# The id of the first row, as in the release.
_FIRST_UNIQUE_ID = 1000000000
# The logit of padding where rows are not all padded to one length: no answer is there.
_NEVER = -1e9


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What is answered to some questions, in their order."""

    examples: Sequence[SquadExample]
    answers: Sequence[Answers]


class SquadTask(FineTuningTask):
    """A question and a context to the part of the context that answers it.

    Args:
      config: The architecture.
      tokenizer: Of the checkpoint's vocabulary.
      rules: Which answers there can be.
      max_seq_length: Pieces per row, special ones included.
      doc_stride: How many pieces further than the one before a row's window begins.
      max_query_length: Of a question's pieces so many are kept.

    Source: run_squad.py of google-research/bert.
    """

    name = "squad"
    unit = "windows"
    serving_name = "answer"
    num_outputs = 2
    train_metric_names = ("accuracy",)

    def __init__(
        self,
        config: BertConfig,
        tokenizer: GraphTokenizer,
        rules: Rules,
        *,
        max_seq_length: int = 384,
        doc_stride: int = 128,
        max_query_length: int = 64,
    ):
        self.config = config
        self.tokenizer = tokenizer
        self.rules = rules
        self.max_seq_length = max_seq_length
        self.doc_stride = doc_stride
        self.max_query_length = max_query_length
        self.metric_names = squad_scores.names(rules.version_2_with_negative)
        self._piece = {index: piece for piece, index in tokenizer.vocab.items()}
        self._find = AnswerFinder(rules)
        self._rows = WordRows(
            tokenizer,
            lambda example: example.doc_tokens,
            lambda example: example.question_text,
            max_seq_length=max_seq_length,
            doc_stride=doc_stride,
            max_query_length=max_query_length,
        )

    @property
    def feature_spec(self) -> FeatureSpec:
        return squad_features(self.max_seq_length)

    def create_model(self, **options: Any) -> keras.Model:
        return BertSpanLabeler(self.config, **options)

    # From examples to rows.

    def check(self, examples: Sequence[SquadExample]) -> None:
        """Nothing: what can be wrong with a question is known when it is read."""

    def count_rows(self, examples: Sequence[SquadExample]) -> np.ndarray:
        return self._rows.count(examples)

    def size(self, examples: Sequence[SquadExample], rows: int) -> str:
        return f"{len(examples)} questions in {rows} windows"

    def features(
        self, examples: Sequence[SquadExample]
    ) -> Iterator[dict[str, np.ndarray]]:
        unique_id = _FIRST_UNIQUE_ID
        for part, windows in self._rows.of(examples):
            rows = len(windows.text)
            starts, ends = self._positions(part, windows)
            impossible = np.array([each.is_impossible for each in part], np.int64)
            yield {
                **windows.features,
                "unique_ids": np.arange(unique_id, unique_id + rows),
                "start_positions": starts,
                "end_positions": ends,
                "is_impossible": impossible[windows.text],
                "is_real_example": np.ones(rows, np.int64),
            }
            unique_id += rows

    def _positions(
        self, examples: Sequence[SquadExample], windows: WordWindows
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns where in each row its answer begins and ends, 0 where none is."""
        ends = np.full([2, len(examples)], -1)
        answers = self.tokenizer.tokenize(
            as_strings(example.orig_answer_text for example in examples)
        )
        own = np.split(answers.values.numpy(), answers.row_splits[1:-1].numpy())
        for index, example in enumerate(examples):
            if example.start_position is not None:
                text = slice(windows.splits[index], windows.splits[index + 1])
                word, pieces = windows.word[text], windows.pieces[text]
                ends[:, index] = _answer_pieces(example, own[index], pieces, word)
        first, last = ends[:, windows.text]  # of each row's text
        stop = windows.start + windows.length
        held = (first >= windows.start) & (first >= 0) & (last < stop)
        shift = windows.offset - windows.start
        return np.where(held, first + shift, 0), np.where(held, last + shift, 0)

    # What a training run notes of itself.

    @property
    def model_note(self) -> Mapping[str, Any]:
        return {"task_name": self.name}

    @property
    def training_note(self) -> Mapping[str, Any]:
        return {"version_2_with_negative": self.rules.version_2_with_negative}

    @property
    def row_note(self) -> Mapping[str, Any]:
        return {
            "max_seq_length": self.max_seq_length,
            "doc_stride": self.doc_stride,
            "max_query_length": self.max_query_length,
        }

    def content(self, example: SquadExample) -> Sequence[str]:
        ends = f"{example.start_position} {example.end_position}"
        context = " ".join(example.doc_tokens)
        return example.question_text, context, example.orig_answer_text, ends

    # On the device.

    def sums(self, outputs: Any, batch: dict[str, Any]) -> dict[str, Any]:
        """Source: `compute_loss` in run_squad.py of google-research/bert."""
        losses, hits = [], []
        for end in ("start", "end"):
            logits, places = outputs[f"{end}_logits"], batch[f"{end}_positions"]
            losses.append(ops.sum(cross_entropy(logits, places)))
            found = ops.cast(ops.argmax(logits, axis=-1), places.dtype)
            hits.append(ops.equal(found, places))
        both = ops.cast(ops.logical_and(*hits), "float32")
        return {"loss": (losses[0] + losses[1]) / 2.0, "accuracy": ops.sum(both)}

    def weights(self, batch: dict[str, Any]) -> dict[str, Any]:
        rows = ops.cast(ops.shape(batch["input_ids"])[0], "float32")
        return {"loss": rows, "accuracy": rows}

    def per_example(self, outputs: Any, batch: dict[str, Any]) -> dict[str, Any]:
        missing = self.max_seq_length - batch["input_ids"].shape[1]
        return {
            name: ops.pad(logits, [[0, 0], [0, missing]], constant_values=_NEVER)
            for name, logits in outputs.items()
        }

    # From rows to answers.

    def join(
        self, examples: Sequence[SquadExample], rows: Mapping[str, np.ndarray]
    ) -> Outcome:
        answers: list[Answers] = []
        before = 0
        for part, windows in self._rows.of(examples):
            ends = np.searchsorted(windows.text, np.arange(len(part) + 1))
            pieces = [self._piece[index] for index in windows.pieces.tolist()]
            for index, example in enumerate(part):
                own = slice(ends[index], ends[index + 1])
                text = slice(windows.splits[index], windows.splits[index + 1])
                context = Context(
                    example.doc_tokens,
                    pieces[text],
                    windows.word[text],
                    windows.start[own],
                    windows.length[own],
                    windows.offset[own],
                    windows.best_row[text] - ends[index],
                )
                of_rows = slice(before + own.start, before + own.stop)
                answers.append(
                    self._find(
                        context,
                        rows["start_logits"][of_rows],
                        rows["end_logits"][of_rows],
                    )
                )
            before += len(windows.text)
        return Outcome(examples, answers)

    def metrics(self, rows: Outcome, batch_size: int) -> dict[str, Any]:
        """Returns the scores of SQuAD's own evaluation, in percent."""
        return squad_scores.scores(
            rows.examples, rows.answers, self.rules.version_2_with_negative
        )

    def labelled(self, examples: Sequence[SquadExample]) -> bool:
        least = 0 if self.rules.version_2_with_negative else 1
        return all(x.answers is not None and len(x.answers) >= least for x in examples)

    def prediction_files(
        self, examples: Sequence[SquadExample], outcome: Outcome
    ) -> dict[str, str]:
        """Returns the release's files."""
        answers = {
            example.qas_id: answer
            for example, answer in zip(examples, outcome.answers, strict=True)
        }
        files = {
            "predictions.json": {key: x.text for key, x in answers.items()},
            "nbest_predictions.json": {key: x.nbest for key, x in answers.items()},
        }
        if self.rules.version_2_with_negative:
            files["null_odds.json"] = {key: x.null_odds for key, x in answers.items()}
        return {
            name: json.dumps(content, indent=4) + "\n"
            for name, content in files.items()
        }

    # As a SavedModel.

    @property
    def serving_inputs(self) -> Sequence[tf.TensorSpec]:
        return [
            tf.TensorSpec([None], tf.string, name=name)
            for name in ("question", "context")
        ]

    def serve(
        self, model: Any, question: tf.Tensor, context: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Returns the best answers, by the names of `GraphAnswers`."""
        words = split_context(context)
        windows = self._rows.pack(words, question, pad_to_max=False)
        logits = self.serve_rows(model, windows.features)
        return GraphAnswers(self.rules, self.tokenizer)(words, windows, logits)

    def serve_rows(
        self, model: Any, features: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Returns `start_logits` and `end_logits`, float32 `[r, S]`."""
        # How much padding there is depends on what else is asked: none takes a place
        # among the best.
        is_real = features["input_mask"] == 1
        return {
            name: tf.where(is_real, x, _NEVER) for name, x in model(features).items()
        }


def _answer_pieces(
    example: SquadExample, answer: np.ndarray, pieces: np.ndarray, word: np.ndarray
) -> tuple[int, int]:
    """Returns the first and the last piece of an answer.

    Those of its words, or if the answer's own pieces are among these, those.

    Args:
      example: With its words.
      answer: The answer's own pieces.
      pieces: Those of the context.
      word: The word of each of these.

    Source: `_improve_answer_span` in run_squad.py of google-research/bert.
    """
    first = int(np.searchsorted(word, example.start_position or 0))
    last = int(np.searchsorted(word, example.end_position or 0, side="right")) - 1
    for start in range(first, last - len(answer) + 2):
        if len(answer) and (pieces[start : start + len(answer)] == answer).all():
            return start, start + len(answer) - 1
    return first, last
