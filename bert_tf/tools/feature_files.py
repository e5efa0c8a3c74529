"""Files of features, in three formats: JSON Lines as the release's, npz, TFRecord.

Letters in shapes: n lines, S pieces of one of them, L layers, H hidden.
"""

import json
import zipfile
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bert_tf.data.records import write_serialized
from bert_tf.files import staged
from bert_tf.serving.features import TextFeatures

_DIGITS = 6  # of JSON, behind the point


def write_jsonl(
    path: str, features: Iterable[TextFeatures], layers: Sequence[int]
) -> None:
    """Writes a JSON object per line of text; the file appears when it is whole.

    `linex_index`, from 0, and `features`: for each piece its `token` and `layers`, for
    each of these its `index` and `values`. Of features that are pooled, `linex_index`
    and `values`.

    Source: `main` in extract_features.py of google-research/bert.
    """
    with staged(path) as staging, tf.io.gfile.GFile(staging, "w") as writer:
        for index, text in enumerate(features):
            line: dict[str, Any] = {"linex_index": index}
            # In float64 this is what Python's round gives: the product is exact.
            values = np.round(text.values.astype(np.float64), _DIGITS).tolist()
            if text.values.ndim == 1:
                line["values"] = values
            else:
                line["features"] = [
                    {
                        "token": token,
                        "layers": [
                            {"index": layer, "values": vector}
                            for layer, vector in zip(layers, vectors, strict=True)
                        ],
                    }
                    for token, vectors in zip(text.tokens, values, strict=True)
                ]
            writer.write(json.dumps(line) + "\n")


def write_tfrecord(
    path: str, features: Iterable[TextFeatures], layers: Sequence[int]
) -> None:
    """Writes a `tf.train.Example` per line of text; the file appears when it is whole.

    `linex_index`, one int64, and `values`, floats: `[S, L, H]` row by row, beside which
    there are `tokens`, S bytes in UTF-8, and `layers`, L int64; or `[H]` alone.
    """

    def examples() -> Iterable[bytes]:
        for index, text in enumerate(features):
            found = {
                "linex_index": _integers([index]),
                "values": tf.train.Feature(
                    float_list=tf.train.FloatList(value=text.values.ravel())
                ),
            }
            if text.values.ndim > 1:
                tokens = [token.encode() for token in text.tokens]
                found["tokens"] = tf.train.Feature(
                    bytes_list=tf.train.BytesList(value=tokens)
                )
                found["layers"] = _integers(layers)
            example = tf.train.Example(features=tf.train.Features(feature=found))
            # Maps have no order of their own; the same bytes every time.
            yield example.SerializeToString(deterministic=True)

    write_serialized(path, [examples()])


def _integers(values: Sequence[int]) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def write_npz(
    path: str,
    features: Iterable[TextFeatures],
    layers: Sequence[int],
    pooled_shape: tuple[int, int] | None,
) -> None:
    """Writes an archive of arrays for `numpy.load`; it appears when it is whole.

    For line 0 `0/tokens`, strings `[S]`, and `0/values`, float32 `[S, L, H]`, and so
    forth, each of which numpy reads alone; and `layers`, int64 `[L]`. Of features that
    are pooled, `values`, float32 `[n, H]`, and `layers`.

    Args:
      path: The file.
      features: Of each line.
      layers: What was asked for.
      pooled_shape: `(n, H)`; None if the features are not pooled.
    """
    with (
        staged(path) as staging,
        tf.io.gfile.GFile(staging, "wb") as file,
        zipfile.ZipFile(_Unseekable(file), "w") as archive,  # type: ignore[call-overload]
    ):

        def add(name: str, array: np.ndarray) -> None:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)

        add("layers", np.array(layers, np.int64))
        if pooled_shape is None:
            for index, text in enumerate(features):
                add(f"{index}/tokens", np.array(text.tokens))
                add(f"{index}/values", text.values)
            return
        with archive.open("values.npy", "w", force_zip64=True) as entry:
            header = {"descr": "<f4", "fortran_order": False, "shape": pooled_shape}
            np.lib.format.write_array_header_1_0(entry, header)
            for text in features:
                entry.write(text.values.astype("<f4").tobytes())


class _Unseekable:
    """A file of TensorFlow as zipfile wants it, which may be on any filesystem."""

    def __init__(self, file: Any):
        self._file = file
        self.flush = file.flush

    def write(self, data: bytes) -> int:
        self._file.write(bytes(data))
        return len(data)
