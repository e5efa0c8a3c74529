"""Google's rules for single characters, stated once for both tokenizers.

The release cleans a text, puts spaces around ideographs, splits it into words,
lower-cases them and strips their accents, and splits off punctuation. Almost all
of that can be said character by character, as what each one turns into:

    "A" -> "a"    "é" -> "e"    "!" -> " ! "    "東" -> " 東 "    "\\t" -> " "

`CharacterRows` holds these rows for `str.translate`; `compile_table` packs the same
rows, less the spaces, into arrays for the graph tokenizer. Two things depend on the
neighbours, and only when lower-casing: a capital sigma that ends its word, and the
canonical order of the few combining marks that are not stripped. `normalize` is the
whole rule, those two included; the rows are what it says of one character.
"""

import functools
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

CAPITAL_SIGMA = "\u03a3"
FINAL_SIGMA = "\u03c2"

# The row of a character whose outcome depends on its neighbours. NUL itself is
# dropped from every text, so that it can never be meant literally.
IN_CONTEXT = "\0"

# The blocks that the release calls Chinese. Kana and Hangul are left out on purpose:
# those scripts are written with spaces or handled as words.
_CJK_RANGES = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)

# The same blocks as the inside of a class of Python's `re`.
IDEOGRAPHS = "".join(f"{chr(first)}-{chr(last)}" for first, last in _CJK_RANGES)

# One entry of the packed table: flags in the low bits, above them what to add to the
# code point (plus DELTA_BIAS), or for LONG the number of the long row.
VOID = 1 << 0  # yields nothing
LONG = 1 << 1  # yields several characters
SIGMA = 1 << 2  # is the capital sigma
MARK = 1 << 3  # is a combining mark that stays and has a canonical order
JOINS = 1 << 4  # does not end a run of combining marks
CASED = 1 << 5  # tells a neighbouring sigma that the word goes on
TRANSPARENT = 1 << 6  # a sigma looks past it
PAYLOAD_SHIFT = 7
DELTA_BIAS = 1 << 21
BLOCK_BITS = 7


def is_dropped(char: str) -> bool:
    """Whether cleaning removes the character: NUL, U+FFFD, control and format."""
    if char in "\t\n\r":
        return False
    return char in "\0\ufffd" or unicodedata.category(char) in ("Cc", "Cf")


def is_space(char: str) -> bool:
    """Whether a character that cleaning keeps separates words.

    The release turns tab, newline, carriage return and category Zs into spaces, and
    then splits with `str.split`, which splits on U+2028 and U+2029 too.
    """
    return char.isspace()


def is_cjk(char: str) -> bool:
    """Whether the character is an ideograph that stands as a word of its own."""
    code_point = ord(char)
    if code_point < 0x3400:  # nearly every character of most texts
        return False
    return any(first <= code_point <= last for first, last in _CJK_RANGES)


def is_punctuation(char: str) -> bool:
    """Whether the character is split off: category P, or any ASCII symbol.

    ASCII symbols such as "$" and "^" are no punctuation to Unicode; the release
    treats them so for consistency.
    """
    if char < "\x80":
        return "!" <= char <= "~" and not char.isalnum()
    return unicodedata.category(char).startswith("P")


def normalize(text: str, do_lower_case: bool) -> list[tuple[str, int, int]]:
    """Applies every rule to a text and remembers where each character came from.

    Args:
      text: any string.
      do_lower_case: whether to lower-case and strip accents.

    Returns:
      A list of `(character, start, end)`. Words are separated by one or more spaces;
      `text[start:end]` is what the character was, the accents stripped from it
      included.

    Source: `BasicTokenizer` in tokenization.py.
    """
    chars: list[tuple[str, int]] = []
    for position, char in enumerate(text):
        if is_dropped(char):
            continue
        if is_space(char):
            chars.append((" ", position))
        elif is_cjk(char):
            # Before decomposition: a compatibility ideograph is spaced as it stands.
            chars.extend(((" ", position), (char, position), (" ", position)))
        else:
            chars.append((char, position))
    spans = [(char, position, position + 1) for char, position in chars]
    if do_lower_case:
        spans = _strip_accents(_lower(chars))
    result = []
    for char, start, end in spans:
        if is_punctuation(char):
            result += [(" ", start, start), (char, start, end), (" ", end, end)]
        else:
            result.append((char, start, end))
    return result


def _lower(chars: list[tuple[str, int]]) -> list[tuple[str, int]]:
    # The whole text is lowered at once, because a sigma looks at its neighbours. It
    # never looks past a space, so this equals lowering word by word.
    lowered = iter("".join(char for char, _ in chars).lower())
    return [(next(lowered), position) for char, position in chars for _ in char.lower()]


def _strip_accents(chars: list[tuple[str, int]]) -> list[tuple[str, int, int]]:
    decomposed = [
        (part, position)
        for char, position in chars
        for part in unicodedata.normalize("NFD", char)
    ]
    spans: list[tuple[str, int, int]] = []
    for char, position in _canonical_order(decomposed):
        if unicodedata.category(char) != "Mn":
            spans.append((char, position, position + 1))
        elif spans and spans[-1][0] != " ":
            base, start, end = spans[-1]
            spans[-1] = (base, start, max(end, position + 1))
    return spans


def _canonical_order(chars: list[tuple[str, int]]) -> Iterable[tuple[str, int]]:
    # Unicode sorts each run of combining marks by combining class. Most marks are
    # stripped afterwards; a few (category Mc) stay, and their order shows.
    run: list[tuple[str, int]] = []
    for item in chars:
        if unicodedata.combining(item[0]):
            run.append(item)
            continue
        yield from sorted(run, key=lambda mark: unicodedata.combining(mark[0]))
        run = []
        yield item
    yield from sorted(run, key=lambda mark: unicodedata.combining(mark[0]))


def _is_lasting_mark(char: str) -> bool:
    return unicodedata.combining(char) != 0 and unicodedata.category(char) != "Mn"


def character_row(char: str, do_lower_case: bool) -> str:
    """Returns what one character turns into, or `IN_CONTEXT` if that depends."""
    if do_lower_case and (
        char == CAPITAL_SIGMA
        or any(map(_is_lasting_mark, unicodedata.normalize("NFD", char.lower())))
    ):
        return IN_CONTEXT
    return "".join(part for part, _, _ in normalize(char, do_lower_case))


class CharacterRows(dict[int, str]):
    """Rows for `str.translate`, worked out when a code point is first met."""

    def __init__(self, do_lower_case: bool):
        super().__init__()
        self._do_lower_case = do_lower_case

    def __missing__(self, code_point: int) -> str:
        row = self[code_point] = character_row(chr(code_point), self._do_lower_case)
        return row


@functools.cache
def standing_alone() -> str:
    """Returns the inside of an RE2 class: punctuation and ideographs.

    Spaces around these may come after lower-casing and decomposition just as well:
    nothing but an ideograph decomposes to one.
    """
    ranges = list(_CJK_RANGES)
    for code_point in range(0x110000):
        if is_punctuation(chr(code_point)):
            if ranges[-1][1] == code_point - 1:
                ranges[-1] = (ranges[-1][0], code_point)
            else:
                ranges.append((code_point, code_point))
    return "".join(f"\\x{{{first:x}}}-\\x{{{last:x}}}" for first, last in ranges)


class PackedTable(NamedTuple):
    """Every code point's row as arrays: two levels, so that equal blocks are shared.

    The entry of a code point is `entries[blocks[code_point >> BLOCK_BITS]]
    [code_point & (2**BLOCK_BITS - 1)]`.

    Attributes:
      blocks: int32 [0x110000 >> BLOCK_BITS], the row of `entries` of each block.
      entries: int32 [distinct blocks, 2**BLOCK_BITS], flags and payload.
      long_values: int32 [characters], rows of several characters, end to end.
      long_splits: int32 [long rows + 1], where each of those rows begins.
      marks: int32 [lasting marks], the code points with `MARK`, ascending.
      mark_classes: int32 [lasting marks], their canonical combining classes.
    """

    blocks: np.ndarray
    entries: np.ndarray
    long_values: np.ndarray
    long_splits: np.ndarray
    marks: np.ndarray
    mark_classes: np.ndarray


@functools.cache
def compile_table(do_lower_case: bool) -> PackedTable:
    """Packs the rules for all 0x110000 code points; takes about half a second."""
    size = 1 << BLOCK_BITS
    long_rows: list[str] = []
    distinct: dict[tuple[int, ...], int] = {}
    blocks = []
    for first in range(0, 0x110000, size):
        chars = [chr(code_point) for code_point in range(first, first + size)]
        if _is_uniform(chars):
            entries = (_entry(chars[0], do_lower_case, long_rows),) * size
        else:
            entries = tuple(_entry(c, do_lower_case, long_rows) for c in chars)
        blocks.append(distinct.setdefault(entries, len(distinct)))
    marks = []
    if do_lower_case:
        marks = [c for c in map(chr, range(0x110000)) if _is_lasting_mark(c)]
    as_int32 = functools.partial(np.array, dtype=np.int32)
    return PackedTable(
        blocks=as_int32(blocks),
        entries=as_int32(list(distinct)),
        long_values=as_int32([ord(c) for row in long_rows for c in row]),
        long_splits=as_int32(np.cumsum([0] + [len(row) for row in long_rows])),
        marks=as_int32([ord(c) for c in marks]),
        mark_classes=as_int32([unicodedata.combining(c) for c in marks]),
    )


def _is_uniform(chars: list[str]) -> bool:
    # Unassigned planes and the inside of the ideographs need no look at each
    # character: nothing there has case, decomposes, or stands beside a sigma.
    text = "".join(chars)
    categories = set(map(unicodedata.category, text))
    if categories <= {"Co", "Cn", "Cs"}:
        return True
    return (
        categories <= {"Lo", "Cn"}
        and text.lower() == text
        and unicodedata.normalize("NFD", text) == text
        and len(set(map(is_cjk, text))) == 1
        and FINAL_SIGMA not in "".join(f"A{c}\u03a3 " for c in chars).lower()
    )


def _entry(char: str, do_lower_case: bool, long_rows: list[str]) -> int:
    # Rows of several characters are appended to `long_rows`.
    if is_dropped(char):
        return VOID | TRANSPARENT | JOINS
    if is_space(char):
        return _difference(char, " ")
    if not do_lower_case:
        return _difference(char, char)
    flags = _sigma_class(char)
    decomposed = unicodedata.normalize("NFD", char.lower())
    if all(map(unicodedata.combining, decomposed)):
        flags |= JOINS
    if char == CAPITAL_SIGMA:
        flags |= SIGMA
    if _is_lasting_mark(char):
        flags |= MARK
    row = "".join(c for c in decomposed if unicodedata.category(c) != "Mn")
    if len(row) > 1:
        # Its characters are looked up again, so each has to stand for itself there.
        long_rows.append(row)
        return flags | LONG | (len(long_rows) - 1) << PAYLOAD_SHIFT
    return flags | (_difference(char, row) if row else VOID)


def _difference(char: str, becomes: str) -> int:
    # A difference, not the character itself, makes most blocks alike.
    return (ord(becomes) - ord(char) + DELTA_BIAS) << PAYLOAD_SHIFT


def _sigma_class(char: str) -> int:
    # Python does not publish the two Unicode properties that its `lower` looks at;
    # what it makes of a sigma behind the character tells them.
    if is_cjk(char):
        return 0
    if (char + CAPITAL_SIGMA).lower().endswith(FINAL_SIGMA):
        return CASED
    if ("A" + char + CAPITAL_SIGMA).lower().endswith(FINAL_SIGMA):
        return TRANSPARENT
    return 0
