"""Google's BERT graph as Keras 3 layers; variables carry Google's names."""

from bert_tf.modeling.models import (
    BertClassifier,
    BertModel,
    BertPretrainer,
    BertSpanLabeler,
    BertTokenClassifier,
)

__all__ = [
    "BertClassifier",
    "BertModel",
    "BertPretrainer",
    "BertSpanLabeler",
    "BertTokenClassifier",
]
