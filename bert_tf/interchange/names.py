"""What Google and others call the same tensors: one table, read in both directions.

Google's names and shapes are the ones in the middle. Each row has Google's name, its
shape in letters, and what the others call it; `{}` stands for a block's number. How
others lay a tensor out follows from its kind alone, see `Row`.

Letters: V vocabulary, P positions, T segments, H hidden, I intermediate, L labels.
"""

import dataclasses
from collections.abc import Iterator, Mapping

from bert_tf.config import BertConfig

# Others than Google, in the order of the columns below.
HUGGING_FACE, DISTILBERT, KERAS_HUB, TF_MODELS = range(4)


@dataclasses.dataclass(frozen=True)
class Row:
    """One tensor.

    Attributes:
      google: Its name in Google's checkpoints.
      shape: Its shape there, a letter for each dimension.
      others: What it is called by Hugging Face's BERT and DistilBERT, KerasHub and
        tf-models-official; None by whoever has no such tensor.
      kind: `kernel`, `[in, out]`: Hugging Face has it transposed, and the Keras
        packages give the heads of attention an axis of their own; `labels`,
        `[out, in]`: the Keras packages have it transposed; `plain`: the same for all.
    """

    google: str
    shape: str
    others: tuple[str | None, ...]
    kind: str = "plain"

    @property
    def in_each_block(self) -> bool:
        """Returns whether each block of the encoder has one."""
        return "{}" in self.google


def _row(google: str, shape: str, *others: str | None, kind: str = "plain") -> Row:
    return Row(google, shape, others, kind)


def _pair(
    google: str, shape: str, leaves: str, torch_leaves: str, *others: str | None
) -> Iterator[Row]:
    """Yields the two rows of a layer; others' names are given without their leaves."""
    for leaf, torch_leaf in zip(leaves.split(), torch_leaves.split(), strict=True):
        names = [
            other and f"{other}{'.' + torch_leaf if column < KERAS_HUB else '/' + leaf}"
            for column, other in enumerate(others)
        ]
        kind = "kernel" if leaf == "kernel" else "plain"
        yield Row(
            f"{google}/{leaf}",
            shape if leaf == "kernel" else shape[-1],
            tuple(names),
            kind,
        )


def _dense(google: str, shape: str, *others: str | None) -> Iterator[Row]:
    return _pair(google, shape, "kernel bias", "weight bias", *others)


def _norm(google: str, *others: str | None) -> Iterator[Row]:
    return _pair(google, "H", "gamma beta", "weight bias", *others)


def _labels(google: str, *others: str | None) -> Iterator[Row]:
    weights, biases = zip(
        *(
            (other and other + weight, other and other + bias)
            for other, weight, bias in zip(
                others,
                (".weight", ".weight", "/kernel", "/kernel"),
                (".bias", ".bias", "/bias", "/bias"),
                strict=True,
            )
        ),
        strict=True,
    )
    yield Row(f"{google}output_weights", "LH", weights, "labels")
    yield Row(f"{google}output_bias", "L", biases)


_LAYER = "bert/encoder/layer_{}"
_THEIR_LAYER = "bert.encoder.layer.{}"
_DISTIL = "distilbert.transformer.layer.{}"
_HUB = "transformer_layer_{}"
_OFFICIAL = "encoder/_transformer_layers/{}"

ROWS: tuple[Row, ...] = (
    _row(
        "bert/embeddings/word_embeddings",
        "VH",
        "bert.embeddings.word_embeddings.weight",
        "distilbert.embeddings.word_embeddings.weight",
        "token_embedding/embeddings",
        "encoder/_embedding_layer/embeddings",
    ),
    _row(
        "bert/embeddings/token_type_embeddings",
        "TH",
        "bert.embeddings.token_type_embeddings.weight",
        None,
        "segment_embedding/embeddings",
        "encoder/_type_embedding_layer/embeddings",
    ),
    _row(
        "bert/embeddings/position_embeddings",
        "PH",
        "bert.embeddings.position_embeddings.weight",
        "distilbert.embeddings.position_embeddings.weight",
        "position_embedding/embeddings",
        "encoder/_position_embedding_layer/embeddings",
    ),
    *_norm(
        "bert/embeddings/LayerNorm",
        "bert.embeddings.LayerNorm",
        "distilbert.embeddings.LayerNorm",
        "embeddings_layer_norm",
        "encoder/_embedding_norm_layer",
    ),
    *(
        row
        for google, distil in (("query", "q"), ("key", "k"), ("value", "v"))
        for row in _dense(
            f"{_LAYER}/attention/self/{google}",
            "HH",
            f"{_THEIR_LAYER}.attention.self.{google}",
            f"{_DISTIL}.attention.{distil}_lin",
            f"{_HUB}/self_attention_layer/{google}",
            f"{_OFFICIAL}/_attention_layer/_{google}_dense",
        )
    ),
    *_dense(
        f"{_LAYER}/attention/output/dense",
        "HH",
        f"{_THEIR_LAYER}.attention.output.dense",
        f"{_DISTIL}.attention.out_lin",
        f"{_HUB}/self_attention_layer/attention_output",
        f"{_OFFICIAL}/_attention_layer/_output_dense",
    ),
    *_norm(
        f"{_LAYER}/attention/output/LayerNorm",
        f"{_THEIR_LAYER}.attention.output.LayerNorm",
        f"{_DISTIL}.sa_layer_norm",
        f"{_HUB}/self_attention_layer_norm",
        f"{_OFFICIAL}/_attention_layer_norm",
    ),
    *_dense(
        f"{_LAYER}/intermediate/dense",
        "HI",
        f"{_THEIR_LAYER}.intermediate.dense",
        f"{_DISTIL}.ffn.lin1",
        f"{_HUB}/feedforward_intermediate_dense",
        f"{_OFFICIAL}/_intermediate_dense",
    ),
    *_dense(
        f"{_LAYER}/output/dense",
        "IH",
        f"{_THEIR_LAYER}.output.dense",
        f"{_DISTIL}.ffn.lin2",
        f"{_HUB}/feedforward_output_dense",
        f"{_OFFICIAL}/_output_dense",
    ),
    *_norm(
        f"{_LAYER}/output/LayerNorm",
        f"{_THEIR_LAYER}.output.LayerNorm",
        f"{_DISTIL}.output_layer_norm",
        f"{_HUB}/feedforward_layer_norm",
        f"{_OFFICIAL}/_output_layer_norm",
    ),
    *_dense(
        "bert/pooler/dense",
        "HH",
        "bert.pooler.dense",
        None,
        "pooled_dense",
        "encoder/_pooler_layer",
    ),
    *_dense(
        "cls/predictions/transform/dense",
        "HH",
        "cls.predictions.transform.dense",
        "vocab_transform",
        "mlm_head/intermediate_dense",
        "masked_lm/dense",
    ),
    *_norm(
        "cls/predictions/transform/LayerNorm",
        "cls.predictions.transform.LayerNorm",
        "vocab_layer_norm",
        "mlm_head/intermediate_layer_norm",
        "masked_lm/layer_norm",
    ),
    _row(
        "cls/predictions/output_bias",
        "V",
        "cls.predictions.bias",
        "vocab_projector.bias",
        "mlm_head/output_bias",
        # Their attribute's name holds the slash.
        "masked_lm/output_bias.Sbias",
    ),
    *_labels("cls/seq_relationship/", "cls.seq_relationship", None, None, None),
    *_labels("", "classifier", "classifier", "logits", None),
    *_labels("cls/squad/", "qa_outputs", "qa_outputs", None, None),
)

_BY_GOOGLE = {row.google: row for row in ROWS}


def row_of(google: str) -> tuple[Row, int] | None:
    """Returns the row and the block's number of a tensor in Google's checkpoints.

    The number is 0 outside of blocks. None for a tensor that the table does not have,
    such as an optimizer's slot.
    """
    if google in _BY_GOOGLE:
        return _BY_GOOGLE[google], 0
    parts = google.split("/")
    if len(parts) > 3 and parts[2].startswith("layer_"):
        number = parts[2].removeprefix("layer_")
        parts[2] = "layer_{}"
        row = _BY_GOOGLE.get("/".join(parts))
        if row is not None and number.isdecimal():
            return row, int(number)
    return None


def expand(config: BertConfig) -> Iterator[tuple[Row, int]]:
    """Yields each row, and of those of the encoder's blocks one for each block."""
    for row in ROWS:
        blocks = config.num_hidden_layers if row.in_each_block else 1
        for block in range(blocks):
            yield row, block


def shape_of(row: Row, config: BertConfig, num_labels: int = 2) -> tuple[int, ...]:
    """Returns the shape that a tensor has in Google's checkpoints."""
    sizes: Mapping[str, int] = {
        "V": config.vocab_size,
        "P": config.max_position_embeddings,
        "T": config.type_vocab_size,
        "H": config.hidden_size,
        "I": config.intermediate_size,
        "L": num_labels,
    }
    return tuple(sizes[letter] for letter in row.shape)
