"""Fine-tunes a classifier once per point of a grid, and says which point is best.

Each trial is a run_classifier of its own, in a process and a folder of its own, which
goes on by itself where it was stopped. The sweep only has to know which have ended.
"""

import contextlib
import fcntl
import glob
import itertools
import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import flags, logging

from bert_tf.errors import ConfigError
from bert_tf.files import is_remote, write_local_file
from bert_tf.tools import flags as shared
from bert_tf.tools import run_classifier, trials
from bert_tf.tools.command_line import Group, all_flags, run_tool
from bert_tf.tools.trials import Trial, plain

# The grid's flags, and those of run_classifier that they stand in for.
_SWEPT = {
    "train_batch_sizes": "train_batch_size",
    "learning_rates": "learning_rate",
    "epochs": "num_train_epochs",
}
# What a sweep decides for its trials.
_DECIDED = (
    *_SWEPT.values(),
    "random_seed",
    "output_dir",
    "do_train",
    "do_eval",
    "do_predict",
    "export_dir",
)
_JOURNAL, _NOTE, _TABLE, _LOG = (
    "sweep.journal",
    "sweep.json",
    "sweep.tsv",
    "log.txt",
)
_RESULTS = "eval_results.txt"
# The state file first: it must not name what is gone.
_CHECKPOINTS = ("checkpoint", "model.ckpt-*", ".writing-*")
_BULKY = (*_CHECKPOINTS, *(f"best/{each}" for each in _CHECKPOINTS), "*.tf_record")


class _Numbers(flags.ArgumentParser):
    """Parses `16,32` into numbers, each once."""

    def __init__(self, number: Callable[[str], float], at_least: float):
        self._number = number
        self._at_least = at_least

    def parse(self, argument: Any) -> list[float]:
        parts = argument.split(",") if isinstance(argument, str) else argument
        try:
            numbers = [self._number(part) for part in parts]
            if all(math.isfinite(x) and x >= self._at_least for x in numbers):
                return list(dict.fromkeys(numbers))
        except ValueError:
            pass
        kind = "integers" if self._number is int else "numbers"
        raise ValueError(
            f"Expected {kind} of at least {self._at_least}, separated by commas."
        )

    def flag_type(self) -> str:
        return "comma separated list of numbers"


class _Commas(flags.ArgumentSerializer):
    def serialize(self, value: Any) -> str:
        return ",".join(map(plain, value))


def _define_grid_flags(values: flags.FlagValues) -> None:
    for name, default, number, at_least in (
        ("train_batch_sizes", "16,32", int, 1),
        ("learning_rates", "5e-5,3e-5,2e-5", float, 0),
        ("epochs", "3,4", float, 0),
    ):
        flags.DEFINE(
            _Numbers(number, at_least),
            name,
            default,
            f"Values to try, separated by commas, in place of --{_SWEPT[name]}.",
            flag_values=values,
            serializer=_Commas(),
        )
    flags.DEFINE_integer(
        "num_runs",
        1,
        "Runs of each point, with the seeds --random_seed, --random_seed + 1, ...",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_string(
        "sweep_metric",
        None,
        "Line of eval_results.txt to go by; lower is better if its name ends in loss "
        f"or mse, else higher. Unset: the first of {', '.join(trials.METRICS)} that is "
        "there.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "keep_checkpoints",
        False,
        "Keep the checkpoints and records of finished trials. Otherwise they are "
        "deleted; results, curves and logs stay.",
        flag_values=values,
    )


GRID = Group("Grid", _define_grid_flags)
GROUPS = (GRID, *run_classifier.GROUPS)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool with the given arguments, this process's if None."""
    return run_tool(
        "sweep",
        "Runs run_classifier once per point of a grid, each in a folder of its own "
        "below --output_dir, and prints the points, best first, and the command of the "
        "best run. The same command goes on where a sweep was stopped, and another "
        "grid adds to it. The flags below Grid are its own; the others are those of "
        "run_classifier and hold for every run.",
        GROUPS,
        _sweep,
        argv,
        after_interrupt="; the same command goes on where it stopped",
    )


def _sweep(values: flags.FlagValues) -> None:
    shared.require(values, "task_name", "vocab_file", "bert_config_file", "output_dir")
    _check_flags(values)
    grid = _grid(values)
    _check_trials(values, grid)
    folder = values.output_dir
    os.makedirs(folder, exist_ok=True)
    with _alone_in(folder) as lock:
        journal = trials.Journal(os.path.join(folder, _JOURNAL))
        _check_note(folder, _fixed_flags(values), bool(journal.finished))
        done = sum(trial in journal.finished for trial in grid)
        logging.info("%d trials, %d of them finished before", len(grid), done)
        for number, trial in enumerate(grid, 1):
            if trial not in journal.finished:
                what = f"trial {number} of {len(grid)}: {trial}"
                _run_and_note(values, trial, what, journal, lock)
        results = next(iter(journal.finished.values()))
        metric = trials.choose_metric(values.sweep_metric, results)
        journal.note(metric)
        points = _write_table(folder, journal, metric)
    print(f"{trials.as_text(points, metric)}\n")
    print(
        shlex.join(["bert-tf", "run_classifier", *_arguments(values, points[0].best)])
    )


# What the flags ask for.


def _check_flags(values: flags.FlagValues) -> None:
    """Raises a ConfigError for a flag of run_classifier that a sweep contradicts."""
    for name, single in _SWEPT.items():
        if values[single].present:
            raise ConfigError(
                f"Expected --{name} for a sweep, got --{single}="
                f"{plain(values[single].value)}; give --{name} alone."
            )
    for name in ("do_train", "do_eval"):
        if values[name].present and not values[name].value:
            raise ConfigError(
                f"Expected a sweep to train and to evaluate, got --no{name}; leave it "
                "out."
            )
    for name in ("do_predict", "export_dir"):
        if values[name].value:
            raise ConfigError(
                f"Expected a sweep only to train and to evaluate, got --{name}; add it "
                "to the command that the sweep prints for the best run."
            )
    if is_remote(values.output_dir):
        raise ConfigError(
            f"Expected a folder of this machine at --output_dir, got "
            f"{values.output_dir}; name another."
        )


def _grid(values: flags.FlagValues) -> list[Trial]:
    """Returns all trials, in the order in which they are run."""
    seeds = range(values.random_seed, values.random_seed + values.num_runs)
    lists = [values[name].value for name in _SWEPT]
    return [Trial(*each) for each in itertools.product(*lists, seeds)]


def _arguments(values: flags.FlagValues, trial: Trial) -> list[str]:
    """Returns the arguments of the run_classifier of a trial."""
    given = [
        values[name].serialize()
        for name in all_flags(run_classifier.GROUPS)
        if values[name].present and name not in _DECIDED
    ]
    batch, rate, epochs = map(plain, trial.point)
    return [
        *given,
        "--do_train",
        "--do_eval",
        f"--train_batch_size={batch}",
        f"--learning_rate={rate}",
        f"--num_train_epochs={epochs}",
        f"--random_seed={trial.random_seed}",
        f"--output_dir={os.path.join(values.output_dir, trial.folder)}",
    ]


def _check_trials(values: flags.FlagValues, grid: Sequence[Trial]) -> None:
    """Finds what run_classifier would say of the flags, before anything is written."""
    for trial in grid:
        parsed = all_flags(run_classifier.GROUPS)
        parsed(["run_classifier", *_arguments(values, trial)])
        config = run_classifier.ClassifierConfig.from_flags(parsed)
        config.check()
        config.check_task()


def _fixed_flags(values: flags.FlagValues) -> dict[str, Any]:
    """Returns the flags that all trials of a folder share."""
    fixed = flags.FlagValues()
    for group in run_classifier.GROUPS:
        group.define(fixed)
    return {name: values[name].value for name in fixed if name not in _DECIDED}


# What lies in the folder.


@contextlib.contextmanager
def _alone_in(folder: str) -> Iterator[int]:
    """Waits until no other sweep is at work in a folder, and keeps others out.

    Yields:
      A file descriptor. A process that inherits it keeps others out as well: when a
      sweep is killed, its trial runs on, and must not be run twice at a time.
    """
    path = os.path.join(folder, _JOURNAL)
    with open(path, "ab") as journal:
        try:
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logging.info(
                "waiting: another sweep, or the last trial of one that was killed, is "
                "at work in %s",
                folder,
            )
            fcntl.flock(journal, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}.lock")  # Optuna's own, which a killed sweep left
        yield journal.fileno()


def _check_note(folder: str, fixed: dict[str, Any], begun: bool) -> None:
    """Refuses a folder of a sweep with other flags, else notes those of this one."""
    path = os.path.join(folder, _NOTE)
    begun = begun or bool(glob.glob(f"{glob.escape(folder)}/*/seed*/checkpoint"))
    # Until there is something to keep, flags may be corrected.
    if begun and os.path.exists(path):
        try:
            with open(path, encoding="utf-8") as note:
                noted = dict(json.load(note))
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"Expected a JSON object as a sweep writes it in {path}, found damage "
                f"({error}); restore the file, or name another --output_dir."
            ) from error
        for name, value in fixed.items():
            if name in noted and noted[name] != value:
                raise ConfigError(
                    f"Expected an --output_dir of a sweep with --{name}={value}, found "
                    f"that {folder} was left by one with --{name}={noted[name]}; name "
                    "another --output_dir, or correct the flag."
                )
        fixed = {**fixed, **noted}
    write_local_file(path, json.dumps(fixed, ensure_ascii=False, indent=2) + "\n")


def _write_table(
    folder: str, journal: trials.Journal, metric: str
) -> list[trials.Point]:
    points = trials.ranking(journal.finished, metric)
    lines = ["\t".join(row) for row in trials.as_table(points, metric)]
    write_local_file(os.path.join(folder, _TABLE), "\n".join([*lines, ""]))
    return points


# One trial.


def _run_and_note(
    values: flags.FlagValues,
    trial: Trial,
    what: str,
    journal: trials.Journal,
    lock: int,
) -> None:
    folder = os.path.join(values.output_dir, trial.folder)
    log = os.path.join(folder, _LOG)
    os.makedirs(folder, exist_ok=True)
    logging.info("%s: began, see %s", what, log)
    start = time.monotonic()
    path = os.path.join(folder, _RESULTS)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # of a run that was interrupted later
    code = _run(_arguments(values, trial), log, lock)
    if code or not os.path.exists(path):  # SIGTERM ends a run without results
        raise ConfigError(f"Expected {what} to end well, got {_reason(code, log)}")
    results = trials.read_results(path)
    metric = trials.choose_metric(values.sweep_metric, results)
    journal.add(trial, results, metric)
    _write_table(values.output_dir, journal, metric)
    if not values.keep_checkpoints:
        _delete_bulky(folder)
    seconds = time.monotonic() - start
    logging.info("%s: %s %.4f, %.0f s", what, metric, results[metric], seconds)


def _run(arguments: Sequence[str], log: str, lock: int) -> int:
    """Runs run_classifier; a Ctrl-C or SIGTERM that ends this process ends it first.

    Returns:
      Its exit code.
    """
    process: subprocess.Popen | None = None
    received: list[int] = []

    def end(number: int, frame: Any) -> None:
        received.append(number)
        # A run may be killed at any time. The second asks for what cannot be ignored.
        if process is not None:
            process.terminate() if len(received) == 1 else process.kill()

    before = {
        each: signal.signal(each, end) for each in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        with open(log, "ab") as output:
            output.write(f"bert-tf run_classifier {shlex.join(arguments)}\n".encode())
            output.flush()
            process = subprocess.Popen(
                [sys.executable, "-m", run_classifier.__name__, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[lock],
            )
        if received:
            process.terminate()
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if signal.SIGINT in received:
        raise KeyboardInterrupt
    if received:
        logging.warning("ended by SIGTERM; the same command goes on where it stopped")
        sys.exit(128 + signal.SIGTERM)
    return code


def _reason(code: int, log: str) -> str:
    """Returns the end of a sentence about a trial that failed."""
    if code < 0:
        return f"{signal.Signals(-code).name}; see {log}."
    with open(log, encoding="utf-8", errors="replace") as lines:
        *_, last = (line.strip() for line in lines if line.strip())
    return f"exit code {code} and, at the end of {log}: {last}"


def _delete_bulky(folder: str) -> None:
    for pattern in _BULKY:
        for path in glob.glob(os.path.join(glob.escape(folder), pattern)):
            # What is half written is a folder.
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


if __name__ == "__main__":
    sys.exit(main())
