"""Files of any kind that Apache Beam knows, as it reaches them."""

from typing import Any

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from bert_tf.errors import ConfigError
from bert_tf.files import Files, staging_path


class BeamFiles(Files):
    """Files of any kind that Beam knows."""

    def exists(self, path: str) -> bool:
        return FileSystems.exists(path)

    def read(self, path: str) -> bytes:
        with open_text(path) as reader:
            return reader.read()

    def write(self, path: str, content: str) -> None:
        with create_file(staging_path(path)) as writer:
            writer.write(content.encode())
        try:
            FileSystems.rename([staging_path(path)], [path])
        except BeamIOError:  # of a file system that replaces nothing
            FileSystems.delete([path])
            FileSystems.rename([staging_path(path)], [path])


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


def create_file(path: str) -> Any:
    """Opens a file, and makes its folder, for writing bytes as they are."""
    return FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED)
