"""Records per second that pretraining's input pipeline delivers, without any model.

    python -m benchmarks.input_pipeline TEXT VOCAB            # some 2 minutes

TEXT holds one sentence a line, a blank line between documents, 4 MB or more of it.
Makes records of 128 pieces from its first 4 MB, with masks and without, and takes them
in batches of 32, the smallest that are usual: per batch, drawing masks costs much that
a larger one has to pay but once. Each row of the table is a fresh process. To find the
records (`index_files`, once a run) and to start the pipeline are not in the rates.
"""

import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.fresh_process import measure

_TEXT_SIZE = 4 * 10**6
_DUPE_FACTOR = 2
_BATCH_SIZE = 32
_BATCHES = 1000
_REPEATS = 3
# Behind what was made ahead while the first batch was waited for.
_WARM_UP = 500
MASKINGS = ("token", "whole_word", "span")


def make_records(text: str, vocab: str, folder: str, *, unmasked: bool) -> str:
    """Makes records from a text's first 4 MB, whole documents; returns their path.

    Args:
      text: A text file.
      vocab: A vocabulary file.
      folder: An empty folder.
      unmasked: Whether to leave out the masks.
    """
    from bert_tf.data.pretraining_config import PretrainingDataConfig
    from bert_tf.data.pretraining_data import create_pretraining_data

    content = Path(text).read_bytes()[:_TEXT_SIZE]
    start = Path(folder) / "text"
    start.write_bytes(content[: content.rfind(b"\n\n") + 2])
    path = str(Path(folder) / "records" / "records")
    create_pretraining_data(
        PretrainingDataConfig(
            input_file=str(start),
            output_file=path,
            vocab_file=vocab,
            dupe_factor=_DUPE_FACTOR,
            unmasked=unmasked,
        )
    )
    return path


def records_per_second(path: str, vocab: str, masking: str | None) -> dict[str, float]:
    """Measures how fast batches of a training run come.

    Args:
      path: A record file.
      vocab: The vocabulary that it was made with.
      masking: How masks are drawn anew; None for the records' own, if they have any.

    Returns:
      `index`, the seconds that finding all records took; `start`, those to the first
      batch; `records`, how many there are; `worst` and `best`, of three times 32,000
      records, how many came in a second.
    """
    from bert_tf.data.dynamic_masking import DynamicMasking
    from bert_tf.data.pretraining_input import training_batches
    from bert_tf.data.record_files import open_files
    from bert_tf.data.record_index import index_files
    from bert_tf.tokenization import load_vocab

    spec = open_files([path]).spec
    start = time.perf_counter()
    index = index_files([path])
    indexed = time.perf_counter()
    draw = DynamicMasking(load_vocab(vocab), 20, masking=masking) if masking else None
    batches = iter(
        training_batches(
            index,
            spec,
            batch_size=_BATCH_SIZE,
            vocab_size=len(load_vocab(vocab)),
            random_seed=1,
            masking=draw,
        )
    )
    next(batches)
    started = time.perf_counter()

    def seconds(count: int) -> float:
        before = time.perf_counter()
        for _ in itertools.islice(batches, count):
            pass
        return time.perf_counter() - before

    seconds(_WARM_UP)
    rates = [_BATCHES * _BATCH_SIZE / seconds(_BATCHES) for _ in range(_REPEATS)]
    return {
        "index": indexed - start,
        "start": started - indexed,
        "records": index.num_records,
        "worst": min(rates),
        "best": max(rates),
    }


def _rows(
    text: str, vocab: str, folder: Path
) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Yields what the records are, how masks are drawn, and what was measured."""
    for name in ("masked", "unmasked"):
        part = folder / name
        part.mkdir()
        path = make_records(text, vocab, str(part), unmasked=name == "unmasked")
        for masking in (None, *MASKINGS):
            job = [path, vocab, masking]
            found = measure("benchmarks.input_pipeline", job)
            yield name, masking or "none", found


def main(arguments: list[str]) -> None:
    """Measures all rows and prints a table."""
    if arguments[0] == "--one":
        print(json.dumps(records_per_second(*json.loads(arguments[1]))))
        return
    text, vocab = (str(Path(path).resolve()) for path in arguments[:2])
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'records':<10}{'masks drawn':<13}{'count':>7}{'index s':>9}", end="")
        print(f"{'first batch s':>15}{'records/s':>18}")
        for name, masking, found in _rows(text, vocab, Path(folder)):
            rates = f"{found['worst']:.0f} to {found['best']:.0f}"
            print(
                f"{name:<10}{masking:<13}{found['records']:>7.0f}{found['index']:>9.2f}"
                f"{found['start']:>15.2f}{rates:>18}",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
