"""Steps of training: what `Trainer` takes, against transformers with torch's AdamW.

Forward, backward, clipping to a norm of 1 and the update, dropout on, the same batch
again and again. `transformers` takes logits over the vocabulary at all positions, as
its `BertForPreTraining` does; `transformers, masked` is the same model with its head at
the masked positions only, as here.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import models
from benchmarks.contender import Contender, Ready, repeated
from benchmarks.forward import torch_features
from benchmarks.side_by_side import OURS, Case

_SHAPES = ((8, 128), (32, 128))
_PREDICTIONS = 20
# Small enough that the same batch a hundred times over does no harm.
_LEARNING_RATE = 1e-6


def cases() -> Iterator[Case]:
    """Yields both kinds of training, in both precisions."""
    for precision in ("bfloat16", "float32"):
        for task, contenders in (
            ("pretraining", (OURS, "transformers", "transformers, masked")),
            ("classification", (OURS, "transformers")),
        ):
            shapes = _SHAPES if precision == "bfloat16" else _SHAPES[:1]
            yield Case(
                __name__,
                f"Training, {task}, base, {precision}",
                {
                    "task": task,
                    "size": "base",
                    "precision": precision,
                    "shapes": shapes,
                },
                contenders,
                {f"{rows}x{length}": rows for rows, length in shapes},
            )


def _batch(task: str, rows: int, length: int) -> dict[str, np.ndarray]:
    if task == "pretraining":
        return models.pretraining_batch(rows, length, _PREDICTIONS)
    labels = np.arange(rows, dtype=np.int32) % 2
    return {**models.batch(rows, length), "label_ids": labels}


def _bert_tf(settings: Any, folder: Path) -> Ready:
    import tensorflow as tf

    from bert_tf.checkpoint import load_checkpoint
    from bert_tf.config import BertConfig
    from bert_tf.modeling.kernels import POLICIES
    from bert_tf.optimization import create_optimizer
    from bert_tf.tasks.classification import ClassificationTask
    from bert_tf.tasks.pretraining import PretrainingTask
    from bert_tf.tokenization import GraphTokenizer
    from bert_tf.training.distribution import (
        create_strategy,
        distribute,
        make_repeatable,
    )
    from bert_tf.training.trainer import Trainer

    make_repeatable()
    source = models.files(settings["size"], folder)
    config = BertConfig.from_dict(models.SIZES[settings["size"]])
    longest = max(length for _, length in settings["shapes"])
    if settings["task"] == "pretraining":
        task: Any = PretrainingTask(config, longest, _PREDICTIONS)
    else:
        tokenizer = GraphTokenizer(str(source / "vocab.txt"))
        task = ClassificationTask("b", config, tokenizer, ["0", "1"], longest, False)
    strategy = create_strategy("one_device")
    with strategy.scope():
        model = task.create_model(dtype=POLICIES[settings["precision"]])
        optimizer = create_optimizer(_LEARNING_RATE, 10**6, 0)
        optimizer.build(model.trainable_variables)
        load_checkpoint(model, str(source))

    def run_of(rows: int, length: int) -> Callable[[int], None]:
        batch = _batch(settings["task"], rows, length)
        batches = tf.data.Dataset.from_tensors(batch).repeat()
        trainer = Trainer(task, model, strategy, optimizer)
        # As `train` does, with one iterator for all rounds: to end one takes a second.
        iterator = iter(distribute(trainer.strategy, lambda share: batches))

        def step() -> None:
            trainer._train_steps(iterator, tf.constant(1))["loss"].numpy()

        return repeated(step)

    return Ready(
        {
            f"{rows}x{length}": run_of(rows, length)
            for rows, length in settings["shapes"]
        }
    )


def _torch_loss(settings: Any, folder: Path, masked: bool) -> tuple[Any, Callable]:
    """Returns a model and what makes of a batch a function that returns its loss."""
    import torch
    import transformers

    config = transformers.BertConfig(**models.hugging_face_config(settings["size"]))
    source = models.files(settings["size"], folder)
    if settings["task"] == "classification":
        model = transformers.BertForSequenceClassification(config)
        models.load_into_torch(model.bert, source)

        def of_labels(batch: dict[str, np.ndarray]) -> Callable[[], Any]:
            given = torch_features(_rows(batch))
            labels = torch.from_numpy(batch["label_ids"]).long()
            return lambda: model(**given, labels=labels).loss

        return model.train(), of_labels

    model = transformers.BertForPreTraining(config)
    models.load_into_torch(model.bert, source)

    def of_all_positions(batch: dict[str, np.ndarray]) -> Callable[[], Any]:
        given = torch_features(_rows(batch))
        labels = np.full(batch["input_ids"].shape, -100, np.int64)
        np.put_along_axis(
            labels, batch["masked_lm_positions"], batch["masked_lm_ids"], axis=1
        )
        next_sentence = torch.from_numpy(batch["next_sentence_labels"]).long()
        return lambda: (
            model(
                **given,
                labels=torch.from_numpy(labels),
                next_sentence_label=next_sentence[:, 0],
            ).loss
        )

    def of_masked_positions(batch: dict[str, np.ndarray]) -> Callable[[], Any]:
        given = torch_features(_rows(batch))
        rows, length = batch["input_ids"].shape
        offsets = np.arange(rows)[:, np.newaxis] * length
        places = torch.from_numpy((batch["masked_lm_positions"] + offsets).ravel())
        ids = torch.from_numpy(batch["masked_lm_ids"].ravel()).long()
        next_sentence = torch.from_numpy(batch["next_sentence_labels"][:, 0]).long()
        cross_entropy = torch.nn.functional.cross_entropy

        def loss() -> Any:
            outputs = model.bert(**given)
            sequence = outputs.last_hidden_state
            found = model.cls.predictions(sequence.flatten(0, 1)[places])
            related = model.cls.seq_relationship(outputs.pooler_output)
            return cross_entropy(found, ids) + cross_entropy(related, next_sentence)

        return loss

    return model.train(), of_masked_positions if masked else of_all_positions


def _rows(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = ("input_ids", "input_mask", "segment_ids")
    return {name: batch[name] for name in names}


def _transformers(settings: Any, folder: Path, masked: bool = False) -> Ready:
    import torch

    model, loss_of = _torch_loss(settings, folder, masked)
    optimizer = torch.optim.AdamW(
        model.parameters(), _LEARNING_RATE, weight_decay=0.01, fused=True
    )
    is_half = settings["precision"] == "bfloat16"

    def run_of(rows: int, length: int) -> Callable[[int], None]:
        loss = loss_of(_batch(settings["task"], rows, length))

        def run(count: int) -> None:
            for _ in range(count):
                with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
                    value = loss()
                value.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                value.item()

        return run

    return Ready(
        {
            f"{rows}x{length}": run_of(rows, length)
            for rows, length in settings["shapes"]
        }
    )


def _transformers_masked(settings: Any, folder: Path) -> Ready:
    return _transformers(settings, folder, masked=True)


CONTENDERS = {
    OURS: Contender(_bert_tf),
    "transformers": Contender(_transformers, needs=("torch", "transformers")),
    "transformers, masked": Contender(
        _transformers_masked, needs=("torch", "transformers")
    ),
}
