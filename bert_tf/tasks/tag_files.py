"""Sentences whose words have tags: CoNLL files, CoNLL-U, and plain text to tag."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bert_tf.errors import DataError
from bert_tf.tasks import held_out
from bert_tf.tasks.table_files import find_file, read_lines
from bert_tf.tokenization import BasicTokenizer

# What the names of files end in: of those with a word a line, and of plain text.
_EXTENSIONS = ("conll", "conllu", "tsv", "txt")
_TEXT_EXTENSIONS = ("txt",)
# Of CoNLL-U: the word's form, its part of speech, and what stands for none.
_CONLLU_WORD, _CONLLU_TAG, _CONLLU_NONE = 1, 3, "_"
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


class TagFiles:
    """The train, dev and test files of a run, of which it reads what it is asked for.

    Args:
      data_dir: Folder with files such as train.conll.
      files: `{"train": path, "dev": path, "test": path}`; what is missing is looked
        for in the folder.
      word_column: As `read_tagged` takes it.
      tag_column: The same.
      plain_test: Whether the test file is plain text, a sentence a line.
      dev_fraction: Share of the training file that serves as dev set when there is no
        dev file.
      random_seed: Which sentences these are.
    """

    def __init__(
        self,
        data_dir: str | None,
        files: Mapping[str, str | None],
        *,
        word_column: int | None = None,
        tag_column: int | None = None,
        plain_test: bool = False,
        dev_fraction: float = 0.0,
        random_seed: int = 12345,
    ):
        self.data_dir = data_dir
        self.files = files
        self.word_column = word_column
        self.tag_column = tag_column
        self.plain_test = plain_test
        self.dev_fraction = dev_fraction
        self.random_seed = random_seed

    def train(self) -> list[TaggedSentence]:
        return self._split()[0]

    def dev(self) -> list[TaggedSentence]:
        return self._split()[1] if self.dev_fraction else self._read("dev")

    def test(self) -> list[TaggedSentence]:
        return self._read("test")

    def tags(self) -> list[str]:
        """Returns all tags of the training file, sorted.

        Raises:
          DataError: There are not two different ones.
        """
        found = sorted({tag for each in self._train_file for tag in each.tags or ()})
        if len(found) < 2:
            raise DataError(
                f"Expected at least two different tags in {self._path('train')}, found "
                f"only {', '.join(map(repr, found))}; is --tag_column the right column?"
            )
        return found

    def held_out_by(self) -> dict[str, Any]:
        """Returns what decides which sentences of the training file are the dev set."""
        path = self._path("train")
        return held_out.note(path, self.dev_fraction, self.random_seed)

    @functools.cached_property
    def _train_file(self) -> list[TaggedSentence]:
        return self._read("train")

    def _split(self) -> tuple[list[TaggedSentence], list[TaggedSentence]]:
        dev_file = self._find("dev")
        return held_out.split(
            self._train_file, self.dev_fraction, self.random_seed, dev_file
        )

    def _read(self, set_type: str) -> list[TaggedSentence]:
        path = self._path(set_type)
        if set_type == "test" and self.plain_test:
            sentences = read_sentences(path)
        else:
            with_tags = set_type != "test"
            sentences = read_tagged(
                path, self.word_column, self.tag_column, with_tags=with_tags
            )
        if not sentences:
            raise DataError(
                f"Expected at least one sentence in {path}, found none; check the file."
            )
        return sentences

    def _path(self, set_type: str) -> str:
        path = self._find(set_type)
        if path is None:
            extension = self._extensions(set_type)[0]
            raise DataError(
                f"Expected a file such as {self.data_dir or '.'}/{set_type}."
                f"{extension}, found none; name it with --{set_type}_file"
                f"{', or set --dev_fraction' * (set_type == 'dev')}."
            )
        return path

    def _find(self, set_type: str) -> str | None:
        return self.files.get(set_type) or find_file(
            self.data_dir, set_type, self._extensions(set_type)
        )

    def _extensions(self, set_type: str) -> Sequence[str]:
        is_text = set_type == "test" and self.plain_test
        return _TEXT_EXTENSIONS if is_text else _EXTENSIONS


@dataclasses.dataclass(frozen=True)
class _Columns:
    """Where word and tag stand, whether there has to be a tag, and what is none."""

    word: int
    tag: int
    with_tags: bool
    no_tag: str

    def read(self, fields: list[str], source: str) -> tuple[str, str]:
        """Returns the word and the tag of a line; no tag is an empty one."""
        width = len(fields)
        has_tag = -width <= self.tag < width and self.tag % width != self.word
        if self.word >= width or (self.with_tags and not has_tag):
            raise DataError(
                f"Expected a word in column {self.word} and a tag in column "
                f"{self.tag} (counted from 0), found {width} "
                f"{'column' if width == 1 else 'columns'} in {source}; correct that "
                "line, or say --word_column and --tag_column."
            )
        word, tag = fields[self.word], fields[self.tag].strip() if has_tag else ""
        if tag == self.no_tag:
            tag = ""
        if not word or (self.with_tags and not tag):
            raise DataError(
                f"Expected a {'tag' if word else 'word'} in {source}, found none; "
                "correct that line."
            )
        return word, tag


def read_tagged(
    path: str,
    word_column: int | None = None,
    tag_column: int | None = None,
    with_tags: bool = True,
) -> list[TaggedSentence]:
    """Reads a file of a word a line, and an empty line between sentences.

    A line's columns stand between tabs, or else between spaces. Lines of `-DOCSTART-`
    end a sentence as empty ones do; of a file whose name ends in `.conllu`, comments
    are passed over, and words that are parts or wholes of others.

    Args:
      path: The file.
      word_column: Of the word, from 0; None for the first, in CoNLL-U the second.
      tag_column: Of the tag, from 0, or from -1 backwards; None for the last, in
        CoNLL-U the fourth (UPOS).
      with_tags: Whether tags are needed; if not, file or sentences may lack them.

    Raises:
      DataError: It is missing or not UTF-8, a line has too few columns or not as many
        as the first line, or a word or a tag that is needed is empty.
    """
    is_conllu = path.lower().endswith(".conllu")
    if word_column is None:
        word_column = _CONLLU_WORD if is_conllu else 0
    if tag_column is None:
        tag_column = _CONLLU_TAG if is_conllu else -1
    columns = _Columns(
        word_column, tag_column, with_tags, _CONLLU_NONE if is_conllu else ""
    )
    sentences = []
    width = None
    for rows in _blocks(path, is_conllu):
        words, tags = [], []
        for number, fields in rows:
            source = f"{path}, line {number}"
            width = width or len(fields)
            if len(fields) != width:
                hint = "" if with_tags else ", or say --test_format=text for plain text"
                raise DataError(
                    f"Expected as many columns as in the lines before, {width}, found "
                    f"{len(fields)} in {source}; correct that line{hint}."
                )
            word, tag = columns.read(fields, source)
            words.append(word)
            tags.append(tag)
        offsets, end = [], -1
        for word in words:
            start, end = end + 1, end + 1 + len(word)
            offsets.append((start, end))
        sentences.append(
            TaggedSentence(
                text=" ".join(words),
                offsets=offsets,
                tags=tags if all(tags) else None,
                source=path,
                lines=[number for number, _ in rows],
            )
        )
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


def _blocks(path: str, is_conllu: bool) -> Iterator[list[tuple[int, list[str]]]]:
    """Yields the lines of each sentence, with their numbers, in columns."""
    rows: list[tuple[int, list[str]]] = []
    for number, line in read_lines(path):
        fields = _fields(line)
        if not fields or fields[0] == _DOCUMENT:
            if rows:
                yield rows
            rows = []
        # In CoNLL-U not comments, 3-4 (the whole of words 3 and 4) or 5.1 (unwritten).
        elif not is_conllu or fields[0].isdecimal():
            rows.append((number, fields))
    if rows:
        yield rows


def _fields(line: str) -> list[str]:
    if not line.strip():
        return []
    # Other white space can be part of a word.
    return line.split("\t") if "\t" in line else [x for x in line.split(" ") if x]
