"""Google-format checkpoints: find, read, write, report.

A checkpoint is TensorFlow's V2 format with Google's tensor names: `PREFIX.index`,
`PREFIX.data-?????-of-?????`, and beside them a text file `checkpoint` that says which
prefix is the newest. Nothing else is stored, so Google's scripts and every converter
made for them read what is written here.
"""

import contextlib
import dataclasses
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from bert_tf.checkpoint_index import check_index
from bert_tf.errors import CheckpointError
from bert_tf.files import remove, staging_path, write_file
from bert_tf.naming import by_google_name

GLOBAL_STEP = "global_step"
_SLOT = re.compile(r"/adam_[mv]$")
# What a training run keeps besides; the last two are of float16.
_STATE = (GLOBAL_STEP, "current_loss_scale", "good_steps")
_ANY_FILE = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_BLOCK = re.compile(r"^bert/encoder/(layer_\d+)/")


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What a load did, by Google's names.

    Attributes:
      path: Prefix of the checkpoint.
      loaded: Variables that now hold the checkpoint's values.
      fresh: Variables that the checkpoint does not hold, left as they were.
      unused: Tensors of the checkpoint that nothing asked for.
    """

    path: str
    loaded: list[str]
    fresh: list[str]
    unused: list[str]

    def __str__(self) -> str:
        state = [n for n in self.unused if _SLOT.search(n) or n == GLOBAL_STEP]
        unused = [n for n in self.unused if n not in state]
        parts = [f"loaded {len(self.loaded)} variables from {self.path}"]
        if self.fresh:
            parts.append(f"left fresh: {_listed(self.fresh)}")
        if unused:
            parts.append(f"unused: {_listed(unused)}")
        if state:
            parts.append(f"unused state of the optimizer: {len(state)}")
        return "; ".join(parts)


def _listed(names: list[str], limit: int = 6) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{len(names)} ({', '.join(names[:limit])}{more})"


def find_checkpoint(path: str) -> str:
    """Returns the prefix of the checkpoint that `path` means.

    Args:
      path: A prefix (`.../bert_model.ckpt`), any file of a checkpoint, or a folder:
        there the file `checkpoint` decides, or the only checkpoint in it.

    Raises:
      CheckpointError: There is none, or a folder without a state file holds several.
    """
    path = str(path)
    if tf.io.gfile.isdir(path):
        newest = latest_checkpoint(path)
        if newest is not None:
            return newest
        prefixes = _prefixes(path)
        if len(prefixes) == 1:
            return os.path.join(path, prefixes[0])
        if prefixes:
            raise CheckpointError(
                f"Expected one checkpoint in {path}, or a file `checkpoint` that "
                f"names one, found {', '.join(prefixes)}; name one of them."
            )
        raise CheckpointError(
            f"Expected a TensorFlow checkpoint (*.index and *.data-*) in {path}, "
            f"found {_content(path)}; check the path."
        )
    prefix = _ANY_FILE.sub("", path)
    if tf.io.gfile.exists(prefix + ".index"):
        return prefix
    if tf.io.gfile.exists(path) and not _ANY_FILE.search(path):
        raise CheckpointError(
            f"Expected the prefix of a TensorFlow checkpoint, got the file {path}, "
            "which is not of that format; weights in another format go through "
            "`bert-tf convert_checkpoint` first."
        )
    folder = os.path.dirname(prefix) or "."
    held = _content(folder) if tf.io.gfile.isdir(folder) else "no such folder"
    raise CheckpointError(
        f"Expected a checkpoint with the prefix {prefix} (a file {prefix}.index), "
        f"found in {folder}: {held}; check the path."
    )


def latest_checkpoint(folder: str) -> str | None:
    """Returns the prefix that the folder's `checkpoint` file names; None if none is.

    A prefix written with the folder's former path is looked for beside the file, so
    that a moved or downloaded folder keeps working.
    """
    for prefix in _state(folder)[:1]:
        for candidate in (prefix, os.path.join(folder, os.path.basename(prefix))):
            if tf.io.gfile.exists(candidate + ".index"):
                return candidate
        raise CheckpointError(
            f"Expected the checkpoint {prefix} that the file `checkpoint` in {folder} "
            f"names, found {_content(folder)}; restore its files or name a checkpoint."
        )
    return None


def _state(folder: str) -> list[str]:
    """Returns the prefixes in a folder's `checkpoint` file, the newest first."""
    path = os.path.join(str(folder), "checkpoint")
    if not tf.io.gfile.exists(path):
        return []
    try:
        state = tf.train.get_checkpoint_state(str(folder))
    except (tf.errors.OpError, ValueError):
        state = None
    if state is None or not state.model_checkpoint_path:
        raise CheckpointError(
            f"Expected a TensorFlow checkpoint state file in {path}, got text that is "
            "none; delete it and name a checkpoint."
        )
    others = [
        p for p in state.all_model_checkpoint_paths if p != state.model_checkpoint_path
    ]
    return [state.model_checkpoint_path, *reversed(others)]


def _prefixes(folder: str) -> list[str]:
    names = tf.io.gfile.listdir(folder)
    return sorted(n.removesuffix(".index") for n in names if n.endswith(".index"))


def _content(folder: str) -> str:
    names = sorted(n for n in tf.io.gfile.listdir(folder) if not n.startswith("."))
    more = ", …" if len(names) > 8 else ""
    return (", ".join(names[:8]) + more) or "nothing"


class CheckpointReader:
    """One Google-format checkpoint, opened for reading.

    Args:
      path: As for `find_checkpoint`.
      object_graph: Whether it is to be one of TensorFlow 2's instead, as other packages
        write them: names are paths through a program's objects then.

    Attributes:
      prefix: The checkpoint's prefix.
      shapes: `{tensor name: shape}`.

    Raises:
      CheckpointError: There is no checkpoint, it is damaged, or it is an object
        graph of TensorFlow 2 rather than Google's format.
    """

    def __init__(self, path: str, object_graph: bool = False):
        self.prefix = find_checkpoint(path)
        try:
            check_index(self.prefix)
            self._reader = tf.train.load_checkpoint(self.prefix)
            shapes = self._reader.get_variable_to_shape_map()
        except (tf.errors.OpError, RuntimeError, ValueError, IndexError) as error:
            raise CheckpointError(
                f"Expected a whole TensorFlow checkpoint at {self.prefix}, but its "
                f"index cannot be used ({_first_line(error)}); fetch its files again."
            ) from error
        if (_OBJECT_GRAPH in shapes) > object_graph:
            raise CheckpointError(
                f"Expected Google's format at {self.prefix}, found an object graph of "
                "TensorFlow 2 (tf.train.Checkpoint or Keras), whose names do not say "
                "what they are; convert an encoder of tf-models-official with "
                "`bert-tf convert_checkpoint --from=tf_models`, others with the "
                "program that wrote them."
            )
        if object_graph > (_OBJECT_GRAPH in shapes):
            raise CheckpointError(
                f"Expected an object graph of TensorFlow 2 at {self.prefix}, found "
                "other names, as in Google's format; convert it with --from=google."
            )
        self.shapes: dict[str, tuple[int, ...]] = {
            name: tuple(shape) for name, shape in shapes.items()
        }

    def read(self, name: str) -> np.ndarray:
        """Returns one tensor; a CheckpointError if its data is missing or damaged."""
        with self._explained(name):
            return self._reader.get_tensor(name)

    def read_all(self, names: Sequence[str]) -> dict[str, tf.Tensor]:
        """Returns some tensors by name, read side by side; errors as `read`'s.

        What is assigned of them to a variable is not copied.
        """
        try:
            return dict(zip(names, self._restored(names), strict=True))
        except tf.errors.OpError:
            # One at a time, to say which of them cannot be read; none is kept.
            for name in names:
                with self._explained(name):
                    self._restored([name])
            raise

    def _restored(self, names: Sequence[str]) -> list[tf.Tensor]:
        dtypes = self._reader.get_variable_to_dtype_map()
        return tf.raw_ops.RestoreV2(
            prefix=self.prefix,
            tensor_names=list(names),
            shape_and_slices=[""] * len(names),
            dtypes=[dtypes[name] for name in names],
        )

    @contextlib.contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        """Says which tensor cannot be read, instead of what TensorFlow says."""
        try:
            yield
        except (tf.errors.OpError, RuntimeError, ValueError, IndexError) as error:
            raise CheckpointError(
                f"Expected the tensor {name} in {self.prefix}, but its data cannot be "
                f"read ({_first_line(error)}); fetch the checkpoint's files again."
            ) from error

    def step(self) -> int | None:
        """Returns `global_step`; None where the checkpoint holds none."""
        return int(self.read(GLOBAL_STEP)) if GLOBAL_STEP in self.shapes else None


def is_weight(name: str) -> bool:
    """Returns whether a tensor of a checkpoint is no slot, step or loss scale."""
    return not (_SLOT.search(name) or name in _STATE)


def _reason(error: tf.errors.OpError) -> str:
    """Returns what went wrong, without the op and the file that TensorFlow names."""
    return re.sub(r"\{\{.*?\}\} | \[Op:\w+\]", "", error.message).split("; ")[-1]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")


def load_checkpoint(model: Any, path: str, optimizer: Any = None) -> LoadReport:
    """Loads a Google checkpoint into a model, by name; all or nothing.

    Args:
      model: A bert_tf model, or any Keras model that holds one.
      path: As for `find_checkpoint`.
      optimizer: If given, its slots and step are loaded too, where the checkpoint
        holds them. It is built for the model if it is not yet.

    Returns:
      What was loaded, left fresh and not used.

    Raises:
      CheckpointError: The checkpoint is missing, damaged or foreign, a tensor has
        another shape than its variable, the model has encoder blocks that the
        checkpoint lacks, or nothing matches. The model is then as it was.
    """
    reader = CheckpointReader(path)
    wanted = _variables(model, optimizer)
    _check_shapes(reader, wanted)
    loaded = sorted(name for name in wanted if name in reader.shapes)
    if not any(not _SLOT.search(name) and name != GLOBAL_STEP for name in loaded):
        raise CheckpointError(
            f"Expected tensors such as {sorted(wanted)[0]} in {reader.prefix}, found "
            f"{_listed(sorted(reader.shapes), 3)}, of which none matches; is this a "
            "BERT checkpoint?"
        )
    # All are read before any is assigned: a file cut short opens and lists well.
    for name, value in reader.read_all(loaded).items():
        wanted[name].assign(value)
    return LoadReport(
        path=reader.prefix,
        loaded=loaded,
        fresh=sorted(name for name in wanted if name not in reader.shapes),
        unused=sorted(name for name in reader.shapes if name not in wanted),
    )


def _variables(model: Any, optimizer: Any) -> dict[str, Any]:
    named = by_google_name(model.variables)
    if optimizer is not None:
        if not hasattr(optimizer, "slots"):
            raise CheckpointError(
                f"Expected an optimizer of create_optimizer(), got "
                f"{type(optimizer).__name__}, for whose state Google's format has no "
                "names; leave the optimizer out."
            )
        optimizer.build(model.trainable_variables)
        named |= optimizer.slots()
        named[GLOBAL_STEP] = optimizer.iterations
    return named


def _check_shapes(reader: CheckpointReader, wanted: Mapping[str, Any]) -> None:
    for name in sorted(wanted):
        held, expected = reader.shapes.get(name), tuple(wanted[name].shape)
        if held is not None and held != expected:
            raise CheckpointError(
                f"Expected {name} of shape {list(expected)} by the config, found "
                f"{list(held)} in {reader.prefix}; use the bert_config.json (and "
                "labels) that belong to this checkpoint."
            )

    def blocks(names: Iterable[str]) -> set[str]:
        return {match[1] for match in map(_BLOCK.match, names) if match}

    held_blocks, missing = blocks(reader.shapes), blocks(wanted) - blocks(reader.shapes)
    if held_blocks and missing:
        raise CheckpointError(
            f"Expected {len(blocks(wanted))} encoder layers by the config, found "
            f"{len(held_blocks)} in {reader.prefix}; use the bert_config.json that "
            "belongs to this checkpoint."
        )
    surplus = held_blocks - blocks(wanted)
    if surplus and blocks(wanted):
        logging.warning(
            "%s holds %d encoder layers, the config has %d: the upper ones are unused",
            reader.prefix,
            len(held_blocks),
            len(blocks(wanted)),
        )


def save_checkpoint(
    model: Any, path: str, optimizer: Any = None, step: int | None = None
) -> str:
    """Writes a model in Google's format.

    The data file appears first, then the index, then the folder's `checkpoint` file:
    whoever reads meanwhile, or after a crash, sees the previous checkpoint whole. That
    needs a new name for each, as `model.ckpt-N`; one of the same name is replaced.

    Args:
      model: A bert_tf model, or any Keras model that holds one.
      path: The prefix, for example `DIR/model.ckpt-1000`. Used as it is.
      optimizer: If given, `adam_m`, `adam_v` and `global_step` are written too.
      step: Written as `global_step`; the optimizer's if absent. Without either, no
        `global_step` is written, as in Google's published checkpoints.

    Returns:
      The prefix.
    """
    path = str(path)
    tensors = {name: v.value for name, v in _variables(model, optimizer).items()}
    if step is not None:
        tensors[GLOBAL_STEP] = tf.constant(step, tf.int64)
    write_tensors(path, tensors)
    return path


def write_tensors(path: str, tensors: Mapping[str, Any]) -> None:
    """Writes `{name: tensor}` as the checkpoint `path` and names it the newest."""
    folder, base = os.path.split(str(path))
    folder = folder or "."
    if not base or tf.io.gfile.isdir(str(path)):
        raise CheckpointError(
            f"Expected the prefix of the files to write, such as "
            f"{os.path.join(str(path), 'model.ckpt')}, got the folder {path}."
        )
    staging = staging_path(os.path.join(folder, base))
    # Sorted names give the byte order of TensorFlow's own Saver.
    names = sorted(tensors)
    values = [tf.convert_to_tensor(tensors[name]) for name in names]
    try:
        tf.io.gfile.makedirs(folder)
        remove(staging)  # left by a writer that was killed
        tf.io.gfile.makedirs(staging)
        tf.raw_ops.SaveV2(
            prefix=os.path.join(staging, base),
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=values,
        )
        _name_files(folder, staging, base)
    except tf.errors.OpError as error:
        with contextlib.suppress(tf.errors.OpError):
            remove(staging)
        size = sum(value.dtype.size * value.shape.num_elements() for value in values)
        raise CheckpointError(
            f"Expected room for a checkpoint of {size / 1e6:.1f} MB at {path}, found "
            f"that it cannot be written ({_reason(error)}); those that were there are "
            "whole: make room, or see to your access, and give the same command again."
        ) from error


def _name_files(folder: str, staging: str, base: str) -> None:
    """Moves a whole checkpoint to its place, data first, and names it the newest.

    In a store too, where each file is renamed for itself: until the last of them, the
    folder's `checkpoint` names the one before.
    """
    # A checkpoint of the same name goes first: its index must not meet our data.
    _remove(folder, [base])
    files = [name for name in tf.io.gfile.listdir(staging) if _ANY_FILE.search(name)]
    for name in sorted(files, key=lambda name: name.endswith(".index")):
        tf.io.gfile.rename(
            os.path.join(staging, name), os.path.join(folder, name), overwrite=True
        )
    remove(staging)
    known = [os.path.basename(p) for p in reversed(_state(folder))]
    _write_state(folder, [p for p in known if p != base] + [base])


def _write_state(folder: str, prefixes: list[str]) -> None:
    """Writes the `checkpoint` file; bare names, so that the folder can be moved."""
    lines = [f'model_checkpoint_path: "{prefixes[-1]}"']
    lines += [f'all_model_checkpoint_paths: "{prefix}"' for prefix in prefixes]
    write_file(os.path.join(folder, "checkpoint"), "\n".join(lines) + "\n")


def keep_newest(folder: str, count: int) -> None:
    """Deletes all but the newest `count` of the checkpoints that the state lists."""
    prefixes = [os.path.basename(p) for p in _state(folder)]
    kept, dropped = prefixes[:count], prefixes[count:]
    if not dropped:
        return
    # The list first: it must never name what is no longer there.
    _write_state(folder, kept[::-1])
    _remove(folder, dropped)


def _remove(folder: str, prefixes: Collection[str]) -> None:
    """Deletes the files of some checkpoints; an index before what it lists."""
    for name in sorted(tf.io.gfile.listdir(folder), reverse=True):
        if _ANY_FILE.search(name) and _ANY_FILE.sub("", name) in prefixes:
            tf.io.gfile.remove(os.path.join(folder, name))
