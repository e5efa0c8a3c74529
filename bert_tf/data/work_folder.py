"""A folder for what is spilled while records are made."""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator

import tensorflow as tf

from bert_tf.errors import ConfigError, DataError

_NAME = ".pretraining-data"

# TensorFlow passes on what the system says, under codes that stand for much else.
_FULL_DISK = tuple(
    os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
)


@contextlib.contextmanager
def work_folder(output_folder: str, parent: str | None = None) -> Iterator[str]:
    """Makes the folder, for one run at a time.

    A run that is killed leaves it for the next one; bad input and a full disk remove
    it, and what was made to hold it.

    Args:
      output_folder: Where the records go; the folder is made in it.
      parent: A local folder to make it in instead.

    Yields:
      Its path.

    Raises:
      ConfigError: Another run is at work in it, or the disk is full.
    """
    parent = parent or output_folder
    if "://" in parent:
        with tempfile.TemporaryDirectory(prefix="pretraining-data-") as path:
            yield path
        return
    made = _missing_folders(parent)
    path = os.path.join(parent, _NAME)
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, "lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"Expected {path} to be of no other run, found that one is at work in "
                "it; wait for it, or name another folder in --output_file."
            ) from None
        try:
            with _full_disk_explained():
                yield path
        except (ConfigError, DataError):
            shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(OSError):  # there are files in it
                for folder in reversed(made):
                    os.rmdir(folder)
            raise


def _missing_folders(path: str) -> list[str]:
    """Returns the folders that `os.makedirs` would make, from above to below."""
    missing: list[str] = []
    while path and not os.path.exists(path):
        missing.insert(0, path)
        path = os.path.dirname(path)
    return missing


@contextlib.contextmanager
def _full_disk_explained() -> Iterator[None]:
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        if not any(text in str(error) for text in _FULL_DISK):
            raise
        raise ConfigError(
            "Expected room on the disk for the records, and beside them (or in "
            "--work_dir) for the tokenized text, found none; files that were whole "
            "stay, so free some and run the same command again."
        ) from error
