"""Entities in every scheme of tags, against a plain conlleval."""

import random

import pytest

from bert_tf.tasks import entities
from tests.plain_conlleval import conlleval

# Of `Ann van Lee Bob was in Rome`: two people side by side, and a place.
FOUND = [("PER", 0, 2), ("PER", 3, 3), ("LOC", 6, 6)]
TYPES = ["PER", "PER", "PER", "PER", "O", "O", "LOC"]
SCHEMES = {
    "IOB1": "I-PER I-PER I-PER B-PER O O I-LOC",
    "IOB2": "B-PER I-PER I-PER B-PER O O B-LOC",
    "BIOES": "B-PER I-PER E-PER S-PER O O S-LOC",
    "BILOU": "B-PER I-PER L-PER U-PER O O U-LOC",
    "BMES": "B-PER M-PER E-PER S-PER O O S-LOC",
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_finds_the_same(scheme):
    tags = SCHEMES[scheme].split()
    assert entities.mark_entities(tags)
    assert entities.find(tags) == FOUND
    assert entities.scores([tags], [tags]) == {"precision": 1, "recall": 1, "f1": 1}
    assert [entities.type_of(tag) for tag in tags] == TYPES


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("B-X M-X M-X E-X S-X", [("X", 0, 3), ("X", 4, 4)]),
        ("U-X U-X U-Y L-Y", [("X", 0, 0), ("X", 1, 1), ("Y", 2, 2), ("Y", 3, 3)]),
        ("B I O I B", [("_", 0, 1), ("_", 3, 3), ("_", 4, 4)]),
        ("B-a-b I-a-b I-c", [("a-b", 0, 1), ("c", 2, 2)]),
        ("O O", []),
    ],
)
def test_more_tags(tags, found):
    assert entities.mark_entities(tags.split())
    assert entities.find(tags.split()) == found


@pytest.mark.parametrize("tags", ["NOUN VERB", "O X", "B-PER PER", "NN IN O ."])
def test_other_tags_mark_no_entities(tags):
    assert not entities.mark_entities(tags.split())


def test_scores_are_conllevals():
    draw = random.Random(3)
    labels = ["O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    right, predicted = (
        [draw.choices(labels, k=1 + i % 9) for i in range(200)] for _ in range(2)
    )
    lines = []
    for pair in zip(right, predicted, strict=True):
        lines += [f"word\t{a}\t{b}" for a, b in zip(*pair, strict=True)] + [""]
    expected = conlleval("\n".join(lines))
    assert entities.scores(right, predicted) == pytest.approx(expected)
    report = entities.table(right, predicted)
    assert f"{expected['f1']:.4f}" in report and "LOC" in report


def test_no_entities_at_all():
    nothing = [["O", "O"], ["O"]]
    assert set(entities.scores(nothing, nothing).values()) == {0}
    assert entities.table(nothing, nothing).startswith("no entities")
    assert "micro avg" in entities.table(nothing, [["O", "B-X"], ["O"]])
