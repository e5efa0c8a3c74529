"""all-MiniLM-L6-v2, where the demo has fetched it, and vectors that it should give."""

from pathlib import Path

import numpy as np
import pytest

from bert_tf.interchange import convert
from examples.pretrained import FOLDER, INSIDE, fetch

MODEL = FOLDER / INSIDE


def google_folder(folder: Path) -> str:
    """Returns a folder in Google's layout, made below `folder`."""
    google = str(folder / "minilm")
    convert(str(MODEL), google)
    return google


def fetched(folder: Path) -> str:
    """Does the same, and fetches it before; skips if it cannot be had."""
    if fetch() is None:
        pytest.skip("needs a network for the model that make demo fetches")
    return google_folder(folder)


def stored(testdata: Path) -> tuple[list[str], np.ndarray]:
    """Returns 20 texts, and their vectors by sentence-transformers, `[20, 384]`."""
    with np.load(testdata / "sentence_vectors.npz") as arrays:
        return arrays["texts"].tolist(), arrays["vectors"]


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns the cosine of each row of `one` and that of `other`."""
    one, other = (x.astype(np.float64) for x in (one, other))
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one * other).sum(axis=1) / lengths
