"""The three families of errors that a user can mend.

Each message is one sentence that says what was expected, what came, where, and
what to do. The command line tools print it as their last line and exit with
code 1; library users catch them as `ValueError`.
"""


class ConfigError(ValueError):
    """Flags, configs or folders that do not fit together."""


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, foreign or of other sizes."""


class DataError(ValueError):
    """A vocabulary, text or record file with something wrong inside."""
