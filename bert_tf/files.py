"""Files that are there whole or not at all."""

import os

import tensorflow as tf


def staging_path(path: str) -> str:
    """Returns what a file or folder is called while it is written.

    It lies beside `path`, so that it can be renamed, and a writer that was killed
    leaves it; the next one begins it anew.
    """
    folder, name = os.path.split(path)
    return os.path.join(folder, f".writing-{name}")


def write_file(path: str, content: str | bytes) -> None:
    """Writes a small file, replacing an existing one in a single step."""
    staged = staging_path(path)
    with tf.io.gfile.GFile(staged, "wb") as writer:
        writer.write(content if isinstance(content, bytes) else content.encode())
    tf.io.gfile.rename(staged, path, overwrite=True)


def read_bytes(path: str) -> bytes:
    """Returns a file's content."""
    with tf.io.gfile.GFile(path, "rb") as reader:
        return reader.read()
