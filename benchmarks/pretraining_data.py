"""Speed and peak memory of making pretraining data, in fresh processes.

    python -m benchmarks.pretraining_data TEXT VOCAB            # some 10 minutes
    python -m benchmarks.pretraining_data TEXT VOCAB --quick    # 4 MB only

TEXT holds one sentence a line, a blank line between documents, 20 MB or more of it.
Prints records and bytes of text per second over 4 MB, and peak memory over 20 and
200 MB (TEXT ten times over), for both modes; and, in the same run, the speed of the
same procedure in plain Python, and by Apache Beam in one process and in two. What a
process does only once, importing, compiling and loading the vocabulary, is excluded by
a small run before, but not of Beam's, which are new each time.

The release's own script made 2,660 records per second of 4 MB on two such cores.

As an area of `python -m benchmarks`, it is compared with the script of
tf-models-official on the text's first megabyte, with what is done once in each run.
"""

import dataclasses
import functools
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.contender import Contender, Ready, repeated
from benchmarks.fresh_process import measure, peak
from benchmarks.side_by_side import OURS, Case

_MB = 10**6
_RELEASE = 2660  # records/s
_DUPE_FACTOR = 5
_REPEATS = 3
# Of the text, beside peers.
_COMPARED_MB = 1


def cases(text: str, vocab: str) -> Iterator[Case]:
    """Yields the one case: the text's first megabyte, with masks, five times over."""
    yield Case(
        __name__,
        "Pretraining data, English",
        {"text": text, "vocab": vocab},
        tuple(CONTENDERS),
        {"text to records": _COMPARED_MB},
        "MB",
    )


def _cut(text: Path, size: int, folder: Path) -> str:
    """Writes about so many bytes of a text, whole documents; returns the path."""
    content = text.read_bytes()[:size]
    path = folder / f"text-{size}"
    path.write_bytes(content[: content.rfind(b"\n\n") + 2])
    return str(path)


def _make(way: str, files: list[str], vocab: str, folder: str) -> int:
    """Makes records, returns how many."""
    from bert_tf.data.pretraining_config import PretrainingDataConfig

    config = PretrainingDataConfig(
        input_file=",".join(files),
        output_file=os.path.join(folder, "records"),
        vocab_file=vocab,
        dupe_factor=_DUPE_FACTOR,
    )
    if way == "plain Python":
        return _make_plainly(config)
    if way == "tf-models-official":
        return _make_officially(config)
    if way.startswith("beam"):
        return _make_by_beam(config, int(way.removeprefix("beam, ")))
    from bert_tf.data.pretraining_data import create_pretraining_data

    made = create_pretraining_data(dataclasses.replace(config, mode=way))
    return made["counts"]["records"]


def _make_by_beam(config: Any, processes: int) -> int:
    from bert_tf.data.beam import create_pretraining_data_with_beam

    options = f"--direct_running_mode=multi_processing --direct_num_workers={processes}"
    made = create_pretraining_data_with_beam(
        dataclasses.replace(config, mode="stream", runner="beam", beam_options=options)
    )
    return made["counts"]["records"]


def _make_plainly(config: Any) -> int:
    import tensorflow as tf

    from bert_tf.tokenization.full_tokenizer import FullTokenizer
    from tests.plain_pretraining import create_instances, read_documents, serialize

    tokenizer = FullTokenizer(config.vocab_file)
    documents = read_documents(config.input_file.split(","), tokenizer)
    args = dataclasses.asdict(config)
    rng = random.Random(config.random_seed)
    instances = create_instances(documents, list(tokenizer.vocab), args, rng)
    os.makedirs(os.path.dirname(config.output_file))
    with tf.io.TFRecordWriter(config.output_file) as writer:
        for instance in instances:
            writer.write(serialize(instance, tokenizer, args))
    return len(instances)


def _make_officially(config: Any) -> int:
    from official.nlp.data import create_pretraining_data as official
    from official.nlp.tools import tokenization

    tokenizer = tokenization.FullTokenizer(config.vocab_file, config.do_lower_case)
    instances = official.create_training_instances(
        config.input_file.split(","),
        tokenizer,
        official.get_processor_text_fn(False, config.do_lower_case),
        config.max_seq_length,
        config.dupe_factor,
        config.short_seq_prob,
        config.masked_lm_prob,
        config.max_predictions_per_seq,
        random.Random(config.random_seed),
    )
    os.makedirs(os.path.dirname(config.output_file))
    official.write_instance_to_example_files(
        instances,
        tokenizer,
        config.max_seq_length,
        config.max_predictions_per_seq,
        [config.output_file],
        gzip_compress=False,
        use_v2_feature_names=False,
    )
    return len(instances)


def _contender(settings: Any, folder: Path, way: str) -> Ready:
    text = _cut(Path(settings["text"]), _COMPARED_MB * _MB, folder)

    def run() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as made:
            target = os.path.join(made, "made")
            _make(way, [text], settings["vocab"], target)

    return Ready({"text to records": repeated(run)})


CONTENDERS = {
    OURS: Contender(functools.partial(_contender, way="reference")),
    "bert_tf stream": Contender(functools.partial(_contender, way="stream")),
    "plain Python": Contender(functools.partial(_contender, way="plain Python")),
    "tf-models-official": Contender(
        functools.partial(_contender, way="tf-models-official"),
        needs=("official", "tf_keras"),
    ),
}


def _measure(way: str, files: list[str], vocab: str) -> dict[str, float]:
    """Makes records twice, of little and of all, and measures the second time."""
    with tempfile.TemporaryDirectory(dir=os.path.dirname(files[0])) as folder:
        small = _cut(Path(files[0]), 100_000, Path(folder))
        _make(way, [small], vocab, os.path.join(folder, "first"))
        start = time.perf_counter()
        records = _make(way, files, vocab, os.path.join(folder, "second"))
        seconds = time.perf_counter() - start
    return {
        "records": records,
        "seconds": seconds,
        "bytes": sum(os.path.getsize(path) for path in files),
        "peak": peak(),
    }


def main(arguments: list[str]) -> None:
    """Measures all ways and prints what came out."""
    if arguments[0] == "--one":
        print(json.dumps(_measure(*json.loads(arguments[1]))))
        return
    text, vocab = Path(arguments[0]).resolve(), str(Path(arguments[1]).resolve())
    with tempfile.TemporaryDirectory() as folder:
        sizes = {size: _cut(text, size * _MB, Path(folder)) for size in (4, 20)}
        print(f"{'way':<14}{'text':>8}{'records':>10}{'records/s':>11}", end="")
        print(f"{'MB/s':>7}{'of release':>12}{'peak MB':>9}")
        jobs = [(way, [sizes[4]]) for way in ("plain Python", "reference", "stream")]
        jobs = jobs * _REPEATS
        if "--quick" not in arguments:
            for way in ("reference", "stream"):
                jobs += [(way, [sizes[20]]), (way, [sizes[20]] * 10)]
            jobs += [(f"beam, {count}", [sizes[20]]) for count in (1, 2)]
        for way, files in jobs:
            found = measure("benchmarks.pretraining_data", [way, files, vocab])
            rate = found["records"] / found["seconds"]
            print(
                f"{way:<14}{found['bytes'] / _MB:>5.0f} MB{found['records']:>10.0f}"
                f"{rate:>11.0f}{found['bytes'] / found['seconds'] / _MB:>7.2f}"
                f"{rate / _RELEASE:>12.1f}{found['peak'] / _MB:>9.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
