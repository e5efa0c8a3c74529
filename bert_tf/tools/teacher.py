"""A fine-tuned classifier whose logits others learn from."""

import hashlib
import io
import os
import tempfile
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from bert_tf import interchange
from bert_tf.data.input_pipeline import Share, check_length_buckets, evaluation_batches
from bert_tf.data.records import write_records
from bert_tf.errors import CheckpointError, ConfigError, DataError
from bert_tf.files import read_bytes, remove, staged
from bert_tf.modeling.kernels import POLICIES
from bert_tf.naming import by_google_name
from bert_tf.tasks.classification import ClassificationTask, InputExample
from bert_tf.tasks.label_kinds import KINDS
from bert_tf.tokenization import GraphTokenizer
from bert_tf.training.distribution import Workers
from bert_tf.training.reporting import row_bar
from bert_tf.training.trainer import Trainer

# Texts of like length share a batch; a teacher's logits do not depend on padding.
_BUCKETS = (16, 32, 64, 128, 256, 512)


class Teacher:
    """A classifier in memory, as its folder has it.

    Args:
      folder: The output folder of a run_classifier, or a Hugging Face folder.
      labels: What its labels are called, in the order of their ids; as the folder says
        if empty.

    Attributes:
      weights: The model.
      config: The architecture.
      do_lower_case: Whether its texts are lower-cased.
      sha256: What tells it from another, in hexadecimal digits.

    Raises:
      ConfigError, CheckpointError, DataError: A file is missing or damaged, or it is no
        classifier.
    """

    def __init__(self, folder: str, labels: Sequence[str] = ()):
        self.folder = folder
        google = os.path.isfile(os.path.join(folder, "bert_config.json"))
        self.weights, step = interchange.read_folder(
            folder, "google" if google else "huggingface"
        )
        logging.info("teacher: %s", step)
        note, tensors = self.weights.note, self.weights.tensors
        task = note.get("task_name", "")
        whole = {"output_weights", "bert/pooler/dense/kernel"} <= tensors.keys()
        if not whole or task in ("squad", "tagging"):
            raise CheckpointError(
                f"Expected a fine-tuned classifier in {folder}, found "
                f"{f'a model of {task}' if task else 'no classifier on its encoder'}; "
                "fine-tune the teacher with run_classifier first."
            )
        count = len(tensors["output_weights"])
        if labels and len(labels) != count:
            raise ConfigError(
                f"Expected {count} names in --teacher_labels, one for each label of "
                f"{folder}, got {len(labels)}; correct it."
            )
        self.config = self.weights.config
        self.do_lower_case = bool(note["do_lower_case"])
        self._labels = tuple(labels) or self.weights.labels
        self._order = np.arange(count)
        digest = hashlib.sha256(self.weights.vocab)
        digest.update(self.config.to_json_string().encode())
        digest.update(repr(sorted(note.items())).encode())
        for name in sorted(tensors):
            digest.update(tensors[name].tobytes())
        self.sha256 = digest.hexdigest()

    def fit(self, task: ClassificationTask) -> None:
        """Puts the teacher's labels into a task's order.

        Raises:
          ConfigError: They are others, or of another kind.
        """
        kind = self.weights.note.get("label_kind", "single")
        if kind != task.kind.name:
            raise ConfigError(
                f"Expected a teacher whose labels are of kind {task.kind.name}, as the "
                f"task's, got {self.folder}, whose are {kind}; name another."
            )
        if not KINDS[kind].has_labels:
            return
        labels = self._labels
        if not labels and len(self._order) == len(task.labels):
            logging.warning(
                "nothing says what the teacher's labels are called; taken for %s",
                ", ".join(task.labels),
            )
            labels = tuple(task.labels)
        if sorted(labels) != sorted(task.labels):
            raise ConfigError(
                f"Expected a teacher with the labels {', '.join(task.labels)}, got "
                f"{self.folder} with {', '.join(labels) or len(self._order)}; say "
                "what they are in the task with --teacher_labels."
            )
        self._order = np.array([labels.index(label) for label in task.labels])

    def logits(
        self,
        examples: Sequence[InputExample],
        student: ClassificationTask,
        strategy: tf.distribute.Strategy,
        cache_dir: str,
        batch_size: int,
        precision: str,
    ) -> np.ndarray:
        """Returns what the teacher says of texts, computed once and then kept.

        Args:
          examples: n texts or pairs.
          student: The task that they are of.
          strategy: Where to compute.
          cache_dir: Where the logits are kept, as `teacher_logits-*.npy`.
          batch_size: Rows that the teacher takes at a time, over all devices.
          precision: What it computes in.

        Returns:
          float32 `[n, L]`, in the order of the task's labels.

        Raises:
          DataError: What is kept is damaged.
        """
        path = os.path.join(cache_dir, self._cache_name(examples, student, precision))
        workers = Workers(strategy)
        if not tf.io.gfile.exists(path):
            found = self._compute(
                examples, student, strategy, path, batch_size, precision
            )
            if workers.is_chief:
                with staged(path) as staging, tf.io.gfile.GFile(staging, "wb") as file:
                    np.save(file, found, allow_pickle=False)
                logging.info("teacher: logits kept in %s", path)
            workers.wait()
        else:
            found = _load(path, (len(examples), len(self._order)))
            logging.info("teacher: logits of %d texts from %s", len(found), path)
        return found[:, self._order]

    def _cache_name(
        self,
        examples: Sequence[InputExample],
        student: ClassificationTask,
        precision: str,
    ) -> str:
        content = hashlib.sha256(self.sha256.encode())
        content.update(repr((precision, self._length(student))).encode())
        for each in examples:
            text = f"{each.text_a}\0{each.text_b or ''}\0"
            content.update(text.encode("utf-8", "surrogatepass"))
        return f"teacher_logits-{content.hexdigest()[:16]}.npy"

    def _length(self, student: ClassificationTask) -> int:
        """Returns how long its rows are: as it was trained, if that is known."""
        longest = self.config.max_position_embeddings
        return min(
            longest,
            int(self.weights.note.get("max_seq_length", student.max_seq_length)),
        )

    def _compute(
        self,
        examples: Sequence[InputExample],
        student: ClassificationTask,
        strategy: tf.distribute.Strategy,
        path: str,
        batch_size: int,
        precision: str,
    ) -> np.ndarray:
        task = self._task(student)
        with strategy.scope():
            model = task.create_model(dtype=POLICIES[precision])
            for name, variable in by_google_name(model.variables).items():
                variable.assign(self.weights.tensors[name])
        trainer = Trainer(task, model, strategy)
        records = f"{path}.tf_record"
        if trainer.workers.is_chief:
            tf.io.gfile.makedirs(os.path.dirname(path))
            plain = [
                InputExample(x.guid, x.text_a, x.text_b, task.kind.placeholder)
                for x in examples
            ]
            write_records(records, task.features(plain), task.feature_spec)
        trainer.workers.wait()

        def batches(share: Share) -> tf.data.Dataset:
            return evaluation_batches(
                records,
                task.feature_spec,
                batch_size=batch_size,
                length_buckets=check_length_buckets(_BUCKETS, task.max_seq_length),
                share=share,
            )

        shown = trainer.workers.is_chief
        with row_bar(
            "teacher", int(task.count_rows(examples).sum()), shown=shown
        ) as bar:
            rows = trainer.predict(batches, bar.update)
        trainer.workers.wait()
        if trainer.workers.is_chief:
            remove(records)
        return task.join(examples, rows)["logits"]

    def _task(self, student: ClassificationTask) -> ClassificationTask:
        note = self.weights.note
        kind = note.get("label_kind", "single")
        labels = [str(number) for number in self._order]
        with tempfile.TemporaryDirectory() as made:
            vocab_file = os.path.join(made, "vocab.txt")
            with open(vocab_file, "wb") as writer:
                writer.write(self.weights.vocab)
            tokenizer = GraphTokenizer(vocab_file, self.do_lower_case)
        return ClassificationTask(
            "teacher",
            self.config,
            tokenizer,
            labels if KINDS[kind].has_labels else [],
            self._length(student),
            is_pair=student.is_pair,
            label_kind=kind,
            long_text=note.get("long_text", "truncate"),
            doc_stride=note.get("doc_stride"),
        )


def _load(path: str, shape: tuple[int, int]) -> np.ndarray:
    try:
        found = np.load(io.BytesIO(read_bytes(path)), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(
            f"Expected the teacher's logits in {path}, found damage ({error}); delete "
            "the file, and they are computed again."
        ) from error
    if found.shape != shape or found.dtype != np.float32:
        raise DataError(
            f"Expected the teacher's logits, float32 {list(shape)}, in {path}, found "
            f"{found.dtype} {list(found.shape)}; delete the file, and they are "
            "computed again."
        )
    return found
