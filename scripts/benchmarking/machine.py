"""The machine and the versions that the numbers belong to."""

import importlib.metadata
import os
import platform
from pathlib import Path

_PACKAGES = ("numpy", "numba", "llvmlite", "torch", "jax", "jaxlib", "optax", "keras")
_TENSORFLOWS = ("tensorflow", "tensorflow-cpu")


def _lines(file: str) -> list[str]:
    """Return a system file's lines, or none where there is no such file."""
    path = Path(file)
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def cpu_model() -> str:
    """Return the processor's name."""
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _last_level_cache() -> str:
    """Return the size of the outermost cache that the system admits to."""
    folders = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"))
    sizes = [line for folder in folders[-1:] for line in _lines(str(folder / "size"))]
    return f", last-level cache {sizes[0]}" if sizes else ""


def machine() -> str:
    """Describe the machine in a line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = ""
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemTotal"):
            memory = f", {int(line.split()[1]) / 2**20:.0f} GiB"
    virtual = any("hypervisor" in line.split() for line in _lines("/proc/cpuinfo"))
    kind = " (virtual machine)" if virtual else ""
    return f"{cpu_model()}, {cores} cores{memory}{_last_level_cache()}{kind}, {platform.system()}"


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that are timed."""
    found = {"python": platform.python_version()}
    for name in (*_PACKAGES, *_TENSORFLOWS):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
