"""Counts of records against plain loops over the arrays that they were written from."""

import numpy as np
import pytest

from bert_tf.data.record_files import read_batches
from bert_tf.data.record_summary import (
    RecordSummary,
    ShardCounts,
    count_shard,
    mean,
    median,
)
from bert_tf.data.records import (
    pretraining_features,
    unmasked_features,
    write_records,
)
from bert_tf.errors import DataError
from bert_tf.tokenization import load_vocab

GOLDEN = {
    "default": ("uncased", 1),
    "whole_word_mask": ("uncased", 1),
    "cased_two_outputs": ("cased", 2),
}


def golden(testdata, name: str, shard: int = 0) -> dict[str, np.ndarray]:
    """Returns the arrays of one output file of the release."""
    with np.load(testdata / f"pretraining_data_{name}.npz") as arrays:
        return {
            key.split("/")[1]: arrays[key]
            for key in arrays
            if key.startswith(f"{shard}/")
        }


def spec_of(rows):
    if "masked_lm_ids" not in rows:
        return unmasked_features(rows["input_ids"].shape[1])
    return pretraining_features(
        rows["input_ids"].shape[1], rows["masked_lm_ids"].shape[1]
    )


def unmasked(rows):
    return {name: x for name, x in rows.items() if not name.startswith("masked_lm")}


def write(path, rows) -> str:
    write_records(str(path), [rows], spec_of(rows))
    return str(path)


def assert_counts(counts: ShardCounts, rows) -> None:
    lengths = [sum(row) for row in rows["input_mask"].tolist()]
    longest = rows["input_mask"].shape[1]
    assert counts.records == len(lengths)
    assert counts.random_next == rows["next_sentence_labels"].sum()
    assert counts.masked == rows.get("masked_lm_weights", np.zeros(1)).sum()
    assert counts.length_histogram.dtype == np.int64
    expected = [lengths.count(length) for length in range(longest + 1)]
    assert counts.length_histogram.tolist() == expected


@pytest.mark.parametrize("name", GOLDEN)
def test_a_shard_is_counted_as_it_was_written(testdata, tmp_path, name):
    rows = golden(testdata, name)
    assert_counts(count_shard(write(tmp_path / "a", rows), spec_of(rows)), rows)
    rows = unmasked(rows)
    assert_counts(count_shard(write(tmp_path / "b", rows), spec_of(rows)), rows)


def test_shards_and_batches_add_up(testdata, tmp_path):
    shards = [golden(testdata, "cased_two_outputs", i) for i in range(2)]
    # Several batches, the last of them not full.
    shards[1] = {name: np.tile(x, (40, 1)) for name, x in shards[1].items()}
    paths = [write(tmp_path / str(i), rows) for i, rows in enumerate(shards)]
    spec = spec_of(shards[0])
    total = sum((count_shard(path, spec) for path in paths), ShardCounts.none(32))
    rows = {name: np.concatenate([x[name] for x in shards]) for name in shards[0]}
    assert len(rows["input_ids"]) == 41 * 67 > 2048
    assert_counts(total, rows)


def test_no_records_count_nothing(testdata, tmp_path):
    rows = {name: x[:0] for name, x in golden(testdata, "default").items()}
    assert_counts(count_shard(write(tmp_path / "a", rows), spec_of(rows)), rows)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_summary_is_what_a_loop_over_tokens_finds(testdata, tmp_path, name):
    casing, shards = GOLDEN[name]
    vocab = load_vocab(str(testdata / f"vocab_{casing}.txt"))
    pieces = list(vocab)
    found = dict.fromkeys(("[MASK]", "kept", "random", "pieces", "[UNK]"), 0)
    masks, pairs = [], []
    summary = None
    for shard in range(shards):
        rows = golden(testdata, name, shard)
        # Of which the corpus has few.
        rows["input_ids"][::9, 1] = vocab["[UNK]"]
        [batch] = read_batches(write(tmp_path / str(shard), rows), spec_of(rows))
        counts = RecordSummary.of_batch(batch, vocab)
        summary = summary + counts if summary else counts
        for i in range(len(rows["input_ids"])):
            row = {key: values[i].tolist() for key, values in rows.items()}
            tokens = [pieces[each] for each in row["input_ids"]]
            number = int(sum(row["masked_lm_weights"]))
            for position, was in list(
                zip(row["masked_lm_positions"], row["masked_lm_ids"], strict=True)
            )[:number]:
                shown, tokens[position] = tokens[position], pieces[was]
                same = shown == pieces[was]
                found[
                    "kept" if same else "[MASK]" if shown == "[MASK]" else "random"
                ] += 1
            first = tokens.index("[SEP]") + 1
            second = tokens.index("[SEP]", first) + 1
            masks.append(number)
            pairs.append((row["next_sentence_labels"][0], first, second - first))
            found["pieces"] += second - 3
            found["[UNK]"] += tokens.count("[UNK]")
    assert summary.counts.masked == sum(masks)
    assert summary.shown_as_mask == found["[MASK]"] > 0
    assert summary.kept == found["kept"] > 0
    assert sum(masks) - summary.shown_as_mask - summary.kept == found["random"] > 0
    assert summary.pieces == found["pieces"]
    assert summary.unknown == found["[UNK]"] > 0
    predictions = rows["masked_lm_ids"].shape[1]
    expected = [masks.count(number) for number in range(predictions + 1)]
    assert summary.masks_histogram.tolist() == expected
    assert summary.pair_lengths.sum() == len(pairs)
    for pair in set(pairs):
        assert summary.pair_lengths[pair] == pairs.count(pair)


def test_the_summary_of_pairs_without_masks(testdata):
    rows = unmasked(golden(testdata, "default"))
    vocab = load_vocab(str(testdata / "vocab_uncased.txt"))
    summary = RecordSummary.of_batch(rows, vocab)
    assert_counts(summary.counts, rows)
    assert summary.masks_histogram.tolist() == [110]
    assert summary.shown_as_mask == summary.kept == 0
    assert summary.pieces == rows["input_mask"].sum() - 3 * 110


@pytest.mark.parametrize("count", [1, 2, 7, 100, 101])
def test_mean_and_median_of_a_histogram(count):
    numbers = np.random.default_rng(count).integers(0, 20, count)
    histogram = np.bincount(numbers, minlength=25)
    assert median(histogram) == np.median(numbers)
    assert mean(histogram) == pytest.approx(np.mean(numbers), rel=1e-12)


def test_a_shard_of_other_records_is_an_error(testdata, tmp_path):
    rows = golden(testdata, "default")
    path = write(tmp_path / "a", rows)
    with pytest.raises(DataError, match=f"lengths of the first.* in {path}"):
        count_shard(path, pretraining_features(64, 9))
    rows["input_mask"][5, 6] = 2
    with pytest.raises(DataError, match=f"input_mask from 0 to 1, found 2 in {path}"):
        count_shard(write(path, rows), spec_of(rows))
