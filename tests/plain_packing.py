"""What becomes of long texts, in plain Python over `FullTokenizer`'s pieces."""

import math

from bert_tf.tokenization import FullTokenizer

NAMES = ("input_ids", "input_mask", "segment_ids")


def kept(pieces_a: list, pieces_b: list, max_seq_length: int) -> tuple[int, int]:
    """Returns how many pieces of each text are left, dropping one after the other."""
    length_a, length_b = len(pieces_a), len(pieces_b)
    while length_a + length_b > max_seq_length - (3 if pieces_b else 2):
        if length_a > length_b:
            length_a -= 1
        else:
            length_b -= 1
    return length_a, length_b


def _head_tail(pieces: list, kept: int) -> list:
    if len(pieces) == kept:
        return pieces
    head = (kept + 2) // 4
    return pieces[:head] + pieces[len(pieces) - (kept - head) :]


def _windows(pieces: list, kept: int, doc_stride: int | None) -> list[list]:
    if len(pieces) == kept:
        return [pieces]
    stride = max(1, kept // 2) if doc_stride is None else min(doc_stride, kept)
    last = len(pieces) - kept
    starts = [*range(0, last, stride), last]
    assert len(starts) == 1 + math.ceil(last / stride)
    return [pieces[start : start + kept] for start in starts]


def head_tail(
    pieces_a: list, pieces_b: list, max_seq_length: int
) -> list[tuple[list, list]]:
    """Returns what the row of a text or pair holds."""
    kept_a, kept_b = kept(pieces_a, pieces_b, max_seq_length)
    return [(_head_tail(pieces_a, kept_a), _head_tail(pieces_b, kept_b))]


def windows(
    pieces_a: list, pieces_b: list, max_seq_length: int, doc_stride: int | None
) -> list[tuple[list, list]]:
    """Returns what each of the rows of a text or pair holds."""
    kept_a, kept_b = kept(pieces_a, pieces_b, max_seq_length)
    windows_a = _windows(pieces_a, kept_a, doc_stride)
    windows_b = _windows(pieces_b, kept_b, doc_stride)
    return [
        (
            windows_a[min(number, len(windows_a) - 1)],
            windows_b[min(number, len(windows_b) - 1)],
        )
        for number in range(max(len(windows_a), len(windows_b)))
    ]


def features(
    full: FullTokenizer, parts: list[tuple[list, list]], width: int = 0
) -> dict[str, list[list[int]]]:
    """Returns rows that hold these pieces.

    Args:
      full: Knows the pieces' ids.
      parts: For each row the pieces of its first and of its second text.
      width: How long rows are; 0 for as long as the longest.
    """
    rows: dict[str, list] = {name: [] for name in NAMES}
    for part_a, part_b in parts:
        first = ["[CLS]", *part_a, "[SEP]"]
        second = [*part_b, "[SEP]"] if part_b else []
        rows["input_ids"].append(full.convert_tokens_to_ids(first + second))
        rows["input_mask"].append([1] * len(first + second))
        rows["segment_ids"].append([0] * len(first) + [1] * len(second))
    width = width or max(map(len, rows["input_ids"]))
    return {
        name: [row + [0] * (width - len(row)) for row in each]
        for name, each in rows.items()
    }
