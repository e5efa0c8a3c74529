"""What the machine is that something was measured on."""

import contextlib
import importlib.metadata
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

# Without these, precisions and kernels are other ones.
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16")
_PACKAGES = (
    "tensorflow",
    "tensorflow-text",
    "keras",
    "numpy",
    "torch",
    "transformers",
    "tokenizers",
    "sentence-transformers",
    "safetensors",
    "openvino",
    "onnxruntime",
    "keras-hub",
    "jax",
    "tf-models-official",
)


def describe() -> dict[str, Any]:
    """Returns hardware, system and versions, by what they are called in tables."""
    told = _processor()
    return {
        "CPU": told.get("model name") or platform.processor() or platform.machine(),
        "cores": len(_usable_cores()),
        "cache": told.get("cache size", "unknown"),
        "flags": [flag for flag in _FLAGS if flag in told.get("flags", "").split()],
        "memory, GB": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "Python": platform.python_version(),
        **dict(_versions(_PACKAGES)),
    }


def _processor() -> dict[str, str]:
    """Returns what Linux says of the first core."""
    path = Path("/proc/cpuinfo")
    first = path.read_text().split("\n\n")[0] if path.exists() else ""
    pairs = [line.partition(":") for line in first.splitlines()]
    return {name.strip(): value.strip() for name, _, value in pairs}


def _usable_cores() -> list[int]:
    process = psutil.Process()
    if hasattr(process, "cpu_affinity"):  # a container may have fewer
        return process.cpu_affinity()
    return list(range(psutil.cpu_count() or 1))


def _versions(packages: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield name, importlib.metadata.version(name)
