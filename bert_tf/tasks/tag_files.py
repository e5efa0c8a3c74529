"""Sentences whose words have tags: CoNLL files, CoNLL-U, and plain text to tag."""

import dataclasses
import os
from collections.abc import Iterator, Sequence

from bert_tf.errors import DataError
from bert_tf.tasks.table_files import read_lines
from bert_tf.tokenization import BasicTokenizer

# Of CoNLL-U: the word's form, and its part of speech.
_CONLLU_WORD, _CONLLU_TAG = 1, 3
_DOCUMENT = "-DOCSTART-"


@dataclasses.dataclass
class TaggedSentence:
    """A sentence in words.

    Attributes:
      text: The sentence; where a file holds words only, these with spaces between.
      offsets: Where in the text each word stands: its first character, and the one
        behind its last.
      tags: A tag for each word; None if they are not known.
      source: The file.
      lines: The line of each word.
    """

    text: str
    offsets: Sequence[tuple[int, int]]
    tags: list[str] | None
    source: str
    lines: Sequence[int]

    @property
    def words(self) -> list[str]:
        """The words, as they are written."""
        return [self.text[start:end] for start, end in self.offsets]

    def where(self, word: int) -> str:
        """Returns where in its file a word stands."""
        return f"{self.source}, line {self.lines[word]}"


def read_tagged(
    path: str,
    word_column: int | None = None,
    tag_column: int | None = None,
    with_tags: bool = True,
) -> list[TaggedSentence]:
    """Reads a file of a word a line, and an empty line between sentences.

    A line's columns stand between tabs, or else between spaces. Lines of `-DOCSTART-`
    are passed over; of a file whose name ends in `.conllu`, also comments, and words
    that are parts or wholes of others.

    Args:
      path: The file.
      word_column: Of the word, from 0; None for the first, in CoNLL-U the second.
      tag_column: Of the tag, from 0, or from -1 backwards; None for the last, in
        CoNLL-U the fourth (UPOS).
      with_tags: Whether tags are needed; if not, a file may lack them.

    Raises:
      DataError: It is missing or not UTF-8, or a line has too few columns, or not as
        many as the first line.
    """
    is_conllu = path.lower().endswith(".conllu")
    if word_column is None:
        word_column = _CONLLU_WORD if is_conllu else 0
    if tag_column is None:
        tag_column = _CONLLU_TAG if is_conllu else -1
    sentences = []
    width = 0
    for rows in _blocks(path, is_conllu):
        for number, fields in rows:
            width = width or len(fields)
            if len(fields) != width:
                raise DataError(
                    f"Expected as many columns as in the lines before, {width}, found "
                    f"{len(fields)} in {path}, line {number}; correct that line."
                )
            least = max(word_column + 1, with_tags and _needed(tag_column, word_column))
            if width < least:
                raise DataError(
                    f"Expected a word and its tag, in columns {word_column} and "
                    f"{tag_column} (counted from 0), found {width} "
                    f"{'column' if width == 1 else 'columns'} in {path}, line {number};"
                    " correct that line, or say --word_column and --tag_column."
                )
        tags = None
        if width >= _needed(tag_column, word_column):
            tags = [fields[tag_column] for _, fields in rows]
        words = [fields[word_column] for _, fields in rows]
        lines = [number for number, _ in rows]
        offsets, end = [], -1
        for word in words:
            start, end = end + 1, end + 1 + len(word)
            offsets.append((start, end))
        sentences.append(TaggedSentence(" ".join(words), offsets, tags, path, lines))
    return sentences


def read_sentences(path: str) -> list[TaggedSentence]:
    """Reads plain text to tag: a sentence a line, empty ones passed over.

    Words are what stands between spaces, less the punctuation marks and ideographs,
    each of which is a word.

    Raises:
      DataError: It is missing, empty or not UTF-8.
    """
    tokenizer = BasicTokenizer(do_lower_case=False)
    sentences = []
    for number, line in read_lines(path):
        offsets = [
            (spans[0][0], spans[-1][1])
            for _, spans in tokenizer.tokenize_with_offsets(line)
        ]
        if offsets:
            lines = [number] * len(offsets)
            sentences.append(TaggedSentence(line, offsets, None, path, lines))
    return sentences


def find_tagged(data_dir: str | None, set_type: str) -> str | None:
    """Returns a folder's file of a set, such as train.conll; None if it has none."""
    for extension in ("conll", "conllu", "tsv", "txt"):
        path = os.path.join(data_dir or "", f"{set_type}.{extension}")
        if data_dir and os.path.isfile(path):
            return path
    return None


def _needed(tag_column: int, word_column: int) -> int:
    """Returns how many columns there are if there is a tag beside the word."""
    return max(tag_column + 1 if tag_column >= 0 else -tag_column, word_column + 1, 2)


def _blocks(path: str, is_conllu: bool) -> Iterator[list[tuple[int, list[str]]]]:
    """Yields the lines of each sentence, with their numbers, in columns."""
    rows: list[tuple[int, list[str]]] = []
    for number, line in read_lines(path):
        if not line.strip():
            if rows:
                yield rows
            rows = []
            continue
        if is_conllu and line.startswith("#"):
            continue
        fields = line.split("\t") if "\t" in line else line.split()
        # 3-4 is the whole of words 3 and 4, 5.1 was left out by who wrote.
        if is_conllu and not fields[0].isdecimal():
            continue
        if fields[0] != _DOCUMENT:
            rows.append((number, fields))
    if rows:
        yield rows
