"""`BertConfig`: Google's defaults and sizes, and every way a file can be wrong."""

import json
import unittest

import pytest

from bert_tf.config import PUBLISHED_SIZES, BertConfig
from bert_tf.errors import ConfigError

# `BertConfig.__init__` in modeling.py of google-research/bert.
GOOGLES_DEFAULTS = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 16,
    "initializer_range": 0.02,
}

# Millions of parameters, as the release's README states them.
PUBLISHED_PARAMETERS = {
    "BERT-Tiny": 4.4,
    "BERT-Mini": 11.3,
    "BERT-Small": 29.1,
    "BERT-Medium": 41.7,
    "BERT-Base": 110.1,
}

LARGER_MODELS = {
    "uncased_L-24_H-1024_A-16": 30522,
    "cased_L-12_H-768_A-12": 28996,
    "cased_L-24_H-1024_A-16": 28996,
    "wwm_uncased_L-24_H-1024_A-16": 30522,
    "wwm_cased_L-24_H-1024_A-16": 28996,
    "multilingual_L-12_H-768_A-12": 105879,
    "multi_cased_L-12_H-768_A-12": 119547,
    "chinese_L-12_H-768_A-12": 21128,
}
MINIATURES = {
    f"uncased_L-{layers}_H-{64 * heads}_A-{heads}": 30522
    for layers in (2, 4, 6, 8, 10, 12)
    for heads in (2, 4, 8, 12)
}


def parameter_count(config: BertConfig) -> int:
    """Counts the weights of encoder, pooler and pretraining heads by hand."""
    hidden, inner = config.hidden_size, config.intermediate_size
    rows = config.vocab_size + config.type_vocab_size + config.max_position_embeddings
    square, norm = hidden * hidden + hidden, 2 * hidden
    block = 4 * square + 2 * hidden * inner + inner + hidden + 2 * norm
    heads = square + norm + config.vocab_size + 2 * hidden + 2
    encoder = rows * hidden + norm + config.num_hidden_layers * block + square
    return encoder + heads


def write(path, content) -> str:
    if not isinstance(content, str):
        content = json.dumps(content)
    path.write_text(content, encoding="utf-8")
    return str(path)


def test_defaults_are_googles():
    assert BertConfig(vocab_size=7).to_dict() == {"vocab_size": 7, **GOOGLES_DEFAULTS}
    assert BertConfig.from_dict({"vocab_size": 7}) == BertConfig(vocab_size=7)


def test_the_golden_config_is_read_as_it_is(testdata):
    path = testdata / "bert_config.json"
    config = BertConfig.from_json_file(path)
    assert config.to_dict() == json.loads(path.read_text())
    assert (config.hidden_size, config.type_vocab_size) == (48, 2)


WRITTEN = """{
  "alpha": "\\u00e9",
  "attention_probs_dropout_prob": 0.1,
  "hidden_act": "gelu",
  "hidden_dropout_prob": 0.1,
  "hidden_size": 24,
  "initializer_range": 0.02,
  "intermediate_size": 3072,
  "max_position_embeddings": 512,
  "num_attention_heads": 12,
  "num_hidden_layers": 12,
  "type_vocab_size": 16,
  "vocab_size": 7,
  "zeta": [
    1
  ]
}
"""


def test_written_text_is_googles(tmp_path):
    """As `to_json_string` of the release: sorted, indented by 2, ASCII, a newline."""
    config = BertConfig(vocab_size=7, hidden_size=24, extra={"zeta": [1], "alpha": "é"})
    assert config.to_json_string() == WRITTEN
    assert BertConfig.from_json_file(write(tmp_path / "c.json", WRITTEN)) == config


def test_unknown_keys_are_kept_and_named_in_one_line(tmp_path):
    values = {"vocab_size": 9, "pooler_type": "first", "directionality": "bidi"}
    with unittest.TestCase().assertLogs("absl", "INFO") as log:
        config = BertConfig.from_dict(values)
    [line] = log.output
    assert "pooler_type" in line and "directionality" in line
    assert "vocab_size" not in line
    assert config.extra == {"pooler_type": "first", "directionality": "bidi"}
    again = json.loads(config.to_json_string())
    assert again == {**values, **GOOGLES_DEFAULTS}


def test_a_config_without_unknown_keys_logs_nothing():
    with unittest.TestCase().assertNoLogs("absl", "INFO"):
        BertConfig.from_dict({"vocab_size": 9})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("vocab_size", 0),
        ("vocab_size", "30522"),
        ("vocab_size", None),
        ("hidden_size", -768),
        ("hidden_size", 768.0),
        ("num_hidden_layers", True),
        ("num_hidden_layers", 0),
        ("num_attention_heads", 0),
        ("num_attention_heads", 5),
        ("intermediate_size", [3072]),
        ("max_position_embeddings", 0),
        ("type_vocab_size", 0),
        ("hidden_act", "GELU"),
        ("hidden_act", None),
        ("hidden_act", ["gelu"]),
        ("hidden_dropout_prob", 1.0),
        ("hidden_dropout_prob", -0.1),
        ("hidden_dropout_prob", "0.1"),
        ("hidden_dropout_prob", True),
        ("attention_probs_dropout_prob", 10),
        ("attention_probs_dropout_prob", float("nan")),
        ("initializer_range", 0),
        ("initializer_range", float("inf")),
        ("initializer_range", float("nan")),
    ],
)
def test_a_bad_value_is_named_with_its_file(tmp_path, key, value):
    path = write(tmp_path / "c.json", {"vocab_size": 100, key: value})
    with pytest.raises(ConfigError) as error:
        BertConfig.from_json_file(path)
    message = str(error.value)
    shown = str(value) if key == "num_attention_heads" and value else repr(value)
    assert message.startswith(path) and key in message and shown in message


@pytest.mark.parametrize("prob", [0, 0.0, 0.999])
def test_a_dropout_from_zero_to_below_one_is_accepted(prob):
    assert (
        BertConfig(vocab_size=5, hidden_dropout_prob=prob).hidden_dropout_prob == prob
    )


def test_missing_vocab_size_names_what_is_there(tmp_path):
    path = write(tmp_path / "c.json", {"n_embd": 768})
    with pytest.raises(ConfigError, match=r"c\.json.*vocab_size.*n_embd"):
        BertConfig.from_json_file(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"vocab_size": 5', "Expecting"),
        ("", "Expecting value"),
        ("vocab_size = 5", "Expecting value"),
        ("[5]", "got list"),
        ("null", "got NoneType"),
    ],
)
def test_what_is_no_json_object(tmp_path, content, says):
    path = write(tmp_path / "c.json", content)
    with pytest.raises(ConfigError) as error:
        BertConfig.from_json_file(path)
    assert path in str(error.value) and says in str(error.value)


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "c.json"
    path.write_bytes(b'{"vocab_size": 5, "x": "\xff"}')
    with pytest.raises(ConfigError, match=r"c\.json.*0xff"):
        BertConfig.from_json_file(str(path))


def test_a_byte_order_mark_is_accepted(tmp_path):
    path = tmp_path / "c.json"
    path.write_bytes(b'\xef\xbb\xbf{"vocab_size": 5}')
    assert BertConfig.from_json_file(str(path)) == BertConfig(vocab_size=5)


def test_a_file_far_too_large_is_not_read(tmp_path):
    path = write(tmp_path / "weights.bin", "x" * (2 << 20))
    with pytest.raises(ConfigError, match=r"weights\.bin.*1 MiB"):
        BertConfig.from_json_file(path)


@pytest.mark.parametrize("name", ["none.json", ""])
def test_a_missing_file_or_a_folder(tmp_path, name):
    with pytest.raises(ConfigError, match="found no such file") as error:
        BertConfig.from_json_file(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_the_published_names():
    assert {**MINIATURES, **LARGER_MODELS}.keys() == PUBLISHED_SIZES.keys()
    assert len(MINIATURES) == 24


@pytest.mark.parametrize("name", [*MINIATURES, *LARGER_MODELS])
def test_a_published_name_says_its_sizes(name):
    layers, hidden, heads = (int(part[2:]) for part in name.split("_")[-3:])
    assert BertConfig.from_name(name).to_dict() == {
        **GOOGLES_DEFAULTS,
        "vocab_size": {**MINIATURES, **LARGER_MODELS}[name],
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        "type_vocab_size": 2,
    }


@pytest.mark.parametrize("name", PUBLISHED_PARAMETERS)
def test_sizes_by_name_have_the_published_number_of_parameters(name):
    config = BertConfig.from_name(name)
    millions = parameter_count(config) / 1e6
    assert millions == pytest.approx(PUBLISHED_PARAMETERS[name], rel=0.01)
    assert BertConfig.from_name(name.lower()) == config


def test_the_model_has_as_many_parameters_as_counted_by_hand():
    from bert_tf.modeling import BertPretrainer

    config = BertConfig.from_name("BERT-Tiny")
    assert BertPretrainer(config).count_params() == parameter_count(config)


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ConfigError, match=r"'BERT-Huge'.*uncased_L-2_H-128_A-2"):
        BertConfig.from_name("BERT-Huge")


def test_the_chinese_config_keeps_its_six_keys(real_data, tmp_path):
    path = real_data / "checkpoint_index/chinese_L-12_H-768_A-12/bert_config.json"
    config = BertConfig.from_json_file(path)
    assert sorted(config.extra) == [
        "directionality",
        "pooler_fc_size",
        "pooler_num_attention_heads",
        "pooler_num_fc_layers",
        "pooler_size_per_head",
        "pooler_type",
    ]
    again = write(tmp_path / "c.json", config.to_json_string())
    assert json.loads((tmp_path / "c.json").read_text()) == json.loads(path.read_text())
    assert BertConfig.from_json_file(again) == config
    plain = BertConfig.from_name("chinese_L-12_H-768_A-12").to_dict()
    assert {k: v for k, v in config.to_dict().items() if k in plain} == plain


def test_the_released_tiny_config_is_that_of_its_name(real_data):
    folder = real_data / "checkpoint_index/google_bert_tiny_uncased_L-2_H-128_A-2"
    read = BertConfig.from_json_file(folder / "bert_config.json")
    assert read == BertConfig.from_name("BERT-Tiny")
