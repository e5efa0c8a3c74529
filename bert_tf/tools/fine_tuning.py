"""One fine-tuning run: train, evaluate, predict, export, continue where it stopped."""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import tensorflow as tf
from absl import logging

from bert_tf.checkpoint import find_checkpoint
from bert_tf.config import BertConfig
from bert_tf.data.input_pipeline import (
    Share,
    check_length_buckets,
    evaluation_batches,
    training_batches,
)
from bert_tf.data.records import write_records
from bert_tf.errors import ConfigError, DataError
from bert_tf.files import sha256
from bert_tf.run_folder import RunFolder, read_labels, read_note
from bert_tf.serving.export import export
from bert_tf.tasks.task import FineTuningTask
from bert_tf.tokenization import GraphTokenizer
from bert_tf.tokenization.vocabulary import vocab_of_model
from bert_tf.tools.fine_tuning_flags import FineTuningConfig
from bert_tf.tools.model_run import (
    ModelRun,
    Schedule,
    read_bert_config,
    start_devices,
)
from bert_tf.tools.result_files import (
    write_evaluation,
    write_predictions,
    write_results,
)
from bert_tf.tools.training_run import epoch_ends
from bert_tf.training import memory
from bert_tf.training.distribution import Batches
from bert_tf.training.reporting import row_bar


@dataclasses.dataclass(frozen=True)
class Start:
    """What a run of any task starts from.

    Attributes:
      strategy: Where to run.
      folder: `config.output_dir`, as it was found.
      noted: What lies beside the checkpoint that will be used; see `note_of_weights`.
      row_options: How examples become rows: `config.ROW_OPTIONS`.
      bert_config: The architecture.
      tokenizer: Of the vocabulary.
    """

    strategy: tf.distribute.Strategy
    folder: RunFolder
    noted: Mapping[str, Any]
    row_options: Mapping[str, Any]
    bert_config: BertConfig
    tokenizer: GraphTokenizer


def prepare(
    config: FineTuningConfig,
    task_name: str,
    strangers: Collection[str] | None = None,
) -> Start:
    """Starts the devices; reads output folder, BERT config and vocabulary.

    Args:
      config: The flags.
      task_name, strangers: As for `note_of_weights`.

    Raises:
      ConfigError, DataError: They are damaged, or do not fit each other or the flags.
    """
    strategy = start_devices(config)
    folder = RunFolder(config.output_dir)
    noted = note_of_weights(config, folder, task_name, strangers)
    row_options = config.row_options(noted)
    bert_config = read_bert_config(
        config.bert_config_file, row_options["max_seq_length"]
    )
    vocab_of_model(
        config.vocab_file,
        bert_config.vocab_size,
        config.do_lower_case,
        config.init_checkpoint,
        config.check_casing,
    )
    tokenizer = GraphTokenizer(config.vocab_file, config.do_lower_case)
    return Start(strategy, folder, noted, row_options, bert_config, tokenizer)


def note_of_weights(
    config: FineTuningConfig,
    folder: RunFolder,
    task_name: str,
    strangers: Collection[str] | None = None,
) -> dict[str, Any]:
    """Returns the note that lies beside the checkpoint that will be used.

    Empty in training, where the flags alone count, and if there is none.

    Args:
      config: The flags.
      folder: The output folder.
      task_name: What the weights are to be used for.
      strangers: The tasks whose weights mean something else; None for all others.

    Raises:
      ConfigError: They are of such a task.
    """
    if config.do_train:
        return {}
    path, noted = folder.path, folder.noted
    if not folder.checkpoint and config.init_checkpoint:
        path = _folder_of_weights(config)
        noted = read_note(path)
    found = noted.get("task_name", task_name)
    if found != task_name and (strangers is None or found in strangers):
        raise ConfigError(
            f"Expected weights of a run with task_name={task_name}, found that {path} "
            f"was left by one with task_name={found}; name another folder, or use the "
            "tool that trained it."
        )
    return noted


def saved_labels(config: FineTuningConfig, folder: RunFolder) -> list[str]:
    """Returns the labels that lie beside the checkpoint that will be used."""
    if folder.checkpoint or not config.init_checkpoint:
        return read_labels(folder.path)
    return read_labels(_folder_of_weights(config), folder.path)


def _folder_of_weights(config: FineTuningConfig) -> str:
    """Returns the folder of the initial checkpoint."""
    return os.path.dirname(find_checkpoint(config.init_checkpoint or ""))


class FineTuningRun(ModelRun):
    """A run of one task in one output folder.

    Everything that can be wrong with checkpoint, folder and examples is found when
    it is made, before anything is written.

    Args:
      config: The flags.
      task: What to train.
      examples: `{"train": ..., "eval": ..., "predict": ...}` as far as they are
        needed, each with valid labels.
      start: What `prepare` found.
      held_out: What decides which rows of the training file are the dev set:
        `dev_fraction`, and if it is not 0 what the split is a function of.
    """

    def __init__(
        self,
        config: FineTuningConfig,
        task: FineTuningTask,
        examples: Mapping[str, Sequence[Any]],
        start: Start,
        held_out: Mapping[str, Any] = MappingProxyType({"dev_fraction": 0.0}),
    ):
        self.config: FineTuningConfig = config
        self.bert_config = task.config
        self.task: FineTuningTask = task
        self.examples = examples
        self.held_out = dict(held_out)
        for rows in examples.values():
            task.check(rows)
        self.num_rows = {
            name: int(task.count_rows(rows).sum()) for name, rows in examples.items()
        }
        for name, count in self.num_rows.items():
            if not count:
                raise DataError(
                    f"Expected text to {name} with, got {self._size(name)}; check the "
                    "file."
                )
        schedule = self._schedule_of(config) if config.do_train else None
        self.length_buckets = check_length_buckets(
            config.length_buckets, task.max_seq_length
        )
        self._validated_outcome: Any = None
        super().__init__(
            config,
            task.config,
            task,
            start.strategy,
            start.folder,
            note=self._check_folder(start.folder),
            batch_sizes={
                f"{name}_batch_size": getattr(config, f"{name}_batch_size")
                for name in examples
            },
            schedule=schedule,
            evaluates="eval" in examples,
        )

    def _run(self) -> None:
        config = self.config
        tf.io.gfile.makedirs(config.output_dir)
        if "eval" in self.examples:
            self._write_records("eval", config.eval_batch_size)
        if not self.train():
            return
        if config.do_eval:
            results = self.evaluate()
            if self.workers.is_chief:
                write_evaluation(
                    self.folder.path, self.task, self._validated_outcome, results
                )
        if config.do_predict:
            self._predict()
        if config.export_dir and self.workers.is_chief:
            version = export(self.task, self.model, config.export_dir)
            logging.info("exported a SavedModel to %s", version)

    # Before anything is written.

    def _schedule_of(self, config: FineTuningConfig) -> Schedule:
        count = self.num_rows["train"]
        steps = int(count / config.train_batch_size * config.num_train_epochs)
        if steps == 0:
            raise DataError(
                f"Expected examples for at least one batch of "
                f"{config.train_batch_size}, got {self._size('train')} and "
                f"--num_train_epochs={config.num_train_epochs}; lower "
                "--train_batch_size or raise --num_train_epochs."
            )
        return Schedule(
            epoch_ends(count, config.train_batch_size, steps),
            int(steps * config.warmup_proportion),
        )

    def _check_folder(self, folder: RunFolder) -> dict[str, Any]:
        """Refuses a folder of another run; warns of what a resume will change.

        Returns:
          What a training run notes of itself.
        """
        model = self._of_the_model()
        folder.check(model)
        if self.config.do_train:
            training, order = self._of_the_training(), self._of_the_order()
            folder.check(training)
            folder.warn(order)
            return {**model, **training, **order}
        if "eval" in self.examples and self.held_out["dev_fraction"]:
            # Another split would be evaluated on what was trained on.
            folder.check({"held_out": self.held_out})
        return model

    def _of_the_model(self) -> dict[str, Any]:
        """Returns what its checkpoints fit, whatever is done with them."""
        return {
            **self.task.model_note,
            "labels": self.task.labels,
            "do_lower_case": self.config.do_lower_case,
            "vocab_sha256": sha256(self.config.vocab_file),
            "bert_config": self.bert_config.to_dict(),
        }

    def _of_the_training(self) -> dict[str, Any]:
        """Returns what must not change while it is trained."""
        return {**self.task.row_note, "held_out": self.held_out}

    def _of_the_order(self) -> dict[str, Any]:
        """Returns what a step's batch, and what it teaches, are functions of."""
        content = hashlib.sha256()
        for example in self.examples["train"]:
            fields = self.task.content(example)
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
            **self.task.training_note,
        }

    # From here on, things are written.

    def _write_records(self, name: str, batch_size: int) -> None:
        path = self.folder.file(f"{name}.tf_record")
        if self.workers.is_chief:
            features = self.task.features(self.examples[name])
            write_records(path, features, self.task.feature_spec)
        self.workers.wait()
        size = self._size(name)
        logging.info("%s: %s in batches of %d, %s", name, size, batch_size, path)

    def _size(self, name: str) -> str:
        return self.task.size(self.examples[name], self.num_rows[name])

    def _describe(self, folder: RunFolder) -> None:
        config = self.config
        folder.describe(
            self.note, config.bert_config_file, config.vocab_file, self.task.labels
        )

    def _training_batches(self) -> Batches:
        config = self.config
        self._write_records("train", config.train_batch_size)
        return lambda share: training_batches(
            self.folder.file("train.tf_record"),
            self.task.feature_spec,
            batch_size=config.train_batch_size,
            random_seed=config.random_seed,
            start_step=self.step,
            length_buckets=self.length_buckets,
            share=share,
        )

    def _workload(self) -> memory.Workload:
        return memory.Workload(
            self.bert_config,
            rows=self.rows_per_device,
            length=self.task.max_seq_length,
            micro_batch_size=self.config.micro_batch_size,
            precision=self.config.precision,
            recompute=self.config.recompute,
            one_hot_embeddings=self.config.looks_up_by_matmul,
            num_labels=self.task.num_outputs,
        )

    def _evaluate(self, check: Callable[[], None]) -> dict[str, Any]:
        batch_size = self.config.eval_batch_size
        self._validated_outcome = self._outcome("eval", batch_size, check)
        return self.task.metrics(self._validated_outcome, batch_size)

    def _outcome(
        self, name: str, batch_size: int, check: Callable[[], None] = lambda: None
    ) -> Any:
        """Returns what the model says of the examples of a set.

        `check` is called after each batch.
        """

        def batches(share: Share) -> tf.data.Dataset:
            return evaluation_batches(
                self.folder.file(f"{name}.tf_record"),
                self.task.feature_spec,
                batch_size=batch_size,
                length_buckets=self.length_buckets,
                share=share,
            )

        shown = self.workers.is_chief
        with row_bar(name, self.num_rows[name], shown=shown) as bar:

            def on_progress(count: int) -> None:
                bar.update(count)
                check()

            rows = self.trainer.predict(batches, on_progress)
        return self.task.join(self.examples[name], rows)

    def _predict(self) -> None:
        examples, batch_size = self.examples["predict"], self.config.predict_batch_size
        if examples is self.examples.get("eval"):
            outcome = self._validated_outcome
        else:
            self._write_records("predict", batch_size)
            outcome = self._outcome("predict", batch_size)
        if not self.workers.is_chief:
            return
        write_predictions(self.folder.path, self.task, examples, outcome)
        if self.task.labelled(examples):
            try:
                scores = self.task.metrics(outcome, batch_size)
            except ConfigError as error:
                logging.warning("no scores of what was predicted: %s", error)
            else:
                write_results(self.folder.path, scores, "predict_results.txt")
