"""Small conversions: bytes to text, text to words, pieces to ids and back."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from bert_tf.errors import DataError

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def convert_to_unicode(text: str | bytes) -> str:
    """Returns the text as `str`; bytes are read as UTF-8, bad ones left out.

    Raises:
      DataError: `text` is neither `str` nor `bytes`.

    Source: `convert_to_unicode` in tokenization.py.
    """
    if isinstance(text, str):
        return text
    if isinstance(text, bytes):
        return text.decode("utf-8", "ignore")
    raise DataError(
        f"Expected a text as str or bytes, but got {type(text).__name__}: {text!r:.80}."
    )


def printable_text(text: str | bytes) -> str:
    """Returns the text in the form that `print` and logs take: `str`.

    Raises:
      DataError: `text` is neither `str` nor `bytes`.

    Source: `printable_text` in tokenization.py, which differs from
    `convert_to_unicode` under Python 2 only.
    """
    return convert_to_unicode(text)


def whitespace_tokenize(text: str) -> list[str]:
    """Splits a text at whitespace; an empty text has no words.

    Source: `whitespace_tokenize` in tokenization.py.
    """
    return text.split()


def convert_by_vocab(
    vocab: Mapping[_Key, _Value], items: Iterable[_Key]
) -> list[_Value]:
    """Looks up every item: pieces in a vocabulary, or ids in its inverse.

    Raises:
      DataError: an item is not in `vocab`.

    Source: `convert_by_vocab` in tokenization.py.
    """
    try:
        return [vocab[item] for item in items]
    except KeyError as error:
        raise DataError(
            f"Expected pieces or ids of the vocabulary ({len(vocab)} entries), but "
            f"{error.args[0]!r} is not in it; check --vocab_file."
        ) from None


def convert_tokens_to_ids(vocab: Mapping[str, int], tokens: Iterable[str]) -> list[int]:
    """Looks up the ids of pieces; raises `DataError` for one that is unknown."""
    return convert_by_vocab(vocab, tokens)


def convert_ids_to_tokens(
    inv_vocab: Mapping[int, str], ids: Iterable[int]
) -> list[str]:
    """Looks up the pieces of ids; raises `DataError` for one that is unknown."""
    return convert_by_vocab(inv_vocab, ids)
