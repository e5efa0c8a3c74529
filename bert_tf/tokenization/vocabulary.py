"""Vocabulary files: one piece a line, its line number less one is its id.

Also the checks that a vocabulary, a checkpoint and `--do_lower_case` fit together.
"""

import collections
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from bert_tf.errors import ConfigError, DataError

PAD = "[PAD]"  # the release takes id 0 for it, whether it is there or not
SPECIAL_PIECES = ("[UNK]", "[CLS]", "[SEP]", "[MASK]")
_UNUSED = re.compile(r"\[unused(\d+)\]")

# Google's lower-cased vocabularies hold a letter or two such as "ℝ" that has no
# lower-case form; its cased ones have capitals in 16 and 29 of 100 pieces.
_CASED_SHARE = 0.01

_LOWER_CASED_MODELS = frozenset(
    (
        "uncased_L-24_H-1024_A-16",
        "uncased_L-12_H-768_A-12",
        "multilingual_L-12_H-768_A-12",
        "chinese_L-12_H-768_A-12",
    )
)
_CASED_MODELS = frozenset(
    (
        "cased_L-12_H-768_A-12",
        "cased_L-24_H-1024_A-16",
        "multi_cased_L-12_H-768_A-12",
    )
)


def load_vocab(vocab_file: str) -> collections.OrderedDict[str, int]:
    """Reads a vocabulary file.

    Lines end at "\\n" only: two of Google's vocabularies hold U+2028, at which
    `str.splitlines` would end a line and shift every id behind it. Each line is
    stripped, so those two pieces become "" and "##" and never match; the ids go on
    counting. Of equal pieces the last one wins.

    Args:
      vocab_file: path of the file, local or any that TensorFlow can open.

    Returns:
      piece -> id, in the file's order.

    Raises:
      DataError: no such file, an empty one, or one that is not plain UTF-8.

    Source: `load_vocab` in tokenization.py.
    """
    vocab: collections.OrderedDict[str, int] = collections.OrderedDict()
    for index, piece in enumerate(_read_pieces(vocab_file)):
        vocab[piece] = index
    return vocab


def read_lines(vocab_file: str) -> list[str]:
    """Returns the lines of a vocabulary file as they stand there, unstripped.

    Args:
      vocab_file: As for `load_vocab`, whose errors it raises.
    """
    import tensorflow as tf

    from bert_tf.files import read_bytes

    try:
        if tf.io.gfile.isdir(vocab_file):
            raise DataError(
                f"Expected a vocabulary file, but {vocab_file} is a folder; pass the "
                f"file in it, usually vocab.txt."
            )
        content = read_bytes(vocab_file)
    except tf.errors.NotFoundError:
        raise DataError(
            f"Expected a vocabulary file, but {vocab_file} does not exist; check "
            f"--vocab_file."
        ) from None
    except tf.errors.OpError as error:
        raise DataError(
            f"Expected a readable vocabulary file, but {vocab_file} cannot be read: "
            f"{error.message}"
        ) from None
    return parse_lines(content, vocab_file)


def parse_lines(content: bytes, vocab_file: str) -> list[str]:
    """Returns the lines of a vocabulary file as they stand there, unstripped.

    Args:
      content: what the file holds.
      vocab_file: named in messages.

    Raises:
      DataError: it is empty, or not plain UTF-8.
    """
    if content.startswith(b"\xef\xbb\xbf"):
        raise DataError(
            f"Expected plain UTF-8, but {vocab_file} line 1 begins with a byte order "
            f"mark, which would become part of the first piece; save the file without "
            f"it."
        )
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    if not lines:
        raise DataError(
            f"Expected one piece a line, but the vocabulary file {vocab_file} is "
            f"empty; check --vocab_file."
        )
    decoded = []
    for number, line in enumerate(lines, start=1):
        try:
            decoded.append(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise DataError(
                f"Expected UTF-8, but {vocab_file} line {number} holds the byte "
                f"0x{line[error.start]:02x} at position {error.start}; convert the "
                f"file to UTF-8."
            ) from None
    return decoded


def parse_pieces(content: bytes, vocab_file: str) -> list[str]:
    """Does the same with stripped lines, which are the pieces in the order of ids."""
    return [line.strip() for line in parse_lines(content, vocab_file)]


def _read_pieces(vocab_file: str) -> list[str]:
    return [line.strip() for line in read_lines(vocab_file)]


def check_vocab(
    vocab_file: str, vocab_size: int | None = None
) -> collections.OrderedDict[str, int]:
    """Reads a vocabulary and checks that a model can be trained with it.

    Args:
      vocab_file: path of the file.
      vocab_size: `vocab_size` of the model's config; None to leave it unchecked.

    Returns:
      piece -> id, as `load_vocab` returns it.

    Raises:
      DataError: as `load_vocab`; or the number of lines is not `vocab_size`, a piece
        stands on two lines, or a special piece is missing.
    """
    return check_pieces(_read_pieces(vocab_file), vocab_file, vocab_size)


def check_pieces(
    pieces: Sequence[str], vocab_file: str, vocab_size: int | None = None
) -> collections.OrderedDict[str, int]:
    """Does the same with pieces that were read already."""
    vocab: collections.OrderedDict[str, int] = collections.OrderedDict()
    for index, piece in enumerate(pieces):
        if piece in vocab:
            raise DataError(
                f"Expected every piece once, but {vocab_file} holds {piece!r} on "
                f"lines {vocab[piece] + 1} and {index + 1}; make one of them a piece "
                f"of its own, such as [unused{index}]."
            )
        vocab[piece] = index
    check_special_pieces(vocab, vocab_file)
    if vocab_size is not None and len(pieces) != vocab_size:
        raise DataError(
            f"Expected {vocab_size} pieces as the model's config says (vocab_size), "
            f"but {vocab_file} has {len(pieces)} lines; pass the vocabulary and the "
            f"config of one model."
        )
    return vocab


def unused_number(piece: str) -> int | None:
    """Returns the N of a piece `[unusedN]`, which is free; None for any other."""
    match = _UNUSED.fullmatch(piece)
    return int(match[1]) if match else None


def is_special(piece: str) -> bool:
    """Returns whether a piece is one of the special ones, or `[unusedN]`."""
    return piece in (PAD, *SPECIAL_PIECES) or unused_number(piece) is not None


def is_mark(piece: str) -> bool:
    """Returns whether a piece stands in brackets, as `[CLS]` and `<S>`.

    Texts do not match these: the tokenizers split off brackets.
    """
    return (piece[:1], piece[-1:]) in (("[", "]"), ("<", ">"))


class Casing(NamedTuple):
    """What the letters of a vocabulary tell of its casing.

    Attributes:
      pieces: How many pieces there are, those in brackets apart.
      upper: How many of them hold capitals, less those without a lower-case form.
      has_case: Whether any holds a letter that has two cases.
    """

    pieces: int
    upper: int
    has_case: bool

    @classmethod
    def of(cls, vocab: Iterable[str]) -> "Casing":
        """Counts the pieces of a vocabulary."""
        pieces = [piece for piece in vocab if not is_mark(piece)]
        upper = sum(piece.lower() != piece for piece in pieces)
        has_case = upper > 0 or any(piece.upper() != piece for piece in pieces)
        return cls(len(pieces), upper, has_case)

    @property
    def is_cased(self) -> bool:
        """Whether so many hold capitals that texts are not to be lower-cased."""
        return self.upper > _CASED_SHARE * self.pieces


def check_special_pieces(vocab: Mapping[str, int], vocab_file: str) -> None:
    """Checks that a vocabulary holds the special pieces.

    Args:
      vocab: piece -> id.
      vocab_file: named in the message.

    Raises:
      DataError: one is missing.
    """
    missing = [piece for piece in SPECIAL_PIECES if piece not in vocab]
    if missing:
        raise DataError(
            f"Expected the special pieces {', '.join(SPECIAL_PIECES)}, but "
            f"{vocab_file} lacks {', '.join(missing)}; add them or pass another "
            f"--vocab_file."
        )


def check_casing(vocab: Iterable[str], do_lower_case: bool, vocab_file: str) -> None:
    """Checks that a vocabulary does not plainly contradict `--do_lower_case`.

    Pieces in brackets such as `[CLS]` and `<S>` do not count, nor do capitals that
    have no lower-case form.

    Args:
      vocab: the pieces.
      do_lower_case: whether texts are to be lower-cased.
      vocab_file: named in the message.

    Raises:
      ConfigError: lower-casing with over 1 % of the pieces in capitals, or keeping
        the case with no capital in the vocabulary.
    """
    casing = Casing.of(vocab)
    if do_lower_case and casing.is_cased:
        raise ConfigError(
            f"--do_lower_case=True lower-cases every text, but {casing.upper} of the "
            f"{casing.pieces} pieces of {vocab_file} hold upper-case letters; pass "
            f"--do_lower_case=False, or --nocheck_casing if this is meant."
        )
    # A vocabulary of a script without case contradicts nothing.
    if not do_lower_case and casing.has_case and not casing.upper:
        raise ConfigError(
            f"--do_lower_case=False keeps upper-case letters, but none of the "
            f"{casing.pieces} pieces of {vocab_file} holds one; pass "
            f"--do_lower_case=True, or --nocheck_casing if this is meant."
        )


def validate_case_matches_checkpoint(
    do_lower_case: bool, init_checkpoint: str | None
) -> None:
    """Checks the casing flag against the name of Google's model folder.

    Checkpoints do not say whether their texts were lower-cased; the folder names of
    Google's own models do. Any other name passes.

    Args:
      do_lower_case: whether texts are to be lower-cased.
      init_checkpoint: path such as `uncased_L-12_H-768_A-12/bert_model.ckpt`.

    Raises:
      ConfigError: the two contradict each other.

    Source: `validate_case_matches_checkpoint` in tokenization.py.
    """
    match = re.match(
        r"^.*?([A-Za-z0-9_-]+)/bert_model\.ckpt", str(init_checkpoint or "")
    )
    if match is None:
        return
    model = match.group(1)
    if do_lower_case and model in _CASED_MODELS:
        kind, mend = "a cased", "False"
    elif not do_lower_case and model in _LOWER_CASED_MODELS:
        kind, mend = "a lower-cased", "True"
    else:
        return
    raise ConfigError(
        f"--do_lower_case={bool(do_lower_case)} contradicts --init_checkpoint="
        f"{init_checkpoint}, as {model} is {kind} model; pass --do_lower_case={mend}."
    )


def vocab_of_model(
    vocab_file: str,
    vocab_size: int,
    do_lower_case: bool,
    init_checkpoint: str | None = None,
    casing: bool = True,
) -> Mapping[str, int]:
    """Returns a vocabulary that fits a model, piece -> id in the order of ids.

    Args:
      vocab_file: Where it is.
      vocab_size: Of the model.
      do_lower_case: Whether texts are to be lower-cased.
      init_checkpoint: The model's checkpoint, whose path may tell its casing.
      casing: Whether to check `do_lower_case` against path and vocabulary.

    Raises:
      ConfigError, DataError: It is missing or damaged, or contradicts the others.
    """
    vocab = check_vocab(vocab_file, vocab_size)
    if casing:
        validate_case_matches_checkpoint(do_lower_case, init_checkpoint)
        check_casing(vocab, do_lower_case, vocab_file)
    return vocab
