"""Vectors of texts, or of each of their pieces, by a pretrained encoder.

Letters in shapes: B batch, S sequence, L layers that are asked for, H hidden.
"""

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from bert_tf.config import BertConfig
from bert_tf.errors import ConfigError
from bert_tf.modeling import kernels
from bert_tf.modeling.models import BertModel
from bert_tf.serving.inference import PRECISIONS, check_choice
from bert_tf.serving.pretrained import load_pretrained
from bert_tf.serving.texts import utf8
from bert_tf.tasks.servable import ROW_FEATURES
from bert_tf.tokenization.graph_tokenizer import GraphTokenizer

POOLINGS = ("none", "cls", "mean", "max")

# Texts are sorted by length among so many, or fewer where their vectors are large.
_BATCHES_AT_ONCE = 64
_BYTES_AT_ONCE = 256 * 2**20

# A text, and the second one of a pair or None.
Text = tuple[str, str | None]


@dataclasses.dataclass(frozen=True)
class TextFeatures:
    """What an encoder makes of a text or pair.

    Attributes:
      tokens: Its S pieces, from `[CLS]` to the last `[SEP]`.
      values: float32: `[S, L, H]`, layers in the order asked for; with a pooling `[H]`.
    """

    tokens: list[str]
    values: np.ndarray


class FeatureExtractor:
    """A pretrained encoder that turns texts into vectors, without dropout.

    It runs under the strategy in whose scope it is made; each batch is split over the
    replicas. A batch is as long as its longest text. On one CPU layers are spelled as
    TensorFlow fuses them there.

    Args:
      bert_config_file: The model's `bert_config.json`.
      vocab_file: Its `vocab.txt`.
      init_checkpoint: Its checkpoint, as for `find_checkpoint`.
      do_lower_case: Whether texts are lower-cased and accents stripped; as the model
        was pretrained.
      check_casing: Whether it is an error when names or vocabulary plainly contradict
        `do_lower_case`.
      layers: Which of the encoder's blocks, 0 being the first and -1 the last.
      pooling: `none` for the vectors of all pieces in each of `layers`. Otherwise one
        vector per text, of the mean of `layers`: `cls`, that of `[CLS]`; `mean` and
        `max`, over all pieces, `[CLS]` and `[SEP]` included.
      max_seq_length: Most pieces of a text or pair, special ones included; longer ones
        are cut as in the release.
      batch_size: Texts that the model takes at a time.
      precision: `float32`, or `bfloat16`: computed and stored so, but embeddings are
        added up, and softmax and the statistics of LayerNorm taken, in float32.
      use_one_hot_embeddings: Whether words are looked up by a matmul, for TPUs.

    Raises:
      CheckpointError: The checkpoint is missing, damaged or of other sizes, or lacks
        parts of the encoder.
      ConfigError: An argument is out of range; config and vocabulary do not fit each
        other or `do_lower_case`.
      DataError: The vocabulary is missing or damaged.

    Source: `model_fn_builder` in extract_features.py of google-research/bert.
    """

    def __init__(
        self,
        bert_config_file: str,
        vocab_file: str,
        init_checkpoint: str,
        do_lower_case: bool = True,
        check_casing: bool = True,
        *,
        layers: Sequence[int] = (-1,),
        pooling: str = "none",
        max_seq_length: int = 128,
        batch_size: int = 32,
        precision: str = "float32",
        use_one_hot_embeddings: bool = False,
    ):
        self.layers = tuple(layers)
        self.pooling = pooling
        self.max_seq_length = max_seq_length
        self.batch_size = batch_size
        self.precision = precision
        self.use_one_hot_embeddings = use_one_hot_embeddings
        # Weights are read once all else is known to be right.
        self._model, vocab = load_pretrained(
            self._create_model,
            bert_config_file,
            vocab_file,
            init_checkpoint,
            do_lower_case,
            check_casing,
            parts="the encoder",
            others=("bert/pooler/",),
            advice="without which it would be random; name another --init_checkpoint",
        )
        self.config = self._model.config
        self._pieces = list(vocab)
        self._tokenizer = GraphTokenizer(vocab_file, do_lower_case)
        self._strategy = tf.distribute.get_strategy()
        # A TPU compiles for one shape; elsewhere one trace serves all.
        self._is_static = isinstance(self._strategy, tf.distribute.TPUStrategy)
        shape: list[int | None] = [None, None]
        if self._is_static:
            shape = [self._shared(batch_size), max_seq_length]
        spec = tf.TensorSpec(shape, tf.int32)
        self._run = tf.function(
            lambda *features: self._strategy.run(self._replica_values, features),
            input_signature=[spec] * 3,
        )

    def extract(
        self,
        texts: Iterable[Text],
        on_progress: Callable[[int], None] = lambda count: None,
    ) -> Iterator[TextFeatures]:
        """Yields the features of each text or pair, in their order.

        Texts are read and held some at a time, whose vectors take at most 256 MB or
        are of one batch.

        Args:
          texts: `(text, None)`, or the two texts of a pair.
          on_progress: Called after each batch with its number of texts.
        """
        size = self.config.hidden_size * np.float32().nbytes
        if self.pooling == "none":
            size *= self.max_seq_length * len(self.layers)
        batches = _BYTES_AT_ONCE // (size * self.batch_size)
        at_once = self.batch_size * min(max(batches, 1), _BATCHES_AT_ONCE)
        texts = iter(texts)
        while some := list(itertools.islice(texts, at_once)):
            yield from self._extract(some, on_progress)

    def _extract(
        self, texts: list[Text], on_progress: Callable[[int], None]
    ) -> list[TextFeatures]:
        text_a = [utf8(text) for text, _ in texts]
        text_b = None
        if any(second is not None for _, second in texts):
            text_b = [utf8(second or "") for _, second in texts]
        packed = self._tokenizer.pack(
            text_a, text_b, self.max_seq_length, pad_to_max=False
        )
        ids, mask, segments = (packed[name].numpy() for name in ROW_FEATURES)
        lengths = mask.sum(axis=1)
        # The longest first: what they take of memory is then known at once.
        order = np.argsort(-lengths, kind="stable")
        found: dict[int, TextFeatures] = {}
        for start in range(0, len(texts), self.batch_size):
            rows = order[start : start + self.batch_size]
            longest = lengths[rows[0]]
            values = self._values(*(x[rows, :longest] for x in (ids, mask, segments)))
            for row, value in zip(rows, values, strict=True):
                real = lengths[row]
                if self.pooling == "none":
                    value = value[:real].copy()  # lest all of the batch is kept
                found[row] = TextFeatures(
                    [self._pieces[index] for index in ids[row, :real]], value
                )
            on_progress(len(rows))
        return [found[row] for row in range(len(texts))]

    def _values(self, *features: np.ndarray) -> np.ndarray:
        """Returns float32 `[B, S, L, H]` or `[B, H]` for int32 `[B, S]`."""
        count, length = features[0].shape
        rows = self._shared(self.batch_size if self._is_static else count)
        width = self.max_seq_length if self._is_static else length
        # The last row again makes up for those that are missing.
        more = np.arange(rows).clip(max=count - 1)
        filled = [np.pad(x[more], [(0, 0), (0, width - length)]) for x in features]
        values = self._strategy.experimental_local_results(self._run(*filled))
        return np.concatenate([value.numpy() for value in values])[:count]

    def _shared(self, rows: int) -> int:
        """Returns the least number of rows, from `rows` on, for equal shares."""
        replicas = self._strategy.num_replicas_in_sync
        return math.ceil(rows / replicas) * replicas

    def _replica_values(self, *features: tf.Tensor) -> tf.Tensor:
        """Returns the values of a replica's share of the rows `[B, S]`."""
        context = tf.distribute.get_replica_context()
        shares = [context.num_replicas_in_sync, -1, tf.shape(features[0])[1]]
        ids, mask, segments = (
            tf.reshape(x, shares)[context.replica_id_in_sync_group] for x in features
        )
        # Batches differ in their rows, as what is fused for CPUs asks for.
        on_cpu = _has_only_cpus() and context.num_replicas_in_sync == 1
        with kernels.fused_for_cpu() if on_cpu else contextlib.nullcontext():
            outputs = self._model(
                {"input_ids": ids, "input_mask": mask, "segment_ids": segments}
            )
        layers = [
            tf.cast(outputs["encoder_layers"][index], tf.float32)
            for index in self.layers
        ]
        if self.pooling == "none":
            return tf.stack(layers, axis=2)
        return pooled(tf.add_n(layers) / len(layers), mask, self.pooling)

    def _create_model(self, config: BertConfig) -> BertModel:
        check_choice("pooling", self.pooling, POOLINGS)
        check_choice("precision", self.precision, PRECISIONS)
        count = config.num_hidden_layers
        wrong = [index for index in self.layers if not -count <= index < count]
        if wrong or not self.layers:
            raise ConfigError(
                f"Expected layers from {-count} to {count - 1}, as the model has "
                f"{count}, got {wrong[0] if wrong else 'none'}; name layers that it "
                "has."
            )
        if not 3 <= self.max_seq_length <= config.max_position_embeddings:
            raise ConfigError(
                "Expected max_seq_length from 3 to max_position_embeddings="
                f"{config.max_position_embeddings}, got {self.max_seq_length}; change "
                "it."
            )
        if self.batch_size < 1:
            raise ConfigError(
                f"Expected batch_size of at least 1, got {self.batch_size}; raise it."
            )
        # Weights are stored in it too: they are not trained, and a cast takes time.
        return BertModel(
            config,
            dtype=self.precision,
            use_one_hot_embeddings=self.use_one_hot_embeddings,
        )


def _has_only_cpus() -> bool:
    return all(
        device.device_type == "CPU" for device in tf.config.list_logical_devices()
    )


def pooled(x: tf.Tensor, mask: tf.Tensor, pooling: str) -> tf.Tensor:
    """Returns `[B, H]` for `x [B, S, H]`, of the positions where `mask [B, S]` is 1."""
    if pooling == "cls":
        return x[:, 0]
    is_real = tf.equal(mask, 1)[:, :, tf.newaxis]
    if pooling == "max":
        return tf.reduce_max(tf.where(is_real, x, x.dtype.min), axis=1)
    weights = tf.cast(is_real, x.dtype)
    return tf.reduce_sum(x * weights, axis=1) / tf.reduce_sum(weights, axis=1)
