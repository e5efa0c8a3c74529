"""The hosts that train together, each with a process of its own: who they are.

Nothing here imports TensorFlow, so that flags can be checked without it.
"""

import contextlib
import dataclasses
import errno
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator

from bert_tf.errors import ConfigError

_ENVIRONMENT = "TF_CONFIG"
_ADDRESS = re.compile(r"^(\[[0-9a-fA-F:]+\]|[^\s:/,]+):(\d{1,5})$")
# Seconds that an answer may take, and between two rounds of questions.
_CONNECT_SECONDS, _PAUSE = 2.0, 0.2
# What TensorFlow calls those that train. The first of all writes.
_JOBS = ("chief", "worker")


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers, and which of them this process is.

    Attributes:
      addresses: `host:port` of each; the first is the one that writes.
      index: The place of this one.
    """

    addresses: tuple[str, ...]
    index: int

    @property
    def name(self) -> str:
        """This worker, for messages."""
        return self.name_of(self.index)

    def name_of(self, index: int) -> str:
        """Returns what to call a worker."""
        return f"worker {index} ({self.addresses[index]})"


def find_cluster(workers: str | None, worker_index: int | None) -> Cluster | None:
    """Returns the workers that flags or the environment name; None without others.

    Args:
      workers: `host:port` of all workers with commas between; goes before TF_CONFIG.
      worker_index: Which of them this process is.

    Raises:
      ConfigError: They are no such list, or do not say which worker this is.
    """
    if workers:
        return _checked(
            Cluster(
                tuple(workers.split(",")), -1 if worker_index is None else worker_index
            ),
            "--workers",
            "--worker_index",
        )
    if worker_index is not None:
        raise ConfigError(
            "Expected --workers beside --worker_index, got none; name all of them, as "
            "in --workers=host1:2222,host2:2222."
        )
    text = os.environ.get(_ENVIRONMENT)
    return _of_environment(text) if text else None


def _of_environment(text: str) -> Cluster | None:
    """Reads TF_CONFIG, as schedulers set it."""
    try:
        found = json.loads(text)
        cluster, task = found.get("cluster") or {}, found.get("task") or {}
        if not cluster:
            return None  # of a single machine
        jobs = {name: [str(x) for x in cluster.get(name) or []] for name in _JOBS}
        job, index = str(task["type"]), int(task["index"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f'Expected {_ENVIRONMENT} to be JSON such as {{"cluster": {{"worker": '
            f'["host:port", ...]}}, "task": {{"type": "worker", "index": 0}}}}, found '
            f"damage ({error!r}); correct the environment, or name the workers with "
            "--workers."
        ) from error
    others = sorted(set(cluster) - {*_JOBS})
    if others or job not in _JOBS:
        raise ConfigError(
            f"Expected workers alone in {_ENVIRONMENT}, with a chief or without, found "
            f"{', '.join(others or [job])}; there are no such tasks here: each worker "
            "trains, and the first one writes."
        )
    before = len(jobs["chief"]) if job == "worker" else 0
    addresses = (*jobs["chief"], *jobs["worker"])
    return _checked(
        Cluster(addresses, before + index), _ENVIRONMENT, f"{_ENVIRONMENT}'s task"
    )


def _checked(cluster: Cluster, source: str, index_source: str) -> Cluster | None:
    for address in cluster.addresses:
        match = _ADDRESS.match(address)
        if not match or not 0 < int(match[2]) < 65536:
            raise ConfigError(
                f"Expected host:port of each worker in {source}, got {address!r}; "
                "correct it."
            )
    if len({*cluster.addresses}) < len(cluster.addresses):
        raise ConfigError(
            f"Expected different workers in {source}, got one twice in "
            f"{','.join(cluster.addresses)}; name each once."
        )
    if not 0 <= cluster.index < len(cluster.addresses):
        raise ConfigError(
            f"Expected {index_source} to say which worker this is, from 0 to "
            f"{len(cluster.addresses) - 1}, got "
            f"{'none' if cluster.index < 0 else cluster.index}; correct it."
        )
    return cluster if len(cluster.addresses) > 1 else None


def meet(cluster: Cluster, seconds: float) -> None:
    """Waits until all workers are there.

    TensorFlow would wait for ever, deaf to signals. Each worker listens on its own
    port until it has reached all others, and leaves the port to TensorFlow then.

    Raises:
      ConfigError: One does not come in time, or this one's port is taken.
    """
    others = {x: i for i, x in enumerate(cluster.addresses) if i != cluster.index}
    with _listener(cluster):
        missing = silent(others, seconds)
    if missing:
        names = ", ".join(cluster.name_of(others[address]) for address in missing)
        raise ConfigError(
            f"Expected all {len(cluster.addresses)} workers within {seconds:g} s, "
            f"cannot reach {names}; start each with the same command, check addresses "
            "and firewalls, or raise --worker_timeout_secs."
        )


def silent(addresses: Iterable[str], seconds: float) -> list[str]:
    """Waits until all addresses answer; returns those that do not in time.

    Args:
      addresses: `host:port` of each.
      seconds: How long to wait.
    """
    missing = list(addresses)
    deadline = time.monotonic() + seconds
    while True:
        missing = [address for address in missing if not _answers(address)]
        if not missing or time.monotonic() > deadline:
            return missing
        time.sleep(_PAUSE)


@contextlib.contextmanager
def _listener(cluster: Cluster) -> Iterator[None]:
    """Takes connections at this worker's address, and closes them."""
    host, port = _split(cluster.addresses[cluster.index])
    try:
        server = _bound(host, port)
    except OSError as error:
        raise ConfigError(
            f"Expected to listen on port {port} as {cluster.name}, found that it is "
            f"not possible ({error.strerror or error}); is another run using it? Give "
            "the workers other ports."
        ) from error

    def accept() -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                server.accept()[0].close()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)  # wakes the thread
        server.close()


def _bound(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=_family(host))
    except OSError as error:
        # A container may not know the address that others know it by.
        if error.errno not in (errno.EADDRNOTAVAIL, socket.EAI_NONAME):
            raise
        return socket.create_server(("", port))


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _answers(address: str) -> bool:
    try:
        socket.create_connection(_split(address), timeout=_CONNECT_SECONDS).close()
    except OSError:
        return False
    return True
