"""Files that are there whole or not at all."""

import contextlib
import hashlib
import os
from collections.abc import Iterator

from bert_tf.errors import ConfigError


def is_remote(path: str) -> bool:
    """Returns whether a path is in a store such as gs://, not on this machine."""
    return "://" in path


def staging_path(path: str) -> str:
    """Returns what a file or folder is called while it is written.

    It lies beside `path`, so that it can be renamed, and a writer that was killed
    leaves it; the next one begins it anew.
    """
    folder, name = os.path.split(path)
    return os.path.join(folder, f".writing-{name}")


def new_folder(path: str) -> str:
    """Returns the path of a folder to be made; a ConfigError if something is there."""
    import tensorflow as tf

    path = path.rstrip("/") if is_remote(path) else os.path.abspath(path)
    is_folder = tf.io.gfile.isdir(path)
    if tf.io.gfile.exists(path) and not (is_folder and not tf.io.gfile.listdir(path)):
        raise ConfigError(
            f"Expected a new or empty folder at --output_dir={path}, found "
            f"{'files in it' if is_folder else 'a file'}; name another."
        )
    return path


@contextlib.contextmanager
def staged(path: str, last: str | None = None) -> Iterator[str]:
    """Yields where to write a large file or a folder, which is named when it is whole.

    An existing file is replaced. If writing fails, what was written is removed.

    Args:
      path: What it is to be called.
      last: The file in a folder without which nobody takes the folder for whole. A
        store renames a folder file by file: that one is renamed last.
    """
    import tensorflow as tf

    staging = staging_path(path)
    remove(staging)  # of a writer that was killed
    try:
        yield staging
        if last is not None and is_remote(path):
            _rename_files(staging, path, last)
        else:
            tf.io.gfile.rename(staging, path, overwrite=True)
    except BaseException:  # Ctrl-C as well
        # The store that failed may still do so; what it said is worth more.
        with contextlib.suppress(tf.errors.OpError):
            remove(staging)
        raise


def _rename_files(staging: str, path: str, last: str) -> None:
    import tensorflow as tf

    found = [
        os.path.join(folder, name).removeprefix(staging + "/")
        for folder, _, names in tf.io.gfile.walk(staging)
        for name in names
    ]
    for name in sorted(found, key=lambda name: (name == last, name)):
        tf.io.gfile.rename(
            os.path.join(staging, name), os.path.join(path, name), overwrite=True
        )
    remove(staging)


def remove(path: str) -> None:
    """Removes a file or a folder, if it is there."""
    import tensorflow as tf

    if tf.io.gfile.isdir(path):
        tf.io.gfile.rmtree(path)
    elif tf.io.gfile.exists(path):
        tf.io.gfile.remove(path)


def write_file(path: str, content: str | bytes) -> None:
    """Writes a small file, replacing an existing one in a single step."""
    import tensorflow as tf

    staged = staging_path(path)
    with tf.io.gfile.GFile(staged, "wb") as writer:
        writer.write(content if isinstance(content, bytes) else content.encode())
    tf.io.gfile.rename(staged, path, overwrite=True)


def write_local_file(path: str, content: str | bytes) -> None:
    """Does the same on this machine's own disk, without TensorFlow."""
    staged = staging_path(path)
    with open(staged, "wb") as writer:
        writer.write(content if isinstance(content, bytes) else content.encode())
    os.replace(staged, path)


class Files:
    """How files are reached: by TensorFlow, unless this is overridden."""

    def exists(self, path: str) -> bool:
        """Returns whether there is such a file."""
        import tensorflow as tf

        return tf.io.gfile.exists(path)

    def is_folder(self, path: str) -> bool:
        """Returns whether there is such a folder."""
        import tensorflow as tf

        return tf.io.gfile.isdir(path)

    def find(self, pattern: str) -> list[str]:
        """Returns the paths that a pattern is of, in any order."""
        import tensorflow as tf

        return tf.io.gfile.glob(pattern)

    def status(self, path: str) -> tuple[int, int]:
        """Returns a file's bytes, and when it was changed, in nanoseconds."""
        import tensorflow as tf

        found = tf.io.gfile.stat(path)
        return found.length, found.mtime_nsec

    def read(self, path: str) -> bytes:
        """Returns a file's content."""
        return read_bytes(path)

    def write(self, path: str, content: str) -> None:
        """Writes a small file in a single step, and the folder that it is in."""
        import tensorflow as tf

        if os.path.dirname(path):
            tf.io.gfile.makedirs(os.path.dirname(path))
        write_file(path, content)


def read_bytes(path: str) -> bytes:
    """Returns a file's content."""
    import tensorflow as tf

    with tf.io.gfile.GFile(path, "rb") as reader:
        return reader.read()


TENSORFLOW = Files()


def sha256(path: str, files: Files = TENSORFLOW) -> str:
    """Returns what tells a file's content from another's, in hexadecimal digits."""
    return hashlib.sha256(files.read(path)).hexdigest()
