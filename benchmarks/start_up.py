"""From starting a process to its first answer: one short text, as a string.

    python -m benchmarks.start_up NAME FOLDER

Each run is a whole process, files warm in memory: what a command-line tool, a test or
a function in the cloud waits for. `start` in the table is the first of them.
"""

import functools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import forward, models
from benchmarks.contender import Contender, Ready, repeated
from benchmarks.side_by_side import OURS, Case

_SIZE = "minilm"
_TEXT = "word17 word4 word1789"
_ROW = "first answer"
_WITHIN = 2e-4


def cases() -> Iterator[Case]:
    """Yields the one case."""
    yield Case(
        __name__,
        f"Start-up, {_SIZE}, float32",
        {"size": _SIZE, "precision": "float32"},
        tuple(CONTENDERS),
        {_ROW: 1},
        "answers",
    )


def _predictor(folder: str) -> Any:
    import bert_tf

    return bert_tf.Predictor(folder)([_TEXT])["embedding"][0]


def _sentence_encoder(folder: str) -> Any:
    import bert_tf

    return bert_tf.SentenceEncoder(folder).encode([_TEXT])[0]


def _transformers(folder: str) -> Any:
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder)
    with torch.inference_mode():
        outputs = model(**tokenizer(_TEXT, return_tensors="pt"))
    return outputs.last_hidden_state[0].mean(0).numpy()


def _sentence_transformers(folder: str) -> Any:
    import sentence_transformers
    from sentence_transformers import models as modules

    transformer = modules.Transformer(folder)
    pooling = modules.Pooling(models.SIZES[_SIZE]["hidden_size"])
    model = sentence_transformers.SentenceTransformer(modules=[transformer, pooling])
    return model.encode([_TEXT])[0]


_ANSWERS: dict[str, Callable[[str], Any]] = {
    OURS: _predictor,
    "bert_tf, variables": _predictor,
    "bert_tf SentenceEncoder": _sentence_encoder,
    "transformers": _transformers,
    "sentence-transformers": _sentence_transformers,
}


def _ready(name: str, source: Path) -> Ready:
    def run() -> list[float]:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.start_up", name, str(source)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return json.loads(done.stdout.splitlines()[-1])

    return Ready({_ROW: repeated(run)}, {"vector": run()}, _WITHIN)


def _exported(name: str, freeze: bool) -> Contender:
    return Contender(
        lambda settings, folder: _ready(
            name, forward.export_folder(settings, folder, freeze)
        ),
        functools.partial(forward.prepare_export, freeze=freeze),
    )


def _of_files(
    name: str, files: Callable[[str, Path], Path], needs: tuple[str, ...] = ()
) -> Contender:
    return Contender(
        lambda settings, folder: _ready(name, files(settings["size"], folder)),
        lambda settings, folder: files(settings["size"], folder),
        needs,
    )


CONTENDERS = {
    OURS: _exported(OURS, freeze=True),
    "bert_tf, variables": _exported("bert_tf, variables", freeze=False),
    "bert_tf SentenceEncoder": _of_files("bert_tf SentenceEncoder", models.files),
    "transformers": _of_files(
        "transformers", models.hugging_face_files, ("torch", "transformers")
    ),
    "sentence-transformers": _of_files(
        "sentence-transformers",
        models.hugging_face_files,
        ("sentence_transformers", "torch", "transformers"),
    ),
}


if __name__ == "__main__":
    name, folder = sys.argv[1:]
    print(json.dumps([float(value) for value in _ANSWERS[name](folder)]))
