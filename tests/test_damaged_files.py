"""Damaged weights end in an error or are what they were; nothing crashes or swells."""

from pathlib import Path

import pytest

from bert_tf.checkpoint import CheckpointReader, write_tensors
from bert_tf.checkpoint_index import check_index
from tests import damaged_files
from tests.minilm import MODEL, fetched


@pytest.fixture
def small(testdata, tmp_path) -> dict[str, Path]:
    """Folders of the two kinds, a few kilobytes each."""
    folder = tmp_path / "google"
    reader = CheckpointReader(str(testdata / "bert_model.ckpt"))
    tensors = {name: reader.read(name) for name in reader.shapes}
    write_tensors(str(folder / "bert_model.ckpt"), tensors)
    return {
        "checkpoint": folder,
        "safetensors": testdata / "interchange" / "pretraining",
    }


@pytest.mark.parametrize("kind", damaged_files.KINDS)
def test_damaged_copies(small, tmp_path, kind):
    ends, _ = damaged_files.run(kind, small[kind], tmp_path, 50)
    assert ends["error"] > 25


@pytest.mark.acceptance
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kind", damaged_files.KINDS)
def test_a_thousand_damaged_copies(small, tmp_path, measured, kind):
    ends, _ = damaged_files.run(kind, small[kind], tmp_path, 1000)
    for how, count in sorted(ends.items()):
        measured(f"1,000 damaged copies of a {kind}: {how}", count)
    assert ends["error"] > 500


@pytest.mark.acceptance
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kind", damaged_files.KINDS)
def test_the_memory_that_damaged_copies_take(tmp_path, measured, kind):
    """MiniLM, whose weights are read once, and, of PyTorch's layout, turned."""
    google = fetched(tmp_path)
    source = {"checkpoint": Path(google), "safetensors": MODEL}[kind]
    weights = {"checkpoint": "*.data-*", "safetensors": "*.safetensors"}[kind]
    size = sum(path.stat().st_size for path in source.glob(weights)) / 2**20
    _, most = damaged_files.run(kind, source, tmp_path, 40)
    # The file as it is mapped, and what is made of it.
    bound = 2 * size + 20
    what = f"40 damaged copies of a {kind} of {size:.0f} MB: most MB taken by one"
    measured(what, round(most, 1), at_most=round(bound, 1))


def test_indexes_of_real_checkpoints(real_data):
    """Of Google's scripts and others', one with compressed blocks."""
    folders = sorted((real_data / "checkpoint_index").iterdir())
    indexes = [path for folder in folders for path in folder.glob("*.index")]
    assert len(indexes) >= 5
    for path in indexes:
        check_index(str(path).removesuffix(".index"))


def test_the_table_that_hostile_indexes_are_made_of_is_one(small):
    """So that what is refused is refused for what was changed in it."""
    from bert_tf import checkpoint_index

    path = small["checkpoint"] / "bert_model.ckpt.index"
    before = CheckpointReader(str(small["checkpoint"])).shapes
    entries = dict(checkpoint_index._entries(path.read_bytes()))
    path.write_bytes(damaged_files.table(entries))
    reader = CheckpointReader(str(small["checkpoint"]))
    assert reader.shapes == before
    assert len(reader.read_all(sorted(before))) == len(before)
