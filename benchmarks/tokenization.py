"""Tokenization of English: lines of text into ids, on all cores.

Everyone gets the same lines, a thousand at a time, and what they make of them is
compared first. `tokenizers` is the Rust library behind transformers.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.contender import Contender, Ready
from benchmarks.side_by_side import OURS, Case

_LINES = 1000
_CHARACTERS = 2 * 10**6
# Of those lines that all are asked for first.
_COMPARED = 50


def cases(text: str, vocab: str) -> Iterator[Case]:
    """Yields the one case, of a text and a vocabulary."""
    size = sum(len(line.encode()) for line in _lines(text))
    yield Case(
        __name__,
        "Tokenization, English",
        {"text": text, "vocab": vocab},
        (OURS, "bert_tf core ops", "tokenizers", "bert_tf FullTokenizer"),
        {"lines to ids": size / 1e6},
        "MB",
    )


def _lines(text: str) -> list[str]:
    with Path(text).open(encoding="utf-8") as file:
        lines = file.read(_CHARACTERS).split("\n")[:-1]
    return [line for line in lines if line.strip()]


def _groups(settings: Any) -> list[list[str]]:
    lines = _lines(settings["text"])
    return [lines[start : start + _LINES] for start in range(0, len(lines), _LINES)]


def _ready(run: Any, ids: list[list[int]]) -> Ready:
    flat = [float(piece) for row in ids for piece in row]
    return Ready({"lines to ids": run}, {"ids": flat}, within=0.0)


def _graph(settings: Any, ops: str) -> Ready:
    import tensorflow as tf

    from bert_tf.tokenization import GraphTokenizer

    tokenizer = GraphTokenizer(settings["vocab"], ops=ops)
    groups = _groups(settings)
    batches = tf.data.Dataset.from_tensor_slices(
        tf.ragged.constant([[line.encode() for line in lines] for lines in groups])
    )
    # One iterator for all rounds: to start one takes as long as a megabyte.
    ids = iter(
        batches.repeat().map(
            lambda lines: tokenizer.tokenize(lines).flat_values,
            num_parallel_calls=tf.data.AUTOTUNE,
        )
    )

    def run(count: int) -> None:
        for _ in range(count * len(groups)):
            next(ids)

    first = tokenizer.tokenize(_lines(settings["text"])[:_COMPARED])
    return _ready(run, first.to_list())


def _bert_tf(settings: Any, folder: Path) -> Ready:
    return _graph(settings, "tf_text")


def _core(settings: Any, folder: Path) -> Ready:
    return _graph(settings, "core")


def _full(settings: Any, folder: Path) -> Ready:
    from bert_tf.tokenization import FullTokenizer

    tokenizer = FullTokenizer(settings["vocab"])
    lines = _lines(settings["text"])

    def ids(line: str) -> list[int]:
        return tokenizer.convert_tokens_to_ids(tokenizer.tokenize(line))

    def run(count: int) -> None:
        for _ in range(count):
            for line in lines:
                ids(line)

    return _ready(run, [ids(line) for line in lines[:_COMPARED]])


def _tokenizers(settings: Any, folder: Path) -> Ready:
    import tokenizers

    tokenizer = tokenizers.BertWordPieceTokenizer(settings["vocab"], lowercase=True)
    groups = _groups(settings)

    def run(count: int) -> None:
        for _ in range(count):
            for lines in groups:
                # Without places in the text, its fastest way.
                tokenizer._tokenizer.encode_batch_fast(lines, add_special_tokens=False)

    compared = _lines(settings["text"])[:_COMPARED]
    first = tokenizer.encode_batch(compared, add_special_tokens=False)
    return _ready(run, [encoding.ids for encoding in first])


CONTENDERS = {
    OURS: Contender(_bert_tf),
    "bert_tf core ops": Contender(_core),
    "tokenizers": Contender(_tokenizers, needs=("tokenizers",)),
    "bert_tf FullTokenizer": Contender(_full),
}
