"""What numbers blocks of texts have among all, from how much is in each."""

import bisect
from typing import Any, NamedTuple

import numpy as np

from bert_tf.data import draws
from bert_tf.data.instances import as_key, planned
from bert_tf.data.masking import CONTINUES, Rules
from bert_tf.data.pretraining_config import PretrainingDataConfig
from bert_tf.data.pretraining_data import check_documents, check_shards
from bert_tf.errors import DataError

# A block's file and place in it.
Key = tuple[int, int]


class Job(NamedTuple):
    """What all workers know.

    Attributes:
      config: What to make; paths are any that Beam knows.
      vocab: What is in the vocabulary's file, which workers may not reach.
      unknown: The id of [UNK].
      rules: What the draws depend on.
      settings: All that the records are a function of.
      missing: Which of the config's files to write.
      block_bytes: How much text a worker takes at a time, about.
    """

    config: PretrainingDataConfig
    vocab: bytes
    unknown: int
    rules: Rules
    settings: dict[str, Any]
    missing: frozenset[int]
    block_bytes: int


class Sizes(NamedTuple):
    """What a block adds to all sums."""

    documents: int
    segments: int
    pieces: int
    unknown: int


def sizes_of(block: tuple[Key, draws.Texts], unknown: int) -> tuple[Key, Sizes]:
    """Returns what a block of pieces adds, given the id of [UNK]."""
    key, texts = block
    ids = texts.pieces & ~CONTINUES
    return key, Sizes(
        documents=len(texts.documents) - 1,
        segments=len(texts.segments) - 1,
        pieces=len(ids),
        unknown=int(np.count_nonzero(ids == unknown)),
    )


class Documents(NamedTuple):
    """Which documents each block has, of all and of its file."""

    keys: list[Key]
    starts: list[int]  # the number of each block's first document, and behind the last
    in_file: list[int]
    sums: Sizes

    @classmethod
    def of(cls, sizes: list[tuple[Key, Sizes]], job: Job) -> "Documents":
        """Numbers the documents of all blocks."""
        keys: list[Key] = []
        starts, in_file = [0], list[int]()
        for key, found in sorted(sizes):
            before = in_file[-1] + starts[-1] - starts[-2] if keys else 0
            in_file.append(before if keys and keys[-1][0] == key[0] else 0)
            keys.append(key)
            starts.append(starts[-1] + found.documents)
        if not keys:
            raise DataError(
                f"Expected sentences, one a line, in {job.config.input_file}, found no "
                "text; check --input_file."
            )
        check_documents(job.config, starts[-1])
        sums = Sizes(*(sum(each) for each in zip(*(x for _, x in sizes), strict=True)))
        return cls(keys, starts, in_file, sums)

    def plans(self, job: Job, key: Key, texts: draws.Texts) -> tuple[np.ndarray, int]:
        """Returns the plans of a block, and how many of them are random.

        Documents are numbered among all, random segments in the block.
        """
        place = bisect.bisect_left(self.keys, key)
        index = texts.documents.copy()
        index["number"] += self.in_file[place]
        index["file"] = key[0]
        rows, partners = planned(
            job.rules,
            texts._replace(documents=index),
            as_key(job.config.random_seed),
            0,
            len(index) - 1,
            job.config.dupe_factor,
        )
        rows["document"] += self.starts[place]
        return rows, partners


class Plans(NamedTuple):
    """Which plans and random segments each block has, of all."""

    rows: dict[Key, int]
    partners: dict[Key, int]
    total: int

    @classmethod
    def of(cls, counts: list[tuple[Key, int, int]], job: Job) -> "Plans":
        """Numbers the plans of all blocks."""
        rows, partners, row, partner = {}, {}, 0, 0
        for key, more, random in sorted(counts):
            rows[key], partners[key] = row, partner
            row, partner = row + more, partner + random
        check_shards(job.config, row)
        return cls(rows, partners, row)
