"""One pretraining run: records, checks, training, evaluation."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from absl import logging

from bert_tf import checkpoint
from bert_tf.config import BertConfig
from bert_tf.data.dynamic_masking import DynamicMasking
from bert_tf.data.input_pipeline import Share
from bert_tf.data.pretraining_input import evaluation_batches, training_batches
from bert_tf.errors import ConfigError, DataError
from bert_tf.files import sha256
from bert_tf.run_folder import RunFolder
from bert_tf.tasks.pretraining import PretrainingTask
from bert_tf.tokenization import check_vocab
from bert_tf.tools.model_run import (
    ModelRun,
    Schedule,
    read_bert_config,
    start_devices,
)
from bert_tf.tools.pretraining_flags import PretrainingConfig
from bert_tf.tools.pretraining_records import CheckedRecords
from bert_tf.tools.result_files import write_results
from bert_tf.training import memory
from bert_tf.training.distribution import Batches
from bert_tf.training.reporting import row_bar


class PretrainingRun(ModelRun):
    """A pretraining run in one output folder.

    Everything that can be wrong with records, folder and checkpoint is found when it is
    made, before anything is written.

    Args:
      config: The flags.
    """

    def __init__(self, config: PretrainingConfig):
        self.config: PretrainingConfig = config
        strategy = start_devices(config)
        bert_config = read_bert_config(config.bert_config_file, config.max_seq_length)
        self._vocab_file = config.vocab_file
        self._masking: DynamicMasking | None = None
        if config.vocab_file:
            vocab = check_vocab(config.vocab_file, bert_config.vocab_size)
            if config.dynamic_masking:
                self._masking = DynamicMasking(
                    vocab,
                    config.max_predictions_per_seq,
                    config.masked_lm_prob,
                    config.masking,
                )
        folder = RunFolder(config.output_dir)
        # First what is found at once; to read all records may take minutes.
        folder.check(self._of_the_model(bert_config))
        if config.init_checkpoint and folder.checkpoint is None:
            checkpoint.CheckpointReader(config.init_checkpoint)
        self._records: dict[str, CheckedRecords] = {}
        if config.do_train:
            self._records["train"] = CheckedRecords(
                "input_file", config.input_file, config, bert_config
            )
        if config.do_eval:
            self._records["eval"] = self._evaluation_records(bert_config)
        if self._vocab_file is None:
            self._vocab_file = self._noted_vocab_file(bert_config)
        super().__init__(
            config,
            bert_config,
            PretrainingTask(
                bert_config,
                config.max_seq_length,
                config.max_predictions_per_seq,
                config.nsp,
            ),
            strategy,
            folder,
            note=self._check_folder(folder, bert_config),
            batch_sizes={
                f"{name}_batch_size": getattr(config, f"{name}_batch_size")
                for name in self._records
            },
            schedule=Schedule(
                [config.num_train_steps], config.num_warmup_steps, config.optimizer
            )
            if config.do_train
            else None,
            # Without eval_steps, only after training.
            evaluates=bool(config.do_eval and config.eval_steps),
        )

    def _run(self) -> None:
        config = self.config
        tf.io.gfile.makedirs(config.output_dir)
        if config.do_train:
            with self._records["train"].explained():
                over = self.train()
            if not over:
                return
        if config.do_eval:
            results = self.evaluate()
            if self.workers.is_chief:
                write_results(self.folder.path, results)

    # Before anything is written.

    def _noted_vocab_file(self, bert_config: BertConfig) -> str | None:
        """Returns the vocabulary of the records, if it is there and the model's."""
        for records in self._records.values():
            path = records.vocab_file()
            if path is None:
                continue
            try:
                check_vocab(path, bert_config.vocab_size)
            except DataError as error:
                logging.warning("the records' vocabulary is not used: %s", error)
            else:
                return path
        return None

    def _evaluation_records(self, bert_config: BertConfig) -> CheckedRecords:
        config = self.config
        same = config.eval_input_file in (None, config.input_file)
        if same and "train" in self._records:
            logging.info(
                "evaluation will be of the records trained on, as in the release; "
                "--eval_input_file names others"
            )
            return self._records["train"]
        needed = config.max_eval_steps * config.eval_batch_size
        flag = "input_file" if same else "eval_input_file"
        return CheckedRecords(
            flag,
            str(getattr(config, flag)),
            config,
            bert_config,
            at_most=needed or None,
        )

    def _of_the_model(self, bert_config: BertConfig) -> dict[str, Any]:
        """Returns what its checkpoints fit, whatever is done with them."""
        model: dict[str, Any] = {
            "task_name": PretrainingTask.name,
            "bert_config": bert_config.to_dict(),
        }
        if self._vocab_file is not None:
            model["vocab_sha256"] = sha256(self._vocab_file)
        return model

    def _check_folder(
        self, folder: RunFolder, bert_config: BertConfig
    ) -> dict[str, Any]:
        """Refuses a folder of another run; warns of what a resume will change.

        Returns:
          What a training run notes of itself.
        """
        model = self._of_the_model(bert_config)
        for records in self._records.values():
            if records.do_lower_case is not None:
                model["do_lower_case"] = records.do_lower_case
        folder.check(model)
        if not self.config.do_train:
            return model
        config = self.config
        order = {
            name: getattr(config, name)
            for name in (
                "max_seq_length",
                "max_predictions_per_seq",
                "random_seed",
                "train_batch_size",
                "micro_batch_size",
                "reduction",
                "learning_rate",
                "num_train_steps",
                "num_warmup_steps",
                "optimizer",
                "nsp",
                "precision",
                "dynamic_masking",
                "masking",
                "masked_lm_prob",
                "best_metric",
            )
        }
        order["records"] = self._records["train"].note()
        folder.warn(order)
        return {**model, **order}

    def _restore_initial(self) -> int:
        config = self.config
        if not config.init_optimizer:
            return super()._restore_initial()
        path = checkpoint.find_checkpoint(str(config.init_checkpoint))
        step = checkpoint.CheckpointReader(path).step()
        if step is None:
            raise ConfigError(
                f"Expected a checkpoint with global_step at --init_checkpoint={path}, "
                "found none; leave out --init_optimizer to take its weights only."
            )
        if step >= config.num_train_steps:
            raise ConfigError(
                f"Expected --num_train_steps of more than {step}, the step of "
                f"--init_checkpoint={path}, got {config.num_train_steps}: with "
                "--init_optimizer it is the last step of the whole training; raise it, "
                "or leave out --init_optimizer to take the weights only."
            )
        report = self.load_with_slots(
            path,
            "optimizer and step in --init_checkpoint",
            "leave out --init_optimizer to take its weights only",
        )
        logging.info("going on from step %d: %s", step, report)
        return step

    # While it runs.

    def _describe(self, folder: RunFolder) -> None:
        folder.describe(self.note, self.config.bert_config_file, self._vocab_file)

    def _workload(self) -> memory.Workload:
        return memory.Workload(
            self.bert_config,
            rows=self.rows_per_device,
            length=self.config.max_seq_length,
            micro_batch_size=self.config.micro_batch_size,
            precision=self.config.precision,
            recompute=self.config.recompute,
            one_hot_embeddings=self.config.looks_up_by_matmul,
            num_predictions=self.config.max_predictions_per_seq,
        )

    def _training_batches(self) -> Batches:
        records = self._records["train"]
        return lambda share: training_batches(
            records.index,
            records.spec,
            batch_size=self.config.train_batch_size,
            vocab_size=self.bert_config.vocab_size,
            random_seed=self.config.random_seed,
            start_step=self.step,
            masking=self._masking,
            share=share,
        )

    def _evaluate(self, check: Callable[[], None]) -> dict[str, Any]:
        config, records = self.config, self._records["eval"]

        def batches(share: Share) -> tf.data.Dataset:
            return evaluation_batches(
                records.index,
                records.spec,
                batch_size=config.eval_batch_size,
                max_steps=config.max_eval_steps,
                vocab_size=self.bert_config.vocab_size,
                random_seed=config.random_seed,
                # The records' own masks, where they have some: those of other models.
                masking=None if records.masked else self._masking,
                share=share,
            )

        total = config.max_eval_steps * config.eval_batch_size
        total = total or records.index.num_records
        shown = self.workers.is_chief
        with row_bar("eval", total, self.task.unit, shown) as bar:

            def on_progress(count: int) -> None:
                bar.update(count)
                check()

            with records.explained():
                rows = self.trainer.predict(batches, on_progress)
        return self.task.metrics(rows, config.eval_batch_size)
