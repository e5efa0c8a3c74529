"""What two workers compute of Google's golden batches; run as each of them.

A program rather than a test, since a process is one worker for life.
"""

import sys

import numpy as np
import tensorflow as tf

from bert_tf.training.distribution import create_strategy, make_repeatable
from tests.training import equal_batches


def predicted(trainer) -> np.ndarray:
    """Returns the losses of 11 rows in batches of 4, the last of which is not full."""
    _, _, rows = equal_batches.pretraining()
    rows = {name: x[:12] for name, x in rows.items()}
    rows["is_real_example"] = (np.arange(12) < 11).astype(np.int32)
    data = tf.data.Dataset.from_tensor_slices(rows).batch(4, drop_remainder=True)
    found = trainer.predict(
        lambda share: data.map(
            lambda batch: {name: share.of(x, 4) for name, x in batch.items()}
        )
    )
    return found["masked_lm_loss"]


def main(workers: str, index: str, output: str) -> None:
    make_repeatable()
    strategy = create_strategy(workers=workers, worker_index=int(index))
    weights, scalars, trainer = equal_batches.trained("two workers, global", strategy)
    losses = predicted(trainer)
    if trainer.workers.is_chief:
        np.savez(
            output,
            losses=losses,
            **{f"weights/{name}": x for name, x in weights.items()},
            **{f"scalars/{n}": [s[n][0] for s in scalars] for n in scalars[0]},
        )
    trainer.workers.leave()


if __name__ == "__main__":
    main(*sys.argv[1:])
