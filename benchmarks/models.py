"""The models that benchmarks are about, with random weights, in Google's format.

What a model costs does not depend on what it has learned. Everyone gets the same
weights, so that what they compute can be compared.
"""

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

VOCAB_SIZE = 30522
_WORDS = "bert/embeddings/word_embeddings"


def _config(layers: int, width: int, heads: int) -> dict[str, Any]:
    return {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "initializer_range": 0.02,
    }


# As bert_config.json has them.
SIZES = {
    "tiny": _config(2, 128, 2),
    "minilm": _config(6, 384, 12),
    "base": _config(12, 768, 12),
    **{f"base's width, {n} layers": _config(n, 768, 12) for n in (2, 4, 8, 16, 24)},
}


def files(size: str, folder: Path, vocab: str | None = None) -> Path:
    """Returns a folder with a model's config, vocabulary and checkpoint.

    Args:
      size: One of `SIZES`.
      folder: Where it is, or is to be written.
      vocab: A vocabulary file of 30,522 pieces; made-up words if None.
    """
    target = folder / ("model" if vocab is None else "model with vocabulary") / size
    if not (target / "checkpoint").exists():
        import bert_tf

        target.mkdir(parents=True, exist_ok=True)
        (target / "bert_config.json").write_text(json.dumps(SIZES[size], indent=2))
        pieces = _made_up() if vocab is None else Path(vocab).read_text("utf-8")
        (target / "vocab.txt").write_text(pieces, "utf-8")
        model = bert_tf.BertModel(bert_tf.BertConfig.from_dict(SIZES[size]))
        # As after training: a bias of zero could be left out by a clever runtime.
        rng = np.random.default_rng(1)
        model.set_weights(
            [
                value + rng.normal(0.0, 0.02, value.shape).astype(np.float32)
                for value in model.get_weights()
            ]
        )
        bert_tf.save_checkpoint(model, str(target / "bert_model.ckpt"))
    return target


def _made_up() -> str:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [f"word{index}" for index in range(VOCAB_SIZE - len(special))]
    return "\n".join([*special, *words]) + "\n"


def batch(rows: int, length: int) -> dict[str, np.ndarray]:
    """Returns a batch of int32 `[rows, length]`; every other row is a fifth padding."""
    rng = np.random.default_rng(7)
    ids = rng.integers(1000, VOCAB_SIZE, (rows, length), dtype=np.int32)
    mask = np.ones_like(ids)
    mask[1::2, length - length // 5 :] = 0
    segments = np.zeros_like(ids)
    segments[:, length // 2 :] = 1
    return {
        "input_ids": ids * mask,
        "input_mask": mask,
        "segment_ids": segments * mask,
    }


def pretraining_batch(rows: int, length: int, predictions: int) -> dict:
    """Returns the same with `predictions` masked positions in each row."""
    rng = np.random.default_rng(8)
    choices = [rng.permutation(length - length // 5)[:predictions] for _ in range(rows)]
    return {
        **batch(rows, length),
        "masked_lm_positions": np.sort(choices).astype(np.int32),
        "masked_lm_ids": rng.integers(
            1000, VOCAB_SIZE, (rows, predictions), dtype=np.int32
        ),
        "masked_lm_weights": np.ones((rows, predictions), np.float32),
        "next_sentence_labels": rng.integers(0, 2, (rows, 1), dtype=np.int32),
    }


def hugging_face_config(size: str) -> dict[str, Any]:
    """Returns a config as transformers has it; gelu is Google's form of it."""
    activations = {"hidden_act": "gelu_pytorch_tanh"}
    return {**SIZES[size], **activations, "model_type": "bert"}


def hugging_face_tensors(prefix: str, layers: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yields a checkpoint's encoder under Hugging Face's names."""
    from bert_tf.checkpoint import CheckpointReader
    from bert_tf.config import BertConfig
    from bert_tf.interchange.names import HUGGING_FACE
    from bert_tf.interchange.weights import Step, from_google

    reader = CheckpointReader(prefix)
    tensors = {name: reader.read(name) for name in reader.shapes}
    config = BertConfig(reader.shapes[_WORDS][0], num_hidden_layers=layers)
    named = from_google(config, HUGGING_FACE, tensors, Step("for transformers"))
    for name, value in named.items():
        yield name.removeprefix("bert."), value


def load_into_torch(model: Any, folder: Path) -> Any:
    """Gives a torch encoder the weights of a folder; returns it, for inference.

    Args:
      model: transformers' `BertModel`.
      folder: As `files` writes it.
    """
    import torch

    layers = model.config.num_hidden_layers
    state: Mapping[str, Any] = {
        name: torch.from_numpy(np.ascontiguousarray(value))
        for name, value in hugging_face_tensors(str(folder), layers)
    }
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or [name for name in missing if "position_ids" not in name]:
        raise ValueError(f"Expected all weights, got {missing}, {unexpected}.")
    return model.eval()


def hugging_face_files(size: str, folder: Path, vocab: str | None = None) -> Path:
    """Returns a folder with the model of `files` as transformers saves it."""
    source = files(size, folder, vocab)
    target = source.parent / f"{size}, transformers"
    if not target.exists():
        from transformers import BertConfig, BertModel, BertTokenizerFast

        model = BertModel(BertConfig(**hugging_face_config(size)))
        load_into_torch(model, source).save_pretrained(target)
        BertTokenizerFast(str(source / "vocab.txt")).save_pretrained(target)
    return target


@functools.cache
def torch_dtype(precision: str) -> Any:
    """Returns torch's dtype of a precision."""
    import torch

    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
