"""A run of a student: where it starts, and what its teacher says."""

from absl import logging

from bert_tf.errors import CheckpointError
from bert_tf.naming import by_google_name
from bert_tf.tools.distill_flags import DistillConfig
from bert_tf.tools.fine_tuning import FineTuningRun
from bert_tf.tools.run_classifier import Parts
from bert_tf.tools.teacher import Teacher
from bert_tf.training.distribution import Batches


class DistillationRun(FineTuningRun):
    """A `FineTuningRun` that asks a teacher before it trains.

    Args:
      config: The flags.
      parts: What it is made of; the training examples are `DistilledExample`s.
      teacher: From whom to learn.
    """

    def __init__(self, config: DistillConfig, parts: Parts, teacher: Teacher):
        self._distillation = config
        self._parts = parts
        self._teacher = teacher
        super().__init__(config, *parts)

    def _restore(self) -> int:
        layers = self._distillation.keep_layers
        if self.folder.checkpoint is not None or not layers:
            return super()._restore()
        tensors = self._teacher.weights.tensors
        for name, variable in by_google_name(self.model.variables).items():
            parts = name.split("/")
            if name.startswith("bert/encoder/layer_"):
                place = int(parts[2].removeprefix("layer_"))
                parts[2] = f"layer_{layers[place]}"
            source = "/".join(parts)
            if source not in tensors:
                raise CheckpointError(
                    f"Expected {source} in {self._teacher.folder} for --keep_layers, "
                    "found none; name another teacher."
                )
            variable.assign(tensors[source])
        logging.info("student: layers %s of its teacher", ",".join(map(str, layers)))
        return 0

    def _training_batches(self) -> Batches:
        config, examples = self._distillation, self.examples["train"]
        logits = self._teacher.logits(
            examples,
            self._parts.task,
            self.strategy,
            config.cache_dir or config.output_dir,
            config.train_batch_size,
            config.precision,
        )
        for example, said in zip(examples, logits, strict=True):
            example.teacher_logits = said
        return super()._training_batches()
