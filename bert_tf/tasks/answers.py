"""From the logits of a question's windows to answers in the words of its context.

Source: `write_predictions`, `get_final_text` in run_squad.py of google-research/bert.
Sums and probabilities are taken in Python's floats, as there, so that ties and digits
are the same.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging

from bert_tf.tokenization import BasicTokenizer

# What the release starts from when it looks for the lowest score of "no answer".
NO_NULL_SCORE = 1000000.0


@dataclasses.dataclass(frozen=True)
class Rules:
    """Which spans can be answers, and how they are written.

    Attributes:
      n_best_size: Places looked at for either end, and answers kept.
      max_answer_length: Most pieces of an answer.
      version_2_with_negative: Whether there may be no answer.
      null_score_diff_threshold: By how much "no answer" has to beat the best answer.
      do_lower_case: How the context was tokenized.
      verbose_logging: Whether to log each answer that is written as all of its words,
        since its pieces are not found in them.
    """

    n_best_size: int = 20
    max_answer_length: int = 30
    version_2_with_negative: bool = False
    null_score_diff_threshold: float = 0.0
    do_lower_case: bool = True
    verbose_logging: bool = False


@dataclasses.dataclass(frozen=True)
class Context:
    """A context in words and pieces, and the windows over it.

    Attributes:
      words: Its words.
      pieces: Its pieces.
      word: The word of each piece, int `[p]`.
      start: The first piece of each window, int `[k]`.
      length: How many pieces each window holds, int `[k]`.
      offset: Where in its row they begin, int `[k]`.
      best_window: The window in which each piece has most context, int `[p]`.
    """

    words: Sequence[str]
    pieces: Sequence[str]
    word: np.ndarray
    start: np.ndarray
    length: np.ndarray
    offset: np.ndarray
    best_window: np.ndarray


@dataclasses.dataclass(frozen=True)
class Answers:
    """What is answered to one question.

    Attributes:
      text: The answer; empty for none.
      nbest: Of each answer that was kept, best first: `text`, `probability`,
        `start_logit`, `end_logit`.
      best_text: The best answer that is not "none".
      null_odds: By how much "no answer" scores more than that; None if all questions
        have answers.
    """

    text: str
    nbest: list[dict[str, Any]]
    best_text: str
    null_odds: float | None = None


@dataclasses.dataclass(frozen=True)
class _Entry:
    text: str
    start_logit: float
    end_logit: float

    @property
    def score(self) -> float:
        return self.start_logit + self.end_logit


class AnswerFinder:
    """Finds the best answers by the logits of their ends.

    Args:
      rules: Which, and how many.
    """

    def __init__(self, rules: Rules):
        self.rules = rules
        self._basic = BasicTokenizer(do_lower_case=rules.do_lower_case)

    def __call__(
        self, context: Context, start_logits: np.ndarray, end_logits: np.ndarray
    ) -> Answers:
        """Returns the answers to a question.

        Args:
          context: Its context, of k windows.
          start_logits: float32 `[k, S]`.
          end_logits: float32 `[k, S]`.
        """
        rules = self.rules
        starts = start_logits.astype(np.float64)
        ends = end_logits.astype(np.float64)
        entries = self._best_texts(context, starts, ends)
        null = self._null(starts, ends)
        if rules.version_2_with_negative and "" not in {x.text for x in entries}:
            entries.append(null)
        if not entries:
            entries.append(_Entry("empty", 0.0, 0.0))
        nbest = [
            {
                "text": entry.text,
                "probability": probability,
                "start_logit": entry.start_logit,
                "end_logit": entry.end_logit,
            }
            for entry, probability in zip(
                entries, _softmax([x.score for x in entries]), strict=True
            )
        ]
        best = next((entry for entry in entries if entry.text), None)
        best_text = best.text if best else ""
        if not rules.version_2_with_negative:
            return Answers(entries[0].text, nbest, best_text)
        # Nothing to compare with: as sure as can be. The release fails here.
        odds = NO_NULL_SCORE
        if best is not None:
            odds = null.score - best.start_logit - best.end_logit
        text = "" if odds > rules.null_score_diff_threshold else best_text
        return Answers(text, nbest, best_text, odds)

    def _null(self, starts: np.ndarray, ends: np.ndarray) -> _Entry:
        """Returns "no answer", by the window that is least in favour of it."""
        if not len(starts):
            return _Entry("", 0.0, 0.0)
        window = int(np.argmin(starts[:, 0] + ends[:, 0]))
        return _Entry("", float(starts[window, 0]), float(ends[window, 0]))

    def _best_texts(
        self, context: Context, starts: np.ndarray, ends: np.ndarray
    ) -> list[_Entry]:
        """Returns different texts, best first; of spans with one text, the best."""
        spans = [
            self._spans(context, window, starts[window], ends[window])
            for window in range(len(starts))
        ]
        windows, begins, stops = np.concatenate([np.zeros([3, 0], int), *spans], axis=1)
        scores = starts[windows, begins] + ends[windows, stops]
        null = None
        if self.rules.version_2_with_negative:
            null = self._null(starts, ends)
            scores = np.append(scores, null.score)
        entries: dict[str, _Entry] = {}
        # Of equal ones the first, as sorted() has it.
        for index in np.argsort(-scores, kind="stable"):
            if len(entries) >= self.rules.n_best_size:
                break
            if null is not None and index == len(windows):
                entries[""] = null
                continue
            window, begin, stop = windows[index], begins[index], stops[index]
            first = context.start[window] - context.offset[window]
            text = self._text(context, first + begin, first + stop)
            start_logit, end_logit = starts[window, begin], ends[window, stop]
            entry = _Entry(text, float(start_logit), float(end_logit))
            entries.setdefault(text, entry)
        return list(entries.values())

    def _spans(
        self, context: Context, window: int, starts: np.ndarray, ends: np.ndarray
    ) -> np.ndarray:
        """Returns window, begin and end (in its row) of the spans of one window."""
        count = self.rules.n_best_size
        begins, stops = np.meshgrid(_best(starts, count), _best(ends, count))
        begins, stops = begins.T.ravel(), stops.T.ravel()
        offset, length = context.offset[window], context.length[window]
        longest = self.rules.max_answer_length
        allowed = (begins >= offset) & (stops < offset + length) & (begins <= stops)
        allowed &= stops - begins < longest
        begins, stops = begins[allowed], stops[allowed]
        pieces = context.start[window] + begins - offset
        here = context.best_window[pieces] == window
        return np.stack([np.full(here.sum(), window), begins[here], stops[here]])

    def _text(self, context: Context, first: int, last: int) -> str:
        """Returns what the context says from one piece to another."""
        pieces = " ".join(context.pieces[first : last + 1])
        said = " ".join(pieces.replace(" ##", "").replace("##", "").split())
        words = context.words[context.word[first] : context.word[last] + 1]
        return self.project(said, " ".join(words))

    def project(self, said: str, text: str) -> str:
        """Returns the part of a text that, once tokenized, is what was said.

        Args:
          said: Words as the tokenizer makes them, from somewhere in `text`.
          text: Words as they were written.

        Returns:
          That part, the first if there are several; all of `text` if what the
          tokenizer does to it is more than adding spaces and changing characters one by
          one.
        """
        tokenized = " ".join(self._basic.tokenize(text))
        begin = tokenized.find(said)
        places = [place for place, char in enumerate(text) if char != " "]
        one_by_one = len(places) == len(tokenized.replace(" ", ""))
        if begin < 0 or not said or not one_by_one:
            if self.rules.verbose_logging:
                logging.info("%r is not found in %r, which is taken whole", said, text)
            return text
        before = begin - tokenized.count(" ", 0, begin)
        length = len(said) - said.count(" ")
        return text[places[before] : places[before + length - 1] + 1]


def _best(logits: np.ndarray, count: int) -> np.ndarray:
    """Returns the places of the highest logits, of equal ones the first."""
    return np.argsort(-logits, kind="stable")[:count]


def _softmax(scores: Sequence[float]) -> list[float]:
    highest = max(scores)
    exponentials = [math.exp(score - highest) for score in scores]
    total = sum(exponentials)
    return [x / total for x in exponentials]
