"""Small models whose every weight counts, and batches with padding for them."""

from typing import Any

import numpy as np

from bert_tf import BertConfig

CONFIG = BertConfig(
    vocab_size=200,
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=256,
    max_position_embeddings=32,
    type_vocab_size=2,
)


def shaken(model: Any) -> Any:
    """Returns `model` with weights that no optimizer can fold away.

    It drops biases of zero and multiplications by one.
    """
    draw = np.random.default_rng(0)
    for variable in model.variables:
        noise = 0.2 * draw.standard_normal(variable.shape)
        variable.assign(noise + (1 if variable.name == "gamma" else 0))
    return model


def batch(rows: int, length: int) -> dict[str, np.ndarray]:
    """Returns int32 features `[rows, length]`, the last row half padding."""
    draw = np.random.default_rng(1)
    mask = np.ones([rows, length], np.int32)
    mask[-1:, length // 2 :] = 0
    return {
        "input_ids": draw.integers(1, 200, [rows, length]).astype(np.int32) * mask,
        "input_mask": mask,
        "segment_ids": draw.integers(0, 2, [rows, length]).astype(np.int32) * mask,
    }
