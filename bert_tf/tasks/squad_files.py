"""Questions on texts, read from files in SQuAD's format."""

import dataclasses
import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from bert_tf.errors import DataError
from bert_tf.files import read_bytes

# What the release splits a context at.
WHITESPACE = " \t\r\n\u202f"
_WORD = re.compile(f"[^{WHITESPACE}]+")
# Questions that are named one by one in the log.
_QUESTIONS_NAMED = 10


@dataclasses.dataclass
class SquadExample:
    """A question on a context, with its answer where it is known.

    Attributes:
      qas_id: Its id.
      question_text: The question.
      doc_tokens: The words of the context, split at whitespace.
      answers: The texts of right answers, none for "no answer"; None if not known.
      is_impossible: Whether it is for training, and has no answer.
      start_position: The word in which the answer begins, for training; else None.
      end_position: The word in which it ends.
      orig_answer_text: The answer, for training.

    Source: `SquadExample` in run_squad.py of google-research/bert.
    """

    qas_id: str
    question_text: str
    doc_tokens: Sequence[str]
    answers: list[str] | None = None
    is_impossible: bool = False
    start_position: int | None = None
    end_position: int | None = None
    orig_answer_text: str = ""


def read_squad_examples(
    input_file: str,
    is_training: bool,
    version_2_with_negative: bool,
    verbose_logging: bool = False,
) -> list[SquadExample]:
    """Reads a file in SQuAD's format, 1.1 or 2.0, in any language.

    To train on, a question whose answer does not stand where the file says is left
    out, as in the release, and named in the log.

    Args:
      input_file: The file.
      is_training: Whether answers are needed: one for each question.
      version_2_with_negative: Whether questions may have no answer.
      verbose_logging: Whether all that are left out are named, or the first ten.

    Raises:
      DataError: It is no such file, or an answer is missing, or an id comes twice.

    Source: `read_squad_examples` in run_squad.py of google-research/bert.
    """
    examples: list[SquadExample] = []
    lost: list[str] = []
    seen: set[str] = set()
    for context, qa, where in _questions(input_file):
        qas_id = str(_field(qa, "id", str | int, where))
        if qas_id in seen:
            raise DataError(
                f"Expected every question with an id of its own in {input_file}, found "
                f"{qas_id!r} twice; give one of them another."
            )
        seen.add(qas_id)
        where = f"question {qas_id!r} of {input_file}"
        question = _field(qa, "question", str, where)
        example = SquadExample(qas_id, question, context.words)
        answers: list[Any] = []
        if is_training or "answers" in qa:
            answers = _field(qa, "answers", list, where)
            example.answers = [_field(each, "text", str, where) for each in answers]
        if is_training:
            if version_2_with_negative:
                example.is_impossible = _field(
                    qa,
                    "is_impossible",
                    bool,
                    where,
                    ", or leave out --version_2_with_negative for SQuAD 1.1",
                )
            if not example.is_impossible:
                answer = _only(answers, where, version_2_with_negative)
                if not _place_answer(example, answer, context, where):
                    lost.append(f"{qas_id} ({example.orig_answer_text!r:.60})")
                    continue
        examples.append(example)
    if lost:
        named = lost if verbose_logging else lost[:_QUESTIONS_NAMED]
        logging.warning(
            "%d of %d questions of %s are left out, since their context does not hold "
            "the answer where the file says: %s%s",
            len(lost),
            len(seen),
            input_file,
            ", ".join(named),
            ", ..." if len(named) < len(lost) else "",
        )
    return examples


@dataclasses.dataclass(frozen=True)
class _Context:
    """A context's words, where each starts, and how many characters it has."""

    words: list[str]
    starts: list[int]
    length: int


def _questions(path: str) -> Iterator[tuple[_Context, Any, str]]:
    """Yields each question, with its context and where in the file it stands."""
    if not tf.io.gfile.exists(path) or tf.io.gfile.isdir(path):
        raise DataError(
            f"Expected a file in SQuAD's format at {path}, found none; check the path."
        )
    try:
        content = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"Expected JSON in SQuAD's format in {path}, found {error}; check the file."
        ) from error
    for number, article in enumerate(_field(content, "data", list, path)):
        where = f"data[{number}] of {path}"
        paragraphs = _field(article, "paragraphs", list, where)
        for place, paragraph in enumerate(paragraphs):
            where = f"data[{number}].paragraphs[{place}] of {path}"
            text = _field(paragraph, "context", str, where)
            words = list(_WORD.finditer(text))
            context = _Context(
                [word[0] for word in words], [word.start() for word in words], len(text)
            )
            for index, qa in enumerate(_field(paragraph, "qas", list, where)):
                question = f"data[{number}].paragraphs[{place}].qas[{index}] of {path}"
                yield context, qa, question


# What is expected of a value, in words.
_KINDS = {
    list: "a list",
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    str | int: "a text or a whole number",
}


def _field(value: Any, name: str, kind: Any, where: str, hint: str = "") -> Any:
    """Returns `value[name]`, which has to be of a kind; else a hint may help."""
    found = value.get(name) if isinstance(value, dict) else None
    # To JSON true and false are no numbers.
    if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
        got = f"{found!r:.40}" if isinstance(value, dict) and name in value else "none"
        raise DataError(
            f"Expected {name!r} to be {_KINDS[kind]}, as in SQuAD's format, found "
            f"{got} in {where}; correct it{hint}."
        )
    return found


def _only(answers: list[Any], where: str, version_2_with_negative: bool) -> Any:
    if len(answers) != 1:
        hint = ""
        if not answers and not version_2_with_negative:
            hint = " (files of SQuAD 2.0 need --version_2_with_negative)"
        raise DataError(
            f"Expected one answer to train on, found {len(answers)} to {where}; "
            f"correct it{hint}."
        )
    return answers[0]


def _place_answer(
    example: SquadExample, answer: Any, context: _Context, where: str
) -> bool:
    """Finds the words of an answer; returns whether they hold it."""
    text = example.orig_answer_text = _field(answer, "text", str, where)
    begin = _field(answer, "answer_start", int, where)
    # A space belongs to the word before it.
    first = bisect_right(context.starts, begin) - 1
    last = bisect_right(context.starts, begin + len(text) - 1) - 1
    if not text or first < 0 or begin + len(text) > context.length:
        return False
    example.start_position, example.end_position = first, last
    return " ".join(text.split()) in " ".join(context.words[first : last + 1])
