"""Natural sentences, of all lengths, from strings to one vector each.

A MiniLM with random weights; the thousand sentences are the text's own, in its order.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import models
from benchmarks.contender import Contender, Ready, repeated
from benchmarks.side_by_side import OURS, Case

_SENTENCES = 1000
_CHARACTERS = 10**6
_COMPARED = 4
_WITHIN = {"float32": 2e-4, "bfloat16": 0.05}


def cases(text: str, vocab: str) -> Iterator[Case]:
    """Yields both precisions."""
    for precision in ("float32", "bfloat16"):
        yield Case(
            __name__,
            f"Natural sentences, minilm, {precision}",
            {"text": text, "vocab": vocab, "size": "minilm", "precision": precision},
            (OURS, "sentence-transformers"),
            {f"{_SENTENCES:,} sentences": _SENTENCES},
        )


def _sentences(settings: Any) -> list[str]:
    with Path(settings["text"]).open(encoding="utf-8") as file:
        lines = file.read(_CHARACTERS).split("\n")[:-1]
    return [line for line in lines if line.strip()][:_SENTENCES]


def _ready(settings: Any, encode: Callable[[list[str]], np.ndarray]) -> Ready:
    sentences = _sentences(settings)
    vectors = encode(sentences)[:_COMPARED]
    return Ready(
        {f"{_SENTENCES:,} sentences": repeated(lambda: encode(sentences))},
        {"vectors": np.asarray(vectors, np.float64).tolist()},
        _WITHIN[settings["precision"]],
    )


def _bert_tf(settings: Any, folder: Path) -> Ready:
    from bert_tf import SentenceEncoder

    source = models.files(settings["size"], folder, settings["vocab"])
    encoder = SentenceEncoder(str(source), precision=settings["precision"])
    return _ready(settings, encoder.encode)


def _sentence_transformers(settings: Any, folder: Path) -> Ready:
    import sentence_transformers
    import torch
    from sentence_transformers import models as modules

    target = models.hugging_face_files(settings["size"], folder, settings["vocab"])
    transformer = modules.Transformer(str(target), max_seq_length=128)
    pooling = modules.Pooling(models.SIZES[settings["size"]]["hidden_size"])
    model = sentence_transformers.SentenceTransformer(modules=[transformer, pooling])
    model = model.to(models.torch_dtype(settings["precision"]))

    def encode(sentences: list[str]) -> np.ndarray:
        with torch.inference_mode():
            vectors = model.encode(
                sentences, convert_to_tensor=True, show_progress_bar=False
            )
        return vectors.float().numpy()

    return _ready(settings, encode)


CONTENDERS = {
    OURS: Contender(_bert_tf),
    "sentence-transformers": Contender(
        _sentence_transformers, needs=("sentence_transformers", "torch")
    ),
}
