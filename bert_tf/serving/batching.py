"""Requests of many clients, run together in batches.

While a batch runs, the next one collects: an idle server runs a request at once, a
busy one runs all that came in the meantime, up to a limit. The names of the settings
are those of TF Serving's batching.
"""

import collections
import dataclasses
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import numpy as np

from bert_tf.errors import ConfigError
from bert_tf.serving.rows import (
    Rows,
    count,
    joined,
    run_in_batches,
    taken,
    trimmed,
)
from bert_tf.serving.saved_model import SavedModel, SignatureSpec


class QueueFull(Exception):
    """More requests wait than may."""


@dataclasses.dataclass(frozen=True)
class _Request:
    inputs: Rows
    future: Future
    arrived: float

    @property
    def rows(self) -> int:
        return count(self.inputs)


class Batcher:
    """Runs requests in one thread, those of one signature together.

    There is one thread since TensorFlow itself takes all cores for a batch.

    Args:
      model: What runs them.
      max_batch_size: Rows of a batch at most. A request of more is run in parts.
      batch_timeout_micros: How long a batch that is not full waits for more, from the
        arrival of its first request on, in microseconds.
      max_enqueued_batches: How many full batches' rows may wait, beside what runs.

    Raises:
      ConfigError: A signature's inputs or outputs do not begin with the number of rows.
    """

    def __init__(
        self,
        model: SavedModel,
        max_batch_size: int = 32,
        batch_timeout_micros: int = 0,
        max_enqueued_batches: int = 100,
    ):
        _check_signatures(model.signatures)
        self._model = model
        self._max_batch_size = max_batch_size
        self._timeout = batch_timeout_micros / 1e6
        self._max_rows_waiting = max_enqueued_batches * max_batch_size
        self._varying = {
            name: [key for key, spec in signature.outputs.items() if _varies(spec)]
            for name, signature in model.signatures.items()
        }
        self._queues: dict[str, collections.deque[_Request]] = {
            name: collections.deque() for name in model.signatures
        }
        self._rows_waiting = dict.fromkeys(self._queues, 0)
        self._closing = False
        self._changed = threading.Condition()
        # A daemon, so that a process that is told to end at once can.
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    def submit(self, signature: str, inputs: Rows) -> Future:
        """Queues a request.

        Args:
          signature: One of the model's.
          inputs: Its inputs, of one row or more.

        Returns:
          Will hold its outputs, which do not depend on the other requests' rows but in
          the last bits of numbers; or a DataError if the model refuses it, or what else
          went wrong.

        Raises:
          QueueFull: Too many rows wait already.
        """
        request = _Request(inputs, Future(), time.monotonic())
        with self._changed:
            waiting = sum(self._rows_waiting.values())
            # Into an empty queue goes anything.
            if waiting and waiting + request.rows > self._max_rows_waiting:
                raise QueueFull
            self._queues[signature].append(request)
            self._rows_waiting[signature] += request.rows
            self._changed.notify()
        return request.future

    def close(self) -> None:
        """Finishes what was submitted, and ends."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next():
            signature, requests = batch
            running = [r for r in requests if r.future.set_running_or_notify_cancel()]
            if running:
                self._run(signature, running)

    def _next(self) -> tuple[str, list[_Request]] | None:
        """Waits for a batch; returns None if there will be no more."""
        with self._changed:
            while not any(self._queues.values()):
                if self._closing:
                    return None
                self._changed.wait()
            signature = min(
                (name for name, queue in self._queues.items() if queue),
                key=lambda name: self._queues[name][0].arrived,
            )
            queue = self._queues[signature]
            due = queue[0].arrived + self._timeout
            while (
                self._rows_waiting[signature] < self._max_batch_size
                and not self._closing
                and (left := due - time.monotonic()) > 0
            ):
                self._changed.wait(left)
            requests = [queue.popleft()]
            rows = requests[0].rows
            while queue and rows + queue[0].rows <= self._max_batch_size:
                requests.append(queue.popleft())
                rows += requests[-1].rows
            self._rows_waiting[signature] -= rows
            return signature, requests

    def _run(self, signature: str, requests: list[_Request]) -> None:
        try:
            answers = self._answers(signature, requests)
        except Exception as error:
            if len(requests) == 1:
                requests[0].future.set_exception(error)
                return
            # Whichever of them is to blame is to hurt none of the others.
            for request in requests:
                self._run(signature, [request])
        else:
            for request, answer in zip(requests, answers, strict=True):
                request.future.set_result(answer)

    def _answers(
        self, signature: str, requests: list[_Request]
    ) -> list[dict[str, np.ndarray]]:
        inputs = joined([request.inputs for request in requests])
        outputs = run_in_batches(
            lambda rows: self._model.run(signature, rows), inputs, self._max_batch_size
        )
        answers = []
        start = 0
        for request in requests:
            stop = start + request.rows
            widths = {
                array.shape[1]: request.inputs[name].shape[1]
                for name, array in inputs.items()
                if array.ndim > 1
            }
            own = taken(outputs, slice(start, stop))
            answers.append(trimmed(own, self._varying[signature], widths))
            start = stop
        return answers


def _check_signatures(signatures: Mapping[str, SignatureSpec]) -> None:
    for name, signature in signatures.items():
        for key, spec in {**signature.inputs, **signature.outputs}.items():
            # TensorFlow may have lost track of an output's shape, not of an input's.
            known = key in signature.inputs or spec.shape.rank is not None
            if known and (not spec.shape.rank or spec.shape[0] is not None):
                raise ConfigError(
                    "Expected signatures whose inputs and outputs begin with the "
                    f"number of rows, found {key} of shape {spec.shape} in {name}; "
                    "export the model with bert-tf."
                )


def _varies(spec: Any) -> bool:
    """Returns whether an output's dimension 1 may depend on the batch."""
    shape = spec.shape
    return shape.rank is None or (shape.rank > 1 and shape[1] is None)
