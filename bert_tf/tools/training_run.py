"""The training of an output folder: its checkpoints, its evaluations, and its end."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from bert_tf import checkpoint
from bert_tf.run_folder import RunFolder
from bert_tf.tools.evaluations import Evaluations, best_folder, best_prefix
from bert_tf.tools.flags import ITERATIONS_PER_LOOP, TrainingConfig
from bert_tf.tools.termination import Termination
from bert_tf.training.distribution import Batches
from bert_tf.training.reporting import TrainingReporter
from bert_tf.training.trainer import Action, Trainer


class _Terminated(Exception):
    """SIGTERM came while the dev set was evaluated."""


class TrainingRun:
    """Trains into a folder until the last step, no better model, or SIGTERM.

    Args:
      config: The flags.
      trainer: With model and optimizer as they are at `step`.
      folder: Where checkpoints go.
      epoch_ends: The steps at which epochs end; the last is the end of the training.
      step: The step to go on from.
      describe: Called with a folder that holds a checkpoint, to put beside it what
        else is needed to use it.
      validate: Returns the metrics of the dev set at a step; it calls its second
        argument between batches. None where there is no dev set.

    Attributes:
      step: The step reached.
      evaluations: Those of the dev set; None where there is none.
    """

    def __init__(
        self,
        config: TrainingConfig,
        trainer: Trainer,
        folder: RunFolder,
        epoch_ends: Sequence[int],
        step: int,
        describe: Callable[[RunFolder], None],
        validate: Callable[[int, Callable[[], None]], Mapping[str, Any]] | None,
    ):
        self.step = step
        self._config = config
        self._trainer = trainer
        self._folder = folder
        self._epoch_ends = list(epoch_ends)
        self._last_step = self._epoch_ends[-1]
        self._saved_step = step
        self._describe = describe
        self._validate = validate
        self._termination = Termination()
        self._reporter: TrainingReporter
        self._evaluated: Sequence[int] = []
        self.evaluations: Evaluations | None = None
        if validate is not None:
            self._evaluated = self._epoch_ends
            if config.eval_steps:
                self._evaluated = self._multiples(config.eval_steps)
            self.evaluations = Evaluations(
                folder,
                step,
                self._save_best,
                config.best_metric,
                config.early_stopping_patience,
                writes=trainer.workers.is_chief,
            )

    def is_over(self) -> bool:
        """Returns whether there is nothing left to train, and says so."""
        if self._gave_up():
            self._log_early_end()
            return True
        if self.step < self._last_step or self._missed_evaluation():
            return False
        logging.info(
            "training is complete: step %d of %d was reached before",
            self.step,
            self._last_step,
        )
        return True

    def run(self, batches: Batches) -> bool:
        """Trains on `batches`, the first being that of `step`.

        Returns:
          Whether the training is over; False if SIGTERM ended it.
        """
        config = self._config
        self._reporter = TrainingReporter(
            config.output_dir,
            self._epoch_ends,
            self.step,
            config.train_batch_size,
            self._trainer.optimizer.learning_rate_at,
            self._trainer.task.unit,
            self._trainer.task.row_length,
            self._trainer.task.metric_names,
            shown=self._trainer.workers.is_chief,
        )
        actions = [
            # First: a run that is continued goes on behind its checkpoint.
            Action(self._evaluated, self._evaluate),
            Action(self._epoch_ends, self._reporter.on_epoch_end),
            Action(self._multiples(config.save_checkpoints_steps), self._save),
        ]
        steps_per_call = config.iterations_per_loop
        if steps_per_call is None and config.on_tpu:
            steps_per_call = ITERATIONS_PER_LOOP
        with self._termination, contextlib.closing(self._reporter):
            try:
                if self._missed_evaluation():
                    self._evaluate(self.step)
                self._trainer.train(
                    batches,
                    num_train_steps=self._last_step,
                    steps_per_call=steps_per_call,
                    on_progress=self._reporter.on_progress,
                    actions=actions,
                    should_stop=lambda: self._termination.requested or self._gave_up(),
                )
            except _Terminated:
                pass
            self.step = self._trainer.step
            if self.step != self._saved_step:
                self._save(self.step)
        if self._is_to_end():
            prefix = self._folder.file(f"model.ckpt-{self.step}")
            saved = tf.io.gfile.exists(prefix + ".index")
            logging.info(
                "ended by SIGTERM at step %d of %d%s; the same command goes on from "
                "there",
                self.step,
                self._last_step,
                f", saved as {prefix}" if saved else "",
            )
            return False
        if self._gave_up() and self.step < self._last_step:
            self._log_early_end()
        return True

    def _is_to_end(self) -> bool:
        """Returns whether SIGTERM came, to any worker; all are to ask together."""
        return bool(self._trainer.workers.largest(self._termination.requested))

    def _missed_evaluation(self) -> bool:
        """Returns whether SIGTERM came while this step was evaluated."""
        if self.evaluations is None or self.step not in self._evaluated:
            return False
        return self.step not in self.evaluations

    def _multiples(self, every: int) -> list[int]:
        """Returns every so many steps, and the last."""
        return [*range(every, self._last_step, every), self._last_step]

    def _evaluate(self, step: int) -> None:
        def check_termination() -> None:
            if self._is_to_end():
                raise _Terminated

        assert self._validate is not None and self.evaluations is not None
        metrics = self._validate(step, check_termination)
        self._reporter.on_evaluation(step, metrics)
        self.evaluations.add(step, metrics)

    def _save(self, step: int) -> None:
        self._saved_step = step
        if not self._trainer.workers.is_chief:
            return
        checkpoint.save_checkpoint(
            self._trainer.model,
            self._folder.file(f"model.ckpt-{step}"),
            self._trainer.optimizer,
        )
        if self._config.keep_checkpoint_max:
            checkpoint.keep_newest(self._folder.path, self._config.keep_checkpoint_max)
        if self._config.best_metric:
            # Not before: whoever goes on from the checkpoint before this one may
            # need the model that was the best then.
            checkpoint.keep_newest(best_folder(self._folder), 1)

    def _save_best(self, step: int) -> None:
        prefix = best_prefix(self._folder, step)
        checkpoint.save_checkpoint(self._trainer.model, prefix, step=step)
        self._describe(RunFolder(best_folder(self._folder)))

    def _gave_up(self) -> bool:
        return self.evaluations is not None and self.evaluations.gave_up

    def _log_early_end(self) -> None:
        logging.info(
            "training ended early, at step %d of %d: %d evaluations were no better "
            "than %s",
            self.step,
            self._last_step,
            self._config.early_stopping_patience,
            self.evaluations,
        )


def epoch_ends(count: int, batch_size: int, num_train_steps: int) -> list[int]:
    """Returns the steps at which the passes over `count` rows end."""
    ends: list[int] = []
    epoch = 1
    while (end := int(count * epoch / batch_size)) < num_train_steps:
        if end > (ends[-1] if ends else 0):
            ends.append(end)
        epoch += 1
    return [*ends, num_train_steps]
