"""The weights of a Hugging Face folder, in whichever files they are."""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from bert_tf.errors import CheckpointError
from bert_tf.interchange.json_files import read_json
from bert_tf.interchange.torch_files import read_torch_file

_FILES = ("model.safetensors", "pytorch_model.bin")


def file_of(folder: str, name: str) -> str:
    """Returns the path of a file of a folder; a CheckpointError if it is not there."""
    path = os.path.join(folder, name)
    if not os.path.isfile(path):
        held = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        if "tf_model.h5" in held and name in _FILES:
            raise CheckpointError(
                f"Expected {name} in {folder}, found only tf_model.h5, which "
                "transformers 4 alone reads; open it there as a PyTorch model "
                "(from_pretrained(..., from_tf=True)), and save that."
            )
        raise CheckpointError(
            f"Expected {name} in {folder}, found none; name the folder of a Hugging "
            "Face BERT model."
        )
    return path


class _Lazy(Mapping[str, np.ndarray]):
    """Tensors that are read when they are asked for."""

    def __init__(self, readers: Mapping[str, Callable[[], np.ndarray]]):
        self._readers = readers

    def __getitem__(self, name: str) -> np.ndarray:
        return self._readers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


def open_weights(folder: str) -> Mapping[str, np.ndarray]:
    """Returns the tensors of a folder, by name, each read when it is asked for.

    Args:
      folder: With `model.safetensors` or `pytorch_model.bin`, or the index of either's
        shards, beside it.

    Raises:
      CheckpointError: There are none, or a file is damaged or missing; also later, when
        a tensor is read.
      ConfigError: The index of the shards is damaged.
    """
    return _Lazy(_find_weights(folder))


def _find_weights(folder: str) -> dict[str, Callable[[], np.ndarray]]:
    """Returns what reads each tensor of a folder, by its name."""
    for name in _FILES:
        open_file = _open_safetensors if name.endswith("tensors") else _open_torch
        if os.path.isfile(os.path.join(folder, name)):
            return open_file(os.path.join(folder, name))
        index = os.path.join(folder, f"{name}.index.json")
        if os.path.isfile(index):
            return _open_shards(folder, index, open_file)
    return _open_safetensors(file_of(folder, _FILES[0]))  # which says what is missing


def _open_shards(
    folder: str, index: str, open_file: Callable[[str], dict[str, Any]]
) -> dict[str, Callable[[], np.ndarray]]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(
        isinstance(name, str) for name in places.values()
    ):
        raise CheckpointError(
            f"Expected the shard of each tensor in {index}, by weight_map, found none; "
            "fetch it again."
        )
    shards = {}
    for name in sorted(set(places.values())):
        path = os.path.join(folder, name)
        # It may not lead out of the folder.
        if os.path.basename(name) != name or not os.path.isfile(path):
            raise CheckpointError(
                f"Expected the shard {name} that {index} names in {folder}, found "
                "none; fetch it as well."
            )
        shards[name] = open_file(path)
    for tensor, name in places.items():
        if tensor not in shards[name]:
            raise CheckpointError(
                f"Expected {tensor} in {os.path.join(folder, name)}, as {index} says, "
                "found none; fetch both again."
            )
    return {tensor: shards[name][tensor] for tensor, name in places.items()}


def _open_safetensors(path: str) -> dict[str, Callable[[], np.ndarray]]:
    from safetensors import SafetensorError, safe_open

    def damaged(error: Exception) -> CheckpointError:
        return CheckpointError(
            f"Expected a whole safetensors file at {path}, found damage ({error}); "
            "fetch it again."
        )

    try:
        file = safe_open(path, framework="numpy")
        names = list(file.keys())
    except (SafetensorError, OSError, ValueError) as error:
        raise damaged(error) from error

    def read(name: str) -> np.ndarray:
        try:
            return file.get_tensor(name)
        except (SafetensorError, OSError, ValueError, TypeError) as error:
            raise damaged(error) from error

    return {name: lambda name=name: read(name) for name in names}  # type: ignore[misc]


def _open_torch(path: str) -> dict[str, Callable[[], np.ndarray]]:
    tensors = read_torch_file(path)
    return {name: lambda x=x: x for name, x in tensors.items()}  # type: ignore[misc]
