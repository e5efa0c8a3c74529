"""What tests of exports share."""

import pytest

from tests.small_export import write_export


@pytest.fixture(scope="session")
def small_export(tmp_path_factory) -> str:
    """The folder of an export of a few ops, `words`, with one version, 1."""
    folder = tmp_path_factory.mktemp("words", numbered=False)
    write_export(folder)
    return str(folder)
