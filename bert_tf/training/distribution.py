"""From flags to a `tf.distribute` strategy, and batches and workers under one."""

import contextlib
import faulthandler
import hashlib
import os
import re
import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from bert_tf.data.input_pipeline import Share
from bert_tf.errors import ConfigError
from bert_tf.training.cluster import Cluster, find_cluster, meet, silent

# Makes a host's share of global batches.
Batches = Callable[[Share], tf.data.Dataset]

# What an op says that waited for a worker which is gone.
_LOST = re.compile(r"ollective|oordination|heartbeat|remote task|RecvBuf", re.I)


def make_repeatable() -> None:
    """Makes float32 sums on CPU the same bits at every run.

    Ops that may run side by side add up gradients in the order in which they finish;
    one inter-op thread fixes that order. Each op still uses all cores. To be called
    before TensorFlow starts its devices; later it has no effect.
    """
    try:
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        logging.info("TensorFlow runs already: results may differ in the last bits")


def create_strategy(
    distribution_strategy: str = "auto",
    *,
    workers: str | None = None,
    worker_index: int | None = None,
    worker_timeout_secs: int = 300,
    use_tpu: bool = False,
    tpu_name: str | None = None,
    tpu_zone: str | None = None,
    gcp_project: str | None = None,
    master: str | None = None,
    num_tpu_cores: int | None = None,
) -> tf.distribute.Strategy:
    """Returns the strategy to train under.

    Args:
      distribution_strategy: `one_device`; `mirrored` for all GPUs of this host, or
        all its logical CPU devices where there is no GPU; `multi_worker_mirrored` for
        those of several hosts; `tpu`; or `auto`: TPU with `use_tpu`, several hosts if
        `workers` or TF_CONFIG name them, else one device, or mirrored if there are
        several.
      workers, worker_index: As for `find_cluster`.
      worker_timeout_secs: How long to wait for the other workers, or a remote TPU.
      use_tpu: Google's flag; the same as `tpu`.
      tpu_name: Name or address of a Cloud TPU; `local` or None on a TPU VM.
      tpu_zone, gcp_project: Where a Cloud TPU is, if its metadata do not say.
      master: Address of the TPU's TensorFlow master, in place of `tpu_name`.
      num_tpu_cores: How many of the TPU's cores to use; None for all.

    Raises:
      ConfigError: No TPU answers, or it has fewer cores; or the workers are not named
        or do not come.
    """
    if use_tpu or distribution_strategy == "tpu":
        return _tpu_strategy(
            tpu_name or master,
            tpu_zone,
            gcp_project,
            num_tpu_cores,
            worker_timeout_secs,
        )
    if distribution_strategy in ("auto", "multi_worker_mirrored"):
        cluster = find_cluster(workers, worker_index)
        if cluster is not None:
            return _multi_worker_strategy(cluster, worker_timeout_secs)
    devices = tf.config.list_logical_devices("GPU")
    devices = devices or tf.config.list_logical_devices("CPU")
    names = [device.name for device in devices]
    if distribution_strategy == "mirrored" or (
        distribution_strategy == "auto" and len(names) > 1
    ):
        return tf.distribute.MirroredStrategy(names)
    return tf.distribute.OneDeviceStrategy(names[0])


def _multi_worker_strategy(
    cluster: Cluster, timeout_secs: int
) -> tf.distribute.Strategy:
    logging.info("waiting for all workers, as %s", cluster.name)
    meet(cluster, timeout_secs)
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.addresses)}),
        task_type="worker",
        task_id=cluster.index,
        rpc_layer="grpc",
    )
    former = signal.getsignal(signal.SIGTERM)
    try:
        with _ended_after(timeout_secs):
            strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        raise ConfigError(
            f"Expected to join the other workers as {cluster.name}, but that failed "
            f"({_first_sentence(error)}); end the processes of all workers, and start "
            "them again."
        ) from error
    with contextlib.suppress(ValueError):  # of a thread that may handle no signals
        # TensorFlow now takes SIGTERM for a notice, and does not die of it.
        signal.signal(signal.SIGTERM, former)
    return strategy


@contextlib.contextmanager
def _ended_after(seconds: int) -> Iterator[None]:
    """Ends the process, with exit code 1, if what is done takes longer.

    For what no thread of Python's could end: a worker that dies between the meeting and
    TensorFlow's own leaves the others waiting, the interpreter's lock in hand.
    """
    logging.info("joining them; this process ends if that takes %d s", seconds)
    with open(os.devnull, "w") as nowhere:
        faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


class Workers:
    """The processes that train together under a strategy; mostly this one alone.

    Attributes:
      index: Which one this is. The first writes what there is to write.
      count: How many there are.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self._strategy = strategy
        self._cluster = Cluster(("this process",), 0)
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            resolver = strategy.cluster_resolver
            addresses = resolver.cluster_spec().as_dict()["worker"]
            self._cluster = Cluster(tuple(addresses), int(resolver.task_id))
        self.index = self._cluster.index
        self.count = len(self._cluster.addresses)

    @property
    def is_chief(self) -> bool:
        """Whether this is the one that writes."""
        return self.index == 0

    def gather(self, values: Any) -> np.ndarray:
        """Returns the rows of all replicas of all workers, in order.

        Args:
          values: What the replicas returned, `[rows, ...]` each.
        """
        if self.count > 1:
            return self._strategy.gather(values, axis=0).numpy()
        local = self._strategy.experimental_local_results(values)
        return np.concatenate([x.numpy() for x in local])

    def largest(self, number: int) -> int:
        """Returns the largest of what all workers call this with, at the same time."""
        if self.count == 1:
            return number
        mine = tf.constant([number], tf.int64)
        return int(self.gather(self._strategy.run(tf.identity, (mine,))).max())

    def check_same(self, text: str, what: str) -> None:
        """Raises a ConfigError, in all workers, if a text is not the same in all.

        Args:
          text: Anything.
          what: What it says, for the message.
        """
        digest = int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)
        if self.largest(digest) != -self.largest(-digest):
            self.leave()
            raise ConfigError(
                f"Expected {what} for all {self.count} workers, found that they "
                "differ; start all of them again with the same."
            )

    def wait(self) -> None:
        """Returns when all workers have come here."""
        self.largest(0)

    def leave(self) -> None:
        """Returns when all workers have come here and this one may end."""
        self.wait()
        # Whoever is through with that may be ahead of the others, who still need it to
        # be through themselves. With this they do not: all they could miss is its end.
        with contextlib.suppress(tf.errors.OpError):
            self.wait()

    @contextlib.contextmanager
    def explained(self, advice: str) -> Iterator[None]:
        """Says, instead of what an op says, that another worker is gone.

        TensorFlow's workers send each other signs of life. Without any for ten seconds
        or more, whatever waits for others fails.

        Args:
          advice: What to do then.
        """
        try:
            yield
        except tf.errors.OpError as error:
            if self.count == 1 or not _LOST.search(error.message):
                raise
            found = {int(x) for x in re.findall(r"task:(\d+)", error.message)}
            names = ", ".join(
                self._cluster.name_of(i)
                for i in sorted(found - {self.index})
                if i < self.count
            )
            raise ConfigError(
                f"Expected all {self.count} workers to go on, but "
                f"{names or 'another one'} stopped answering worker {self.index}; "
                f"{advice}."
            ) from error


def distribute(strategy: tf.distribute.Strategy, batches: Batches) -> Iterable[Any]:
    """Returns batches as a strategy takes them: each split over all replicas.

    Each host makes its own rows of a batch, and splits them over its replicas.

    Raises:
      ConfigError: A batch has no equal parts for all replicas.
    """

    def of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
        hosts, replicas = context.num_input_pipelines, context.num_replicas_in_sync
        dataset = batches(Share(context.input_pipeline_id, hosts))
        rows = tf.nest.flatten(dataset.element_spec)[0].shape[0]
        check_batch_size(rows * hosts, strategy, "a batch size")
        local = replicas // hosts
        return dataset if local == 1 else dataset.rebatch(rows // local)

    return strategy.distribute_datasets_from_function(of_host)


def check_batch_size(
    batch_size: int, strategy: tf.distribute.Strategy, name: str
) -> None:
    """Raises a ConfigError if a batch has no equal parts for all devices."""
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise ConfigError(
            f"Expected {name} that {replicas} devices can share equally, got "
            f"{batch_size}; choose a multiple of {replicas}."
        )


def _first_sentence(error: Exception) -> str:
    text = str(error).removeprefix("Graph execution error:").strip()
    return (text or type(error).__name__).split(". ")[0].split("\n")[0]


def _tpu_strategy(
    address: str | None,
    zone: str | None,
    project: str | None,
    num_cores: int | None,
    timeout_secs: int,
) -> tf.distribute.Strategy:
    place = address or "this machine"
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            tpu=address or "local", zone=zone, project=project
        )
        if resolver.master():
            _check_answers(resolver, place, timeout_secs)
            tf.config.experimental_connect_to_cluster(resolver)
        topology = tf.tpu.experimental.initialize_tpu_system(resolver)
        assignment = _assignment(topology, num_cores, place)
        return tf.distribute.TPUStrategy(
            resolver, experimental_device_assignment=assignment
        )
    except ConfigError:
        raise
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        raise ConfigError(
            f"Expected a TPU at {place}, found none ({_first_sentence(error)}); check "
            "--tpu_name, or leave out --use_tpu."
        ) from error


def _check_answers(resolver: Any, place: str, timeout_secs: int) -> None:
    """Raises a ConfigError if a TPU does not answer, which TensorFlow waits for."""
    hosts = resolver.cluster_spec().job_tasks("worker")
    missing = silent(hosts, timeout_secs)
    if missing:
        raise ConfigError(
            f"Expected the TPU at {place} to answer within {timeout_secs} s, but "
            f"{', '.join(missing)} did not; check --tpu_name, that the TPU runs, and "
            "firewalls, or raise --worker_timeout_secs."
        )


def _assignment(topology: Any, num_cores: int | None, place: str) -> Any:
    """Returns which cores to use; None for all that there are."""
    tasks, cores_per_task = topology.device_coordinates.shape[:2]
    found = tasks * cores_per_task
    if num_cores is not None and num_cores > found:
        raise ConfigError(
            f"Expected --num_tpu_cores={num_cores}, found {found} at {place}; lower "
            "the flag, or leave it out to use all of them."
        )
    if num_cores in (None, found):
        return None
    return tf.tpu.experimental.DeviceAssignment.build(topology, num_replicas=num_cores)
