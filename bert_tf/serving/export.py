"""SavedModels that take raw strings and need nothing but TensorFlow and TF Text."""

import os
from typing import Any

import tensorflow as tf

from bert_tf.files import staging_path
from bert_tf.tasks.classification import ClassificationTask


class _ClassifierModule(tf.Module):
    """Texts to what the task's kind of label says of them."""

    def __init__(self, task: ClassificationTask, model: Any):
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
        signature = {"text_a": tf.TensorSpec([None], tf.string, name="text_a")}
        if task.is_pair:
            signature["text_b"] = tf.TensorSpec([None], tf.string, name="text_b")
        self.serve = tf.function(self._serve, input_signature=list(signature.values()))

    def _serve(
        self, text_a: tf.Tensor, text_b: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        features, windows = self._task.pack(text_a, text_b, pad_to_max=False)
        text = tf.repeat(tf.range(tf.size(windows)), windows)
        # The sum of a long text's thousands of windows is not exact in float32.
        logits = tf.cast(self._model(features), tf.float64)
        means = tf.math.unsorted_segment_mean(logits, text, tf.size(windows))
        return self._task.kind.serve(tf.cast(means, tf.float32))


def export_classifier(task: ClassificationTask, model: Any, export_dir: str) -> str:
    """Writes a SavedModel into the next free `export_dir/<version>/`.

    `serving_default` takes `text_a` `[n]` (pair tasks: also `text_b` `[n]`, empty
    strings for none) and returns `label` `[n]`, the name of the likeliest; `labels`
    `[n, L]`, all names; `probabilities` float32 `[n, L]`. Where a text can have several
    labels there is no `label`; where labels are numbers there is only `score` float32
    `[n]`. A batch is padded to its longest row, at most to the length that the model
    was trained with; what becomes of longer texts is the task's `long_text`.

    Args:
      task: Labels, tokenizer and length.
      model: The trained classifier.
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
    module = _ClassifierModule(task, model)
    tf.saved_model.save(
        module,
        staged,
        signatures={"serving_default": module.serve.get_concrete_function()},
    )
    tf.io.gfile.rename(staged, version)
    return version
