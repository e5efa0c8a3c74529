"""A folder for what is spilled while records are made."""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from typing import TextIO

import tensorflow as tf

from bert_tf.errors import ConfigError, DataError
from bert_tf.files import is_remote

_NAME = ".pretraining-data"

# TensorFlow passes on what the system says, under codes that stand for much else.
_FULL_DISK = tuple(
    os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
)


@contextlib.contextmanager
def work_folder(output_folder: str, parent: str | None = None) -> Iterator[str]:
    """Makes the folder, for one run at a time, and removes it when that is done.

    A run that is killed leaves it for the next one; bad input and a full disk remove
    it, and the folders that were made for it.

    Args:
      output_folder: Where the records go; the folder is made in it, unless it is
        remote. No other run can then write there.
      parent: A local folder to make it in instead.

    Yields:
      Its path.

    Raises:
      ConfigError: Another run is at work, or the disk is full, or a folder cannot be
        made.
    """
    with contextlib.ExitStack() as stack:
        if not is_remote(output_folder):
            own = os.path.join(output_folder, _NAME)
            stack.enter_context(_one_run(own))
        if parent is not None:
            # Of this output alone: another one may have the same parent.
            place = zlib.crc32(os.path.abspath(output_folder).encode())
            own = os.path.join(parent, f"{_NAME}-{place:08x}")
            stack.enter_context(_one_run(own))
        elif is_remote(output_folder):
            own = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="pretraining-data-")
            )
        stack.enter_context(_full_disk_explained())
        yield own


@contextlib.contextmanager
def _one_run(path: str) -> Iterator[None]:
    """Makes a folder and holds it until the run ends."""
    made = _missing_folders(path)
    try:
        os.makedirs(path, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ConfigError(
            f"Expected to make the folder {path}, found a file where a folder has to "
            "be; correct --output_file or --work_dir."
        ) from None
    lock = open(os.path.join(path, "lock"), "w")  # noqa: SIM115, closed before removal
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ConfigError(
            f"Expected {path} to be of no other run, found that one is at work in it; "
            "wait for it, or name another folder in --output_file."
        ) from None
    try:
        yield
    except (ConfigError, DataError):
        _remove(path, lock, made)
        raise
    except BaseException:
        lock.close()
        raise
    _remove(path, lock, [])


def _remove(path: str, lock: TextIO, made: list[str]) -> None:
    """Removes a folder, and those that were made for it if nothing else is in them."""
    lock.close()
    # Some file systems keep files that are still open somewhere.
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        for folder in reversed(made[:-1]):
            os.rmdir(folder)


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
