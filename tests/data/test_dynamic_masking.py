"""Masks drawn while training: against those of the records, and hard properties."""

import numpy as np
import pytest

from bert_tf.data.dynamic_masking import DynamicMasking
from bert_tf.tokenization.vocabulary import load_vocab

GOLDEN = ("default", "whole_word_mask")


def golden(testdata, name) -> dict[str, np.ndarray]:
    """Google's records, masked."""
    arrays = np.load(testdata / f"pretraining_data_{name}.npz")
    return {key.removeprefix("0/"): arrays[key] for key in arrays}


def put_back(features) -> np.ndarray:
    """The pieces of masked records as they were, by numpy."""
    ids = np.array(features["input_ids"])
    rows, columns = np.nonzero(features["masked_lm_weights"])
    places = np.array(features["masked_lm_positions"])[rows, columns]
    ids[rows, places] = np.array(features["masked_lm_ids"])[rows, columns]
    return ids


@pytest.mark.parametrize("name", GOLDEN)
def test_googles_masks_are_put_back_first(testdata, name):
    records = golden(testdata, name)
    vocab = load_vocab(str(testdata / "vocab_uncased.txt"))
    masking = DynamicMasking(vocab, 5)
    found = masking(records, (1, 2))
    np.testing.assert_array_equal(put_back(found), put_back(records))
    assert sorted(found) == sorted(records)
    for feature, values in found.items():
        assert values.dtype == records[feature].dtype
