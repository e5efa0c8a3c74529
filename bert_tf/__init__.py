"""Google's original BERT release on TensorFlow 2 and Keras 3.

The names below are imported when they are first used, so that the command line
answers before TensorFlow is loaded.
"""

import importlib
from typing import Any

from bert_tf.version import __version__

_HOMES = {
    "BertClassifier": "bert_tf.modeling.models",
    "BertConfig": "bert_tf.config",
    "BertModel": "bert_tf.modeling.models",
    "BertPretrainer": "bert_tf.modeling.models",
    "BertSpanLabeler": "bert_tf.modeling.models",
    "BertTokenClassifier": "bert_tf.modeling.models",
    "CheckpointError": "bert_tf.errors",
    "ConfigError": "bert_tf.errors",
    "DataError": "bert_tf.errors",
    "FullTokenizer": "bert_tf.tokenization",
    "GraphTokenizer": "bert_tf.tokenization",
    "Predictor": "bert_tf.serving.predictor",
    "SentenceEncoder": "bert_tf.serving.sentence_encoder",
    "create_optimizer": "bert_tf.optimization",
    "load_checkpoint": "bert_tf.checkpoint",
    "save_checkpoint": "bert_tf.checkpoint",
}
_MODULES = (
    "checkpoint",
    "config",
    "data",
    "interchange",
    "losses",
    "modeling",
    "optimization",
    "serving",
    "tasks",
    "tokenization",
    "training",
)

__all__ = ["__version__", *_HOMES, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"bert_tf.{name}")
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'bert_tf' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
