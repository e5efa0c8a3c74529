"""Models as exports hold them."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf


class InferenceModel(tf.Module):
    def __init__(self, create_model, model, feature_names, **options):
        super().__init__()
        self._model = create_model()
        self._model.set_weights(model.get_weights())
        self._weights = [v.value for v in self._model.variables]
        specs = [tf.TensorSpec([None, None], tf.int32, name=n) for n in feature_names]
        self._names = feature_names
        self._run = tf.function(
            lambda *x: self._model(dict(zip(feature_names, x))),
            input_signature=specs,
            autograph=False,
        )

    def __call__(self, features):
        return self._run(*(features[name] for name in self._names))
