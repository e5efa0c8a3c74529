"""Pieces and probabilities are those of Google's code and of a model run by hand."""

import shutil

import numpy as np
import pytest

from bert_tf import (
    BertClassifier,
    BertConfig,
    BertPretrainer,
    CheckpointError,
    ConfigError,
    DataError,
    FullTokenizer,
    load_checkpoint,
    save_checkpoint,
)
from bert_tf.checkpoint import CheckpointReader, write_tensors
from bert_tf.serving.fill_mask import MaskFiller

CASES = {"uncased": True, "cased": False}


def files(testdata, case="uncased"):
    names = ("bert_config.json", f"vocab_{case}.txt", "bert_model.ckpt")
    return [str(testdata / name) for name in names]


@pytest.fixture(scope="module")
def filler(testdata):
    return MaskFiller(*files(testdata))


def test_googles_log_probabilities(testdata, filler, measured):
    features = dict(np.load(testdata / "model_inputs.npz"))
    golden = np.load(testdata / "model_outputs.npz")["masked_lm_log_probs"]
    names = ("input_ids", "input_mask", "segment_ids", "masked_lm_positions")
    found = filler.probabilities({name: features[name] for name in names})
    assert found.dtype == np.float32
    worst = np.abs(np.log(found).reshape(golden.shape) - golden).max()
    measured("log-probabilities of fill_mask", float(worst), at_most=1e-5)


def by_hand(testdata, pieces, case):
    """Returns the log-probabilities at every piece, `[S, V]`, all through the head."""
    config_file, vocab_file, checkpoint = files(testdata, case)
    model = BertPretrainer(BertConfig.from_json_file(config_file))
    load_checkpoint(model, checkpoint)
    ids = FullTokenizer(vocab_file).convert_tokens_to_ids(pieces)
    padding = [0] * 5
    logits = model(
        {
            "input_ids": np.array([ids + padding]),
            "input_mask": np.array([[1] * len(ids) + padding]),
            "segment_ids": np.zeros((1, len(ids) + 5), int),
            "masked_lm_positions": np.arange(len(ids))[None],
        }
    )["masked_lm_logits"][0].numpy()
    logits = logits.astype(np.float64)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("case", "text", "pieces", "masks"),
    [
        ("uncased", "The [MASK] was dark", "the [MASK] was dark", [2]),
        (
            "uncased",
            "the[MASK]lamp [MASK], and [MASK].",
            "the [MASK] lamp [MASK] , and [MASK] .",
            [2, 4, 7],
        ),
        ("cased", "The [MASK] was dark", "The [MASK] was dark", [2]),
    ],
)
def test_a_model_run_by_hand(testdata, case, text, pieces, masks):
    filler = MaskFiller(*files(testdata, case), do_lower_case=CASES[case])
    [found] = filler.fill([text], top_k=2000)
    expected = by_hand(testdata, ["[CLS]", *pieces.split(), "[SEP]"], case)
    vocab = (testdata / f"vocab_{case}.txt").read_text("utf-8").split("\n")[:-1]
    assert len(found) == len(masks)
    for candidates, position in zip(found, masks, strict=True):
        probabilities = [each.probability for each in candidates]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert sorted(each.piece for each in candidates) == sorted(vocab)
        by_piece = {each.piece: each.probability for each in candidates}
        np.testing.assert_allclose(
            np.log([by_piece[piece] for piece in vocab]), expected[position], atol=1e-5
        )


def test_what_a_text_is_given_with_makes_no_difference(filler):
    texts = ["the [MASK] was dark", "[MASK] " * 40, "the[MASK]was  dark"]
    alone = [filler.fill([text])[0] for text in texts]
    assert filler.fill(texts) == alone
    spaced, _, close = alone
    assert [(e.piece, e.probability) for e in spaced[0]] == [
        (e.piece, e.probability) for e in close[0]
    ]


def test_the_best_are_the_first_of_all(filler):
    text = "the keeper climbed the [MASK] ."
    [[everything]] = filler.fill([text], top_k=1600)
    assert filler.fill([text], top_k=3) == [[everything[:3]]]
    assert filler.fill([text]) == [[everything[:5]]]
    assert everything[0].text == f"the keeper climbed the {everything[0].piece} ."
    assert filler.fill([]) == []


def test_a_folder_in_googles_layout(testdata, tmp_path, filler):
    for path in testdata.glob("bert_*"):
        shutil.copy(path, tmp_path)
    shutil.copy(testdata / "vocab_uncased.txt", tmp_path / "vocab.txt")
    found = MaskFiller.from_folder(str(tmp_path)).fill(["a [MASK]"])
    assert found == filler.fill(["a [MASK]"])


def test_as_many_pieces_as_the_model_reads(filler):
    [found] = filler.fill(["[MASK]" * 78], top_k=1)
    assert len(found) == 78
    with pytest.raises(DataError, match=r"at most 78 pieces .*=80, got 79 in"):
        filler.fill(["[MASK]", "[MASK]" * 79])


def test_arguments_that_are_wrong(filler):
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        filler.fill(["[MASK]"], top_k=0)
    with pytest.raises(DataError, match="found none in 'dark'"):
        filler.fill(["[MASK]", "dark"])


def test_a_checkpoint_without_the_head(testdata, tmp_path):
    config_file, vocab_file, _ = files(testdata)
    model = BertClassifier(BertConfig.from_json_file(config_file), num_labels=2)
    path = save_checkpoint(model, str(tmp_path / "model.ckpt"))
    with pytest.raises(CheckpointError) as caught:
        MaskFiller(config_file, vocab_file, path)
    assert f"in {path}, found that it lacks cls/predictions/" in str(caught.value)
    assert "and 4 more, without which a [MASK]" in str(caught.value)


def test_next_sentences_may_be_missing(testdata, tmp_path, filler):
    config_file, vocab_file, checkpoint = files(testdata)
    reader = CheckpointReader(checkpoint)
    kept = [
        n for n in reader.shapes if "seq_relationship" not in n and "pooler" not in n
    ]
    assert len(kept) == len(reader.shapes) - 4
    path = str(tmp_path / "model.ckpt")
    write_tensors(path, {name: reader.read(name) for name in kept})
    found = MaskFiller(config_file, vocab_file, path).fill(["a [MASK]"])
    assert found == filler.fill(["a [MASK]"])
