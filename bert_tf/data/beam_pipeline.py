"""`stream`'s records as a pipeline of Apache Beam: which worker knows what.

Texts are cut into blocks of whole documents. A block's plans need no other block; sums
over the blocks before it (`beam_numbering.py`) then say which number each of its
documents, plans and random segments has among all. A pair whose second segment is
random is sent, with its first one, to the block of the document that serves it. Each
record knows its place, and so its file.
"""

import dataclasses
import functools
import operator
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import tensorflow as tf

from bert_tf.data import draws, metadata
from bert_tf.data.beam_files import BeamFiles, open_text, staged_file
from bert_tf.data.beam_numbering import (
    Documents,
    Job,
    Key,
    Plans,
    sizes_of,
)
from bert_tf.data.corpus import Lines, read_documents, tokenized
from bert_tf.data.generator import places_before
from bert_tf.data.instances import as_key, masked, order_key
from bert_tf.data.pretraining_config import PretrainingDataConfig
from bert_tf.data.pretraining_data import (
    described,
    load_checked_vocab,
    split_of,
    tokenize_of,
)
from bert_tf.data.record_summary import COUNTED, ShardCounts
from bert_tf.data.records import encode_records, write_serialized
from bert_tf.data.shards import spec_of
from bert_tf.errors import DataError

# Bytes of a finished file that are copied at a time.
_COPIED = 2**20


def with_vocab(
    config: PretrainingDataConfig, content: bytes, folder: str
) -> PretrainingDataConfig:
    """Returns a config whose vocabulary is put into a local folder, by its own name."""
    path = os.path.join(folder, os.path.basename(config.vocab_file))
    with open(path, "wb") as writer:
        writer.write(content)
    return dataclasses.replace(config, vocab_file=path)


def build(pipeline: beam.Pipeline, job: Job) -> None:
    """Adds all that makes the records and metadata.json of a job to a pipeline."""
    paths = [each["path"] for each in job.settings["inputs"]]
    blocks = (
        pipeline
        | "files" >> beam.Create(list(enumerate(paths)))
        | "one by one" >> beam.Reshuffle()
        | "read" >> beam.ParDo(_Read(job))
        | "spread" >> beam.Reshuffle()
        | "tokenize" >> beam.ParDo(_Tokenize(job))
    )
    documents = beam.pvalue.AsSingleton(
        blocks
        | "sizes" >> beam.Map(sizes_of, unknown=job.unknown)
        | "all sizes" >> beam.combiners.ToList()
        | "number documents" >> beam.Map(Documents.of, job=job)
    )
    plans = beam.pvalue.AsSingleton(
        blocks
        | "count plans" >> beam.ParDo(_CountPlans(job), documents)
        | "all counts" >> beam.combiners.ToList()
        | "number plans" >> beam.Map(Plans.of, job=job)
    )
    pairs = blocks | "pairs" >> beam.ParDo(_Pairs(job), documents, plans).with_outputs(
        "requests", "counts", main="records"
    )
    answers = (
        {"texts": blocks, "requests": pairs.requests}
        | "meet" >> beam.CoGroupByKey()
        | "random segments"
        >> beam.ParDo(_Answer(job), documents, plans).with_outputs(
            "counts", main="records"
        )
    )
    # Only now is it sure that there will be files.
    begun = beam.pvalue.AsIter(
        pipeline
        | "begin" >> beam.Create([None])
        | "settings" >> beam.Map(_begin, job, plans)
    )
    written = (
        (pairs.records, answers.records)
        | "records" >> beam.Flatten()
        | "files of records" >> beam.GroupByKey()
        | "write" >> beam.ParDo(_Write(job), plans, begun)
    )
    counts = (
        (pairs.counts, answers.counts)
        | "counts" >> beam.Flatten()
        | "sum" >> beam.CombineGlobally(_sum).without_defaults()
    )
    # Last, once all files are there.
    _ = (
        pipeline
        | "end" >> beam.Create([None])
        | "describe"
        >> beam.Map(
            _describe,
            job,
            beam.pvalue.AsIter(written),
            documents,
            plans,
            beam.pvalue.AsSingleton(counts),
        )
    )


class _Read(beam.DoFn):
    """(number, path) -> blocks of whole documents, by their keys."""

    def __init__(self, job: Job):
        self._config, self._block_bytes = job.config, job.block_bytes

    def setup(self) -> None:
        self._split = split_of(self._config)

    def process(self, element: tuple[int, str]) -> Iterator[tuple[Key, Lines]]:
        file, path = element
        parts = read_documents(path, file, self._split, open_text, self._block_bytes)
        for number, lines in enumerate(parts):
            yield (file, number), lines


class _Tokenize(beam.DoFn):
    """Blocks of texts -> blocks of pieces, whose documents are numbered from 0."""

    def __init__(self, job: Job):
        self._config, self._vocab = job.config, job.vocab

    def setup(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            config = with_vocab(self._config, self._vocab, folder)
            tokenize = tokenize_of(config, load_checked_vocab(config))
            spec = tf.TensorSpec([None], tf.string)
            self._tokenize = tf.function(tokenize, input_signature=[spec])
            self._tokenize.get_concrete_function()

    def process(self, element: tuple[Key, Lines]) -> Iterator[tuple[Key, draws.Texts]]:
        key, lines = element
        texts = tokenized(lines, self._tokenize)
        if len(texts.documents) > 1:
            yield key, texts


class _CountPlans(beam.DoFn):
    """Blocks of pieces -> how many plans and random segments they have."""

    def __init__(self, job: Job):
        self._job = job

    def process(
        self, element: tuple[Key, draws.Texts], documents: Documents
    ) -> Iterator[tuple[Key, int, int]]:
        key, texts = element
        rows, partners = documents.plans(self._job, key, texts)
        yield key, len(rows), partners


class _Records(beam.DoFn):
    """What makes records of pairs."""

    def __init__(self, job: Job):
        self._job = job

    def records(
        self,
        plans: np.ndarray,
        rows: np.ndarray,
        pairs: np.ndarray,
        pieces: np.ndarray,
        count: int,
    ) -> Iterator[Any]:
        """Yields (file, (place in it, record)), and what is counted of all.

        Args:
          plans: PLAN [n].
          rows: int64 [n], their numbers among all.
          pairs: PAIR [n], ranges of pieces.
          pieces: uint32.
          count: How many plans there are.
        """
        job, files = self._job, len(self._job.config.output_files)
        drawn = masked(job.rules, plans, pieces, pairs)
        features = draws.features(job.rules, *drawn, masked=not job.config.unmasked)
        spec = spec_of(job.config)
        counted = ShardCounts.of_batch(*(features[x] for x in COUNTED if x in spec))
        yield beam.pvalue.TaggedOutput("counts", counted)
        key = order_key(as_key(job.config.random_seed))
        places = places_before(rows, count, key)
        serialized = encode_records(features, spec).numpy()
        for place, record in zip(places.tolist(), serialized, strict=True):
            if place % files in job.missing:
                yield place % files, (place // files, record)


class _Pairs(_Records):
    """Blocks of pieces -> records of their own pairs, and requests for all others."""

    def process(
        self, element: tuple[Key, draws.Texts], documents: Documents, plans: Plans
    ) -> Iterator[Any]:
        key, texts = element
        all_plans, _ = documents.plans(self._job, key, texts)
        rows = plans.rows[key] + np.arange(len(all_plans))
        is_random = all_plans["partner"] >= 0
        if not is_random.all():
            found = np.ascontiguousarray(all_plans[~is_random])
            pairs = np.empty(len(found), draws.PAIR)
            none = np.empty(0, np.int64)
            draws.draw_ranges(self._job.rules, found, none, none, pairs)
            yield from self.records(
                found, rows[~is_random], pairs, texts.pieces, plans.total
            )
        if not is_random.any():
            return
        found = np.ascontiguousarray(all_plans[is_random])
        found["partner"] += plans.partners[key]
        seed = as_key(self._job.config.random_seed)
        partners = draws.partners_of(seed, documents.starts[-1], found)
        blocks = np.searchsorted(documents.starts, partners, side="right") - 1
        for block in np.unique(blocks):
            asked = np.flatnonzero(blocks == block)
            firsts = [
                texts.pieces[start : start + length]
                for start, length in zip(
                    found["a_start"][asked], found["a_length"][asked], strict=True
                )
            ]
            request = _Request(
                found[asked],
                rows[is_random][asked],
                partners[asked] - documents.starts[block],
                np.concatenate(firsts),
            )
            yield beam.pvalue.TaggedOutput("requests", (documents.keys[block], request))


class _Request(NamedTuple):
    """Pairs that want their second segments of a block."""

    plans: np.ndarray  # PLAN [n]
    rows: np.ndarray  # int64 [n], their numbers among all
    documents: np.ndarray  # int64 [n], which of the block's serve them
    pieces: np.ndarray  # uint32, those of all first segments


class _Answer(_Records):
    """A block and the requests to it -> their records."""

    def process(
        self,
        element: tuple[Key, dict[str, Any]],
        documents: Documents,
        plans: Plans,
    ) -> Iterator[Any]:
        (block,) = element[1]["texts"]
        requests = list(element[1]["requests"])
        if requests:  # taken together: most are of a pair or two
            request = _Request(*map(np.concatenate, zip(*requests, strict=True)))
            yield from self._records_of(block, request, plans.total)

    def _records_of(
        self, texts: draws.Texts, request: _Request, count: int
    ) -> Iterator[Any]:
        plans = request.plans
        # Where their first segments begin in what was sent along.
        lengths = plans["a_length"].astype(np.int64)
        plans["a_start"] = np.cumsum(lengths) - lengths
        ends = texts.documents["segment"]
        starts, counts = draws.random_starts(
            plans,
            np.ascontiguousarray(ends[request.documents]),
            np.ascontiguousarray(ends[request.documents + 1]),
        )
        segments = np.concatenate(
            [
                texts.segments[start : start + more + 1]
                for start, more in zip(starts, counts, strict=True)
            ]
        )
        pairs = np.empty(len(plans), draws.PAIR)
        draws.draw_ranges(self._job.rules, plans, segments, counts, pairs)
        # Second segments lie behind all first ones.
        pieces = np.concatenate([request.pieces, texts.pieces])
        pairs["b_start"] += len(request.pieces)
        yield from self.records(plans, request.rows, pairs, pieces, count)


class _Write(beam.DoFn):
    """(file, records with their places) -> the file; what it yields is its number."""

    def __init__(self, job: Job):
        self._job = job

    def process(
        self, element: tuple[int, Any], plans: Plans, begun: Iterable[None]
    ) -> Iterator[int]:
        list(begun)  # waited for
        number, records = element
        files = self._job.config.output_files
        path, found = files[number], sorted(records)
        expected = len(range(number, plans.total, len(files)))
        # Runners have been seen to lose what they pass on.
        if [place for place, _ in found] != list(range(expected)):
            raise DataError(
                f"Expected {expected} records for {path}, got {len(found)}, since the "
                "runner lost some or brought them twice; give the same command again."
            )
        with tempfile.TemporaryDirectory() as folder:
            local = os.path.join(folder, "records")
            write_serialized(local, [(record for _, record in found)])
            with open(local, "rb") as reader, staged_file(path) as writer:
                shutil.copyfileobj(reader, writer, _COPIED)
        yield number


def _sum(counts: Iterable[ShardCounts]) -> ShardCounts:
    return functools.reduce(operator.add, counts)


def _begin(_: None, job: Job, plans: Plans) -> None:
    """Has whoever comes upon an unfinished folder know what its files are."""
    metadata.write(job.config.folder, {"settings": job.settings}, BeamFiles())


def _describe(
    _: None,
    job: Job,
    written: Iterable[int],
    documents: Documents,
    plans: Plans,
    counts: ShardCounts,
) -> None:
    """Writes what metadata.json says of whole records."""
    if {*written} != job.missing or counts.records != plans.total:
        raise DataError(
            f"Expected {plans.total} records in {len(job.missing)} files, got "
            f"{counts.records}, since the runner lost some or brought them twice; give "
            "the same command again."
        )
    sums = documents.sums
    of_texts = {
        "documents": sums.documents,
        "segments": sums.segments,
        "pieces": sums.pieces,
        "unknown_pieces": sums.unknown,
    }
    metadata.write(
        job.config.folder, described(job.settings, of_texts, counts), BeamFiles()
    )
