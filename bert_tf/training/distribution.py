"""From flags to a `tf.distribute` strategy."""

import tensorflow as tf
from absl import logging

from bert_tf.errors import ConfigError


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
    use_tpu: bool = False,
    tpu_name: str | None = None,
    tpu_zone: str | None = None,
    gcp_project: str | None = None,
    master: str | None = None,
    num_tpu_cores: int = 8,
) -> tf.distribute.Strategy:
    """Returns the strategy to train under.

    Args:
      distribution_strategy: `one_device`; `mirrored` for all GPUs of this host, or
        all its logical CPU devices where there is no GPU; `tpu`; or `auto`: TPU with
        `use_tpu`, else one device, or mirrored if there are several.
      use_tpu: Google's flag; the same as `tpu`.
      tpu_name: Name or address of a Cloud TPU; `local` or None on a TPU VM.
      tpu_zone, gcp_project: Where a Cloud TPU is, if its metadata do not say.
      master: Address of the TPU's TensorFlow master, in place of `tpu_name`.
      num_tpu_cores: How many cores the TPU must offer.

    Raises:
      ConfigError: No TPU answers, or it has another number of cores.
    """
    if use_tpu or distribution_strategy == "tpu":
        return _tpu_strategy(
            tpu_name or master, tpu_zone, gcp_project, num_cores=num_tpu_cores
        )
    devices = tf.config.list_logical_devices("GPU")
    devices = devices or tf.config.list_logical_devices("CPU")
    names = [device.name for device in devices]
    if distribution_strategy == "mirrored" or (
        distribution_strategy == "auto" and len(names) > 1
    ):
        return tf.distribute.MirroredStrategy(names)
    return tf.distribute.OneDeviceStrategy(names[0])


def _tpu_strategy(
    address: str | None, zone: str | None, project: str | None, num_cores: int
) -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            tpu=address or "local", zone=zone, project=project
        )
        if resolver.master():
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        strategy = tf.distribute.TPUStrategy(resolver)
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        reason = (str(error).strip() or type(error).__name__).split(". ")[0]
        raise ConfigError(
            f"Expected a TPU at {address or 'this machine'}, found none ({reason}); "
            "check --tpu_name, or leave out --use_tpu."
        ) from error
    if strategy.num_replicas_in_sync != num_cores:
        raise ConfigError(
            f"Expected --num_tpu_cores={num_cores}, found a TPU with "
            f"{strategy.num_replicas_in_sync}; correct the flag."
        )
    return strategy
