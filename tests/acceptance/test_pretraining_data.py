"""Pretraining data from real texts: stream against the reference, and every script."""

import dataclasses

import numpy as np
import pytest
import scipy.stats

from bert_tf.data.pretraining_config import PretrainingDataConfig
from bert_tf.data.pretraining_data import create_pretraining_data
from bert_tf.data.record_files import read_batches
from bert_tf.data.record_summary import RecordSummary
from bert_tf.data.records import pretraining_features
from bert_tf.tokenization.full_tokenizer import FullTokenizer

SEEDS = range(10)


def summary(config: PretrainingDataConfig) -> RecordSummary:
    """Makes the records and counts what is in them."""
    create_pretraining_data(config)
    vocab = FullTokenizer(config.vocab_file).vocab
    spec = pretraining_features(config.max_seq_length, config.max_predictions_per_seq)
    batches = read_batches(config.output_file, spec)
    first, *rest = (RecordSummary.of_batch(batch, vocab) for batch in batches)
    for part in rest:
        first += part
    return first


def figures(found: RecordSummary) -> dict[str, float]:
    """What the two modes should have in common, for one time through the text."""
    counts = found.counts
    histogram = counts.length_histogram
    ends = [0, 16, 32, 48, 64, 80, 96, 112, 120, 124, 127, 128, 129]
    bins = np.add.reduceat(histogram, ends[:-1]) / counts.records
    return {
        "instances per duplicate": counts.records,
        "random next": counts.random_next / counts.records,
        "short": histogram[:100].sum() / counts.records,
        **{
            f"lengths {first} to {end - 1}": share
            for first, end, share in zip(ends[:-1], ends[1:], bins, strict=True)
        },
    }


@pytest.mark.acceptance
@pytest.mark.timeout(3600)
def test_stream_makes_what_the_reference_makes(real_data, tmp_path, measured):
    """Documents draw for themselves, so whole runs are what varies independently."""
    config = PretrainingDataConfig(
        input_file=str(real_data / "text/english_novels.txt"),
        output_file="",
        vocab_file=str(real_data / "vocab/uncased_vocab.txt"),
        dupe_factor=1,
    )
    found: dict[str, list[RecordSummary]] = {"reference": [], "stream": []}
    for mode, summaries in found.items():
        for seed in SEEDS:
            folder = tmp_path / f"{mode}-{seed}"
            changes = {"output_file": str(folder / "records"), "random_seed": seed}
            summaries.append(summary(dataclasses.replace(config, mode=mode, **changes)))
            (folder / "records").unlink()
    reference, stream = (
        [figures(each) for each in summaries] for summaries in found.values()
    )
    apart: dict[str, list[float]] = {}
    for name in reference[0]:
        ours = np.array([each[name] for each in stream])
        theirs = np.array([each[name] for each in reference])
        error = theirs.std(ddof=1)
        errors = np.sqrt((theirs.var(ddof=1) + ours.var(ddof=1)) / len(SEEDS))
        # One run of stream against the mean of ten of the reference, and ten against
        # ten, which tells smaller differences.
        kind = "lengths (largest of 12 bins)" if name.startswith("lengths") else name
        apart.setdefault(f"{kind}: one run", []).append(
            abs(ours[0] - theirs.mean()) / (error * np.sqrt(1.1))
        )
        apart.setdefault(f"{kind}: ten runs", []).append(
            abs(ours.mean() - theirs.mean()) / errors
        )
    for name, found_apart in apart.items():
        measured(f"stream, {name}, standard errors apart", max(found_apart), at_most=4)

    masks = [
        sum(each.counts.masked for each in summaries)
        / sum(each.pieces for each in summaries)
        for summaries in found.values()
    ]
    difference = abs(masks[1] / masks[0] - 1)
    measured("stream, selected positions: difference", difference, at_most=0.01)
    vocab_size = len(FullTokenizer(config.vocab_file).vocab)
    for mode, summaries in found.items():
        total = sum(each.counts.masked for each in summaries)
        for name, count, share in (
            ("[MASK]", sum(each.shown_as_mask for each in summaries), 0.8),
            ("kept", sum(each.kept for each in summaries), 0.1),
        ):
            # A random piece is this one once in as many times as there are pieces.
            expected_share = share + 0.1 / vocab_size
            chance = scipy.stats.binomtest(count, total, expected_share).pvalue
            what = f"{mode}, {name} at {count / total:.4f} of the positions"
            measured(f"{what}: p of the binomial test", chance, at_least=0.001)


@pytest.mark.acceptance
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("mode", ["reference", "stream"])
@pytest.mark.parametrize(
    ("text", "vocab", "do_lower_case"),
    [
        ("chinese_wikipedia.txt", "chinese_vocab.txt", True),
        ("udhr_387_languages.txt", "multi_cased_vocab.txt", False),
        ("udhr_387_languages.txt", "multi_uncased_vocab.txt", True),
    ],
)
def test_every_script_goes_through(
    real_data, tmp_path, measured, text, vocab, do_lower_case, mode
):
    config = PretrainingDataConfig(
        input_file=str(real_data / "text" / text),
        output_file=str(tmp_path / "records"),
        vocab_file=str(real_data / "vocab" / vocab),
        do_lower_case=do_lower_case,
        dupe_factor=1,
        mode=mode,
    )
    counts = create_pretraining_data(config)["counts"]
    tokenizer = FullTokenizer(config.vocab_file, do_lower_case)
    pieces = unknown = 0
    with open(config.input_file, encoding="utf-8", newline="\n") as reader:
        for line in reader:
            found = tokenizer.tokenize(line)
            pieces += len(found)
            unknown += found.count("[UNK]")
    apart = abs(counts["unknown_pieces"] - unknown) + abs(counts["pieces"] - pieces)
    measured(f"{text}, {vocab}, {mode}: unknown pieces", unknown)
    measured(f"{text}, {vocab}, {mode}: pieces that differ", apart, at_most=0)
