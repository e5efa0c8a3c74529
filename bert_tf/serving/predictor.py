"""An export as a function of texts."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bert_tf.errors import ConfigError, DataError
from bert_tf.serving.rows import Rows, is_binary, is_text, run_in_batches
from bert_tf.serving.saved_model import SavedModel
from bert_tf.serving.texts import checked, utf8

# A SavedModel knows its inputs by name only; of two, these come first.
_FIRST_INPUTS = ("text_a", "question")


class Predictor:
    """An export, loaded once, that says of texts what its model says.

    Args:
      export_dir: What `--export_dir` of a run wrote: a folder with one folder per
        version, or such a folder itself.
      version: Which; the newest if None.
      signature: Which of the export's signatures of texts.
      batch_size: Texts that the model takes at a time.

    Attributes:
      inputs: The signature's inputs, in the order in which they are given.
      outputs: What it returns.

    Raises:
      ConfigError: There is no such export, version or signature of texts.
      DataError: The export is damaged.
    """

    def __init__(
        self,
        export_dir: str,
        version: int | None = None,
        signature: str = "serving_default",
        batch_size: int = 32,
    ):
        if batch_size < 1:
            raise ConfigError(
                f"Expected batch_size of at least 1, got {batch_size}; raise it."
            )
        self._model = SavedModel(export_dir, version)
        known = {
            name: each
            for name, each in self._model.signatures.items()
            if each.is_of_texts and len(each.inputs) in (1, 2)
        }
        if signature not in known:
            raise ConfigError(
                f"Expected signature to be one of {', '.join(sorted(known)) or 'none'}"
                f", which take texts in {self._model.path}, got {signature!r}; name "
                "one of these."
            )
        self._signature = signature
        self._specs = known[signature].outputs
        self._batch_size = batch_size
        self.inputs = tuple(
            sorted(
                known[signature].inputs,
                key=lambda name: (name not in _FIRST_INPUTS, name),
            )
        )
        self.outputs = tuple(self._specs)

    def __call__(
        self, texts: Iterable[Any], second: Iterable[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Returns what the model says of each text.

        Args:
          texts: n texts. If the signature takes two for each, such as `text_a` and
            `text_b` or `question` and `context`: the first ones, or n pairs.
          second: The second ones, unless `texts` are pairs.

        Returns:
          Name of an output -> `[n, ...]`, strings as `str`. Where a row's width depends
          on its text, narrower ones are filled up behind with "" or 0.

        Raises:
          DataError: Not lists of texts of one length, or of as many as the signature
            takes.
        """
        columns = self._columns(texts, second)
        rows = {
            name: np.array([utf8(text) for text in column], object)
            for name, column in zip(self.inputs, columns, strict=True)
        }
        if not columns[0]:
            return {name: _none_of(spec) for name, spec in self._specs.items()}
        outputs = run_in_batches(self._run, rows, self._batch_size)
        return {name: _decoded(name, array) for name, array in outputs.items()}

    def _run(self, rows: Rows) -> dict[str, np.ndarray]:
        return self._model.run(self._signature, rows)

    def _columns(
        self, texts: Iterable[Any], second: Iterable[str] | None
    ) -> list[list[str]]:
        """Returns the texts of each input."""
        if len(self.inputs) == 1:
            if second is not None:
                raise DataError(
                    f"Expected one list of texts, as {self._signature} takes only "
                    f"{self.inputs[0]}, got a second one; leave it out."
                )
            return [checked(texts)]
        if second is None:
            columns = _unpaired(texts, self.inputs)
        else:
            columns = [checked(texts), checked(second)]
        if len(columns[0]) != len(columns[1]):
            raise DataError(
                f"Expected as many texts for {self.inputs[1]} as for {self.inputs[0]}, "
                f"got {len(columns[1])} for {len(columns[0])}; add the missing ones."
            )
        return columns


def _unpaired(pairs: Iterable[Any], inputs: Sequence[str]) -> list[list[str]]:
    """Returns the first texts of pairs and the second ones."""
    pairs = [pairs] if isinstance(pairs, (str, bytes)) else list(pairs)
    for position, pair in enumerate(pairs):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise DataError(
                f"Expected pairs of {inputs[0]} and {inputs[1]}, got {pair!r:.60} at "
                f"position {position}; make it a pair, or give the second texts as a "
                "list of their own."
            )
    return [checked(pair[0] for pair in pairs), checked(pair[1] for pair in pairs)]


def _decoded(name: str, array: np.ndarray) -> np.ndarray:
    if not is_text(array) or is_binary(name):
        return array
    return np.frompyfunc(lambda text: text.decode("utf-8", "replace"), 1, 1)(array)


def _none_of(spec: Any) -> np.ndarray:
    """Returns an output of no rows."""
    sizes = spec.shape.as_list()[1:] if spec.shape.rank else []
    return np.zeros([0, *(size or 0 for size in sizes)], spec.dtype.as_numpy_dtype)
