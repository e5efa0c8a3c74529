"""SavedModels that take raw strings and need nothing but TensorFlow and TF Text."""

import os
from typing import Any

import tensorflow as tf

from bert_tf.files import staging_path
from bert_tf.tasks.task import FineTuningTask


class _ServingModule(tf.Module):
    """Strings to what a task says of them."""

    def __init__(self, task: FineTuningTask, model: Any):
        super().__init__()
        # A copy outside any strategy, whose variables are plain ones.
        self._model = task.create_model()
        self._model.set_weights(model.get_weights())
        # The TensorFlow variables themselves: found through Keras alone they load
        # in TensorFlow 2 but not in a TF1-style session, which is what TF Serving
        # runs.
        self._weights = [v.value for v in self._model.variables]
        self._tokenizer = task.tokenizer  # to be found by the SavedModel's writer
        self._task = task
        self.serve = tf.function(
            self._serve, input_signature=list(task.serving_inputs), autograph=False
        )

    def _serve(self, *inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._task.serve(self._model, *inputs)


def export(task: FineTuningTask, model: Any, export_dir: str) -> str:
    """Writes a SavedModel into the next free `export_dir/<version>/`.

    Its signature `serving_default` takes the task's `serving_inputs` and returns what
    its `serve` does. A batch is padded to its longest row, at most to the length that
    the model was trained with.

    Args:
      task: Labels, tokenizer and length.
      model: The trained model.
      export_dir: Holds one folder per version, as TF Serving expects.

    Returns:
      The version's folder.
    """
    tf.io.gfile.makedirs(export_dir)
    taken = [
        int(name.rstrip("/"))
        for name in tf.io.gfile.listdir(export_dir)
        if name.rstrip("/").isdecimal()
    ]
    version = os.path.join(export_dir, str(max(taken, default=0) + 1))
    # TF Serving loads a numbered folder as soon as it appears: it must be whole.
    staged = staging_path(version)
    module = _ServingModule(task, model)
    tf.saved_model.save(
        module,
        staged,
        signatures={"serving_default": module.serve.get_concrete_function()},
    )
    tf.io.gfile.rename(staged, version)
    return version
