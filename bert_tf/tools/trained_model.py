"""A trained or pretrained model, made of its folder, with what can be asked of it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from bert_tf.checkpoint import CheckpointReader
from bert_tf.config import BertConfig
from bert_tf.errors import ConfigError
from bert_tf.run_folder import noted_of_model, read_labels
from bert_tf.serving.pretrained import load_pretrained
from bert_tf.serving.pretrained_servable import PretrainedServable
from bert_tf.tasks.answers import Rules
from bert_tf.tasks.classification import ClassificationTask
from bert_tf.tasks.label_kinds import KINDS
from bert_tf.tasks.pretraining import PretrainingTask
from bert_tf.tasks.servable import Servable
from bert_tf.tasks.squad import SquadTask
from bert_tf.tasks.tagging import TaggingTask
from bert_tf.tokenization import GraphTokenizer
from bert_tf.tools.model_files import ModelFiles

# What only fine-tuned checkpoints hold.
_HEADS = ("output_weights", "cls/squad/output_weights")


@dataclasses.dataclass(frozen=True)
class ServingFlags:
    """What flags say of a servable; None where nothing.

    Attributes:
      task: `auto`, or `pretrained` to leave out what was trained on top.
      tokenizer_ops: As `GraphTokenizer` takes it.
      max_seq_length: Most pieces of a row.
      pooling, top_k: Of `PretrainedServable`.
      n_best_size, max_answer_length, null_score_diff_threshold: Of `Rules`.
    """

    task: str = "auto"
    tokenizer_ops: str = "tf_text"
    max_seq_length: int | None = None
    pooling: str | None = None
    top_k: int | None = None
    n_best_size: int | None = None
    max_answer_length: int | None = None
    null_score_diff_threshold: float | None = None

    def given(self, *names: str) -> dict[str, Any]:
        """Returns those of some flags that say something, by name."""
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}


_OF_VECTORS = ("pooling", "top_k")
_OF_ANSWERS = ("n_best_size", "max_answer_length", "null_score_diff_threshold")


def load_servable(files: ModelFiles, said: ServingFlags) -> tuple[Servable, Any]:
    """Returns what a folder's model can be asked, and the model with its weights.

    What `run_config.json` in the folder notes decides which task it is of; without such
    a note it is taken for a pretrained model.

    Raises:
      CheckpointError: The checkpoint is missing, damaged, of other sizes, or lacks
        parts of the model.
      ConfigError, DataError: The files do not fit each other, the note or the flags.
    """
    config = BertConfig.from_json_file(files.bert_config_file)
    tokenizer = GraphTokenizer(
        files.vocab_file, files.do_lower_case, ops=said.tokenizer_ops
    )
    noted = noted_of_model(files.folder, files.vocab_file, config, files.do_lower_case)
    servable: Servable
    if said.task == "pretrained" or noted.get("task_name") in (
        None,
        PretrainingTask.name,
    ):
        servable, absent = _pretrained(files, said, config, tokenizer)
    else:
        servable, absent = _task(files, said, config, tokenizer, noted), ()
    model, _ = load_pretrained(
        lambda config: servable.create_model(),
        files.bert_config_file,
        files.vocab_file,
        files.init_checkpoint,
        files.do_lower_case,
        files.check_casing,
        parts="all of the model",
        others=absent,
        advice="without which it would be random; name another --init_checkpoint",
    )
    return servable, model


def _pretrained(
    files: ModelFiles, said: ServingFlags, config: BertConfig, tokenizer: GraphTokenizer
) -> tuple[PretrainedServable, tuple[str, ...]]:
    _refuse(said, _OF_ANSWERS, "a model that answers questions")
    variables = CheckpointReader(files.init_checkpoint).shapes
    if said.task == "auto":
        for name in _HEADS:
            if name in variables:
                raise ConfigError(
                    f"Expected run_config.json beside {files.init_checkpoint}, which "
                    f"holds {name} of a fine-tuned model, found none, so that nothing "
                    "says what its outputs mean; export it with the tool of its task "
                    "(--export_dir), or its encoder alone with --task=pretrained."
                )
    servable = PretrainedServable(
        config,
        tokenizer,
        variables,
        max_seq_length=_length(said, config.max_position_embeddings, config),
        **said.given(*_OF_VECTORS),
    )
    if said.top_k is not None and not servable.fills_masks:
        raise ConfigError(
            f"Expected a checkpoint with a masked-LM head for --top_k, got "
            f"{files.init_checkpoint}, which has none; leave --top_k out."
        )
    return servable, servable.absent


def _task(
    files: ModelFiles,
    said: ServingFlags,
    config: BertConfig,
    tokenizer: GraphTokenizer,
    noted: Mapping[str, Any],
) -> Servable:
    _refuse(said, _OF_VECTORS, "a pretrained model")
    try:
        length = _length(said, int(noted["max_seq_length"]), config)
        if noted["task_name"] == SquadTask.name:
            rules = Rules(
                version_2_with_negative=bool(noted["version_2_with_negative"]),
                do_lower_case=files.do_lower_case,
                **said.given(*_OF_ANSWERS),
            )
            return SquadTask(
                config,
                tokenizer,
                rules,
                max_seq_length=length,
                doc_stride=noted["doc_stride"],
                max_query_length=noted["max_query_length"],
            )
        _refuse(said, _OF_ANSWERS, "a model that answers questions")
        if noted["task_name"] == TaggingTask.name:
            return TaggingTask(
                config,
                tokenizer,
                read_labels(files.folder),
                max_seq_length=length,
                doc_stride=noted["doc_stride"],
            )
        kind = noted["label_kind"]
        return ClassificationTask(
            noted["task_name"],
            config,
            tokenizer,
            read_labels(files.folder) if KINDS[kind].has_labels else [],
            length,
            is_pair=bool(noted["is_pair"]),
            label_kind=kind,
            long_text=noted.get("long_text", "truncate"),
            doc_stride=noted.get("doc_stride"),
        )
    except (KeyError, TypeError) as error:
        raise ConfigError(
            f"Expected run_config.json of a whole run in {files.folder}, found that it "
            f"lacks {error} or has it wrong; restore the file, or export with the tool "
            "that trained the model."
        ) from error


def _length(said: ServingFlags, trained: int, config: BertConfig) -> int:
    """Returns how long rows are at most."""
    length = trained if said.max_seq_length is None else said.max_seq_length
    if length > config.max_position_embeddings:
        raise ConfigError(
            "Expected --max_seq_length of at most max_position_embeddings="
            f"{config.max_position_embeddings}, got {length}; lower it."
        )
    return length


def _refuse(said: ServingFlags, names: tuple[str, ...], kind: str) -> None:
    """Raises a ConfigError if flags are given that this model has no use for."""
    for name in said.given(*names):
        raise ConfigError(
            f"Expected {kind} for --{name}, got a model of another kind; leave it out."
        )
