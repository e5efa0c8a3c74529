"""The records that a pretraining run is given, checked against its flags."""

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from absl import logging

from bert_tf.config import BertConfig
from bert_tf.data import record_files
from bert_tf.data.record_index import find_shards, index_files
from bert_tf.data.records import FeatureSpec, parse_records
from bert_tf.errors import ConfigError
from bert_tf.files import sha256
from bert_tf.tools.pretraining_flags import PretrainingConfig
from bert_tf.training.reporting import row_bar

_PLACES_SHOWN = 3
_DIGITS = 12  # of a hash: enough to tell folders apart


class CheckedRecords:
    """The record files of a training or an evaluation.

    Args:
      flag: The flag that names them.
      patterns: Its value.
      config: The flags.
      bert_config: The architecture.
      at_most: How many records are needed; None for all.

    Attributes:
      paths: The files.
      index: Where their records lie.
      spec: Their features.

    Raises:
      ConfigError, DataError: They are missing, damaged, or do not fit the flags.
    """

    def __init__(
        self,
        flag: str,
        patterns: str,
        config: PretrainingConfig,
        bert_config: BertConfig,
        at_most: int | None = None,
    ):
        self._vocab_size = bert_config.vocab_size
        self._vocabulary = f"vocab_size in {config.bert_config_file}"
        names = (name.strip() for name in patterns.split(","))
        self.paths = find_shards([name for name in names if name] or [patterns])
        start = time.monotonic()
        with row_bar(f"reading --{flag}", None, "records") as bar:
            self.index = index_files(
                self.paths,
                skip_corrupt=config.skip_corrupt_records,
                at_most=at_most,
                on_progress=bar.update,
            )
        logging.info(
            "--%s: %d records, files: %d, read in %.1f s",
            flag,
            self.index.num_records,
            len(self.paths),
            time.monotonic() - start,
        )
        if self.index.corrupt:
            listed = [f"{path} at byte {at}" for path, at in self.index.corrupt]
            logging.warning(
                "places with corrupt records, which were skipped: %d (%s%s)",
                len(listed),
                ", ".join(listed[:_PLACES_SHOWN]),
                ", ..." if len(listed) > _PLACES_SHOWN else "",
            )
        _, first_blocks = np.unique(self.index.files, return_index=True)
        self.spec: FeatureSpec = record_files.common_spec(
            {
                path: record_files.spec_of(records[0], path)
                for path, records in self._read(first_blocks)
            }
        )
        self._check_lengths(flag, config)
        self._vocabularies = record_files.noted_vocabularies(self.paths, self.spec)
        if config.vocab_file:
            self._check_vocabulary(config.vocab_file)
        self._check(first_blocks)

    @property
    def masked(self) -> bool:
        """Whether they come with masks."""
        return "masked_lm_positions" in self.spec

    def vocab_file(self) -> str | None:
        """Returns the vocabulary that they say they were made with, if it is there."""
        for noted in self._vocabularies.values():
            path = noted["file"]
            if tf.io.gfile.exists(path) and sha256(path) == noted["sha256"]:
                return path
        return None

    @property
    def do_lower_case(self) -> bool | None:
        """Whether their text was lower-cased; None if that is not noted."""
        noted = (each["do_lower_case"] for each in self._vocabularies.values())
        return next((each for each in noted if each is not None), None)

    def note(self) -> str:
        """Returns what tells these records from others, wherever they lie."""
        content = hashlib.sha256()
        for path in self.paths:
            size = tf.io.gfile.stat(path).length
            content.update(f"{os.path.basename(path)}\0{size}\0".encode())
        digest = content.hexdigest()[:_DIGITS]
        return f"{self.index.num_records} in {len(self.paths)} files ({digest})"

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Says of an error in a record which file it is in.

        Only whoever reads a record to its end finds that it is not as the first ones;
        and files may have changed since they were checked.
        """
        try:
            yield
        except (tf.errors.InvalidArgumentError, tf.errors.DataLossError) as error:
            # Not whole files: what was skipped is not what went wrong.
            self._check(np.arange(len(self.index.files)))
            raise error

    def _read(self, blocks: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Yields the file of each of some blocks, and its records, serialized `[n]`."""
        dataset = tf.data.Dataset.from_tensor_slices(blocks).map(
            lambda block: self.index.read(block[tf.newaxis])
        )
        found = dataset.as_numpy_iterator()
        for block in blocks:
            path = self.paths[self.index.files[block]]
            with record_files.errors_of(path):
                records = next(found)
            yield path, records

    def _check(self, blocks: np.ndarray) -> None:
        """Raises a DataError if some blocks hold what a model cannot take."""
        for path, records in self._read(blocks):
            with record_files.errors_of(path):
                parsed = parse_records(records, self.spec)
            batch = {name: x.numpy() for name, x in parsed.items()}
            record_files.check_values(batch, path)
            record_files.check_ids(batch, self._vocab_size, self._vocabulary, path)

    def _check_lengths(self, flag: str, config: PretrainingConfig) -> None:
        found = {"max_seq_length": self.spec["input_ids"].shape[0]}
        if self.masked and not config.dynamic_masking:
            found["max_predictions_per_seq"] = self.spec["masked_lm_ids"].shape[0]
        for name, value in found.items():
            if value != getattr(config, name):
                raise ConfigError(
                    f"Expected records of --{name}={getattr(config, name)}, found "
                    f"{value} in {self.paths[0]}; pass --{name}={value}, or name other "
                    f"records as --{flag}."
                )
        if not self.masked and not config.dynamic_masking:
            raise ConfigError(
                f"Expected records with masks, found {self.paths[0]} made with "
                "--unmasked; add --dynamic_masking, which draws them."
            )

    def _check_vocabulary(self, vocab_file: str) -> None:
        for note, noted in self._vocabularies.items():
            if noted["sha256"] != sha256(vocab_file):
                raise ConfigError(
                    f"Expected the --vocab_file that the records were made with, "
                    f"{noted['file']} as {note} says, found that {vocab_file} is "
                    "another; pass that one."
                )
