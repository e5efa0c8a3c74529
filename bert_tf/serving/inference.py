"""A trained model as exports hold it: one function, in a precision and a spelling."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bert_tf.errors import ConfigError
from bert_tf.modeling import kernels
from bert_tf.tasks.servable import ROW_FEATURES

PRECISIONS = ("float32", "bfloat16")
_TARGETS = ("any", "cpu")
_BESIDE_QUERY = ("key", "value")

# A graph is one protocol buffer, which holds 2 GiB; the rest is for a vocabulary.
_MOST_CONSTANT_BYTES = 2**31 - 2**26


class InferenceModel(tf.Module):
    """What `inference_model` makes.

    All signatures of an export that call it share one function of its graph, so that
    constants are written once.
    """

    def __init__(
        self, run: Any, model_features: Sequence[str], variables: Sequence[tf.Variable]
    ):
        super().__init__()
        self._run = run
        self._model_features = tuple(model_features)
        # TensorFlow's own: found through Keras they load in TensorFlow 2 but not in a
        # TF1-style session, which is what TF Serving runs.
        self._weights = list(variables)

    def __call__(self, features: Mapping[str, Any]) -> Any:
        """Returns what the model does, without dropout.

        Args:
          features: At least those that it was made for, integers `[B, S]`, and
            `masked_lm_positions` `[B, P]`.
        """
        return self._run(
            *(tf.cast(features[name], tf.int32) for name in self._model_features)
        )


def inference_model(
    create_model: Callable[..., keras.Model],
    model: keras.Model,
    model_features: Sequence[str] = ROW_FEATURES,
    *,
    precision: str = "float32",
    freeze: bool = False,
    target: str = "any",
) -> InferenceModel:
    """Returns a model's forward pass with the weights that it has now.

    Args:
      create_model: Makes such a model, given `dtype`.
      model: The trained one; its variables may belong to a strategy.
      model_features: What the model takes, of any batch and length.
      precision: `float32`, or `bfloat16`: computed as with `mixed_bfloat16`, and all
        stored so, tables of embeddings included, but LayerNorm's weights and those of
        logits.
      freeze: Whether weights are constants of the graph, which oneDNN brings into its
        own layout once, instead of variables.
      target: `cpu` for spellings that TensorFlow's optimizer fuses on CPUs, `any` for
        those that are good on all devices.

    Raises:
      ConfigError: Unknown `precision` or `target`, or weights that are too large to be
        constants.
    """
    check_choice("precision", precision, PRECISIONS)
    check_choice("target", target, _TARGETS)
    # A copy outside any strategy. Only its layers are used, not its variables.
    layers = create_model(dtype=kernels.POLICIES[precision])
    weights: dict[str, Any] = {
        variable.path: value.astype(_stored_dtype(variable, precision).as_numpy_dtype)
        for variable, value in zip(layers.weights, model.get_weights(), strict=True)
    }
    merged = _merge(weights) if target == "cpu" else ()
    if freeze:
        _check_size(sum(weight.nbytes for weight in weights.values()), precision)
    else:
        weights = {
            path: tf.Variable(weight, name=path.split("/")[-1])
            for path, weight in weights.items()
        }

    def run(*features: tf.Tensor) -> Any:
        # A TF1-style session forgets of what rank its inputs are, and without it some
        # spellings are not recognised.
        ranked = (tf.ensure_shape(feature, [None, None]) for feature in features)
        values = {path: tf.convert_to_tensor(x) for path, x in weights.items()}
        scope = keras.StatelessScope()
        for variable in layers.weights:
            if variable.path in values.keys() - merged:
                # The scope's constructor would cast it to the variable's dtype.
                scope.add_update((variable, values[variable.path]))
        fused: Any = contextlib.nullcontext()
        if target == "cpu":
            fused = kernels.fused_for_cpu({path: values[path] for path in merged})
        with scope, fused:
            return layers(dict(zip(model_features, ranked, strict=True)))

    signature = [tf.TensorSpec([None, None], tf.int32, name) for name in model_features]
    function = tf.function(run, input_signature=signature, autograph=False)
    return InferenceModel(
        function.get_concrete_function(),
        model_features,
        [] if freeze else list(weights.values()),
    )


def _merge(weights: dict[str, np.ndarray]) -> set[str]:
    """Puts the weights of key and value beside those of the query: one matmul of three.

    Args:
      weights: By path; those of keys and values are taken out.

    Returns:
      The paths of what is now of all three.
    """
    merged = set()
    for path in list(weights):
        if "/self/query/" in path:
            three = [path, *(path.replace("/query/", f"/{x}/") for x in _BESIDE_QUERY)]
            weights[path] = np.concatenate([weights.pop(x) for x in three], axis=-1)
            merged.add(path)
    return merged


def _stored_dtype(variable: Any, precision: str) -> tf.DType:
    """Returns the dtype that a weight's layer takes it in, or could as well."""
    is_rounded = variable.name in ("kernel", "bias") or variable.name.endswith(
        "_embeddings"
    )
    return tf.bfloat16 if precision == "bfloat16" and is_rounded else tf.float32


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    """Raises a ConfigError if an argument is none of the values that are known."""
    if value not in known:
        raise ConfigError(
            f"Expected {name} to be one of {', '.join(known)}, got {value!r}."
        )


def _check_size(size: int, precision: str) -> None:
    if size > _MOST_CONSTANT_BYTES:
        smaller = " or --precision=bfloat16" if precision == "float32" else ""
        raise ConfigError(
            f"Expected weights of at most {_MOST_CONSTANT_BYTES / 1e9:.2f} GB to "
            "freeze, which is what the graph of a SavedModel can hold, got "
            f"{size / 1e9:.2f} GB; export with --nofreeze{smaller}."
        )
