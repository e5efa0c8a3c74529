"""What stands at each [MASK] of a text, by a pretrained model's own head."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bert_tf.errors import ConfigError, DataError
from bert_tf.modeling.models import BertPretrainer
from bert_tf.serving.pretrained import load_pretrained
from bert_tf.tokenization.full_tokenizer import FullTokenizer
from bert_tf.tokenization.masked_text import MaskedText


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A piece for a mask.

    Attributes:
      piece: Of the vocabulary; `##` says that it goes on with the word before.
      probability: From 0 to 1, its share in the whole vocabulary.
      text: The text with the piece filled in; other masks are left.
    """

    piece: str
    probability: float
    text: str


class MaskFiller:
    """A pretrained model that says which pieces fit where a text says `[MASK]`.

    Args:
      bert_config_file: The model's `bert_config.json`.
      vocab_file: Its `vocab.txt`.
      init_checkpoint: Its checkpoint, as for `find_checkpoint`, with the masked-LM
        head.
      do_lower_case: Whether texts are lower-cased and accents stripped; as the model
        was pretrained.
      check_casing: Whether it is an error when names or vocabulary plainly contradict
        `do_lower_case`.

    Raises:
      CheckpointError: The checkpoint is missing, damaged or of other sizes, or lacks
        the head or parts of the encoder.
      ConfigError, DataError: Config or vocabulary are missing or damaged, or do not
        fit each other or `do_lower_case`.
    """

    def __init__(
        self,
        bert_config_file: str,
        vocab_file: str,
        init_checkpoint: str,
        do_lower_case: bool = True,
        check_casing: bool = True,
    ):
        self._model, vocab = load_pretrained(
            BertPretrainer,
            bert_config_file,
            vocab_file,
            init_checkpoint,
            do_lower_case,
            check_casing,
            parts="the encoder and a masked-LM head",
            others=("bert/pooler/", "cls/seq_relationship/"),  # of next sentences
            advice="without which a [MASK] cannot be filled; name a checkpoint of "
            "pretraining, such as those that Google published",
        )
        self.config = self._model.config
        self._pieces = list(vocab)
        self._tokenizer = FullTokenizer(vocab_file, do_lower_case)

    @classmethod
    def from_folder(cls, model_dir: str, do_lower_case: bool = True) -> "MaskFiller":
        """Returns the model of a folder in Google's layout.

        Args:
          model_dir: Holds `bert_config.json`, `vocab.txt` and a checkpoint.
          do_lower_case: As the model was pretrained.
        """
        return cls(
            os.path.join(model_dir, "bert_config.json"),
            os.path.join(model_dir, "vocab.txt"),
            model_dir,
            do_lower_case,
        )

    def fill(self, texts: Sequence[str], top_k: int = 5) -> list[list[list[Candidate]]]:
        """Finds the best pieces for every `[MASK]` of every text.

        A text is read as `[CLS] text [SEP]`, of segment 0. Each of its masks is filled
        on its own, while the others are masks still.

        Args:
          texts: Each with one `[MASK]` or more.
          top_k: How many pieces for each mask, at most those of the vocabulary.

        Returns:
          For each text, for each of its masks, the candidates, the likeliest first.

        Raises:
          DataError: A text is empty, without `[MASK]`, or too long for the model.
          ConfigError: `top_k` is below 1.
        """
        if top_k < 1:
            raise ConfigError(f"Expected top_k of at least 1, got {top_k}.")
        # All are checked before the model runs. They run one by one, without
        # padding, so that no text depends on another in its last bit.
        masked = [MaskedText.of(text) for text in texts]
        ids = [self._ids(text) for text in masked]
        return [
            self._candidates(text, row, top_k)
            for text, row in zip(masked, ids, strict=True)
        ]

    def probabilities(self, features: Mapping[str, Any]) -> np.ndarray:
        """Returns how likely each piece of the vocabulary is at some positions.

        Args:
          features: What `BertPretrainer` takes: int32 `input_ids` `[B, S]` and
            `masked_lm_positions` `[B, P]`, and optionally `input_mask` and
            `segment_ids` `[B, S]`.

        Returns:
          float32 `[B, P, V]`, each `[V]` adding up to 1.
        """
        outputs = self._model(dict(features))
        return tf.nn.softmax(outputs["masked_lm_logits"]).numpy()

    def _ids(self, text: MaskedText) -> np.ndarray:
        """Returns `input_ids` `[1, S]`."""
        pieces = text.tokenize(self._tokenizer)
        longest = self.config.max_position_embeddings
        if len(pieces) > longest - 2:
            raise DataError(
                f"Expected at most {longest - 2} pieces in a text, which with [CLS] "
                f"and [SEP] are the model's max_position_embeddings={longest}, got "
                f"{len(pieces)} in {text.text!r:.80}; shorten it."
            )
        ids = self._tokenizer.convert_tokens_to_ids(["[CLS]", *pieces, "[SEP]"])
        return np.array([ids], np.int32)

    def _candidates(
        self, text: MaskedText, ids: np.ndarray, top_k: int
    ) -> list[list[Candidate]]:
        mask = self._tokenizer.vocab["[MASK]"]
        positions = np.flatnonzero(ids[0] == mask).astype(np.int32)
        features = {"input_ids": ids, "masked_lm_positions": positions[None]}
        found = []
        for index, row in enumerate(self.probabilities(features)[0]):  # [V]
            best = np.argsort(-row, kind="stable")[:top_k]
            pieces = [(self._pieces[i], float(row[i])) for i in best]
            found.append([Candidate(*p, text.filled(index, p[0])) for p in pieces])
        return found
