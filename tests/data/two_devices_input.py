"""What two mirrored devices get of the batches for pretraining; prints JSON.

A program rather than a test, since a process has its devices for life.
"""

import json
import sys
from pathlib import Path

import tensorflow as tf

from bert_tf.data.pretraining_input import evaluation_batches, training_batches
from bert_tf.data.record_index import index_files
from bert_tf.data.records import unmasked_features
from bert_tf.training.distribution import distribute


def main(settings_file: str) -> None:
    """Prints the segment ids of all batches, those of the first device first."""
    given = json.loads(Path(settings_file).read_text("utf-8"))
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, devices)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    index, spec = index_files(given["paths"]), unmasked_features(given["length"])
    rows = set()

    def read(batches: tf.data.Dataset) -> list[list[list[int]]]:
        found = []
        for batch in distribute(strategy, lambda share: batches):
            parts = strategy.experimental_local_results(batch["segment_ids"])
            rows.update(len(part) for part in parts)
            found.append([row for part in parts for row in part.numpy().tolist()])
        return found

    settings = {"batch_size": 32, "random_seed": 1, "vocab_size": 1 << 30}
    train = training_batches(index, spec, **settings).take(given["steps"])
    evaluate = evaluation_batches(index, spec, max_steps=0, **settings)
    result = {"train": read(train), "eval": read(evaluate)}
    print(json.dumps({**result, "rows": sorted(rows)}))


if __name__ == "__main__":
    main(sys.argv[1])
