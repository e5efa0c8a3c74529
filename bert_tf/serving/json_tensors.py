"""Requests and answers of TF Serving's REST API, from JSON to arrays and back.

Source: `FillPredictRequestFromJson` and `MakeJsonFromTensors` in
tensorflow_serving/util/json_tensor.cc, whose formats these are; the bounds are not
there.
"""

import base64
import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from bert_tf.errors import DataError
from bert_tf.serving.rows import is_binary, is_text
from bert_tf.serving.saved_model import SignatureSpec

_BASE64 = "b64"


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a request may hold.

    Attributes:
      max_rows: Texts, or rows of numbers.
      max_text_chars: Characters of a text, bytes of a binary one, numbers of a row.
    """

    max_rows: int
    max_text_chars: int


@dataclasses.dataclass(frozen=True)
class PredictRequest:
    """A request for a prediction.

    Attributes:
      signature: Its name.
      inputs: Name -> `[n, ...]`, strings as bytes.
      by_row: Whether it came as rows (`instances`), and is to be answered so.
    """

    signature: str
    inputs: dict[str, np.ndarray]
    by_row: bool


def parse_request(
    body: bytes | bytearray, signatures: Mapping[str, SignatureSpec], limits: Limits
) -> PredictRequest:
    """Returns what a body asks.

    Raises:
      DataError: It is not JSON, or asks what the model does not take.
    """
    content = _parsed(body)
    name = content.get("signature_name", "")
    if not isinstance(name, str):
        raise DataError(f"Expected a string as signature_name, got {_json_type(name)}.")
    name = name or tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
    if name not in signatures:
        raise DataError(
            f"Expected signature_name to be one of {', '.join(sorted(signatures))}, "
            f"got {name!r:.60}."
        )
    given = [key for key in ("instances", "inputs") if key in content]
    if len(given) != 1:
        raise DataError(
            "Expected one of the keys instances (rows) and inputs (columns), got "
            f"{'both' if given else 'neither'}."
        )
    specs = signatures[name].inputs
    by_row = given == ["instances"]
    columns = (_columns_of_rows if by_row else _columns)(content[given[0]], [*specs])
    inputs = {
        key: _array(columns[key], key, spec, limits) for key, spec in specs.items()
    }
    _check_together(inputs, specs)
    return PredictRequest(name, inputs, by_row)


def _parsed(body: bytes | bytearray) -> dict[str, Any]:
    try:
        content = json.loads(body.decode())
    except UnicodeDecodeError as error:
        raise DataError(
            f"Expected UTF-8, got other bytes at position {error.start}."
        ) from error
    except RecursionError as error:
        raise DataError("Expected JSON, got too many brackets in brackets.") from error
    except ValueError as error:  # no JSON, or a number of thousands of digits
        raise DataError(f"Expected JSON, got something else: {error}.") from error
    if not isinstance(content, dict):
        raise DataError(f"Expected a JSON object, got {_json_type(content)}.")
    return content


def _columns_of_rows(rows: Any, names: list[str]) -> dict[str, list[Any]]:
    """Returns the values of each input for `instances`."""
    if not isinstance(rows, list):
        raise DataError(f"Expected a list as instances, got {_json_type(rows)}.")
    if not rows:
        raise DataError("Expected one row or more in instances, got none.")
    if not _is_object(rows[0]):
        if len(names) > 1:
            raise DataError(
                f"Expected objects with {', '.join(names)} in instances, got "
                f"{_json_type(rows[0])}."
            )
        for row, value in enumerate(rows):
            if _is_object(value):
                raise DataError(
                    "Expected either values or objects in instances, got both: an "
                    f"object in row {row}."
                )
        return {names[0]: rows}
    for row, value in enumerate(rows):
        if not _is_object(value):
            raise DataError(
                f"Expected objects in instances, got {_json_type(value)} in row {row}."
            )
        _check_names(value, names, f"row {row} of instances")
    return {name: [row[name] for row in rows] for name in names}


def _columns(inputs: Any, names: list[str]) -> dict[str, Any]:
    """Returns the values of each input for `inputs`."""
    if _is_object(inputs):
        _check_names(inputs, names, "inputs")
        return inputs
    if len(names) > 1:
        raise DataError(
            f"Expected an object with {', '.join(names)} as inputs, got "
            f"{_json_type(inputs)}."
        )
    return {names[0]: inputs}


def _check_names(given: dict[str, Any], names: list[str], where: str) -> None:
    if given.keys() != set(names):
        got = ", ".join(sorted(given)) or "none"
        raise DataError(f"Expected {', '.join(names)} in {where}, got {got:.100}.")


def _is_object(value: Any) -> bool:
    """Returns whether a value has names of inputs, and is not one binary string."""
    return isinstance(value, dict) and value.keys() != {_BASE64}


def _array(value: Any, name: str, spec: tf.TensorSpec, limits: Limits) -> np.ndarray:
    """Returns an input's array.

    Args:
      value: Lists in lists, as deep as the array has dimensions.
      name: The input's.
      spec: Its dtype and shape.
      limits: What it may hold.
    """
    if not isinstance(value, list):
        raise DataError(f"Expected a list for {name}, got {_json_type(value)}.")
    if not 1 <= len(value) <= limits.max_rows:
        raise DataError(
            f"Expected from 1 to {limits.max_rows} rows for {name}, got {len(value)}."
        )
    sizes = [len(value), *spec.shape.as_list()[1:]]
    leaves: list[Any] = []

    def collect(part: Any, depth: int, row: int) -> None:
        if depth == len(sizes):
            leaves.append(_leaf(part, f"{name}, row {row}", spec.dtype, limits))
            return
        if not isinstance(part, list):
            raise DataError(
                f"Expected a list for {name}, row {row}, got {_json_type(part)}."
            )
        if len(part) > limits.max_text_chars:
            raise DataError(
                f"Expected at most {limits.max_text_chars} values for {name}, row "
                f"{row}, got {len(part)}."
            )
        if sizes[depth] is None:
            sizes[depth] = len(part)
        if sizes[depth] != len(part):
            raise DataError(
                f"Expected lists of one length for {name}, {sizes[depth]}, got "
                f"{len(part)} in row {row}."
            )
        for each in part:
            collect(each, depth + 1, row)

    for row, part in enumerate(value):
        collect(part, 1, row)
    shape = [size or 0 for size in sizes]
    return np.array(leaves, spec.dtype.as_numpy_dtype).reshape(shape)


def _leaf(value: Any, where: str, dtype: tf.DType, limits: Limits) -> Any:
    """Returns a string's bytes, a number or a truth value."""
    if dtype == tf.string:
        return _string(value, where, limits)
    if dtype == tf.bool and isinstance(value, bool):
        return value
    # Python's bool is an int, JSON's is not.
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if dtype.is_integer and is_number and isinstance(value, int):
        if not dtype.min <= value <= dtype.max:
            raise DataError(
                f"Expected whole numbers from {dtype.min} to {dtype.max} for {where}, "
                f"got {_number(value)}."
            )
        return value
    if dtype.is_floating and is_number:
        if math.inf > abs(value) > dtype.max:
            raise DataError(
                f"Expected numbers that {dtype.name} can hold for {where}, got "
                f"{_number(value)}."
            )
        return value
    kind = "true or false" if dtype == tf.bool else f"{dtype.name} numbers"
    got = _number(value) if is_number else _json_type(value)
    raise DataError(f"Expected {kind} for {where}, got {got}.")


def _string(value: Any, where: str, limits: Limits) -> bytes:
    if isinstance(value, dict) and isinstance(encoded := value.get(_BASE64), str):
        try:
            text: str | bytes = base64.b64decode(encoded, validate=True)
        except ValueError as error:
            raise DataError(
                f"Expected base64 in {_BASE64} for {where}, got something else."
            ) from error
    elif isinstance(value, str):
        text = value
    else:
        raise DataError(f"Expected a string for {where}, got {_json_type(value)}.")
    if len(text) > limits.max_text_chars:
        raise DataError(
            f"Expected at most {limits.max_text_chars} characters for {where}, got "
            f"{len(text)}."
        )
    try:
        return text.encode() if isinstance(text, str) else text
    except UnicodeEncodeError as error:
        raise DataError(
            f"Expected whole characters for {where}, got half of a surrogate pair."
        ) from error


def _check_together(
    inputs: dict[str, np.ndarray], specs: Mapping[str, tf.TensorSpec]
) -> None:
    """Raises a DataError unless all inputs have as many rows, and as wide ones.

    A batch pads each input to its widest request: what does not fit together alone
    might seem to fit in there.
    """
    first, *others = inputs
    for name in others:
        if len(inputs[name]) != len(inputs[first]):
            raise DataError(
                f"Expected as many rows for {name} as for {first}, got "
                f"{len(inputs[name])} and {len(inputs[first])}."
            )
    wide = [name for name, spec in specs.items() if spec.shape[1:] == [None]]
    for name in wide:
        if inputs[name].shape != inputs[wide[0]].shape:
            raise DataError(
                f"Expected rows of {name} as long as those of {wide[0]}, got "
                f"{inputs[name].shape[1]} and {inputs[wide[0]].shape[1]} values."
            )


def _number(value: int | float) -> str:
    """Returns a number as text; Python refuses that for some of very many digits."""
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a number of more than 20 digits"
    return repr(value)


def _json_type(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {bool: "true or false", str: "a string", list: "a list", dict: "an object"}
    return kinds.get(type(value), "a number")


def format_answer(outputs: Mapping[str, np.ndarray], by_row: bool) -> bytes:
    """Returns the body of an answer.

    Args:
      outputs: Name -> `[n, ...]`, strings as bytes.
      by_row: Whether to answer with rows (`predictions`) or columns (`outputs`). Where
        there is one output, its name is left out.
    """
    columns = {name: _values(name, array) for name, array in outputs.items()}
    if len(columns) == 1:
        [values] = columns.values()
        return _json_object("predictions" if by_row else "outputs", _json_list(values))
    if by_row:
        rows = (
            dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)
        )
        return _json_object("predictions", _json_list(rows))
    named = [f"{json.dumps(k)}: {_json_list(v)}" for k, v in columns.items()]
    return _json_object("outputs", f"{{{', '.join(named)}}}")


def _values(name: str, array: np.ndarray) -> list[Any]:
    if not is_text(array):
        return array.tolist()
    form = _in_base64 if is_binary(name) else _in_utf8
    return np.frompyfunc(form, 1, 1)(array).tolist()


def _in_base64(text: bytes) -> dict[str, str]:
    return {_BASE64: base64.b64encode(text).decode()}


def _in_utf8(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _json_list(values: Iterable[Any]) -> str:
    # One by one: other threads get their turn in between.
    each = (json.dumps(value, ensure_ascii=False) for value in values)
    return f"[{', '.join(each)}]"


def _json_object(key: str, value: str) -> bytes:
    return f'{{"{key}": {value}}}'.encode()
