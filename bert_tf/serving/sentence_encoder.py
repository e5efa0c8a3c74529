"""One vector per text, by a pretrained encoder: for search, clusters, comparisons."""

import os
from collections.abc import Iterable, Sequence

import numpy as np

from bert_tf.errors import ConfigError
from bert_tf.serving.features import POOLINGS, FeatureExtractor
from bert_tf.serving.texts import checked
from bert_tf.training.reporting import row_bar

_SMALLEST_NORM = 1e-12


class SentenceEncoder:
    """A pretrained encoder that returns one vector per text.

    Args:
      model_dir: A folder with `bert_config.json`, `vocab.txt` and a checkpoint. Needed
        unless the three files are named.
      bert_config_file: The model's config, if not that of `model_dir`.
      vocab_file: Its vocabulary, if not that of `model_dir`.
      init_checkpoint: Its checkpoint, as for `find_checkpoint`, if not the newest of
        `model_dir`.
      pooling: What becomes of a text's pieces: `mean` or `max` over all of them,
        `[CLS]` and `[SEP]` included, or `cls`, the vector of `[CLS]`.
      layers: The encoder's blocks whose mean is taken before, 0 being the first and -1
        the last.
      max_seq_length: Most pieces of a text, special ones included; what is beyond is
        left out.
      do_lower_case: Whether texts are lower-cased and accents stripped; as the model
        was pretrained.
      check_casing: Whether it is an error when names or vocabulary plainly contradict
        `do_lower_case`.
      batch_size: Texts that the model takes at a time.
      precision: What the model computes in and is stored in, `float32` or `bfloat16`.
      normalize: Whether vectors are scaled to length 1, so that their dot products are
        cosines.

    Raises:
      CheckpointError, ConfigError, DataError: As for `FeatureExtractor`, which it is
        made of.
    """

    def __init__(
        self,
        model_dir: str | None = None,
        *,
        bert_config_file: str | None = None,
        vocab_file: str | None = None,
        init_checkpoint: str | None = None,
        pooling: str = "mean",
        layers: Sequence[int] = (-1,),
        max_seq_length: int = 128,
        do_lower_case: bool = True,
        check_casing: bool = True,
        batch_size: int = 32,
        precision: str = "float32",
        normalize: bool = False,
    ):
        if not model_dir and not (bert_config_file and vocab_file and init_checkpoint):
            raise ConfigError(
                "Expected a model_dir, or bert_config_file, vocab_file and "
                "init_checkpoint, got neither; name the folder of a pretrained model."
            )
        if pooling == "none":
            raise ConfigError(
                f"Expected pooling to be one of {', '.join(POOLINGS[1:])}, got 'none', "
                "which leaves a vector per piece; use FeatureExtractor for these."
            )
        folder = str(model_dir or "")
        self.normalize = normalize
        self._extractor = FeatureExtractor(
            bert_config_file or os.path.join(folder, "bert_config.json"),
            vocab_file or os.path.join(folder, "vocab.txt"),
            init_checkpoint or folder,
            do_lower_case,
            check_casing,
            layers=layers,
            pooling=pooling,
            max_seq_length=max_seq_length,
            batch_size=batch_size,
            precision=precision,
        )

    def encode(self, texts: Iterable[str], show_progress: bool = False) -> np.ndarray:
        """Returns the vectors of texts, in their order.

        Args:
          texts: n texts. An empty one is read as `[CLS] [SEP]`.
          show_progress: Whether to show a bar, if stderr is a terminal.

        Returns:
          float32 `[n, H]`.

        Raises:
          DataError: Not a list of texts.
        """
        texts = checked(texts)
        vectors = np.empty((len(texts), self._extractor.config.hidden_size), np.float32)
        with row_bar("encoding", len(texts), "texts", shown=show_progress) as bar:
            pairs = ((text, None) for text in texts)
            for row, features in enumerate(self._extractor.extract(pairs, bar.update)):
                vectors[row] = features.values
        if self.normalize:
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors /= np.maximum(norms, _SMALLEST_NORM)
        return vectors
