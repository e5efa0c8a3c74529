"""Google's tokenization, in Python and as TensorFlow ops.

Importing this package does not import TensorFlow: the Python tokenizer needs it only
to open the vocabulary file.
"""

from typing import TYPE_CHECKING, Any

from bert_tf.tokenization.conversion import (
    convert_by_vocab,
    convert_ids_to_tokens,
    convert_to_unicode,
    convert_tokens_to_ids,
    printable_text,
    whitespace_tokenize,
)
from bert_tf.tokenization.full_tokenizer import (
    BasicTokenizer,
    FullTokenizer,
    WordpieceTokenizer,
)
from bert_tf.tokenization.vocabulary import (
    check_casing,
    check_vocab,
    load_vocab,
    validate_case_matches_checkpoint,
)

if TYPE_CHECKING:
    from bert_tf.tokenization.graph_tokenizer import GraphTokenizer

__all__ = [
    "BasicTokenizer",
    "FullTokenizer",
    "GraphTokenizer",
    "WordpieceTokenizer",
    "check_casing",
    "check_vocab",
    "convert_by_vocab",
    "convert_ids_to_tokens",
    "convert_to_unicode",
    "convert_tokens_to_ids",
    "load_vocab",
    "printable_text",
    "validate_case_matches_checkpoint",
    "whitespace_tokenize",
]


def __getattr__(name: str) -> Any:
    if name == "GraphTokenizer":
        from bert_tf.tokenization.graph_tokenizer import GraphTokenizer

        return GraphTokenizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
