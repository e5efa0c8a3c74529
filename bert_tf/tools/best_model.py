"""The best checkpoint of a training run, and when to stop looking for a better one."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
from absl import logging

from bert_tf.errors import CheckpointError, ConfigError
from bert_tf.files import read_bytes, write_file
from bert_tf.metrics import lower_is_better
from bert_tf.tools.run_folder import RunFolder


class BestModel:
    """Which evaluation of a run was the best, and what to do about it.

    All evaluations are kept in a JSON file, so that a run that is continued knows
    those that lie behind the checkpoint it goes on from, and no others.

    Args:
      path: That file.
      metric: What has to be best, by its name in `eval_results.txt`.
      patience: After how many evaluations without a better one to stop; 0 for never.
      step: The step that the run starts from.
      save: Called with a step whose weights are the best so far.

    Raises:
      ConfigError: The file is damaged.
    """

    def __init__(
        self,
        path: str,
        metric: str,
        patience: int,
        step: int,
        save: Callable[[int], None],
    ):
        self._path = path
        self._metric = metric
        self._patience = patience
        self._save = save
        self._evaluations: dict[int, dict[str, float]] = {}
        if tf.io.gfile.exists(path):
            self._evaluations = {
                n: found
                for n, found in _read(path).items()
                if n <= step and metric in found
            }

    @property
    def step(self) -> int | None:
        """The step of the best evaluation, of equals the first; None before any."""
        sign = -1 if lower_is_better(self._metric) else 1
        values = {
            n: sign * found[self._metric] for n, found in self._evaluations.items()
        }
        return max(sorted(values), key=values.__getitem__) if values else None

    @property
    def gave_up(self) -> bool:
        """Whether the evaluations since the best one exhaust the patience."""
        best = self.step
        if not self._patience or best is None:
            return False
        return sum(step > best for step in self._evaluations) >= self._patience

    def __contains__(self, step: int) -> bool:
        return step in self._evaluations

    def __str__(self) -> str:
        if self.step is None:
            return "no evaluation yet"
        value = self._evaluations[self.step][self._metric]
        return f"step {self.step}, {self._metric} {value:.4f}"

    def add(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Takes note of an evaluation; saves the weights if they are the best."""
        self._evaluations[step] = {name: float(x) for name, x in metrics.items()}
        if self.step == step:
            self._save(step)
            logging.info("best so far: %s", self)
        # Last: a run that is killed before it makes this evaluation again.
        text = json.dumps({str(n): found for n, found in self._evaluations.items()})
        write_file(self._path, text + "\n")


def best_folder(folder: RunFolder) -> RunFolder:
    """Returns the folder of a run's best checkpoint, which need not exist yet."""
    return RunFolder(folder.file("best"))


def find_best(folder: RunFolder) -> str:
    """Returns the prefix of the best checkpoint of a run with `--best_metric`.

    Raises:
      CheckpointError: There is none.
    """
    best = best_folder(folder)
    if best.checkpoint is None:
        raise CheckpointError(
            f"Expected the best checkpoint of a run in {best.path}, found none; train "
            "with --best_metric, or leave it out."
        )
    return best.checkpoint


def _read(path: str) -> dict[int, dict[str, float]]:
    try:
        values = json.loads(read_bytes(path))
        return {
            int(step): {str(name): float(x) for name, x in metrics.items()}
            for step, metrics in values.items()
        }
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"Expected the evaluations of a run, as it writes them, in {path}, found "
            f"damage ({error}); delete it, or name another --output_dir."
        ) from error
