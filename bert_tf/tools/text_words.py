"""The words of text files, counted while a bar shows how far it has come."""

import signal
from collections import Counter
from collections.abc import Iterator, Sequence

import tensorflow as tf
from absl import logging

from bert_tf.data.text_files import read_blocks, split_lines
from bert_tf.errors import DataError
from bert_tf.tokenization.learning import count_words
from bert_tf.tools.progress import progress_bar
from bert_tf.tools.termination import Termination


def count_words_of_files(paths: Sequence[str], do_lower_case: bool) -> Counter[str]:
    """Counts the words of text files, and logs how many there are.

    Args:
      paths: Plain UTF-8.
      do_lower_case: Whether to lower-case and strip accents.

    Returns:
      As `count_words`.

    Raises:
      DataError: There is no word in them, or one is no text.
      KeyboardInterrupt: A signal came.
    """
    lines = 0

    def batches() -> Iterator[list[bytes]]:
        for path in paths:
            yield from map(split_lines, read_blocks(path))

    size = sum(tf.io.gfile.stat(path).length for path in paths)
    with (
        Termination(signal.SIGINT, signal.SIGTERM) as termination,
        progress_bar(termination, "texts", size, "B") as advance,
    ):

        def on_texts(count: int, length: int) -> None:
            nonlocal lines
            lines += count
            advance(length + count)

        word_counts = count_words(batches(), do_lower_case, on_texts)
    if not word_counts:
        raise DataError(
            f"Expected text in {paths[0]}"
            f"{' and the other files' if len(paths) > 1 else ''}, found no word; check "
            "--input_file."
        )
    logging.info(
        "%s lines, %s words, %s of them distinct",
        f"{lines:,}",
        f"{word_counts.total():,}",
        f"{len(word_counts):,}",
    )
    return word_counts
