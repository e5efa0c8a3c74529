"""Pretraining records and what they amount to, as lines for a reader."""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from bert_tf.data.record_summary import RecordSummary, mean, median
from bert_tf.tokenization.vocabulary import SPECIAL_PIECES

LEGEND = "Masked: [MASK]→x hides x, y→x shows y for x, =x keeps x. A, B: the segments."


def record_lines(
    row: Mapping[str, np.ndarray], pieces: Sequence[str], width: int
) -> list[str]:
    """Returns a record's text, segment by segment, and before it what it is.

    Args:
      row: A record's features: `[S]`, `[P]` and `[1]`.
      pieces: The vocabulary's pieces by id.
      width: Columns that a line may take.
    """
    tokens = [pieces[i] for i in row["input_ids"]]
    masked: dict[int, str] = {}
    facts = [f"{np.count_nonzero(row['input_mask'])} pieces"]
    if "masked_lm_weights" in row:
        slots = np.flatnonzero(row["masked_lm_weights"])
        positions, ids = row["masked_lm_positions"][slots], row["masked_lm_ids"][slots]
        masked = {int(p): pieces[i] for p, i in zip(positions, ids, strict=True)}
        facts.append(f"{len(masked)} masked")
    facts.append("random next" if row["next_sentence_labels"][0] else "actual next")
    lines = [", ".join(facts)]
    for segment, name in enumerate("AB"):
        of_segment = (row["input_mask"] == 1) & (row["segment_ids"] == segment)
        words = _words(tokens, masked, np.flatnonzero(of_segment).tolist())
        lines += _wrapped(words, width, f"  {name}  ")
    return lines


def _words(
    tokens: Sequence[str], masked: Mapping[int, str], positions: Sequence[int]
) -> list[str]:
    """Returns what to write with spaces between.

    Pieces of a word are written together, unless there is a mark between: what
    begins with ## then shows that it goes on.
    """
    words: list[str] = []
    goes_on = False
    for position in positions:
        token = tokens[position]
        if goes_on and position not in masked and token.startswith("##"):
            words[-1] += token[2:]
            continue
        goes_on = position not in masked and token not in SPECIAL_PIECES
        was = masked.get(position)
        if was is not None:
            token = f"={token}" if was == token else f"{token}→{was}"
        words.append(token)
    return words


def _wrapped(words: Sequence[str], width: int, start: str) -> Iterator[str]:
    """Yields lines, of which the first begins with `start` and the others below it."""
    line, used = start, len(start)
    for word in words:
        taken = columns(word)
        if used > len(start) and used + taken > width:
            yield line.rstrip()
            line, used = " " * len(start), len(start)
        line += f"{word} "
        used += taken + 1
    if words:
        yield line.rstrip()


def columns(text: str) -> int:
    """Returns how many columns a text takes; East Asian characters take two."""
    return sum(
        not unicodedata.combining(char)
        and 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )


def summary_lines(summary: RecordSummary, num_files: int) -> list[str]:
    """Returns a table of what all records amount to."""
    counts, lengths = summary.counts, summary.counts.length_histogram
    longest = len(lengths) - 1
    files = "file" if num_files == 1 else "files"
    table = {
        "records": f"{counts.records:,} in {num_files:,} {files}",
        "length": f"mean {mean(lengths):.1f}, median {median(lengths):g}, "
        f"{_share(counts.records - lengths[-1], counts.records)} shorter than "
        f"{longest}",
        "next segment": f"{_share(counts.random_next, counts.records)} random",
    }
    if len(summary.masks_histogram) > 1:
        per_record = summary.masks_histogram
        random = counts.masked - summary.shown_as_mask - summary.kept
        table["masks"] = (
            f"{mean(per_record):.1f} per record, from {np.flatnonzero(per_record)[0]} "
            f"to {np.flatnonzero(per_record)[-1]}"
        )
        table["masks show"] = (
            f"{_share(summary.shown_as_mask, counts.masked)} [MASK], "
            f"{_share(summary.kept, counts.masked)} the piece itself, "
            f"{_share(random, counts.masked)} a random one"
        )
    else:
        table["masks"] = "none yet: masked while training"
    table["[UNK]"] = (
        f"{summary.unknown:,} of {summary.pieces:,} pieces, "
        f"{_share(summary.unknown, summary.pieces)}"
    )
    return [f"{name:<14}{text}" for name, text in table.items()]


def _share(part: int, whole: int) -> str:
    return f"{part / max(whole, 1):.1%}"
