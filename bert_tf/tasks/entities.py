"""Entities of several words, as tags of the words mark them.

A tag says where in an entity its word stands, and of which type that is: `B-PER`. All
usual schemes are read: IOB1, IOB2, BIOES, BILOU, BMES, and `B`, `I`, `O` where all
entities are of one type. Entities are those that conlleval counts, by seqeval, which is
imported when it is first needed.
"""

import re
from collections.abc import Sequence

OUTSIDE = "O"
_ENTITY = re.compile(r"[BIESLUM](-.*)?", re.DOTALL)
# BILOU's last and unit, and BMES's middle, by their names in BIOES.
_SPELLINGS = {"L": "E", "U": "S", "M": "I"}
# What seqeval calls the only type.
_ONLY_TYPE = "_"


def mark_entities(tags: Sequence[str]) -> bool:
    """Returns whether tags are of entities, not of words as parts of speech are."""
    return all(tag == OUTSIDE or _ENTITY.fullmatch(tag) for tag in tags)


def type_of(tag: str) -> str:
    """Returns the type of the entity that a tag is of; `O` for none."""
    return OUTSIDE if tag == OUTSIDE else tag[2:] or _ONLY_TYPE


def find(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Returns `(type, first word, last word)` of each entity of a sentence."""
    from seqeval.metrics.sequence_labeling import get_entities

    return get_entities(_in_bioes(tags))


def scores(
    right: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Returns `precision`, `recall` and `f1` over all entities, 0 where there are none.

    Args:
      right: The tags of each sentence.
      predicted: The same.
    """
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

    precision, recall, f1, _ = precision_recall_fscore_support(
        *_both(right, predicted), average="micro", zero_division=0
    )
    return {"precision": precision, "recall": recall, "f1": f1}


def table(right: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> str:
    """Returns precision, recall, F1 and support of every type, as lines of text."""
    from seqeval.metrics import classification_report

    if not any(
        type_of(tag) != OUTSIDE for tags in (*right, *predicted) for tag in tags
    ):
        return "no entities, neither right nor predicted ones\n"
    return classification_report(*_both(right, predicted), digits=4, zero_division=0)


def _both(
    right: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]
) -> tuple[list[list[str]], list[list[str]]]:
    return [_in_bioes(tags) for tags in right], [_in_bioes(tags) for tags in predicted]


def _in_bioes(tags: Sequence[str]) -> list[str]:
    """Returns tags as seqeval knows them, which no entity of other schemes misses."""
    return [_SPELLINGS.get(tag[0], tag[0]) + tag[1:] for tag in tags]
