"""What a list of texts is, and what TensorFlow gets of each."""

from collections.abc import Iterable

from bert_tf.errors import DataError


def checked(texts: Iterable[str]) -> list[str]:
    """Returns a list of texts.

    Raises:
      DataError: A single text, or something among them that is none.
    """
    if isinstance(texts, (str, bytes)):
        raise DataError(
            f"Expected a list of texts, got a single one ({texts!r:.60}); put it into "
            "a list."
        )
    texts = list(texts)
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(
                f"Expected texts, got {type(text).__name__} at position {position} "
                f"({text!r:.60}); leave it out, or make it a string."
            )
    return texts


def utf8(text: str) -> bytes:
    """Returns a text's bytes, without halves of surrogate pairs, as UTF-8 has none."""
    return text.encode("utf-8", "ignore")
