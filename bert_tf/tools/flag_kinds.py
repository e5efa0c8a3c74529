"""Flags by the kind of their value."""

from typing import Any

from absl import flags

from bert_tf.errors import ConfigError


def string(values: Any, name: str, default: str | None, text: str) -> None:
    """Defines a flag that is a text."""
    flags.DEFINE_string(name, default, text, flag_values=values)


def boolean(values: Any, name: str, default: bool | None, text: str) -> None:
    """Defines a switch."""
    flags.DEFINE_bool(name, default, text, flag_values=values)


def integer(
    values: Any,
    name: str,
    default: int | None,
    text: str,
    at_least: int,
    at_most: int | None = None,
) -> None:
    """Defines a flag that is a whole number between bounds."""
    flags.DEFINE_integer(
        name,
        default,
        text,
        lower_bound=at_least,
        upper_bound=at_most,
        flag_values=values,
    )


def number(values: Any, name: str, default: float, text: str) -> None:
    """Defines a flag that is a number of at least 0."""
    flags.DEFINE_float(name, default, text, lower_bound=0.0, flag_values=values)


def parts(values: Any, name: str) -> list[str]:
    """Returns the parts of a flag that is a list with commas between.

    Raises:
      ConfigError: One is empty, or not UTF-8.
    """
    if not values[name].value:
        return []
    found = [part.strip() for part in values[name].value.split(",")]
    for part in found:
        # Bytes of the command line that are no text come as half of a pair.
        if not part or any("\ud800" <= char <= "\udfff" for char in part):
            raise ConfigError(
                f"Expected a list in UTF-8 with single commas between in --{name}, got "
                f"{part!r} as one of its parts; correct it."
            )
    return found
