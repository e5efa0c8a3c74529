"""Text files as documents of tokenized segments, on disk.

One sentence a line, a blank line between documents, as create_pretraining_data.py
reads them. Reading spills three flat files, so that memory does not grow with the text:
pieces, where segments begin, and an index of 16 bytes for each document. Mapped, they
are what the draws work on.
"""

import contextlib
import io
import mmap
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import tensorflow as tf

from bert_tf.data import text_files
from bert_tf.data.draws import DOCUMENT, Texts
from bert_tf.data.masking import CONTINUES
from bert_tf.errors import DataError

# Beyond this, a file is not text of the kind described above.
_MAX_DOCUMENT_BYTES = 64 * 2**20

_FILES: dict[str, Any] = {
    "pieces": np.uint32,
    "segments": np.int64,
    "documents": DOCUMENT,
}

# Texts [n] -> their pieces, uint32 with CONTINUES, and how many each has, int64 [n].
Tokenize = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


class Lines(NamedTuple):
    """A part of a file."""

    texts: list[bytes]
    begins_document: list[bool]  # whether a blank line stands before each text
    file: int
    bytes: int  # of the file that were read for it


class Corpus:
    """A corpus that `spill_corpus` wrote.

    Attributes:
      texts: What the draws take, mapped into memory.
      files: The same, to be read in parts.
    """

    def __init__(self, folder: str):
        self._maps: list[mmap.mmap] = []
        self.files: dict[str, BinaryIO] = {}
        self.texts = Texts(**{name: self._open(folder, name) for name in _FILES})

    def _open(self, folder: str, name: str) -> np.ndarray:
        file = Path(folder, name).open("rb")  # noqa: SIM115, open as long as this is
        self.files[name] = file
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._maps.append(mapped)
        return np.frombuffer(mapped, _FILES[name])

    def release(self) -> None:
        """Takes mapped pages out of the process; they stay in the system's cache."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for mapped in self._maps:
                mapped.madvise(mmap.MADV_DONTNEED)


def corpus_sizes(folder: str) -> dict[str, int]:
    """Returns how many bytes each file of a corpus has."""
    return {name: os.path.getsize(os.path.join(folder, name)) for name in _FILES}


def continuations(vocab: Mapping[str, int]) -> np.ndarray:
    """Returns CONTINUES for each id whose piece begins with `##`, else 0, uint32."""
    bits = np.zeros(max(vocab.values()) + 1, np.uint32)
    for piece, index in vocab.items():
        if piece.startswith("##"):
            bits[index] = CONTINUES
    return bits


def spill_corpus(
    folder: str,
    paths: list[str],
    tokenize: Tokenize,
    *,
    workers: int,
    files_apart: bool,
    split: Callable[[str], list[str]] | None = None,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> None:
    """Tokenizes text files into a folder, which `Corpus` opens.

    Args:
      folder: A local folder.
      paths: The text files, local or any that TensorFlow can open.
      tokenize: What makes pieces of texts.
      workers: How many blocks to tokenize at a time.
      files_apart: Whether a document ends where its file does. In the release it goes
        on in the next file, unless a blank line ends it.
      split: What makes sentences of a line; None if each line is one.
      on_bytes: Called with how many bytes more were read.

    Raises:
      DataError: A file is no text of this kind, or cannot be read, or there is none.
    """
    source = _Source(paths, files_apart, split)
    # The texts are lists of bytes, which a generator's signature turns into tensors.
    blocks = tf.data.Dataset.from_generator(
        source.blocks,
        output_signature=(
            tf.TensorSpec([None], tf.string),
            tf.TensorSpec([None], tf.bool),
            tf.TensorSpec([], tf.int32),
            tf.TensorSpec([], tf.int64),
        ),
    )
    tokenized = blocks.map(
        lambda texts, begins, file, count: (*tokenize(texts), begins, file, count),
        num_parallel_calls=workers,
        deterministic=True,
    ).prefetch(2)
    with contextlib.ExitStack() as stack:
        spill = _Spill(
            {
                name: stack.enter_context(open(os.path.join(folder, name), "wb"))
                for name in _FILES
            }
        )
        try:
            for pieces, lengths, begins, file, count in tokenized.as_numpy_iterator():
                spill.add(pieces, lengths, begins, int(file))
                on_bytes(int(count))
            spill.end()
        except tf.errors.OpError:
            if source.error is not None:
                raise source.error from None
            raise
    if not spill.documents:
        raise DataError(
            f"Expected sentences, one a line, in {paths[0]}"
            f"{' and the other files' if len(paths) > 1 else ''}, found no text; check "
            "--input_file."
        )


def read_documents(
    path: str,
    file: int,
    split: Callable[[str], list[str]] | None,
    opener: Callable[[str], Any],
    least_bytes: int,
) -> Iterator[Lines]:
    """Yields a text file in parts of whole documents.

    Args:
      path: The file.
      file: Its number.
      split: As for `spill_corpus`.
      opener: What opens it for reading bytes.
      least_bytes: Of a part, about, unless it is the last.

    Raises:
      DataError: It is no text of this kind.
    """
    texts: list[bytes] = []
    begins: list[bool] = []
    read = 0
    for lines in _Source([path], True, split, opener).blocks():
        texts += lines.texts
        begins += lines.begins_document
        read += lines.bytes
        if read >= least_bytes and any(begins[1:]):
            end = len(begins) - 1 - begins[::-1].index(True)
            yield Lines(texts[:end], begins[:end], file, read)
            texts, begins, read = texts[end:], begins[end:], 0
    if texts:
        yield Lines(texts, begins, file, read)


def tokenized(lines: Lines, tokenize: Tokenize) -> Texts:
    """Returns the documents of a part in memory, as `spill_corpus` writes them."""
    pieces, lengths = tokenize(tf.constant(lines.texts, tf.string))
    writers = {name: io.BytesIO() for name in _FILES}
    spill = _Spill(writers)
    spill.add(
        pieces.numpy(), lengths.numpy(), np.array(lines.begins_document), lines.file
    )
    spill.end()
    return Texts(
        **{
            name: np.frombuffer(writer.getvalue(), _FILES[name])
            for name, writer in writers.items()
        }
    )


class _Spill:
    """Writes tokenized texts, without those that have no piece, as a corpus."""

    def __init__(self, writers: Mapping[str, Any]):
        self._writers = writers
        self._pieces = 0
        self._segments = 0
        self.documents = 0
        self._begins = True  # whether the next segment begins a document
        self._file = -1
        self._number = 0  # of the document in its file

    def add(
        self, pieces: np.ndarray, lengths: np.ndarray, begins: np.ndarray, file: int
    ) -> None:
        if file != self._file:
            self._file, self._number = file, 0
        # Which document each text is of, counted from the one that is going on.
        document = np.cumsum(begins) + self._begins
        kept = lengths > 0
        is_first = np.diff(document[kept], prepend=0) > 0
        starts = self._pieces + np.cumsum(lengths[kept]) - lengths[kept]
        firsts = np.flatnonzero(is_first)
        index = np.zeros(len(firsts), DOCUMENT)
        index["segment"] = self._segments + firsts
        index["file"] = file
        index["number"] = self._number + np.arange(len(firsts))
        self._writers["pieces"].write(pieces.astype(np.uint32).tobytes())
        self._writers["segments"].write(starts.astype(np.int64).tobytes())
        self._writers["documents"].write(index.tobytes())
        # A blank line counts although no text with a piece came after it.
        if len(document):
            last = document[kept][-1] if kept.any() else 0
            self._begins = bool(document[-1] > last)
        self._pieces += len(pieces)
        self._segments += int(kept.sum())
        self.documents += len(firsts)
        self._number += len(firsts)

    def end(self) -> None:
        self._writers["segments"].write(np.int64(self._pieces).tobytes())
        behind = np.array([(self._segments, 0, 0)], DOCUMENT)
        self._writers["documents"].write(behind.tobytes())


class _Source:
    """Reads text files by blocks.

    Attributes:
      error: What ended the reading; TensorFlow passes only its text on.
    """

    def __init__(
        self,
        paths: list[str],
        files_apart: bool,
        split: Callable[[str], list[str]] | None,
        opener: Callable[[str], Any] = text_files.open_file,
    ):
        self._opener = opener
        self._paths = paths
        self._files_apart = files_apart
        self._split = split
        self._ended = True  # whether a document ended behind the last text
        self.error: Exception | None = None

    def blocks(self) -> Iterator[Lines]:
        try:
            for number, path in enumerate(self._paths):
                self._ended = self._ended or self._files_apart
                yield from self._file(number, path)
        except Exception as error:
            self.error = error
            raise

    def _file(self, number: int, path: str) -> Iterator[Lines]:
        line = 1
        since_blank = 0
        for block in text_files.read_blocks(path, self._opener):
            texts: list[bytes] = []
            begins: list[bool] = []
            for text in text_files.split_lines(block):
                if _is_blank(text):
                    self._ended = True
                    since_blank = 0
                    continue
                since_blank += len(text)
                parts = [text]
                if self._split is not None:
                    parts = [part.encode() for part in self._split(text.decode())]
                for part in parts:
                    texts.append(part)
                    begins.append(self._ended)
                    self._ended = False
            line += block.count(b"\n")
            if since_blank > _MAX_DOCUMENT_BYTES:
                raise DataError(
                    f"Expected a blank line between documents, found none in the last "
                    f"{since_blank >> 20} MB of {path} before line {line}; put one "
                    "behind each document."
                )
            yield Lines(texts, begins, number, len(block))


def _is_blank(text: bytes) -> bool:
    """Returns whether `str.strip` leaves nothing of a line."""
    stripped = text.strip()
    if not stripped:
        return True
    # Spaces of Unicode begin with such bytes; `bytes.strip` knows none of them.
    if 0x20 < stripped[0] < 0x80:
        return False
    return not stripped.decode().strip()
