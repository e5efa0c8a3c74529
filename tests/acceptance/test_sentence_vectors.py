"""Sentence vectors are those of sentence-transformers, where that is installed."""

import csv

import pytest

from bert_tf import SentenceEncoder
from tests.minilm import MODEL, cosines, fetched, stored
from tests.programs import ROOT


def texts_of_all_kinds(testdata) -> list[str]:
    """Returns 200: the stored ones, 170 sentences, and 10 of up to 90 in a row."""
    with open(ROOT / "examples/topics/train.tsv", encoding="utf-8", newline="") as file:
        _, *rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    sentences = [text for text, _ in rows]
    joined = [" ".join(sentences[i : i + i // 4]) for i in range(0, 400, 40)]
    return [*stored(testdata)[0], *sentences[:170], *joined]


@pytest.mark.acceptance
@pytest.mark.timeout(1200)
def test_vectors_of_sentence_transformers(testdata, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    folder = fetched(tmp_path)
    texts = texts_of_all_kinds(testdata)
    assert len(texts) == 200
    peer = sentence_transformers.SentenceTransformer(str(MODEL), device="cpu")
    ours = SentenceEncoder(folder, max_seq_length=peer.max_seq_length).encode(texts)
    assert cosines(ours, peer.encode(texts)).min() >= 0.9999
