"""Google's variable names, read off Keras paths.

The layers of `bert_tf.modeling` are nested and named such that a variable's Keras
path, less the path of the bert_tf model that holds it, *is* its name in Google's
checkpoints. That name is noted on the variable once, when its model is built, so
that it is the same wherever the model later sits: beside a second instance, inside a
user's own model, under a distribution strategy.
"""

from collections.abc import Iterable
from typing import Any


def name_variables(model: Any) -> None:
    """Notes on each variable of a built bert_tf model its name in a checkpoint."""
    prefix = model.path + "/"
    for variable in model.variables:
        if not variable.path.startswith(prefix):
            raise ValueError(
                f"Expected {variable.path} to lie below {model.path}; its layer was "
                "built outside the model's build()."
            )
        variable.google_name = variable.path.removeprefix(prefix)


def google_name(variable: Any) -> str:
    """Returns a variable's name in a checkpoint; its path if it is not ours."""
    return getattr(variable, "google_name", variable.path)


def by_google_name(variables: Iterable[Any]) -> dict[str, Any]:
    """Returns `{name in a checkpoint: variable}`.

    Raises:
      ValueError: Two variables share a name, as when one Keras model holds two BERT
        models; each must then be loaded and saved by itself.
    """
    named: dict[str, Any] = {}
    for variable in variables:
        name = google_name(variable)
        if name in named:
            raise ValueError(
                f"Expected one variable called {name}, found two: {named[name].path} "
                f"and {variable.path}; load and save each bert_tf model by itself."
            )
        named[name] = variable
    return named
