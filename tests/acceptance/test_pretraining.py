"""What pretraining promises to be measured."""

import pytest

from benchmarks.fresh_process import measure
from benchmarks.input_pipeline import MASKINGS, make_records


@pytest.mark.acceptance
@pytest.mark.timeout(600)
def test_batches_come_faster_than_they_are_trained_on(real_data, tmp_path, measured):
    """The slowest of three runs, in batches of 32, in a process of its own."""
    vocab = str(real_data / "vocab/uncased_vocab.txt")
    text = str(real_data / "text/english_novels.txt")
    path = make_records(text, vocab, str(tmp_path), unmasked=True)
    for masking in MASKINGS:
        found = measure("benchmarks.input_pipeline", [path, vocab, masking])
        what = "records/s of the input pipeline, length 128, dynamic masking"
        measured(f"{what} ({masking})", round(found["worst"]), at_least=20_000)
