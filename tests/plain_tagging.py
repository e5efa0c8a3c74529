"""How the words of a sentence become rows, in plain Python over `FullTokenizer`."""

from collections.abc import Sequence

from bert_tf.tokenization import FullTokenizer


def plain_rows(
    full: FullTokenizer,
    words: Sequence[str],
    max_seq_length: int,
    doc_stride: int | None,
) -> tuple[list[list[int]], list[tuple[int, int]]]:
    """Returns the ids of each row, and where the first piece of each word stands."""
    pieces, firsts = [], []
    for word in words:
        firsts.append(len(pieces))
        pieces += full.tokenize(word) or ["[UNK]"]
    room = max_seq_length - 2
    stride = max(room // 2, 1) if doc_stride is None else min(doc_stride, room)
    starts = [0]
    while starts[-1] + room < len(pieces):
        starts.append(starts[-1] + stride)
    rows = [pieces[start : start + room] for start in starts]
    places = []
    for piece in firsts:
        best, score = (0, 0), -1.0
        for row, start in enumerate(starts):
            before, after = piece - start, start + len(rows[row]) - 1 - piece
            if min(before, after) >= 0:
                new = min(before, after) + 0.01 * len(rows[row])
                if new > score:
                    best, score = (row, before + 1), new
        places.append(best)
    return [
        full.convert_tokens_to_ids(["[CLS]", *row, "[SEP]"]) for row in rows
    ], places
