"""Flags that say where to run, and the config that they make.

Stated twice, as those of `flags.py`: as flags, and as the fields of the config.
"""

import dataclasses
from typing import Any, Self

from absl import flags, logging

from bert_tf.errors import ConfigError
from bert_tf.tools.flag_kinds import boolean, integer, string
from bert_tf.training.cluster import Cluster, find_cluster

_TPU_ONLY = (
    "tpu_name",
    "tpu_zone",
    "gcp_project",
    "master",
    "num_tpu_cores",
)
_SEVERAL_HOSTS = ("auto", "multi_worker_mirrored")
STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker_mirrored", "tpu")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeviceConfig:
    """Where to run. The fields are the flags of the same names.

    None for `num_tpu_cores`, which is what it is if the flag is not given, stands for
    all that the TPU has.
    """

    distribution_strategy: str = "auto"
    workers: str | None = None
    worker_index: int | None = None
    worker_timeout_secs: int = 300
    use_tpu: bool = False
    tpu_name: str | None = None
    tpu_zone: str | None = None
    gcp_project: str | None = None
    master: str | None = None
    num_tpu_cores: int | None = None

    @classmethod
    def from_flags(cls, values: flags.FlagValues) -> Self:
        """Returns the config that the parsed flags say, not yet checked."""
        return cls(**cls._given(values))

    @classmethod
    def _given(cls, values: flags.FlagValues) -> dict[str, Any]:
        return {
            f.name: values[f.name].value
            if values[f.name].present or f.default is not None
            else None
            for f in dataclasses.fields(cls)
        }

    @property
    def on_tpu(self) -> bool:
        """Whether the run is for a TPU."""
        return self.use_tpu or self.distribution_strategy == "tpu"

    @property
    def devices(self) -> dict[str, Any]:
        """What `create_strategy` takes."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(DeviceConfig)}

    @property
    def cluster(self) -> Cluster | None:
        """The workers to train with, of several hosts; None if this one is alone."""
        if self.on_tpu or self.distribution_strategy not in _SEVERAL_HOSTS:
            return None
        return find_cluster(self.workers, self.worker_index)

    def check_devices(self) -> None:
        """Raises a ConfigError if two devices are asked for; warns of what is moot."""
        several = self.distribution_strategy in _SEVERAL_HOSTS and not self.on_tpu
        if (self.workers or self.worker_index is not None) and not several:
            raise ConfigError(
                "Expected --distribution_strategy=multi_worker_mirrored (or auto) "
                f"beside --workers, got {'a TPU' if self.on_tpu else ''}"
                f"{'' if self.on_tpu else self.distribution_strategy}; drop one of the "
                "two."
            )
        if (
            self.cluster is None
            and self.distribution_strategy == "multi_worker_mirrored"
        ):
            raise ConfigError(
                "Expected several workers for --distribution_strategy="
                "multi_worker_mirrored, got none; name all of them with --workers and "
                "--worker_index, or in the environment's TF_CONFIG."
            )
        if self.use_tpu and self.distribution_strategy not in ("auto", "tpu"):
            raise ConfigError(
                f"Expected --distribution_strategy=tpu (or auto) beside --use_tpu, got "
                f"{self.distribution_strategy}; drop one of the two."
            )
        if self.on_tpu and self.tpu_name and self.master:
            raise ConfigError(
                "Expected one of --tpu_name and --master, which both say where the TPU "
                f"is, got {self.tpu_name} and {self.master}; drop one of the two."
            )
        given = [
            f"--{field.name}"
            for field in dataclasses.fields(self)
            if field.name in _TPU_ONLY
            and getattr(self, field.name) not in (field.default, "")
        ]
        if given and not self.on_tpu:
            logging.warning("%s ignored: --use_tpu is not set", ", ".join(given))


def define_device_flags(values: flags.FlagValues) -> None:
    """Flags that say where to run."""
    flags.DEFINE_enum(
        "distribution_strategy",
        "auto",
        STRATEGIES,
        "one_device, mirrored (all GPUs of this host), multi_worker_mirrored (those of "
        "several hosts), tpu, or auto: what is there.",
        flag_values=values,
    )
    string(
        values,
        "workers",
        None,
        "host:port of each host to train with, with commas between, the same list on "
        "all; the first one writes. Unset: those of the environment's TF_CONFIG, if "
        "any.",
    )
    integer(
        values,
        "worker_index",
        None,
        "Which of --workers this is, from 0.",
        at_least=0,
    )
    integer(
        values,
        "worker_timeout_secs",
        300,
        "How long to wait for the other workers, or a remote TPU, at the start.",
        at_least=1,
    )
    boolean(values, "use_tpu", False, "Run on a TPU.")
    string(
        values,
        "tpu_name",
        None,
        "Name or grpc:// address of a Cloud TPU; none, or local, on a TPU VM.",
    )
    string(values, "tpu_zone", None, "Zone of the Cloud TPU, if not this machine's.")
    string(values, "gcp_project", None, "Its project, if not this machine's.")
    string(values, "master", None, "Address of the TPU, in place of --tpu_name.")
    integer(
        values,
        "num_tpu_cores",
        8,
        "Cores of the TPU to use. Not given: all that it has.",
        at_least=1,
    )
