"""The trials of a sweep: what each is, what is noted of them, which is best."""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from bert_tf.errors import ConfigError, DataError
from bert_tf.metrics import lower_is_better

# What a sweep goes by if nothing else is asked for: the first that there is.
METRICS = (
    "eval_accuracy",
    "eval_pearson",
    "eval_matthews",
    "eval_f1",
    "eval_loss",
)


@dataclasses.dataclass(frozen=True, order=True)
class Trial:
    """One run of a sweep; the fields are run_classifier's flags of the same names."""

    train_batch_size: int
    learning_rate: float
    num_train_epochs: float
    random_seed: int

    @property
    def point(self) -> tuple[int, float, float]:
        """The point of the grid that it is a run of."""
        return self.train_batch_size, self.learning_rate, self.num_train_epochs

    @property
    def folder(self) -> str:
        """Where it lies in the folder of the sweep."""
        batch, rate, epochs = map(plain, self.point)
        point = f"batch{batch}_rate{rate}_epochs{epochs}"
        return os.path.join(point, f"seed{self.random_seed}")

    def __str__(self) -> str:
        batch, rate, epochs = map(plain, self.point)
        return f"batch {batch}, rate {rate}, epochs {epochs}, seed {self.random_seed}"


def plain(number: float) -> str:
    """Returns the shortest text of a number: `3`, `2.5`, `5e-05`."""
    return str(number).removesuffix(".0")


class Journal:
    """The finished trials of a sweep, as Optuna keeps them.

    Optuna has one study for each metric that the sweep has gone by. Only finished
    trials are in it: where a sweep is killed, nothing is left that would have to be
    mended.

    Args:
      path: A file; it must not be in use by another process.

    Attributes:
      finished: The results of each finished trial.

    Raises:
      ConfigError: Optuna is not installed, or the file is damaged.
    """

    def __init__(self, path: str):
        try:
            import optuna
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend
        except ImportError as error:
            raise ConfigError(
                "Expected optuna, which keeps the trials of a sweep, found that it is "
                "not installed; run pip install 'bert-tf[sweep]'."
            ) from error
        self._optuna = optuna
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        _drop_torn_line(path)
        try:
            self._storage = JournalStorage(JournalFileBackend(path))
            self.finished = {
                Trial(**trial.params): trial.user_attrs["results"]
                for name in optuna.get_all_study_names(self._storage)
                for trial in self._study(name).get_trials(deepcopy=False)
            }
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"Expected Optuna's journal of a sweep in {path}, found damage "
                f"({error}); restore the file, or name another --output_dir."
            ) from error

    def add(self, trial: Trial, results: Mapping[str, float], metric: str) -> None:
        """Notes a finished trial of a sweep that goes by `metric`."""
        self.finished[trial] = dict(results)
        self.note(metric)

    def note(self, metric: str) -> None:
        """Writes all finished trials into the study of `metric`."""
        study = self._study(metric)
        noted = {Trial(**each.params) for each in study.get_trials(deepcopy=False)}
        for trial, results in self.finished.items():
            if trial not in noted:
                study.add_trial(self._as_optunas(trial, results, metric))

    def _study(self, metric: str) -> Any:
        optuna = self._optuna
        if metric in optuna.get_all_study_names(self._storage):
            return optuna.load_study(study_name=metric, storage=self._storage)
        return optuna.create_study(
            storage=self._storage,
            study_name=metric,
            direction="minimize" if lower_is_better(metric) else "maximize",
        )

    def _as_optunas(
        self, trial: Trial, results: Mapping[str, float], metric: str
    ) -> Any:
        distributions = self._optuna.distributions
        state = self._optuna.trial.TrialState
        value = results.get(metric, math.nan)
        return self._optuna.trial.create_trial(
            # Optuna knows no trial that is complete without a number.
            state=state.FAIL if math.isnan(value) else state.COMPLETE,
            value=None if math.isnan(value) else value,
            params=dataclasses.asdict(trial),
            distributions={
                "train_batch_size": distributions.IntDistribution(1, 2**31),
                "learning_rate": distributions.FloatDistribution(0.0, 1e9),
                "num_train_epochs": distributions.FloatDistribution(0.0, 1e9),
                "random_seed": distributions.IntDistribution(0, 2**32),
            },
            user_attrs={"results": dict(results)},
        )


def _drop_torn_line(path: str) -> None:
    """Takes back what a full disk or a power cut left of a line."""
    if os.path.exists(path):
        with open(path, "rb+") as journal:
            journal.truncate(journal.read().rfind(b"\n") + 1)


def read_results(path: str) -> dict[str, float]:
    """Reads the eval_results.txt of a run."""
    with open(path, encoding="utf-8") as lines:
        pairs = [line.split(" = ") for line in lines if line.strip()]
    try:
        return {name: float(value) for name, value in pairs}
    except ValueError as error:
        raise DataError(
            f"Expected lines such as eval_loss = 0.5 in {path}, found damage "
            f"({error}); delete the file."
        ) from error


def choose_metric(wanted: str | None, results: Mapping[str, float]) -> str:
    """Returns what a sweep goes by.

    Args:
      wanted: The flag; None for the first of METRICS that the results hold.
      results: Of any trial.

    Raises:
      ConfigError: They do not hold it.
    """
    for metric in [wanted] if wanted else METRICS:
        if metric in results:
            return metric
    raise ConfigError(
        f"Expected --sweep_metric to be one of {', '.join(sorted(results))}, which the "
        f"runs evaluate, got {wanted}; correct it."
    )


@dataclasses.dataclass(frozen=True)
class Point:
    """A point of the grid with what its runs came to.

    Attributes:
      runs: Its trials.
      mean: Of the metric over the runs.
      deviation: Sample standard deviation; None for one run.
      best: The trial with the best value, of several the one with the lowest seed.
    """

    runs: Sequence[Trial]
    mean: float
    deviation: float | None
    best: Trial


def ranking(finished: Mapping[Trial, Mapping[str, float]], metric: str) -> list[Point]:
    """Returns the points of all finished trials, best first."""

    def order(value: float) -> tuple[bool, float]:
        return math.isnan(value), value if lower_is_better(metric) else -value

    values = {t: finished[t].get(metric, math.nan) for t in sorted(finished)}
    points = []
    for point in dict.fromkeys(trial.point for trial in values):
        runs = [trial for trial in values if trial.point == point]
        mean, deviation = _mean_and_deviation([values[trial] for trial in runs])
        best = min(runs, key=lambda trial: order(values[trial]))
        points.append(Point(runs, mean, deviation, best))
    return sorted(points, key=lambda point: order(point.mean))


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    # Those of the module statistics fail where a value is no number.
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, None
    squares = math.fsum((value - mean) ** 2 for value in values)
    return mean, math.sqrt(squares / (len(values) - 1))


def as_table(points: Sequence[Point], metric: str) -> list[list[str]]:
    """Returns header and rows, with all digits."""
    header = ["batch", "rate", "epochs", "runs", "mean", "deviation", "best_seed"]
    rows = [
        [
            *map(plain, point.best.point),
            str(len(point.runs)),
            str(point.mean),
            "-" if point.deviation is None else str(point.deviation),
            str(point.best.random_seed),
            metric,
        ]
        for point in points
    ]
    return [[*header, "metric"], *rows]


def as_text(points: Sequence[Point], metric: str) -> str:
    """Returns the table for a person to read."""
    header, *rows = (row[:-1] for row in as_table(points, metric))
    header[-1] = "best seed"
    for row in rows:
        row[4:6] = [x if x == "-" else f"{float(x):.4f}" for x in row[4:6]]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in (header, *rows)
    ]
    return "\n".join([f"{metric}, best first:", *lines])
