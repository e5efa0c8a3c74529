"""Files of any kind that Apache Beam knows, as it reaches them."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.utils.timestamp import Timestamp

from bert_tf.errors import ConfigError
from bert_tf.files import Files, staging_path


class BeamFiles(Files):
    """Files of any kind that Beam knows."""

    def exists(self, path: str) -> bool:
        return FileSystems.exists(path)

    def is_folder(self, path: str) -> bool:
        # Beam asks for files alone.
        return os.path.isdir(path)

    def find(self, pattern: str) -> list[str]:
        return [each.path for each in FileSystems.match([pattern])[0].metadata_list]

    def status(self, path: str) -> tuple[int, int]:
        found = FileSystems.get_filesystem(path).metadata(path)
        changed = Timestamp.of(found.last_updated_in_seconds)
        return found.size_in_bytes, changed.micros * 1000

    def read(self, path: str) -> bytes:
        with open_text(path) as reader:
            return reader.read()

    def write(self, path: str, content: str) -> None:
        with staged_file(path) as writer:
            writer.write(content.encode())


def check_file_system(path: str) -> None:
    """Raises a ConfigError for a path of a kind that Beam does not know."""
    try:
        FileSystems.get_filesystem(path)
    except (ValueError, OSError) as error:
        raise ConfigError(
            f"Expected a path that Apache Beam knows, got {path} ({error}); correct "
            "it, or install Beam's extra for such paths, as 'apache-beam[gcp]'."
        ) from error


def open_text(path: str) -> Any:
    """Opens a file for reading its bytes as they are, packed ones too."""
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


@contextlib.contextmanager
def staged_file(path: str) -> Iterator[Any]:
    """Yields what writes a file's bytes, which is named when they are all there."""
    staging = staging_path(path)
    with FileSystems.create(
        staging, compression_type=CompressionTypes.UNCOMPRESSED
    ) as writer:
        yield writer
    try:
        FileSystems.rename([staging], [path])
    except BeamIOError:  # of a file system that replaces nothing
        FileSystems.delete([path])
        FileSystems.rename([staging], [path])
