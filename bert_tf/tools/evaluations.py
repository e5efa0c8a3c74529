"""What the dev set says while a run trains, and which of its models is the best."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
from absl import logging

from bert_tf.errors import CheckpointError
from bert_tf.files import write_file
from bert_tf.metrics import lower_is_better
from bert_tf.run_folder import RunFolder, as_json, read_evaluations

_BEST = "best"


class Evaluations:
    """The evaluations of a training run, kept in its folder as `evaluations.json`.

    A run that is continued knows those that lie behind the checkpoint it goes on from,
    and no others: it makes the later ones again.

    Args:
      folder: The run's.
      step: The step that the run goes on from.
      save: Called with a step whose weights are the best so far, to write them to
        `best_checkpoint`.
      metric: What has to be best, by its name in `eval_results.txt`; None if nothing.
      patience: After how many evaluations without a better one to give up; 0 for
        never.
      writes: Whether this process writes the file, and saves.

    Raises:
      ConfigError: The file is damaged.
    """

    def __init__(
        self,
        folder: RunFolder,
        step: int,
        save: Callable[[int], None],
        metric: str | None = None,
        patience: int = 0,
        writes: bool = True,
    ):
        self._folder = folder
        self._save = save
        self._metric = metric
        self._patience = patience
        self._writes = writes
        self._path = folder.file("evaluations.json")
        found = read_evaluations(self._path)
        self._metrics = {n: metrics for n, metrics in found.items() if n <= step}
        self._values = {
            n: metrics[metric]
            for n, metrics in self._metrics.items()
            if metric in metrics
        }
        best = self.best_step
        if best is not None and not tf.io.gfile.exists(self.best_checkpoint + ".index"):
            logging.warning(
                "step %d was the best so far by %s, but %s was not kept: the best is "
                "looked for from step %d on",
                best,
                metric,
                self.best_checkpoint,
                step,
            )
            self._values = {}

    @property
    def best_step(self) -> int | None:
        """The step of the best evaluation, of equals the first; None before any."""

        def merit(step: int) -> float:
            value = self._values[step]
            if math.isnan(value):
                return -math.inf
            return -value if lower_is_better(str(self._metric)) else value

        return max(sorted(self._values), key=merit) if self._values else None

    @property
    def best_checkpoint(self) -> str:
        """Prefix of the best model.

        Raises:
          CheckpointError: No evaluation had a model that was kept.
        """
        if self.best_step is None:
            raise CheckpointError(
                f"Expected a model that was kept with --best_metric={self._metric} in "
                f"{self._folder.file(_BEST)}, found none: the folder was trained "
                "without it; leave it out, or name another --output_dir."
            )
        return best_prefix(self._folder, self.best_step)

    @property
    def gave_up(self) -> bool:
        """Whether the evaluations since the best one exhaust the patience."""
        best = self.best_step
        if not self._patience or best is None:
            return False
        return sum(step > best for step in self._values) >= self._patience

    def __contains__(self, step: int) -> bool:
        return step in self._metrics

    def __str__(self) -> str:
        if self.best_step is None:
            return "none yet"
        value = self._values[self.best_step]
        return f"step {self.best_step}, {self._metric} {value:.4f}"

    def add(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Takes note of an evaluation; saves the weights if they are the best."""
        self._metrics[step] = {name: float(x) for name, x in metrics.items()}
        if self._metric is not None:
            self._values[step] = self._metrics[step][self._metric]
        if not self._writes:
            return
        if self.best_step == step:
            self._save(step)
            logging.info("best so far: %s", self)
        # Last: a run that is killed before it makes this evaluation again.
        write_file(self._path, as_json({str(n): x for n, x in self._metrics.items()}))


def best_folder(folder: RunFolder) -> str:
    """Returns the path of the folder of a run's best models."""
    return folder.file(_BEST)


def best_prefix(folder: RunFolder, step: int) -> str:
    """Returns where the weights of a step go if they are the best."""
    return folder.file(f"{_BEST}/model.ckpt-{step}")


def find_best(folder: RunFolder) -> str:
    """Returns the prefix of the best checkpoint that a run has left.

    Raises:
      CheckpointError: There is none.
    """
    best = RunFolder(best_folder(folder))
    if best.checkpoint is None:
        raise CheckpointError(
            f"Expected the best checkpoint of a run in {best.path}, found none; train "
            "with --best_metric, or leave it out."
        )
    return best.checkpoint
