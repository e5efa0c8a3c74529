"""The scores of SQuAD's own evaluation, by tf-models-official's evaluators."""

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np

from bert_tf.errors import ConfigError
from bert_tf.tasks.answers import Answers
from bert_tf.tasks.squad_files import SquadExample

# What its evaluator of 2.0 calls otherwise than SQuAD's own script does.
_BEST = {
    "final_exact": "best_exact",
    "final_exact_thresh": "best_exact_thresh",
    "final_f1": "best_f1",
    "final_f1_thresh": "best_f1_thresh",
}


def check_installed() -> None:
    """Raises a ConfigError if the evaluators are not there."""
    if importlib.util.find_spec("official") is None:
        raise ConfigError(
            "Expected tf-models-official, whose evaluators take the scores of answers, "
            "found none; install it (pip install 'bert-tf[squad]', or without all else "
            "that it needs: pip install --no-deps tf-models-official)."
        )


def names(version_2_with_negative: bool) -> tuple[str, ...]:
    """Returns what an evaluation can be compared by."""
    if version_2_with_negative:
        return ("exact", "f1", "best_exact", "best_f1")
    return ("exact_match", "f1")


def scores(
    examples: Sequence[SquadExample],
    answers: Sequence[Answers],
    version_2_with_negative: bool,
) -> dict[str, Any]:
    """Returns the scores of answers by the names of SQuAD's own script, in percent.

    Of SQuAD 1.1 `exact_match` and `f1`. Of 2.0 `exact`, `f1`, the same of questions
    with an answer (`HasAns_...`) and without (`NoAns_...`), `total`; and what these
    would be at best, `best_exact` and `best_f1`, with a --null_score_diff_threshold of
    `best_exact_thresh` or `best_f1_thresh`. These two are looked for among the best
    answers that are not "none", whatever threshold the answers were written with.

    Args:
      examples: The questions, with the answers that are right.
      answers: One for each.
      version_2_with_negative: Whether there may be no answer.

    Raises:
      ConfigError: tf-models-official is not installed.
    """
    check_installed()
    pairs = list(zip(examples, answers, strict=True))
    texts = {example.qas_id: answer.text for example, answer in pairs}
    if not version_2_with_negative:
        from official.nlp.tools import squad_evaluate_v1_1

        found = squad_evaluate_v1_1.evaluate(_data(examples), texts)
        return {
            "exact_match": 100.0 * found["exact_match"],
            "f1": 100.0 * found["final_f1"],
        }
    from official.nlp.tools import squad_evaluate_v2_0

    data = _data(examples)
    found = squad_evaluate_v2_0.evaluate(data, texts)
    best_texts = {example.qas_id: answer.best_text for example, answer in pairs}
    odds = np.array([answer.null_odds for _, answer in pairs])
    # By their ranks, from 1 on: a best threshold of 0 is the evaluator's way to say
    # that nothing should be answered, whatever the odds are.
    thresholds, ranks = np.unique(odds, return_inverse=True)
    thresholds = np.append(thresholds[0] - 1.0, thresholds)
    by_rank = dict(zip(best_texts, (ranks + 1).tolist(), strict=True))
    at_best = squad_evaluate_v2_0.evaluate(data, best_texts, by_rank)
    best = {ours: at_best[theirs] for theirs, ours in _BEST.items()}
    for name in ("best_exact_thresh", "best_f1_thresh"):
        best[name] = float(thresholds[int(best[name])])
    of_texts = {
        name: value
        for name, value in found.items()
        if name in ("exact", "f1", "total") or name.startswith(("HasAns", "NoAns"))
    }
    return of_texts | best


def _data(examples: Sequence[SquadExample]) -> list[dict[str, Any]]:
    """Returns questions as the evaluators want them: SQuAD's `data`."""
    questions = [
        {"id": each.qas_id, "answers": [{"text": text} for text in each.answers or ()]}
        for each in examples
    ]
    return [{"paragraphs": [{"qas": questions}]}]
