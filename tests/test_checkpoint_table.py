"""What docs/checkpoints.md says of Google's models is what `bert_tf.config` says."""

import re

import pytest

from bert_tf.config import PUBLISHED_SIZES, BertConfig
from bert_tf.errors import ConfigError
from bert_tf.tokenization import (
    check_casing,
    check_vocab,
    validate_case_matches_checkpoint,
)
from tests.programs import ROOT
from tests.test_config import parameter_count

TEXT = (ROOT / "docs" / "checkpoints.md").read_text()
VOCABULARIES = {30522: "uncased", 28996: "cased", 21128: "chinese"}
VOCABULARIES |= {119547: "multi_cased", 105879: "multi_uncased"}


def larger_models() -> dict[str, list[str]]:
    """Returns `{folder: [layers, ..., vocabulary, parameters, flag]}`."""
    numbers = r" \| ".join([r"([\d,.]+)"] * 5)
    flag = r"((?:`--do_lower_case=false`)?)"
    found = re.findall(
        rf"^\| `(\w+_L-[\w-]+)` \| {numbers} M \| {flag} ?\|", TEXT, re.M
    )
    return {folder: columns for folder, *columns in found}


def small_models() -> dict[str, str]:
    """Returns `{folder: a cell}` of the table of small models."""
    heads = re.search(r"^\| \| `(H-.*)` \|$", TEXT, re.M)
    columns = heads[1].split("` | `")
    return {
        f"{row}_{column}": cell
        for row, cells in re.findall(r"^\| `(uncased_L-\d+)` \| (.*) \|$", TEXT, re.M)
        for column, cell in zip(columns, cells.split(" | "), strict=True)
    }


def test_every_published_model_is_in_a_table():
    named = larger_models().keys() | small_models().keys()
    assert named == PUBLISHED_SIZES.keys()
    assert len(small_models()) == 24


def test_sizes_are_those_of_the_config():
    for folder, columns in larger_models().items():
        config = BertConfig.from_name(folder)
        *sizes, parameters, _ = columns
        assert [int(size.replace(",", "")) for size in sizes] == [
            config.num_hidden_layers,
            config.hidden_size,
            config.num_attention_heads,
            config.vocab_size,
        ], folder
        assert parameters == f"{parameter_count(config) / 1e6:.1f}", folder
    for folder, cell in small_models().items():
        parameters, *name = cell.split(", ")
        config = BertConfig.from_name(folder)
        assert parameters == f"{parameter_count(config) / 1e6:.1f}", folder
        assert BertConfig.from_name(name[0] if name else folder) == config


def test_all_have_512_positions_and_two_segments():
    for folder in PUBLISHED_SIZES:
        config = BertConfig.from_name(folder)
        assert (config.max_position_embeddings, config.type_vocab_size) == (512, 2)
        assert config.hidden_size == 64 * config.num_attention_heads
        assert config.intermediate_size == 4 * config.hidden_size


def test_each_model_has_one_place_to_come_from():
    dates = dict(re.findall(r"^\| `(\d{4}_\d\d_\d\d)` \| (.*) \|$", TEXT, re.M))
    small = dates.pop("2020_02_20")
    assert "small models" in small
    listed = [f for folders in dates.values() for f in re.findall(r"`(.*?)`", folders)]
    assert sorted(listed) == sorted(larger_models())


def test_the_flag_is_what_the_folders_name_asks_for():
    for folder, (*_, flag) in larger_models().items():
        if folder.startswith("wwm_"):  # names that the release does not check
            assert bool(flag) == folder.startswith("wwm_cased")
            continue
        path = f"{folder}/bert_model.ckpt"
        validate_case_matches_checkpoint(not flag, path)
        with pytest.raises(ConfigError, match="do_lower_case"):
            validate_case_matches_checkpoint(bool(flag), path)


def test_the_published_vocabularies_are_as_long_and_cased_as_the_table_says(real_data):
    for folder, (*_, vocab_size, _parameters, flag) in larger_models().items():
        size = int(vocab_size.replace(",", ""))
        path = str(real_data / f"vocab/{VOCABULARIES[size]}_vocab.txt")
        vocab = check_vocab(path, size)
        check_casing(vocab, not flag, path)
        with pytest.raises(ConfigError, match="do_lower_case"):
            check_casing(vocab, bool(flag), folder)
