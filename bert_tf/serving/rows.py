"""Rows of named arrays: joined into batches, run, and taken apart again.

All arrays of a batch have a dimension 0, over its rows. Strings are bytes in arrays of
objects. A further dimension may depend on the batch, whose narrower rows are then
filled up behind, with b"" or 0.
"""

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

Rows = Mapping[str, np.ndarray]

# Bytes of a text that go into any batch, as all rows have some pieces.
_SHORT = 20


def count(rows: Rows) -> int:
    """Returns how many rows there are."""
    return len(next(iter(rows.values())))


def is_text(array: np.ndarray) -> bool:
    """Returns whether an array holds strings, as bytes."""
    return array.dtype.kind == "O"


def is_binary(name: str) -> bool:
    """Returns whether an output's strings are bytes, as its name tells TF Serving."""
    return name.endswith("_bytes")


def taken(rows: Rows, which: slice | np.ndarray) -> dict[str, np.ndarray]:
    """Returns some of the rows."""
    return {name: array[which] for name, array in rows.items()}


def joined(parts: Sequence[Rows]) -> dict[str, np.ndarray]:
    """Returns the rows of all parts, filled up to one width.

    For `input_ids`, `input_mask` and `segment_ids` this is padding as the model knows
    it: a mask of 0 hides what the others say there.
    """
    return {name: _stacked([part[name] for part in parts]) for name in parts[0]}


def _stacked(arrays: list[np.ndarray]) -> np.ndarray:
    shape = tuple(np.max([array.shape[1:] for array in arrays], axis=0).astype(int))
    if all(array.shape[1:] == shape for array in arrays):
        return np.concatenate(arrays)
    filling = b"" if is_text(arrays[0]) else 0
    stacked = np.full((sum(map(len, arrays)), *shape), filling, arrays[0].dtype)
    start = 0
    for array in arrays:
        part = stacked[start : start + len(array)]
        part[tuple(map(slice, array.shape))] = array
        start += len(array)
    return stacked


def run_in_batches(
    run: Callable[[Rows], Rows], rows: Rows, batch_size: int
) -> dict[str, np.ndarray]:
    """Runs any number of rows, those of like length together, so that little is padded.

    Texts of which one is over twice as long as another are in different batches, though
    these be small: to run a batch more costs less than padding does.

    Args:
      run: Returns the outputs of at most `batch_size` rows.
      rows: One row or more.
      batch_size: Rows at a time.

    Returns:
      The outputs in the order of `rows`.
    """
    # The longest first: what they take of memory is then known at once.
    lengths = _lengths(rows)
    order = np.argsort(-lengths, kind="stable")
    starts = [0]
    for place, row in enumerate(order):
        longest = lengths[order[starts[-1]]]
        if place == starts[-1] + batch_size or longest > 2 * lengths[row] + _SHORT:
            starts.append(place)
    if len(starts) == 1:
        return dict(run(rows))
    parts = itertools.pairwise([*starts, len(order)])
    outputs = joined([run(taken(rows, order[start:end])) for start, end in parts])
    return taken(outputs, np.argsort(order))


def _lengths(rows: Rows) -> np.ndarray:
    """Returns the bytes of each row's texts, int `[n]`."""
    lengths = np.zeros(count(rows), int)
    for array in rows.values():
        if is_text(array) and array.ndim == 1:
            lengths += [len(text) for text in array]
    return lengths


def trimmed(
    rows: Rows, varying: Collection[str], widths: Mapping[int, int]
) -> dict[str, np.ndarray]:
    """Cuts the columns that only other rows of the batch needed.

    How many columns strings need is seen from them: b"" behind is filling. Numbers are
    cut as the strings that were as wide in the batch, whose neighbours they are; where
    there are none, their 0 cannot be told from a result, and stays.

    Args:
      rows: Some of a batch's outputs.
      varying: Those whose dimension 1 depends on the batch.
      widths: What is known of widths: that in the batch -> that of these rows.
    """
    needed: dict[int, int] = {}
    for name in varying:
        array = rows[name]
        if is_text(array):
            others = (0, *range(2, array.ndim))
            columns = np.flatnonzero((array != b"").any(axis=others))
            last = int(columns[-1]) + 1 if len(columns) else 0
            width = array.shape[1]
            needed[width] = max(needed.get(width, 0), last)
    needed = {**widths, **needed}
    return {
        name: array[:, : needed.get(array.shape[1])] if name in varying else array
        for name, array in rows.items()
    }
