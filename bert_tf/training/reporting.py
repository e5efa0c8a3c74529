"""What a person sees of a run: progress, a summary per epoch, TensorBoard."""

import math
import os
import sys
import time
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging
from tqdm import tqdm

# Seconds between progress lines where stderr is no terminal.
_PLAIN_INTERVAL = 15.0
# Steps between points in TensorBoard.
_SUMMARY_STEPS = 10


class TrainingReporter:
    """Progress of a training run.

    A bar per epoch on a terminal, else a line now and then; then one line per epoch
    with the training means and, if it was evaluated, the validation's. The same
    numbers go to TensorBoard: `output_dir` for training, `output_dir/eval` for
    validation. Where there is one epoch only, it is not spoken of, and what progress
    shows are means since the line before.

    Args:
      output_dir: Where event files go.
      epoch_ends: The steps at which epochs end; the last is the end of the run.
      first_step: The step that the run starts from.
      batch_size: Rows per step.
      learning_rate: Function of the step.
      unit: What rows are called.
      row_length: Pieces of each row, padding included, where all have as many.
      metric_names: Those of an evaluation's metrics that are printed; None for all.
      shown: Whether there is a bar, and event files: of one of several workers only.
    """

    def __init__(
        self,
        output_dir: str,
        epoch_ends: list[int],
        first_step: int,
        batch_size: int,
        learning_rate: Any,
        unit: str = "examples",
        row_length: int | None = None,
        metric_names: Collection[str] | None = None,
        shown: bool = True,
    ):
        self._epoch_ends = epoch_ends
        self._batch_size = batch_size
        self._learning_rate = learning_rate
        self._unit = unit
        self._row_length = row_length
        self._metric_names = metric_names
        self._shown = shown
        self._writer, self._eval_writer = (
            tf.summary.create_file_writer(path)
            if shown
            else tf.summary.create_noop_writer()
            for path in (output_dir, os.path.join(output_dir, "eval"))
        )
        self._step = first_step
        self._first_step = first_step
        self._epoch = sum(end <= first_step for end in epoch_ends)
        self._summary = _Means()
        self._bar = tqdm(disable=True)
        self._start_epoch()

    def _start_epoch(self) -> None:
        self._means = _Means()  # what is shown
        self._validation: dict[str, Any] = {}
        self._last_line = time.monotonic()
        if self._epoch == len(self._epoch_ends):
            return
        start = self._epoch_ends[self._epoch - 1] if self._epoch else 0
        self._bar = tqdm(
            total=self._epoch_ends[self._epoch] - start,
            initial=self._step - start,
            desc=self._name_of_epoch() or "training",
            unit="step",
            disable=not (self._shown and sys.stderr.isatty()),
            dynamic_ncols=True,
        )

    @property
    def _has_one_epoch(self) -> bool:
        return len(self._epoch_ends) == 1

    def _name_of_epoch(self) -> str:
        if self._has_one_epoch:
            return ""
        return f"epoch {self._epoch + 1}/{len(self._epoch_ends)}"

    def on_progress(self, step: int, scalars: dict[str, np.ndarray]) -> None:
        """Reports steps that ended at `step`, with the scalars of each, `[count]`."""
        count = len(scalars["loss"])
        self._step = step
        self._means.add(scalars)
        # The rate of the step just taken, which is what was applied.
        rate = float(self._learning_rate(step - 1))
        speed = self._means.steps_per_second() * self._batch_size
        self._bar.set_postfix_str(
            f"loss {self._means.mean('loss'):.4f}, lr {rate:.2e}, "
            f"{speed:.0f} {self._unit}/s",
            refresh=False,
        )
        self._bar.update(count)
        for index in range(count):
            self._summary.add({n: x[index : index + 1] for n, x in scalars.items()})
            self._summarize(step - count + 1 + index, speed)
        if time.monotonic() - self._last_line > _PLAIN_INTERVAL:
            self._last_line = time.monotonic()
            if self._bar.disable:
                self._log_progress(step, rate, speed)
            if self._has_one_epoch and step < self._epoch_ends[-1]:
                self._means = _Means()

    def _log_progress(self, step: int, rate: float, speed: float) -> None:
        end = self._epoch_ends[self._epoch]
        left = (end - step) / self._means.steps_per_second()
        name = self._name_of_epoch()
        logging.info(
            "%sstep %d of %d: %s, learning rate %.2e, %.0f %s/s, %.0f s left%s",
            name and f"{name}, ",
            step,
            end,
            _listed(self._shown_means()),
            rate,
            speed,
            self._unit,
            left,
            name and " in this epoch",
        )

    def _shown_means(self) -> dict[str, float]:
        means = self._means.means()
        for name in ("gradient_norm", "loss_scale"):  # for TensorBoard
            means.pop(name, None)
        return means

    def _summarize(self, step: int, speed: float) -> None:
        """Writes a point of TensorBoard's curves, if one is due at this step."""
        if step % _SUMMARY_STEPS and step != self._epoch_ends[-1]:
            return
        with self._writer.as_default():
            for name, value in self._summary.means().items():
                tf.summary.scalar(name, value, step=step)
            rate = float(self._learning_rate(step - 1))
            tf.summary.scalar("learning_rate", rate, step=step)
            tf.summary.scalar(f"{self._unit}_per_second", speed, step=step)
            if self._row_length is not None:
                tokens = speed * self._row_length
                tf.summary.scalar("tokens_per_second", tokens, step=step)
        self._summary = _Means()

    def on_evaluation(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Notes the dev set's metrics; prints them unless an epoch's line will."""
        with self._eval_writer.as_default():
            for name, value in metrics.items():
                tf.summary.scalar(name, value, step=step)
        # Of a classifier, `loss` is the release's mean over batches; `eval_loss`, over
        # examples, is the one to see.
        hidden = {"loss"} if "eval_loss" in metrics else set()
        losses = ("eval_loss", "loss")
        names = sorted(metrics.keys() - hidden, key=lambda n: (n not in losses, n))
        if self._metric_names is not None:
            names = [name for name in names if name in self._metric_names]
        shown = {f"validation {n.removeprefix('eval_')}": metrics[n] for n in names}
        if (
            self._epoch < len(self._epoch_ends)
            and step == self._epoch_ends[self._epoch]
        ):
            self._validation = shown
        else:
            self._bar.clear()
            logging.info("step %d: %s", step, _listed(shown))

    def on_epoch_end(self, step: int) -> None:
        """Ends the epoch's bar and prints its line."""
        self._bar.close()
        means = self._shown_means()
        shown = {f"train {name}": x for name, x in means.items()} | self._validation
        start = self._epoch_ends[self._epoch - 1] if self._epoch else 0
        part = ""
        if start < self._first_step:
            part = f" (training: since step {self._first_step})"
        name = self._name_of_epoch()
        logging.info(
            "%sstep %d%s: %s",
            name and f"{name}, ",
            step,
            part,
            _listed(shown),
        )
        self._epoch += 1
        self._start_epoch()

    def close(self) -> None:
        """Ends the bar and flushes the event files."""
        self._bar.close()
        self._writer.close()
        self._eval_writer.close()


class _Means:
    """Means of scalars over steps, and the pace since the first was awaited."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._steps = 0
        self._start = time.monotonic()

    def add(self, scalars: dict[str, np.ndarray]) -> None:
        for name, values in scalars.items():
            # A step that float16 skips has no gradient norm.
            finite = values[np.isfinite(values)]
            self._sums[name] = self._sums.get(name, 0.0) + float(finite.sum())
            self._counts[name] = self._counts.get(name, 0) + finite.size
        self._steps += len(scalars["loss"])

    def mean(self, name: str) -> float:
        return self._sums[name] / self._counts[name] if self._counts[name] else math.inf

    def means(self) -> dict[str, float]:
        return {name: self.mean(name) for name in self._sums}

    def steps_per_second(self) -> float:
        return self._steps / max(time.monotonic() - self._start, 1e-9)


def _listed(scalars: dict[str, Any]) -> str:
    return ", ".join(f"{name} {float(x):.4f}" for name, x in scalars.items())


def row_bar(
    desc: str, total: int | None, unit: str = "examples", shown: bool = True
) -> tqdm:
    """Returns a bar over rows, silent where stderr is no terminal.

    Args:
      desc: What is gone through.
      total: How many rows; None if that is not known.
      unit: What they are called.
      shown: Whether there is to be one at all.
    """
    return tqdm(
        total=total,
        desc=desc,
        unit=f" {unit}",
        disable=not (shown and sys.stderr.isatty()),
        dynamic_ncols=True,
    )
