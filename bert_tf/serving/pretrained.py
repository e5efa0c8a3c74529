"""A pretrained model and its vocabulary, once it is sure that they fit each other."""

from collections.abc import Callable, Mapping
from typing import Any

from absl import logging

from bert_tf.checkpoint import load_checkpoint
from bert_tf.config import BertConfig
from bert_tf.errors import CheckpointError
from bert_tf.tokenization.vocabulary import vocab_of_model


def load_pretrained(
    create_model: Callable[[BertConfig], Any],
    bert_config_file: str,
    vocab_file: str,
    init_checkpoint: str,
    do_lower_case: bool,
    check_casing: bool,
    *,
    parts: str,
    others: tuple[str, ...],
    advice: str,
) -> tuple[Any, Mapping[str, int]]:
    """Returns a model with the weights of a checkpoint, and its vocabulary.

    Args:
      create_model: Makes the model of a config, such as `BertModel`.
      bert_config_file: The model's `bert_config.json`.
      vocab_file: Its `vocab.txt`.
      init_checkpoint: Its checkpoint, as for `find_checkpoint`.
      do_lower_case: Whether texts are lower-cased and accents stripped.
      check_casing: Whether it is an error when names or vocabulary plainly contradict
        `do_lower_case`.
      parts: What of the model has to be in the checkpoint, for an error.
      others: What the names of variables that may be missing begin with.
      advice: What to do if another is missing.

    Returns:
      The model, and piece -> id in the order of ids.

    Raises:
      CheckpointError: The checkpoint is missing, damaged or of other sizes, or lacks
        what it has to hold.
      ConfigError, DataError: Config or vocabulary are missing or damaged, or do not
        fit each other or `do_lower_case`.
    """
    config = BertConfig.from_json_file(bert_config_file)
    vocab = vocab_of_model(
        vocab_file, config.vocab_size, do_lower_case, init_checkpoint, check_casing
    )
    model = create_model(config)
    report = load_checkpoint(model, init_checkpoint)
    lacking = [name for name in report.fresh if not name.startswith(others)]
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise CheckpointError(
            f"Expected {parts} in {report.path}, found that it lacks {lacking[0]}"
            f"{more}, {advice}."
        )
    logging.info("%s", report)
    return model, vocab
