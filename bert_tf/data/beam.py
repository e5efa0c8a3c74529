"""`stream`'s records made by Apache Beam, for texts that one machine is too small for.

The same functions draw and encode the same records. Here is what one machine does
before and after the workers; `beam_pipeline.py` is what these do.
"""

import os
import re
import shlex
import tempfile
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.fn_api_runner.fn_runner import (
    ExtendedProvisionInfo,
)
from apache_beam.runners.portability.portable_runner import JobServiceHandle

from bert_tf.data import metadata
from bert_tf.data.beam_files import BeamFiles, check_file_system
from bert_tf.data.beam_numbering import Job
from bert_tf.data.beam_pipeline import build, with_vocab
from bert_tf.data.pretraining_config import PretrainingDataConfig
from bert_tf.data.pretraining_data import (
    load_checked_vocab,
    missing_files,
    rules_of,
    settings_of,
)
from bert_tf.errors import ConfigError, DataError
from bert_tf.files import Files

_LOG_LEVEL = "--default_sdk_harness_log_level"
# Of text in a block, about.
_BLOCK_BYTES = 2**20

_REMOTE_ERROR = re.compile(r"bert_tf\.errors\.(ConfigError|DataError): (.*)")
_ANY_ERROR = re.compile(r"^[\w.]*(?:Error|Exception): .*$", re.MULTILINE)
_ADDED = re.compile(r" \[while running .*", re.DOTALL)


def create_pretraining_data_with_beam(
    config: PretrainingDataConfig, block_bytes: int = _BLOCK_BYTES
) -> dict[str, Any]:
    """Makes the record files of a config of `stream`, and metadata.json beside them.

    The same bytes as `create_pretraining_data` makes, whatever workers there are.

    Args:
      config: What to make of what; paths are any that Beam knows. If `beam_options`
        name no runner, this process does it, or `num_workers` of this machine.
      block_bytes: How much text a worker takes at a time, about.

    Returns:
      What metadata.json says.

    Raises:
      ConfigError: The config contradicts itself or the folder, or options are unknown.
      DataError: Texts or vocabulary are not what they should be.
    """
    config.check()
    pipeline_options, runner = _parsed(
        config.beam_options or "", config.num_workers or 1
    )
    FileSystems.set_options(pipeline_options)
    pipeline = _pipeline(pipeline_options, runner, config.beam_options)
    for path in (config.vocab_file, *config.input_file.split(","), config.output_file):
        check_file_system(path)
    files = BeamFiles()
    with tempfile.TemporaryDirectory() as folder:
        # Workers may not reach the file of the vocabulary: they are sent what is in it.
        content = _content(files, config.vocab_file, "--vocab_file")
        local = config
        if not os.path.exists(config.vocab_file):
            local = with_vocab(config, content, folder)
        vocab = load_checked_vocab(local)
    settings = settings_of(config, files)
    missing, found = missing_files(config, settings, files)
    if not missing and "counts" in found:
        return found
    job = Job(
        config,
        content,
        vocab["[UNK]"],
        rules_of(config, vocab),
        settings,
        frozenset(missing),
        block_bytes,
    )
    build(pipeline, job)
    try:
        pipeline.run().wait_until_finish()
    except Exception as error:  # each runner has its own
        raise _explained(error) from error
    made = metadata.read(config.folder, files)
    if made is None or "counts" not in made:
        raise ConfigError(
            "Expected the runner to make all records, found that it ended before; give "
            "the same command again."
        )
    return made


# --- Before anything is written -----------------------------------------------------


def _parsed(options: str, workers: int) -> tuple[PipelineOptions, Any]:
    """Returns the options, and the runner, None for the one that they name."""
    try:
        given = shlex.split(options)
    except ValueError as error:
        raise ConfigError(
            f"Expected options as on a command line in --beam_options, got {options!r} "
            f"({error}); correct it."
        ) from error
    if _LOG_LEVEL not in options:
        given.append(f"{_LOG_LEVEL}=ERROR")  # instead of a line for each channel
    try:
        parsed = PipelineOptions(given)
        known = parsed.get_all_options(drop_default=True)
        all_given = parsed.get_all_options(
            drop_default=True, retain_unknown_options=True
        )
    except SystemExit:  # of its parser, which has said why
        raise ConfigError(
            f"Expected options of Apache Beam in --beam_options, got {options!r}; "
            "correct it."
        ) from None
    unknown = [f"--{name}" for name in all_given if name not in known]
    loose = [each for each in given[:1] if not each.startswith("--")]
    if unknown or loose:
        raise ConfigError(
            f"Expected options of Apache Beam in --beam_options, got "
            f"{', '.join(unknown + loose)}, which it does not know; correct it."
        )
    if known.get("runner") not in (None, "DirectRunner"):
        return parsed, None
    direct = parsed.view_as(DirectOptions)
    # What is given as it is by default is not told from what is not.
    if "--direct_num_workers" not in options:
        direct.direct_num_workers = workers
    # Processes talk through ports that are open to all of the network, so that they
    # have to be asked for.
    if "--direct_running_mode" not in options and direct.direct_num_workers > 1:
        direct.direct_running_mode = "multi_processing"
    # What DirectRunner stands for first fetches a program from the network.
    told = beam_provision_api_pb2.ProvisionInfo(
        pipeline_options=JobServiceHandle.encode_pipeline_options(
            parsed.get_all_options()
        )
    )
    return parsed, FnApiRunner(provision_info=ExtendedProvisionInfo(told))


def _pipeline(
    parsed: PipelineOptions, runner: Any, options: str | None
) -> beam.Pipeline:
    try:
        return beam.Pipeline(options=parsed, runner=runner)
    except (ValueError, ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            "Expected options that a runner of Apache Beam takes in --beam_options, "
            f"got {options!r} ({reason}); correct them."
        ) from error


def _content(files: Files, path: str, flag: str) -> bytes:
    if not files.exists(path):
        raise ConfigError(
            f"Expected a file at {flag}={path}, found none; check the path."
        )
    return files.read(path)


def _explained(error: Exception) -> Exception:
    """Returns what a worker said, without the ways that Beam passes it on."""
    if isinstance(error, ConfigError | DataError):
        return type(error)(_ADDED.sub("", str(error)))
    matches = _REMOTE_ERROR.findall(str(error))
    if not matches:
        reasons = _ANY_ERROR.findall(str(error)) or [str(error)]
        return ConfigError(
            "Expected all workers to do their part, found that one failed "
            f"({_ADDED.sub('', reasons[-1])}); files that are whole stay: give the "
            "same command again."
        )
    kind, text = matches[-1]
    return {"ConfigError": ConfigError, "DataError": DataError}[kind](
        _ADDED.sub("", text)
    )
