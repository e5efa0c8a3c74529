"""The files that go with an exported model, whatever its format."""

import os

from bert_tf.files import read_bytes, write_file
from bert_tf.tasks.servable import Servable


def write_assets(servable: Servable, folder: str) -> None:
    """Writes `vocab.txt`, and `labels.txt` if there are any, a label a line."""
    vocab = read_bytes(servable.tokenizer.vocab_file)
    write_file(os.path.join(folder, "vocab.txt"), vocab)
    if servable.labels:
        lines = "".join(f"{label}\n" for label in servable.labels)
        write_file(os.path.join(folder, "labels.txt"), lines)
