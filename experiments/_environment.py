"""What a number was measured on."""

import contextlib
import importlib.metadata
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PACKAGES = ("jbce", "jax", "jaxlib", "numpy", "flax", "optax", "scikit-learn")


def environment(packages: Iterable[str] = PACKAGES) -> dict[str, Any]:
    """Versions, machine and device, in a form that JSON can hold; the same for every record.

    A package that is not installed is left out.
    """
    import jax

    device = jax.devices()[0]
    return {
        "versions": {"python": platform.python_version()} | _versions(packages),
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": _cores(),
        "device": f"{device.platform}: {device.device_kind}",
        "allocator": _allocator(),
    }


def _versions(packages: Iterable[str]) -> dict[str, str]:
    versions = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    """The cores that this process may use, not those of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _allocator() -> str:
    """`warm` where glibc was told to keep its pages; else `default`.

    By default glibc maps and faults in every output of 32 MB and more anew, which costs about as
    much as computing it; MALLOC_MMAP_MAX_=0 with a large MALLOC_TRIM_THRESHOLD_ recycles pages.
    """
    recycles = os.environ.get("MALLOC_MMAP_MAX_") == "0"
    keeps = "MALLOC_TRIM_THRESHOLD_" in os.environ
    return "warm" if recycles and keeps else "default"
