"""What exports of pretrained models say is what the library says."""

import numpy as np
import pytest
import tensorflow as tf

from bert_tf import BertConfig, ConfigError, FullTokenizer, GraphTokenizer
from bert_tf.checkpoint import CheckpointReader, load_checkpoint, save_checkpoint
from bert_tf.modeling import BertModel
from bert_tf.serving.features import FeatureExtractor
from bert_tf.serving.fill_mask import MaskFiller
from bert_tf.serving.pretrained_servable import PretrainedServable
from bert_tf.serving.signatures import all_signatures
from bert_tf.tokenization.graph_masked_text import tokenize_masked
from bert_tf.tokenization.masked_text import MaskedText

TEXTS = ["the day was warm", "", "Ünïcödé 雪 in the north", "snow and " * 60]
MASKED = ["the [MASK] was dark", "[MASK]", "“[MASK]”, said[MASK]he [MASK]", "x [MASK"]


@pytest.fixture(scope="module")
def files(testdata) -> list[str]:
    names = ("bert_config.json", "vocab_uncased.txt", "bert_model.ckpt")
    return [str(testdata / name) for name in names]


@pytest.fixture(scope="module")
def config(files) -> BertConfig:
    return BertConfig.from_json_file(files[0])


@pytest.fixture(scope="module")
def tokenizer(files) -> GraphTokenizer:
    return GraphTokenizer(files[1])


@pytest.fixture(scope="module")
def servable(files, config, tokenizer) -> PretrainedServable:
    variables = CheckpointReader(files[2]).shapes
    return PretrainedServable(config, tokenizer, variables, max_seq_length=48, top_k=3)


@pytest.fixture(scope="module")
def ask(servable, files):
    """Returns what a signature says of its inputs, as arrays."""
    model = servable.create_model()
    assert not load_checkpoint(model, files[2]).fresh
    signatures = all_signatures(servable)

    def run(name: str, *inputs) -> dict[str, np.ndarray]:
        specs = signatures[name].inputs
        said = signatures[name].run(
            model,
            *(tf.constant(x, s.dtype) for x, s in zip(inputs, specs, strict=True)),
        )
        return {key: value.numpy() for key, value in said.items()}

    run.names = list(signatures)
    return run


def test_signatures(ask):
    names = ["serving_default", "embeddings", "fill_mask", "ids", "tf_example"]
    assert ask.names == [*names, "pieces"]


@pytest.mark.parametrize("pooling", ["mean", "max", "cls"])
def test_vectors_of_texts(ask, files, servable, monkeypatch, pooling):
    monkeypatch.setattr(servable, "pooling", pooling)
    extractor = FeatureExtractor(*files, pooling=pooling, max_seq_length=48)
    expected = [x.values for x in extractor.extract([(text, None) for text in TEXTS])]
    found = ask("embeddings", TEXTS)
    assert list(found) == ["embedding"]
    np.testing.assert_allclose(found["embedding"], expected, atol=1e-5)
    assert ask("embeddings", [])["embedding"].shape == (0, 48)


def test_vectors_of_rows(ask, files, config, servable):
    full = FullTokenizer(files[1])
    ids = full.convert_tokens_to_ids(["[CLS]", *full.tokenize(TEXTS[0]), "[SEP]"])
    row = [[*ids, 0, 0]]
    mask = [[1] * len(ids) + [0, 0]]
    found = ask("ids", row, mask, np.zeros_like(row))
    strings = ask("embeddings", TEXTS[:1])["embedding"]
    np.testing.assert_allclose(found["embedding"], strings, atol=1e-5)
    model = BertModel(config)
    load_checkpoint(model, files[2])
    outputs = model({"input_ids": tf.constant(row), "input_mask": tf.constant(mask)})
    for name in ("sequence_output", "pooled_output"):
        np.testing.assert_allclose(found[name], outputs[name], atol=1e-6)


def test_pieces_for_masks(ask, files):
    found = ask("fill_mask", MASKED)
    assert found["pieces"].shape == found["probabilities"].shape == (4, 3, 3)
    filler = MaskFiller(files[0], files[1], files[2])
    for row, text in enumerate(MASKED):
        masks = filler.fill([text], top_k=3)[0] if "[MASK]" in text else []
        for place in range(3):
            pieces = [x.decode() for x in found["pieces"][row, place]]
            said = [x.piece for x in masks[place]] if place < len(masks) else [""] * 3
            assert pieces == said
            shares = [x.probability for x in masks[place]] if any(said) else [0.0] * 3
            np.testing.assert_allclose(
                found["probabilities"][row, place], shares, atol=1e-6
            )
    assert ask("fill_mask", [])["pieces"].shape == (0, 0, 3)


def test_masks_beyond_the_row_are_left_out(ask):
    found = ask("fill_mask", ["[MASK] " + "snow " * 50 + "[MASK]"])
    assert found["pieces"].shape == (1, 1, 3)


def test_masked_texts_are_split_as_in_python(tokenizer, files):
    full = FullTokenizer(files[1])
    found = tokenize_masked(tokenizer, tf.constant(MASKED)).to_list()
    for text, ids in zip(MASKED, found, strict=True):
        if "[MASK]" in text:
            pieces = MaskedText.of(text).tokenize(full)
        else:
            pieces = full.tokenize(text)
        assert ids == full.convert_tokens_to_ids(pieces)


def test_pieces_of_texts(ask, files):
    full = FullTokenizer(files[1])
    [(name, found)] = ask("pieces", TEXTS).items()
    assert name == "text_pieces"
    for text, row in zip(TEXTS, found, strict=True):
        assert [x.decode() for x in row if x] == full.tokenize(text)


def test_a_checkpoint_without_a_head_gives_vectors_only(tmp_path, config, tokenizer):
    model = BertModel(config)
    save_checkpoint(model, str(tmp_path / "model.ckpt"))
    variables = CheckpointReader(str(tmp_path)).shapes
    servable = PretrainedServable(config, tokenizer, variables, max_seq_length=48)
    assert list(servable.signatures) == ["serving_default", "embeddings"]
    without_pooler = [name for name in variables if "pooler" not in name]
    servable = PretrainedServable(config, tokenizer, without_pooler, max_seq_length=48)
    rows = {
        name: tf.ones([1, 4], tf.int32)
        for name in ("input_ids", "input_mask", "segment_ids")
    }
    assert set(servable.serve_rows(model, rows)) == {"embedding", "sequence_output"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"input_ids": [[2, -1]]}, "input_ids from 0 to 1599"),
        ({"input_ids": [[2, 1600]]}, "input_ids from 0 to 1599"),
        ({"input_mask": [[1, 2]]}, "input_mask from 0 to 1"),
        ({"segment_ids": [[0, 2]]}, "segment_ids from 0 to 1"),
        ({"input_mask": [[1]]}, "input_mask of the shape of input_ids"),
        ({"input_ids": [[]], "input_mask": [[]], "segment_ids": [[]]}, "1 to 80"),
    ],
)
def test_rows_that_no_text_gives_are_refused(ask, change, says):
    rows = {"input_ids": [[2, 3]], "input_mask": [[1, 1]], "segment_ids": [[0, 0]]}
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"Expected .*{says}"):
        ask("ids", *(rows | change).values())


def test_examples_of_other_lengths_are_refused(ask):
    def feature(*values: int) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    row = {"input_ids": feature(2, 3), "input_mask": feature(1, 1)}
    example = tf.train.Example(features=tf.train.Features(feature=row))
    with pytest.raises(tf.errors.InvalidArgumentError, match="of one length"):
        ask("tf_example", [example.SerializeToString()])


def test_options(config, tokenizer):
    with pytest.raises(ConfigError, match="Expected pooling to be one of"):
        PretrainedServable(config, tokenizer, [], max_seq_length=48, pooling="none")
    servable = PretrainedServable(
        config, tokenizer, [], max_seq_length=48, top_k=config.vocab_size + 1
    )
    assert servable.top_k == config.vocab_size
