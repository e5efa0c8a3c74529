"""One fine-tuning run: train, evaluate, predict, export, continue where it stopped."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from bert_tf import checkpoint
from bert_tf.config import BertConfig
from bert_tf.data.input_pipeline import (
    check_length_buckets,
    evaluation_batches,
    training_batches,
)
from bert_tf.data.records import write_records
from bert_tf.errors import CheckpointError, ConfigError, DataError
from bert_tf.files import read_bytes
from bert_tf.host import held_by_process
from bert_tf.optimization import create_optimizer
from bert_tf.serving.export import export_classifier
from bert_tf.tasks.classification import ClassificationTask, InputExample
from bert_tf.tokenization import (
    GraphTokenizer,
    check_casing,
    check_vocab,
    validate_case_matches_checkpoint,
)
from bert_tf.tools.evaluations import find_best
from bert_tf.tools.fine_tuning_flags import FineTuningConfig
from bert_tf.tools.result_files import write_evaluation, write_predictions
from bert_tf.tools.run_folder import RunFolder
from bert_tf.tools.training_run import TrainingRun, epoch_ends
from bert_tf.training import memory
from bert_tf.training.distribution import create_strategy
from bert_tf.training.reporting import row_bar
from bert_tf.training.trainer import (
    Trainer,
    check_batch_size,
    check_micro_batch_size,
)

_ADDRESSES = ("master", "tpu_name")  # no files, though they look like paths

# --precision -> Keras' dtype policy, whose variables stay float32.
_POLICIES = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}


def load_model_files(
    config: FineTuningConfig, max_seq_length: int
) -> tuple[BertConfig, GraphTokenizer]:
    """Reads and checks the BERT config and the vocabulary.

    Args:
      config: The flags.
      max_seq_length: How long the examples are to be.

    Raises:
      ConfigError, DataError: They are damaged, or do not fit each other or the flags.
    """
    bert_config = BertConfig.from_json_file(config.bert_config_file)
    if max_seq_length > bert_config.max_position_embeddings:
        raise ConfigError(
            f"Expected --max_seq_length of at most max_position_embeddings="
            f"{bert_config.max_position_embeddings}, got {max_seq_length}; "
            "lower it."
        )
    vocab = check_vocab(config.vocab_file, bert_config.vocab_size)
    if config.check_casing:
        validate_case_matches_checkpoint(config.do_lower_case, config.init_checkpoint)
        check_casing(vocab, config.do_lower_case, config.vocab_file)
    return bert_config, GraphTokenizer(config.vocab_file, config.do_lower_case)


def check_filesystems(config: FineTuningConfig) -> None:
    """Raises a ConfigError for a remote path that TensorFlow cannot reach."""
    for field in dataclasses.fields(config):
        path = getattr(config, field.name)
        if isinstance(path, str) and "://" in path and field.name not in _ADDRESSES:
            try:
                tf.io.gfile.exists(path)
            except tf.errors.OpError as error:
                raise ConfigError(
                    f"Expected a path that TensorFlow can reach at --{field.name}="
                    f"{path}, got: {error.message}; check the path and your access."
                ) from error


class FineTuningRun:
    """A run of one task in one output folder.

    Everything that can be wrong with checkpoint, folder and examples is found when
    it is made, before anything is written.

    Args:
      config: The flags.
      bert_config: The architecture.
      task: What to train.
      examples: `{"train": ..., "eval": ..., "predict": ...}` as far as they are
        needed, each with valid labels.
      folder: `config.output_dir`, as it was found.
      held_out: What decides which rows of the training file are the dev set:
        `dev_fraction`, and if it is not 0 what the split is a function of.
    """

    def __init__(
        self,
        config: FineTuningConfig,
        bert_config: BertConfig,
        task: ClassificationTask,
        examples: Mapping[str, Sequence[InputExample]],
        folder: RunFolder,
        held_out: Mapping[str, Any],
    ):
        self.config = config
        self.bert_config = bert_config
        self.task = task
        self.examples = examples
        self.held_out = held_out
        for rows in examples.values():
            task.check_labels(rows)
        # How many rows the model sees of each example.
        self.windows = {
            name: task.count_windows(rows) for name, rows in examples.items()
        }
        self.num_train_steps = self._count_steps() if config.do_train else 0
        self.length_buckets = check_length_buckets(
            config.length_buckets, task.max_seq_length
        )
        if config.best_metric and config.best_metric not in task.metric_names:
            raise ConfigError(
                f"Expected --best_metric to be one of {', '.join(task.metric_names)}, "
                f"got {config.best_metric!r}."
            )
        self.folder = folder
        self._note = self._check_folder()
        self._validated: dict[int, dict[str, Any]] = {}
        self._validated_rows: dict[str, np.ndarray] = {}
        keras.utils.set_random_seed(config.random_seed)
        self.strategy = create_strategy(
            config.distribution_strategy,
            use_tpu=config.use_tpu,
            tpu_name=config.tpu_name,
            tpu_zone=config.tpu_zone,
            gcp_project=config.gcp_project,
            master=config.master,
            num_tpu_cores=config.num_tpu_cores,
        )
        self._check_batch_sizes()
        # An accelerator holds nothing of the program.
        accelerated = config.on_tpu or tf.config.list_logical_devices("GPU")
        self._held = None if accelerated else held_by_process()
        with self.strategy.scope():
            self.model = task.create_model(
                dtype=_POLICIES[config.precision], recompute=config.recompute
            )
            self.optimizer: Any = None
            if config.do_train:
                self.optimizer = self._create_optimizer()
            self.step = self._restore()
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
        if config.do_train:
            count = int(self.windows["train"].sum())
            self.training = TrainingRun(
                config,
                self.trainer,
                self.folder,
                epoch_ends(count, config.train_batch_size, self.num_train_steps),
                self.step,
                self._describe,
                self._validate if "eval" in self.examples else None,
            )

    def run(self) -> None:
        """Does what the flags ask for, in the order of the release."""
        config = self.config
        tf.io.gfile.makedirs(config.output_dir)
        if config.do_train:
            self._describe(self.folder)
        if "eval" in self.examples:
            self._write_records("eval", config.eval_batch_size)
        if self.training is not None and not self._train(self.training):
            return
        if config.do_eval:
            self._evaluate()
        if config.do_predict:
            self._predict()
        if config.export_dir:
            version = export_classifier(self.task, self.model, config.export_dir)
            logging.info("exported a SavedModel to %s", version)

    # Before anything is written.

    def _count_steps(self) -> int:
        count, config = self.windows["train"].sum(), self.config
        steps = int(count / config.train_batch_size * config.num_train_epochs)
        if steps == 0:
            raise DataError(
                f"Expected examples for at least one batch of "
                f"{config.train_batch_size}, got {self._size('train')} and "
                f"--num_train_epochs={config.num_train_epochs}; lower "
                "--train_batch_size or raise --num_train_epochs."
            )
        return steps

    def _check_batch_sizes(self) -> None:
        for name, flag in (
            ("train", "train_batch_size"),
            ("eval", "eval_batch_size"),
            ("predict", "predict_batch_size"),
        ):
            if name in self.examples:
                size = getattr(self.config, flag)
                check_batch_size(size, self.strategy, f"--{flag}")
        if self.config.micro_batch_size and "train" in self.examples:
            rows = self.config.train_batch_size // self.strategy.num_replicas_in_sync
            check_micro_batch_size(self.config.micro_batch_size, rows)

    def _check_folder(self) -> dict[str, Any]:
        """Refuses a folder of another run; warns of what a resume will change.

        Returns:
          What a training run notes of itself.
        """
        model = self._of_the_model()
        self.folder.check(model)
        if self.config.do_train:
            training, order = self._of_the_training(), self._of_the_order()
            self.folder.check(training)
            self.folder.warn(order)
            return {**model, **training, **order}
        if "eval" in self.examples and self.held_out["dev_fraction"]:
            # Another split would be evaluated on what was trained on.
            self.folder.check({"held_out": self.held_out})
        return model

    def _of_the_model(self) -> dict[str, Any]:
        """Returns what its checkpoints fit, whatever is done with them."""
        vocab = read_bytes(self.config.vocab_file)
        return {
            "task_name": self.task.name,
            **self.task.kind.note,
            "labels": self.task.labels,
            "is_pair": self.task.is_pair,
            "do_lower_case": self.config.do_lower_case,
            "vocab_sha256": hashlib.sha256(vocab).hexdigest(),
            "bert_config": self.bert_config.to_dict(),
        }

    def _of_the_training(self) -> dict[str, Any]:
        """Returns what must not change while it is trained."""
        return {
            "max_seq_length": self.task.max_seq_length,
            "long_text": self.task.long_text,
            "doc_stride": self.task.doc_stride,
            "held_out": self.held_out,
        }

    def _of_the_order(self) -> dict[str, Any]:
        """Returns what a step's batch, and what it teaches, are functions of."""
        content = hashlib.sha256()
        for row in self.examples["train"]:
            label = np.asarray(self.task.kind.encode(row.label)).tolist()
            fields = (row.text_a, row.text_b or "", str(label))
            content.update("\0".join(fields).encode("utf-8", "surrogatepass"))
        return {
            "random_seed": self.config.random_seed,
            "train_batch_size": self.config.train_batch_size,
            "train_examples_sha256": content.hexdigest(),
            "micro_batch_size": self.config.micro_batch_size,
            "reduction": self.config.reduction,
            "learning_rate": self.config.learning_rate,
            "warmup_proportion": self.config.warmup_proportion,
            "best_metric": self.config.best_metric,
            "precision": self.config.precision,
            "length_buckets": list(self.length_buckets),
            "class_weights": self.task.kind.weighing,
        }

    def _create_optimizer(self) -> Any:
        warmup_steps = int(self.num_train_steps * self.config.warmup_proportion)
        optimizer = create_optimizer(
            self.config.learning_rate,
            self.num_train_steps,
            warmup_steps,
            dynamic_loss_scale=self.config.precision == "float16",
        )
        optimizer.build(self.model.trainable_variables)
        return optimizer

    def _restore(self) -> int:
        """Loads the newest checkpoint of the folder, else the initial one.

        Returns:
          The step that the weights are of.
        """
        newest = self.folder.checkpoint
        if self.config.best_metric and not self.config.do_train:
            newest = find_best(self.folder)
        if newest is not None:
            return self._restore_from_folder(newest)
        if not self.config.init_checkpoint:
            if not self.config.do_train:
                raise CheckpointError(
                    f"Expected a checkpoint in {self.config.output_dir} or at "
                    "--init_checkpoint, found neither; train first, or name one."
                )
            logging.warning("no --init_checkpoint: training starts from random weights")
            return 0
        report = checkpoint.load_checkpoint(self.model, self.config.init_checkpoint)
        logging.info("initial checkpoint: %s", report)
        if report.fresh and not self.config.do_train:
            logging.warning(
                "%s are random numbers, since %s does not hold them and nothing is "
                "trained",
                ", ".join(report.fresh),
                report.path,
            )
        return 0

    def _restore_from_folder(self, newest: str) -> int:
        report = checkpoint.load_checkpoint(self.model, newest, self.optimizer)
        fresh = set(report.fresh) - set(self._precision_state())
        if fresh:
            # A weight says more than its optimizer slots.
            lacking = min(fresh, key=lambda name: ("/adam_" in name, name))
            raise CheckpointError(
                f"Expected a checkpoint of this run in {self.config.output_dir}, found "
                f"that {newest} lacks {lacking}"
                f"{' and others' if len(fresh) > 1 else ''}; name it with "
                "--init_checkpoint and use another --output_dir."
            )
        step = checkpoint.CheckpointReader(newest).step() or 0
        verb = "continuing from" if self.config.do_train else "using"
        logging.info("%s step %d: %s", verb, step, report)
        return step

    def _precision_state(self) -> list[str]:
        """Returns what checkpoints of a run in another precision lack."""
        scale = self.optimizer and self.optimizer.loss_scale
        return list(scale.named()) if scale else []

    # From here on, things are written.

    def _write_records(self, name: str, batch_size: int) -> None:
        path = self.folder.file(f"{name}.tf_record")
        features = self.task.features(self.examples[name])
        write_records(path, features, self.task.feature_spec)
        size = self._size(name)
        logging.info("%s: %s in batches of %d, %s", name, size, batch_size, path)

    def _size(self, name: str) -> str:
        count = len(self.examples[name])
        if self.task.long_text != "windows":
            return f"{count} examples"
        return f"{count} texts in {self.windows[name].sum()} windows"

    def _train(self, training: TrainingRun) -> bool:
        """Trains on from where the weights are; False if SIGTERM ended it."""
        config = self.config
        if not training.is_over():
            self._write_records("train", config.train_batch_size)
            work = self._workload()
            line, fits = memory.report(work, self._held)
            logging.log(logging.INFO if fits else logging.WARNING, "%s", line)
            batches = training_batches(
                self.folder.file("train.tf_record"),
                self.task.feature_spec,
                batch_size=config.train_batch_size,
                random_seed=config.random_seed,
                start_step=self.step,
                length_buckets=self.length_buckets,
            )
            with memory.explained(work, self._held):
                if not training.run(batches):
                    return False
        self.step = training.step
        if config.best_metric and training.evaluations is not None:
            best = training.evaluations.best_checkpoint
            checkpoint.load_checkpoint(self.model, best)
            self.step = checkpoint.CheckpointReader(best).step() or 0
            logging.info("using the best model: %s", training.evaluations)
        return True

    def _workload(self) -> memory.Workload:
        """Returns what a device does in a training step, at most."""
        config = self.config
        return memory.Workload(
            self.bert_config,
            rows=config.train_batch_size // self.strategy.num_replicas_in_sync,
            length=self.task.max_seq_length,
            micro_batch_size=config.micro_batch_size,
            precision=config.precision,
            recompute=config.recompute,
            num_labels=self.task.kind.num_outputs,
        )

    def _describe(self, folder: RunFolder) -> None:
        config = self.config
        folder.describe(
            self._note, self.task.labels, config.bert_config_file, config.vocab_file
        )

    def _validate(
        self, step: int, check: Callable[[], None] = lambda: None
    ) -> dict[str, Any]:
        """Returns the metrics of the dev set at a step."""
        # The last evaluation while training is often what is asked for in the end.
        if step not in self._validated:
            batch_size = self.config.eval_batch_size
            self._validated_rows = self._rows("eval", batch_size, check)
            metrics = self.task.metrics(self._validated_rows, batch_size)
            self._validated = {step: metrics}
        return self._validated[step]

    def _rows(
        self, name: str, batch_size: int, check: Callable[[], None] = lambda: None
    ) -> dict[str, np.ndarray]:
        """Returns what the model says of the examples of a set.

        `check` is called after each batch.
        """
        batches = evaluation_batches(
            self.folder.file(f"{name}.tf_record"),
            self.task.feature_spec,
            batch_size=batch_size,
            length_buckets=self.length_buckets,
        )
        windows = self.windows[name]
        with row_bar(name, windows.sum()) as bar:

            def on_progress(count: int) -> None:
                bar.update(count)
                check()

            rows = self.trainer.predict(batches, on_progress)
        return self.task.join_windows(rows, windows)

    def _evaluate(self) -> None:
        results = {**self._validate(self.step), "global_step": self.step}
        write_evaluation(self.folder.path, self.task, self._validated_rows, results)

    def _predict(self) -> None:
        batch_size = self.config.predict_batch_size
        self._write_records("predict", batch_size)
        rows = self._rows("predict", batch_size)
        write_predictions(self.folder.path, self.task, self.examples["predict"], rows)
