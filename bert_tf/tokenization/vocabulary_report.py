"""What a vocabulary holds, and what it makes of texts, in numbers for people."""

import collections
import dataclasses
import unicodedata
from collections.abc import Mapping, Sequence

from bert_tf.tokenization.full_tokenizer import BasicTokenizer, WordpieceTokenizer
from bert_tf.tokenization.matching import Kind, Obstacle, obstacle
from bert_tf.tokenization.vocabulary import (
    PAD,
    SPECIAL_PIECES,
    Casing,
    is_mark,
    is_special,
    unused_number,
)


@dataclasses.dataclass(frozen=True)
class VocabularyReport:
    """What a vocabulary file holds.

    Attributes:
      pieces: The lines of the file, stripped.
      special: The id of each special piece; None for one that is missing.
      unused: How many `[unusedN]` there are.
      marks: Other pieces in brackets, which only programs put into inputs.
      inside: How many pieces begin with `##`.
      characters: How many characters the pieces not in brackets are made of.
      characters_alone: How many of these are pieces.
      characters_inside: How many of these are pieces with `##`.
      casing: What its letters tell.
      do_lower_case: Whether texts are to be lower-cased.
      scripts: Script -> how many pieces have their first letter in it, the commonest
        first; "no letter" for those without any.
      longest: The piece with most characters; the first of several.
      unmatched: The pieces not in brackets that no text matches, by kind, each with
        what stands in its way.
      blank: Numbers of the lines that are empty or hold whitespace only.
      padded: Numbers of the lines with whitespace around a piece, which is not part
        of it.
      repeated: Piece -> the numbers of its lines, if there are several.
    """

    pieces: list[str]
    special: dict[str, int | None]
    unused: int
    marks: list[str]
    inside: int
    characters: int
    characters_alone: int
    characters_inside: int
    casing: Casing
    do_lower_case: bool
    scripts: dict[str, int]
    longest: str
    unmatched: dict[Kind, list[tuple[str, Obstacle]]]
    blank: list[int]
    padded: list[int]
    repeated: dict[str, list[int]]


def describe_vocabulary(
    lines: Sequence[str], do_lower_case: bool | None = None
) -> VocabularyReport:
    """Says what a vocabulary holds, also one that no model can be trained with.

    Args:
      lines: Of its file, as `read_lines` returns them.
      do_lower_case: Whether texts are to be lower-cased; None if the vocabulary's own
        casing is to say.
    """
    pieces = [line.strip() for line in lines]
    numbers: dict[str, list[int]] = collections.defaultdict(list)
    for number, piece in enumerate(pieces, start=1):
        numbers[piece].append(number)
    casing = Casing.of(pieces)
    if do_lower_case is None:
        do_lower_case = not casing.is_cased
    # What texts are to match; the rest is put into inputs by programs.
    ordinary = [piece for piece in pieces if not is_mark(piece)]
    letters = [piece.removeprefix("##") for piece in ordinary]
    characters = set().union(*letters)
    unmatched = collections.defaultdict(list)
    tokenizer = BasicTokenizer(do_lower_case)
    for piece in ordinary:
        if found := obstacle(piece, tokenizer):
            unmatched[found.kind].append((piece, found))
    return VocabularyReport(
        pieces=pieces,
        special={
            piece: numbers[piece][-1] - 1 if piece in numbers else None
            for piece in (PAD, *SPECIAL_PIECES)
        },
        unused=sum(unused_number(piece) is not None for piece in pieces),
        marks=[x for x in pieces if is_mark(x) and not is_special(x)],
        inside=sum(piece.startswith("##") for piece in pieces),
        characters=len(characters),
        characters_alone=sum(char in numbers for char in characters),
        characters_inside=sum(f"##{char}" in numbers for char in characters),
        casing=casing,
        do_lower_case=do_lower_case,
        scripts=dict(collections.Counter(map(_script, letters)).most_common()),
        longest=max(ordinary, key=lambda x: len(x.removeprefix("##")), default=""),
        unmatched=dict(unmatched),
        blank=[n for n, line in enumerate(lines, start=1) if not line.strip()],
        padded=[
            n
            for n, line in enumerate(lines, start=1)
            if line.strip() and line.strip() != line
        ],
        repeated={x: found for x, found in numbers.items() if len(found) > 1},
    )


def _script(letters: str) -> str:
    """Returns the script of a piece's first letter, the first word of its name."""
    for char in letters:
        if char.isalpha():
            name = unicodedata.name(char, "unnamed").split()[0]
            return name if name == "CJK" else name.capitalize()
    return "no letter"


@dataclasses.dataclass(frozen=True)
class WordsReport:
    """What a vocabulary makes of the words of texts.

    Attributes:
      words: How many words there are.
      pieces: How many pieces they are cut into; an unknown word is one, `[UNK]`.
      unknown: How many words are unknown.
      commonest_unknown: Some of these with how often they occur, the commonest first.
      most_pieces: Some words with their pieces, those that have most of them first.
    """

    words: int
    pieces: int
    unknown: int
    commonest_unknown: list[tuple[str, int]]
    most_pieces: list[tuple[str, list[str]]]


def describe_words(
    word_counts: Mapping[str, int], vocab: Mapping[str, int], examples: int = 5
) -> WordsReport:
    """Says what a vocabulary makes of words.

    Args:
      word_counts: Word -> how often it occurs, as `count_words` returns it.
      vocab: Piece -> id.
      examples: How many words to name at most, of each kind.
    """
    tokenizer = WordpieceTokenizer(vocab)
    pieces = unknown = 0
    unknown_words: list[tuple[str, int]] = []
    cut: list[tuple[str, list[str]]] = []
    for word, count in word_counts.items():
        found = tokenizer.tokenize(word)
        pieces += count * len(found)
        if found == [tokenizer.unk_token]:
            unknown += count
            unknown_words.append((word, count))
        elif len(found) > 1:
            cut.append((word, found))
    return WordsReport(
        words=sum(word_counts.values()),
        pieces=pieces,
        unknown=unknown,
        commonest_unknown=sorted(unknown_words, key=lambda x: (-x[1], x[0]))[:examples],
        most_pieces=sorted(cut, key=lambda x: (-len(x[1]), x[0]))[:examples],
    )
