"""What all tools share: parsing, help, quiet logs, errors in one line.

Importing this module, asking for help and every error in a flag stay without
TensorFlow, whose import takes seconds.
"""

import dataclasses
import logging as python_logging
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags, logging

from bert_tf.errors import CheckpointError, ConfigError, DataError
from bert_tf.tools.flags import require

# Characters of what TensorFlow says of a file.
_LONGEST_REASON = 400


@dataclasses.dataclass(frozen=True)
class Group:
    """Flags that belong together in a tool's help.

    Attributes:
      title: Heading in the help text.
      define: Defines the flags on the `FlagValues` that it is given.
    """

    title: str
    define: Callable[[flags.FlagValues], None]


def all_flags(groups: Sequence[Group]) -> flags.FlagValues:
    """Returns a tool's flags, unparsed, with those that all tools have."""
    values = flags.FlagValues()
    for group in [*groups, COMMON]:
        group.define(values)
    return values


def run_tool(
    name: str,
    summary: str,
    groups: Sequence[Group],
    main: Callable[..., None],
    argv: Sequence[str] | None = None,
    after_interrupt: str = "",
    positional: str = "",
) -> int:
    """Parses the flags and runs `main` with them.

    Args:
      name: What the tool is called.
      summary: Its help text's first paragraph.
      groups: Its flags. Each call has its own, so tools do not collide in a process.
      main: The work, called with the parsed flags and then with each argument that is
        no flag. Its ConfigError, CheckpointError, DataError or failed file
        access becomes one line on stderr.
      argv: Arguments without the program's name; those of this process if None.
      after_interrupt: What to tell whoever pressed Ctrl-C.
      positional: What the arguments that are no flags are, such as `RUN_DIR...`. There
        must be one or more; by default there must be none.

    Returns:
      The exit code: 0, or 1 after an error, or 130 after Ctrl-C.
    """
    log_plainly()
    values = all_flags(groups)
    try:
        rest = values([name, *(sys.argv[1:] if argv is None else argv)])[1:]
        if values.help:
            print(_help_text(name, summary, groups, positional))
            return 0
        if positional and not rest:
            raise ConfigError(f"Expected {positional}, got none; name one.")
        if rest and not positional:
            raise ConfigError(
                f"Expected only flags, got {rest[0]!r}; flags are written --name=value."
            )
        logging.set_verbosity(values.verbosity)
        main(values, *rest)
    except KeyboardInterrupt:
        _last_line(name, f"interrupted{after_interrupt}.")
        return 130
    except Exception as error:
        if not _is_for_the_user(error):
            raise
        _last_line(name, _sentence(error))
        return 1
    return 0


def _is_for_the_user(error: Exception) -> bool:
    """Returns whether a sentence about this error helps more than a traceback."""
    # A ValueError of any other kind is a mistake of ours.
    known: tuple[type, ...] = (ConfigError, CheckpointError, DataError, flags.Error)
    if "tensorflow" in sys.modules:
        import tensorflow as tf

        known += (
            tf.errors.PermissionDeniedError,
            tf.errors.NotFoundError,
            tf.errors.FailedPreconditionError,
            tf.errors.ResourceExhaustedError,
            tf.errors.UnavailableError,
            tf.errors.UnimplementedError,
            tf.errors.AbortedError,
            tf.errors.DataLossError,
        )
    return isinstance(error, (*known, OSError))


def _sentence(error: Exception) -> str:
    """Returns what to say of an error; TensorFlow's own are of files that fail."""
    message = getattr(error, "message", None)
    if message is None:
        return str(error)
    reason = " ".join(message.split())[:_LONGEST_REASON]
    return (
        f"Expected to read and write the files that the flags name, found that this "
        f"fails ({reason}); check paths, access and network, and give the same command "
        "again."
    )


def print_lines(lines: Sequence[str]) -> None:
    """Prints lines, with ? for what the terminal's encoding lacks."""
    encoding = sys.stdout.encoding or "utf-8"
    text = "\n".join(lines).encode(encoding, "replace").decode(encoding)
    print(text, flush=True)


def _last_line(name: str, message: str) -> None:
    print(f"{name}: {' '.join(message.split())}", file=sys.stderr, flush=True)


def run_training_tool(
    name: str,
    summary: str,
    groups: Sequence[Group],
    config: Any,
    run: Callable[[Any], None],
    required: Sequence[str],
    argv: Sequence[str] | None = None,
) -> int:
    """Does the same for a tool that trains.

    Args:
      name, summary, groups, argv: As for `run_tool`.
      config: What is made of the flags, by `from_flags`.
      run: The work, called with it.
      required: Flags that must be given.
    """

    def run_with(values: flags.FlagValues) -> None:
        require(values, *required)
        run(config.from_flags(values))

    return run_tool(
        name,
        summary,
        groups,
        run_with,
        argv,
        after_interrupt="; the same command goes on from the newest checkpoint",
    )


def _define_common(values: flags.FlagValues) -> None:
    flags.DEFINE_integer(
        "verbosity",
        logging.INFO,
        "How much to log: 1 for debugging, 0 for progress, -1 for warnings, -2 for "
        "errors only. TensorFlow's own lines follow TF_CPP_MIN_LOG_LEVEL.",
        lower_bound=-3,
        upper_bound=3,
        flag_values=values,
    )
    flags.DEFINE_bool("help", False, "Show this text.", flag_values=values)
    for alias in ("helpfull", "helpshort"):
        flags.DEFINE_alias(alias, "help", flag_values=values)


def log_plainly() -> None:
    """Shows how a run goes, in lines of messages alone, without TensorFlow's own.

    For notebooks too, where it has to come before TensorFlow is imported.
    """
    logging.set_verbosity(logging.INFO)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Not by its level, which TensorFlow sets anew where a person sits before it.
    python_logging.getLogger("tensorflow").addFilter(_is_error)
    handler = python_logging.StreamHandler(sys.stderr)
    handler.setFormatter(_PlainFormatter())
    handler.addFilter(_is_worth_showing)
    logger = logging.get_absl_logger()
    logger.handlers = [handler]
    logger.propagate = False


def _is_error(record: python_logging.LogRecord) -> bool:
    return record.levelno >= python_logging.ERROR


def _is_worth_showing(record: python_logging.LogRecord) -> bool:
    """Returns whether a line is not TensorFlow's, which logs through absl as well."""
    folders = record.pathname.split(os.sep)
    theirs = any(name in folders for name in ("tensorflow", "keras"))
    return not theirs or logging.get_verbosity() > logging.INFO


class _PlainFormatter(python_logging.Formatter):
    """The message alone; its level in front when it is a warning or worse."""

    def format(self, record: Any) -> str:
        message = record.getMessage()
        return message if record.levelno <= 20 else f"{record.levelname}: {message}"


COMMON = Group("Other", _define_common)


def _help_text(
    name: str, summary: str, groups: Sequence[Group], positional: str
) -> str:
    usage = " ".join(filter(None, ["bert-tf", name, positional, "--FLAG=VALUE ..."]))
    lines = [usage, "", *textwrap.wrap(summary, 80)]
    for group in [*groups, COMMON]:
        lines += ["", f"{group.title}:"]
        values = flags.FlagValues()
        group.define(values)
        for flag in (values[n] for n in values if n not in ("helpfull", "helpshort")):
            lines.append(f"  --{'[no]' if flag.boolean else ''}{flag.name}")
            default = ""
            if flag.default is not None:
                default = f" (default: {_default_text(flag)})"
            lines += textwrap.wrap(
                flag.help + default,
                80,
                initial_indent=" " * 6,
                subsequent_indent=" " * 6,
            )
    return "\n".join(lines)


def _default_text(flag: Any) -> str:
    return flag.default_as_str.strip("'")
