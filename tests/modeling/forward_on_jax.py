"""What the models compute on Keras' JAX backend.

A program rather than a test, since a process has its backend for life; tests/modeling/
test_jax_backend.py runs it.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bert_tf import modeling
from bert_tf.errors import ConfigError
from bert_tf.naming import by_google_name
from tests.serving.inference_models import CONFIG, batch

MODELS: dict[str, dict[str, Any]] = {
    "BertModel": {},
    "BertPretrainer": {},
    "BertClassifier": {"num_labels": 3},
    "BertSpanLabeler": {},
    "BertTokenClassifier": {"num_labels": 3},
}
FEATURES = {
    **batch(3, 9),
    "masked_lm_positions": np.array([[1, 2], [8, 3], [0, 4]], np.int32),
}


def create(dtype: str = "float32") -> dict[str, Any]:
    """Returns `MODELS` by name, with fresh weights."""
    return {
        name: getattr(modeling, name)(CONFIG, dtype=dtype, **options)
        for name, options in MODELS.items()
    }


def arrays(outputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns each of the models' outputs, float32, under a name of its own."""
    return {
        f"{name}/{index}": keras.ops.convert_to_numpy(x).astype(np.float32)
        for name, of_model in outputs.items()
        for index, x in enumerate(keras.tree.flatten(of_model))
    }


def main(folder: Path) -> None:
    """Writes the outputs for the weights in `weights.npz`, by way of computing them."""
    import jax

    stored = np.load(folder / "weights.npz")
    for dtype in ("mixed_bfloat16", "float32"):
        models = create(dtype)
        for name, model in models.items():
            for key, variable in by_google_name(model.variables).items():
                variable.assign(stored[f"{name}/{key}"])

        def forward(
            weights: Any, features: Any, models: dict[str, Any] = models
        ) -> dict[str, Any]:
            return {
                name: model.stateless_call(weights[name], [], features)[0]
                for name, model in models.items()
            }

        weights = {
            name: [variable.value for variable in model.variables]
            for name, model in models.items()
        }
        outputs = jax.jit(forward)(weights, FEATURES)
        np.savez(folder / f"{dtype}.npz", **arrays(outputs))
    # Op after op, of one model, since JAX compiles each of them.
    model = models["BertClassifier"]
    np.savez(folder / "eager.npz", **arrays({"BertClassifier": model(FEATURES)}))
    try:
        model(FEATURES, training=True)
        refusal = ""
    except ConfigError as error:
        refusal = str(error)
    modules = sorted({name.split(".")[0] for name in sys.modules})
    print(json.dumps({"refusal": refusal, "modules": modules}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
