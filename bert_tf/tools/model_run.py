"""A task's model in an output folder: devices, weights, training, going on."""

import abc
import contextlib
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from bert_tf import checkpoint
from bert_tf.config import BertConfig
from bert_tf.errors import CheckpointError, ConfigError
from bert_tf.files import is_remote
from bert_tf.host import held_by_process
from bert_tf.modeling.kernels import POLICIES
from bert_tf.optimization import create_optimizer
from bert_tf.run_folder import RunFolder, read_note
from bert_tf.tasks.task import Task
from bert_tf.tools.evaluations import find_best
from bert_tf.tools.flags import TrainingConfig
from bert_tf.tools.training_run import TrainingRun
from bert_tf.training import memory
from bert_tf.training.distribution import (
    Batches,
    Workers,
    check_batch_size,
    create_strategy,
    make_repeatable,
)
from bert_tf.training.trainer import Trainer, check_micro_batch_size

_ADDRESSES = ("master", "tpu_name")  # no files, though they look like paths


def start_devices(config: TrainingConfig) -> tf.distribute.Strategy:
    """Returns where to run; to be called before TensorFlow computes anything.

    Raises:
      ConfigError: A device is not there, or a remote path cannot be reached.
    """
    make_repeatable()
    # To connect to others makes what was computed before unusable.
    strategy = create_strategy(**config.devices)
    if not Workers(strategy).is_chief:
        logging.set_verbosity(logging.WARNING)  # the first one speaks for all
    _check_filesystems(config)
    return strategy


def _check_filesystems(config: TrainingConfig) -> None:
    """Raises a ConfigError for a remote path that TensorFlow cannot reach."""
    for field in dataclasses.fields(config):
        path = getattr(config, field.name)
        if isinstance(path, str) and is_remote(path) and field.name not in _ADDRESSES:
            try:
                tf.io.gfile.exists(path)
                _check_bucket(f"--{field.name}", path)
            except tf.errors.OpError as error:
                raise ConfigError(
                    f"Expected a path that TensorFlow can reach at --{field.name}="
                    f"{path}, got: {error.message}; check the path and your access."
                ) from error


def _check_bucket(flag: str, path: str) -> None:
    """Raises a ConfigError if there is no such bucket: who wrote there would hang."""
    if not path.startswith("gs://"):  # other stores may have none
        return
    bucket = "/".join(path.split("/")[:3])
    # Whoever may use what is in a bucket may not always ask for the bucket itself.
    with contextlib.suppress(tf.errors.PermissionDeniedError):
        if not tf.io.gfile.isdir(bucket):
            raise ConfigError(
                f"Expected a bucket at {flag}={path}, found no {bucket}; make it, or "
                "name another."
            )


def read_bert_config(path: str, max_seq_length: int) -> BertConfig:
    """Reads a bert_config.json whose model takes so long sequences."""
    bert_config = BertConfig.from_json_file(path)
    if max_seq_length > bert_config.max_position_embeddings:
        raise ConfigError(
            f"Expected --max_seq_length of at most max_position_embeddings="
            f"{bert_config.max_position_embeddings}, got {max_seq_length}; "
            "lower it."
        )
    return bert_config


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long to train, and by which rule.

    Attributes:
      epoch_ends: The steps at which epochs end; the last is the end of the training.
      num_warmup_steps: Steps over which the learning rate climbs.
      optimizer: Its name, as `create_optimizer` knows it.
    """

    epoch_ends: Sequence[int]
    num_warmup_steps: int
    optimizer: str = "adam_weight_decay"

    @property
    def num_train_steps(self) -> int:
        """The step at which training ends and the learning rate is 0."""
        return self.epoch_ends[-1]


class ModelRun(abc.ABC):
    """What runs of all tasks share.

    Args:
      config: The flags.
      bert_config: The architecture.
      task: What the model is for.
      strategy: Where it runs; made before anything else was done with TensorFlow.
      folder: `config.output_dir`, as it was found.
      note: What a training run notes of itself in the folder.
      batch_sizes: By the flag that states it, the size of each batch that is taken.
      schedule: None if nothing is trained.
      evaluates: Whether there is a dev set.
    """

    def __init__(
        self,
        config: TrainingConfig,
        bert_config: BertConfig,
        task: Task,
        strategy: tf.distribute.Strategy,
        folder: RunFolder,
        note: Mapping[str, Any],
        batch_sizes: Mapping[str, int],
        schedule: Schedule | None,
        evaluates: bool,
    ):
        self.folder = folder
        self.note = note
        self.config = config
        self.bert_config = bert_config
        self.task = task
        self._validated: dict[int, dict[str, Any]] = {}
        if config.best_metric and config.best_metric not in task.metric_names:
            raise ConfigError(
                f"Expected --best_metric to be one of {', '.join(task.metric_names)}, "
                f"got {config.best_metric!r}."
            )
        keras.utils.set_random_seed(config.random_seed)
        self.strategy = strategy
        self.workers = Workers(strategy)
        for flag, size in batch_sizes.items():
            check_batch_size(size, self.strategy, f"--{flag}")
        if config.micro_batch_size and schedule:
            check_micro_batch_size(config.micro_batch_size, self.rows_per_device)
        # An accelerator holds nothing of the program.
        accelerated = config.on_tpu or tf.config.list_logical_devices("GPU")
        self._held = None if accelerated else held_by_process()
        self._check_workers()
        with self.strategy.scope():
            self.model = task.create_model(
                dtype=POLICIES[config.precision],
                recompute=config.recompute,
                use_one_hot_embeddings=config.looks_up_by_matmul,
            )
            self.optimizer: Any = None
            if schedule is not None:
                self.optimizer = self._create_optimizer(schedule)
            self.step = self._restore()
        self.workers.check_same(
            str(self.step), f"a checkpoint of one step in --output_dir={folder.path}"
        )
        self.trainer = Trainer(
            task,
            self.model,
            self.strategy,
            self.optimizer,
            config.random_seed,
            micro_batch_size=config.micro_batch_size,
            reduction=config.reduction,
        )
        self.training: TrainingRun | None = None
        if schedule is not None:
            self.training = TrainingRun(
                config,
                self.trainer,
                self.folder,
                schedule.epoch_ends,
                self.step,
                self._describe,
                self._validate if evaluates else None,
            )

    # What a kind of run adds.

    @abc.abstractmethod
    def _run(self) -> None:
        """Does what the flags ask for, in the order of the release."""

    @abc.abstractmethod
    def _describe(self, folder: RunFolder) -> None:
        """Puts into a folder what its checkpoints need beside them."""

    @abc.abstractmethod
    def _training_batches(self) -> Batches:
        """Returns what makes the batches from `step` on."""

    @abc.abstractmethod
    def _workload(self) -> memory.Workload:
        """Returns what a device does in a training step, at most."""

    @abc.abstractmethod
    def _evaluate(self, check: Callable[[], None]) -> dict[str, Any]:
        """Returns the metrics of the dev set; `check` is called after each batch."""

    def _restore_initial(self) -> int:
        """Loads the initial checkpoint.

        Returns:
          The step that the weights are of.
        """
        report = checkpoint.load_checkpoint(
            self.model, str(self.config.init_checkpoint)
        )
        logging.info("initial checkpoint: %s", report)
        if report.fresh and not self.config.do_train:
            logging.warning(
                "%s are random numbers, since %s does not hold them and nothing is "
                "trained",
                ", ".join(report.fresh),
                report.path,
            )
        return 0

    def run(self) -> None:
        """Does what the flags ask for.

        Raises:
          ConfigError: Another worker is gone.
        """
        with self.workers.explained(
            "start all workers again with the same command, which goes on from the "
            f"newest checkpoint in {self.folder.path}"
        ):
            self._run()
            # One that ended would be missed by the first, which may still be writing.
            self.workers.leave()

    # What it can use.

    @property
    def rows_per_device(self) -> int:
        """Rows of a training batch that each device takes."""
        return self.config.train_batch_size // self.strategy.num_replicas_in_sync

    def train(self) -> bool:
        """Trains on from where the weights are; False if SIGTERM ended it."""
        config, training = self.config, self.training
        if training is None:
            return True
        if not training.is_over():
            self._write_description()
            batches = self._training_batches()
            work = self._workload()
            line, fits = memory.report(work, self._held)
            logging.log(logging.INFO if fits else logging.WARNING, "%s", line)
            with memory.explained(work, self._held):
                if not training.run(batches):
                    return False
        self.step = training.step
        if config.best_metric and training.evaluations is not None:
            self.workers.wait()  # until it is written
            best = training.evaluations.best_checkpoint
            checkpoint.load_checkpoint(self.model, best)
            self.step = checkpoint.CheckpointReader(best).step() or 0
            logging.info("using the best model: %s", training.evaluations)
        return True

    def evaluate(self) -> dict[str, Any]:
        """Returns the metrics of the dev set, and the step."""
        return {**self._validate(self.step), "global_step": self.step}

    def _validate(
        self, step: int, check: Callable[[], None] = lambda: None
    ) -> dict[str, Any]:
        """Returns the metrics of the dev set at a step."""
        # The last evaluation while training is often what is asked for in the end.
        if step not in self._validated:
            self._validated = {step: self._evaluate(check)}
        return self._validated[step]

    # Several workers.

    def _check_workers(self) -> None:
        """Raises a ConfigError if the workers were not asked for the same."""
        own = self.config.OF_ONE_WORKER
        flags = dataclasses.asdict(self.config)
        flags = {name: x for name, x in flags.items() if name not in own}
        text = json.dumps([flags, self.note], sort_keys=True)
        self.workers.check_same(text, "the same flags and files")

    def _write_description(self) -> None:
        """Has the first worker make the folder a complete one, for all to see."""
        if self.workers.is_chief:
            self._describe(self.folder)
        self.workers.wait()
        if self.workers.is_chief:
            return
        found = read_note(self.folder.path)
        if found != json.loads(json.dumps(self.note)):
            raise ConfigError(
                f"Expected an --output_dir that all workers share, found nothing that "
                f"the first one wrote in {self.folder.path} of worker "
                f"{self.workers.index}; name a folder on a shared disk or in a bucket."
            )

    # Weights.

    def _create_optimizer(self, schedule: Schedule) -> Any:
        optimizer = create_optimizer(
            self.config.learning_rate,
            schedule.num_train_steps,
            schedule.num_warmup_steps,
            dynamic_loss_scale=self.config.precision == "float16",
            optimizer=schedule.optimizer,
        )
        optimizer.build(self.model.trainable_variables)
        return optimizer

    def _restore(self) -> int:
        """Loads the newest checkpoint of the folder, else the initial one.

        Returns:
          The step that the weights are of.
        """
        config, newest = self.config, self.folder.checkpoint
        if config.best_metric and not config.do_train:
            newest = find_best(self.folder)
        if newest is not None:
            return self._restore_from_folder(newest)
        if config.init_checkpoint:
            return self._restore_initial()
        if not config.do_train:
            raise CheckpointError(
                f"Expected a checkpoint in {config.output_dir} or at "
                "--init_checkpoint, found neither; train first, or name one."
            )
        logging.warning("no --init_checkpoint: training starts from random weights")
        return 0

    def _restore_from_folder(self, newest: str) -> int:
        report = self.load_with_slots(
            newest,
            f"a checkpoint of this run in {self.config.output_dir}",
            "name it with --init_checkpoint and use another --output_dir",
        )
        step = checkpoint.CheckpointReader(newest).step() or 0
        verb = "continuing from" if self.config.do_train else "using"
        logging.info("%s step %d: %s", verb, step, report)
        return step

    def load_with_slots(
        self, path: str, expected: str, advice: str
    ) -> checkpoint.LoadReport:
        """Loads all of a checkpoint: weights and, if there is one, the optimizer.

        Args:
          path: Its prefix.
          expected: What it should be, for an error.
          advice: What to do if something is missing.

        Raises:
          CheckpointError: It is damaged, or lacks something.
        """
        report = checkpoint.load_checkpoint(self.model, path, self.optimizer)
        fresh = set(report.fresh) - set(self._precision_state())
        if fresh:
            # A weight says more than its optimizer slots.
            lacking = min(fresh, key=lambda name: ("/adam_" in name, name))
            raise CheckpointError(
                f"Expected {expected}, found that {path} lacks {lacking}"
                f"{' and others' if len(fresh) > 1 else ''}; {advice}."
            )
        return report

    def _precision_state(self) -> list[str]:
        """Returns what checkpoints of a run in another precision lack."""
        scale = self.optimizer and self.optimizer.loss_scale
        return list(scale.named()) if scale else []
