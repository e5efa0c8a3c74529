"""What can be rented to train on: speeds by data sheet, networks, prices.

Data only. Nobody has run this package on the accelerators below: their speeds are their
makers', and what share of them is used comes from `benchmarks/runs.py`.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Network:
    """What joins the members of a ring.

    Attributes:
      name: What tables call it.
      bandwidth: Bytes a second that a member sends, while it receives as many.
      latency: Seconds until the first byte of a message arrives.
    """

    name: str
    bandwidth: float
    latency: float


@dataclasses.dataclass(frozen=True)
class Device:
    """One accelerator, or the cores of one machine.

    Attributes:
      name: What tables call it.
      peak: Dense FLOP/s in bfloat16, or in float16 where there is no bfloat16.
      memory: Bytes a second between it and its memory.
      per_host: How many there are in a host, which share its input pipeline.
      inside: What joins those of a host; TPUs of a slice, whatever their host.
      between: What joins hosts; None where `inside` does.
      like: Devices whose share of the peak is assumed, if none is known of this one.
      price: US dollars an hour for one.
      price_source: Where the price is from.
      price_date: When it was seen; empty if that is not known.
    """

    name: str
    peak: float
    memory: float
    per_host: int
    inside: Network
    between: Network | None
    like: tuple[str, ...]
    price: float
    price_source: str
    price_date: str = ""


def ethernet(gigabits: int) -> Network:
    """Returns a network of hosts by its Gbit/s; 30 microseconds are assumed."""
    return Network(f"{gigabits} Gbit/s", gigabits * 1e9 / 8, 30e-6)


def _of_chips(name: str, gigabytes: float) -> Network:
    """Returns what joins chips by its GB/s one way; 3 microseconds are assumed."""
    return Network(name, gigabytes * 1e9, 3e-6)


# Google's own years with these, and whom NVIDIA publishes figures of.
_AS_A_TPU, _AS_A_GPU = ("TPU v2", "A100"), ("V100", "A100")
_CLOUD = "Google Cloud, list"

# Peaks, memory and links: Google's pages on each TPU and, for links of v2 and v3,
# Jouppi et al., "A domain-specific supercomputer" (CACM 63, 2020); NVIDIA's data
# sheets, of the SXM form where there is one.
_DEVICES = (
    Device(
        "TPU v2",
        45e12,
        700e9,
        4,
        _of_chips("ICI", 248),
        None,
        (),
        1.125,
        f"{_CLOUD}: 4.50 for 4 chips",
    ),
    Device(
        "TPU v3",
        123e12,
        900e9,
        4,
        _of_chips("ICI", 328),
        None,
        _AS_A_TPU,
        2.0,
        f"{_CLOUD}: 8.00 for 4 chips",
    ),
    Device(
        "TPU v4",
        275e12,
        1200e9,
        4,
        _of_chips("ICI", 300),
        None,
        _AS_A_TPU,
        3.22,
        _CLOUD,
        "2025-01-31",
    ),
    Device(
        "TPU v5e",
        197e12,
        819e9,
        8,
        _of_chips("ICI", 200),
        None,
        _AS_A_TPU,
        1.2,
        _CLOUD,
    ),
    Device(
        "TPU v6e",
        918e12,
        1638e9,
        8,
        _of_chips("ICI", 400),
        None,
        _AS_A_TPU,
        2.7,
        _CLOUD,
    ),
    Device(
        "T4",
        65e12,
        320e9,
        4,
        _of_chips("PCIe 3", 16),
        ethernet(25),
        _AS_A_GPU,
        0.35,
        f"{_CLOUD}, without its host",
    ),
    Device(
        "L4",
        121e12,
        300e9,
        8,
        _of_chips("PCIe 4", 32),
        ethernet(100),
        _AS_A_GPU,
        0.71,
        f"{_CLOUD}, g2-standard-4",
    ),
    Device(
        "V100",
        125e12,
        900e9,
        8,
        _of_chips("NVLink", 150),
        ethernet(100),
        (),
        2.48,
        f"{_CLOUD}, without its host",
    ),
    Device(
        "A100",
        312e12,
        2039e9,
        8,
        _of_chips("NVLink", 300),
        ethernet(100),
        (),
        3.43,
        "AWS, us-east-1, p4de.24xlarge / 8",
        "2026-11-09",
    ),
    Device(
        "H100",
        989.4e12,
        3350e9,
        8,
        _of_chips("NVLink", 450),
        ethernet(100),
        _AS_A_GPU,
        6.88,
        "AWS, us-east-1, p5.48xlarge / 8",
        "2026-11-09",
    ),
    Device(
        "2 CPU cores",
        875e9,  # one large bfloat16 matmul, as benchmarks/NOTES.md has it
        20e9,  # assumed
        1,
        ethernet(10),
        None,
        (),
        0.116,
        "AWS, us-east-1, m7a.large",
    ),
)
DEVICES = {device.name: device for device in _DEVICES}
CPU = DEVICES["2 CPU cores"]
