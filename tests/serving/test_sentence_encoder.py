"""Vectors are the extractor's, whatever they are encoded with; search finds texts."""

import re
import shutil

import numpy as np
import pytest

from bert_tf import CheckpointError, ConfigError, DataError, SentenceEncoder
from bert_tf.serving.features import FeatureExtractor
from tests.minilm import MODEL, cosines, google_folder, stored
from tests.programs import ROOT

TEXTS = ["the lamp", "", "one winter the supply boat did not arrive " * 9, "dark"]


@pytest.fixture(scope="module")
def folder(testdata, tmp_path_factory):
    """A folder in Google's layout."""
    folder = tmp_path_factory.mktemp("model")
    for path in testdata.glob("bert_*"):
        shutil.copy(path, folder)
    shutil.copy(testdata / "vocab_uncased.txt", folder / "vocab.txt")
    return folder


@pytest.fixture(scope="module")
def encoder(folder):
    return SentenceEncoder(str(folder), max_seq_length=40, batch_size=3)


def test_the_extractors_vectors(folder, encoder):
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32 and vectors.shape == (4, 48)
    extractor = FeatureExtractor(
        *(str(folder / name) for name in ("bert_config.json", "vocab.txt", "")),
        pooling="mean",
        max_seq_length=40,
    )
    pairs = [(text, None) for text in TEXTS]
    found = [features.values for features in extractor.extract(pairs)]
    np.testing.assert_allclose(vectors, found, atol=1e-5)
    turned = encoder.encode(tuple(TEXTS[::-1]))
    np.testing.assert_allclose(turned, found[::-1], atol=1e-5)


def test_files_apart_and_vectors_of_length_one(testdata, folder, encoder):
    apart = SentenceEncoder(
        folder,
        vocab_file=str(testdata / "vocab_uncased.txt"),
        init_checkpoint=str(testdata / "bert_model.ckpt.index"),
        max_seq_length=40,
        normalize=True,
    )
    found, plain = apart.encode(TEXTS), encoder.encode(TEXTS)
    scaled = plain / np.sqrt((plain.astype(np.float64) ** 2).sum(axis=1))[:, None]
    np.testing.assert_allclose(found, scaled, atol=1e-6)


def test_no_texts(encoder):
    assert encoder.encode([]).shape == (0, 48)


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ("the lamp", "a list of texts, got a single one ('the lamp')"),
        (b"the lamp", "got a single one"),
        (["a", None], "got NoneType at position 1 (None)"),
        ([b"a"], "got bytes at position 0"),
    ],
)
def test_what_is_no_list_of_texts(encoder, texts, says):
    with pytest.raises(DataError) as caught:
        encoder.encode(texts)
    assert says in str(caught.value)


def test_models_that_are_none(folder, tmp_path):
    with pytest.raises(ConfigError, match="Expected a model_dir, or bert_config_file"):
        SentenceEncoder(vocab_file="vocab.txt")
    with pytest.raises(ConfigError, match="one of cls, mean, max, got 'none'"):
        SentenceEncoder(str(folder), pooling="none")
    with pytest.raises(ConfigError, match="float32, bfloat16, got 'float16'"):
        SentenceEncoder(str(folder), precision="float16")
    with pytest.raises(ConfigError, match=r"bert_config.json at .*, found no "):
        SentenceEncoder(str(tmp_path))
    with pytest.raises(ConfigError, match="do_lower_case=False keeps upper-case"):
        SentenceEncoder(str(folder), do_lower_case=False)
    with pytest.raises(CheckpointError, match="a TensorFlow checkpoint"):
        SentenceEncoder(str(folder), init_checkpoint=str(tmp_path), max_seq_length=40)


def test_the_search_of_the_guide(tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs" / "features.md").read_text()
    [program] = re.findall(r"```python\n(.*?)```", page, re.S)
    (tmp_path / "BERT").symlink_to(ROOT / "examples" / "tiny")
    monkeypatch.chdir(tmp_path)
    exec(program, {})
    best, *others = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"0\.\d\d  The ferry leaves at six in the morning\.", best)
    assert len(others) == 2


def test_vectors_of_sentence_transformers(testdata, tmp_path, measured):
    if not MODEL.is_dir():
        pytest.skip("needs all-MiniLM-L6-v2, which make demo fetches")
    texts, expected = stored(testdata)
    encoder = SentenceEncoder(google_folder(tmp_path), max_seq_length=256)
    least = cosines(encoder.encode(texts), expected).min()
    measured(
        f"all-MiniLM-L6-v2, vectors of {len(texts)} texts against those of "
        "sentence-transformers: 1 less the least cosine",
        float(1 - least),
        at_most=1e-4,
    )
