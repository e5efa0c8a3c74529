"""Features are those of a model run by hand, whatever texts they are found among."""

import contextlib

import numpy as np
import pytest

from bert_tf import (
    BertConfig,
    BertModel,
    ConfigError,
    FullTokenizer,
    load_checkpoint,
)
from bert_tf.serving import features as module
from bert_tf.serving.features import FeatureExtractor
from tests.minilm import cosines
from tests.serving.inference_models import shaken

LENGTH = 24
TEXTS = [
    ("the keeper climbed the stairs .", None),
    ("", None),
    ("Who was that?", "The keeper of the lighthouse, who climbed the stairs at night."),
    ("one winter the supply boat did not arrive " * 5, None),
    ("the lamp " * 30, "the fog " * 30),
    ("a text and an empty one", ""),
    ("dark", None),
]


def files(testdata, case="uncased"):
    names = ("bert_config.json", f"vocab_{case}.txt", "bert_model.ckpt")
    return [str(testdata / name) for name in names]


def extractor(testdata, **arguments):
    return FeatureExtractor(*files(testdata), **{"max_seq_length": LENGTH, **arguments})


@pytest.fixture(scope="module")
def by_hand(testdata):
    """Tokens and all layers `[S, 3, H]` of each text, one at a time, all padded."""
    config_file, vocab_file, checkpoint = files(testdata)
    model = BertModel(BertConfig.from_json_file(config_file))
    load_checkpoint(model, checkpoint)
    tokenizer = FullTokenizer(vocab_file)
    found = []
    for first, second in TEXTS:
        encoded = tokenizer.encode(first, second, LENGTH, padding="max_length")
        inputs = {name: np.array([row]) for name, row in encoded.items()}
        real = sum(encoded["input_mask"])
        layers = [np.array(x)[0, :real] for x in model(inputs)["encoder_layers"]]
        tokens = tokenizer.convert_ids_to_tokens(encoded["input_ids"][:real])
        found.append((tokens, np.stack(layers, axis=1)))
    return found


@pytest.mark.parametrize("layers", [(-1,), (0, -2, 2, 0)])
def test_pieces_of_any_layers(testdata, by_hand, layers):
    found = list(extractor(testdata, layers=layers, batch_size=3).extract(TEXTS))
    assert len(found) == len(TEXTS)
    for features, (tokens, values) in zip(found, by_hand, strict=True):
        assert features.tokens == tokens
        assert features.values.dtype == np.float32
        np.testing.assert_allclose(features.values, values[:, list(layers)], atol=1e-5)
    assert {len(tokens) for tokens, _ in by_hand} > {2, LENGTH}


@pytest.mark.parametrize(
    ("pooling", "pool"),
    [
        ("cls", lambda x: x[0]),
        ("mean", lambda x: x.mean(axis=0)),
        ("max", lambda x: x.max(axis=0)),
    ],
)
def test_one_vector_per_text(testdata, by_hand, pooling, pool):
    for layers in ([-1], [0, -1]):
        chosen = extractor(testdata, pooling=pooling, layers=layers, batch_size=4)
        found = [features.values for features in chosen.extract(TEXTS)]
        expected = [pool(x[:, layers].mean(axis=1)) for _, x in by_hand]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_texts_are_taken_some_at_a_time(testdata, monkeypatch):
    """As many as may be held, which come out before more are read."""
    counts, read = [], []
    whole = extractor(testdata, batch_size=2)
    expected = list(whole.extract(TEXTS, counts.append))
    assert counts == [2, 2, 2, 1]
    of_a_text = LENGTH * 48 * 4
    monkeypatch.setattr(module, "_BYTES_AT_ONCE", 5 * of_a_text)

    def texts():
        for text in TEXTS:
            read.append(text)
            yield text

    found = whole.extract(texts())
    for row, features in enumerate(expected):
        same = next(found)
        assert len(read) == min(row // 4 * 4 + 4, len(TEXTS))
        assert same.tokens == features.tokens
        np.testing.assert_allclose(same.values, features.values, atol=1e-5)


def test_no_batch_is_longer_than_it_must_be(testdata, monkeypatch):
    """One trace serves all lengths; each text stands among those of like length."""
    one = extractor(testdata, batch_size=2)
    shapes, run = [], one._run
    monkeypatch.setattr(one, "_run", lambda *x: shapes.append(x[0].shape) or run(*x))
    list(one.extract(TEXTS))
    lengths = [len(features.tokens) for features in one.extract(TEXTS)]
    ordered = sorted(lengths, reverse=True)
    assert shapes[:4] == [(2, ordered[0]), (2, ordered[2]), (2, ordered[4]), (1, 2)]
    assert run.experimental_get_tracing_count() == 1


def values_of_shaken(testdata, **arguments):
    """Vectors of the last block, of a model whose every weight counts."""
    one = extractor(testdata, batch_size=3, **arguments)
    shaken(one._model)
    return np.concatenate([features.values[:, 0] for features in one.extract(TEXTS)])


@pytest.fixture(scope="module")
def of_shaken(testdata):
    """The same by the layers as they are trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.kernels, "fused_for_cpu", contextlib.nullcontext)
        return values_of_shaken(testdata)


def test_what_is_fused_for_cpus_is_what_layers_compute(testdata, of_shaken):
    found = values_of_shaken(testdata)
    np.testing.assert_allclose(found, of_shaken, atol=1e-5)


def test_bfloat16(testdata, of_shaken):
    """Close to float32, and not the same."""
    found = values_of_shaken(testdata, precision="bfloat16")
    assert found.dtype == np.float32
    assert 1e-7 < 1 - cosines(found, of_shaken).min() < 1e-3


def test_halves_of_surrogate_pairs_are_left_out(testdata):
    one = extractor(testdata)
    [broken] = one.extract([("the \ud800lamp", None)])
    [whole] = one.extract([("the lamp", None)])
    assert broken.tokens == whole.tokens


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"precision": "float16"}, "one of float32, bfloat16, got 'float16'"),
        ({"layers": (-1, 3)}, "layers from -3 to 2, as the model has 3, got 3"),
        ({"layers": (-4,)}, "got -4"),
        ({"layers": ()}, "got none"),
        ({"pooling": "sum"}, "one of none, cls, mean, max, got 'sum'"),
        ({"max_seq_length": 81}, "from 3 to max_position_embeddings=80, got 81"),
        ({"max_seq_length": 2}, "got 2"),
        ({"batch_size": 0}, "at least 1, got 0"),
    ],
)
def test_arguments_that_are_wrong(testdata, arguments, says):
    with pytest.raises(ConfigError) as caught:
        extractor(testdata, **arguments)
    assert says in str(caught.value)
