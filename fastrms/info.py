"""What `fastrms info` prints: versions, processor, threads, cache, GPUs."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from fastrms import __version__, cuda, get_num_threads

_PACKAGES = (
    *("numpy", "numba", "llvmlite", "numba-cuda", "cuda-bindings", "ml_dtypes", "autograd"),
    *("h5py", "safetensors", "cupy-cuda12x", "cupy-cuda13x", "torch"),
)


def _installed(package: str) -> str:
    """Return a package's version."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _cache() -> str:
    """Say where compiled code is kept."""
    from numba import config

    folder = str(config.CACHE_DIR) or "beside the sources, or Numba's folder in the user's cache"
    return f"{folder}{'' if os.environ.get('NUMBA_CACHE_DIR') else ' (NUMBA_CACHE_DIR unset)'}"


def _devices() -> list[str]:
    """Describe every GPU, or say why none can be used."""
    if not cuda.is_available():
        return [f"none: {cuda.reason()}"]
    return cuda.devices()


def report() -> str:
    """Return the text.

    Returns
    -------
    str
        A line for each thing: its name, then what it is here.

    Examples
    --------
    >>> from fastrms.info import report
    >>> report().startswith("fastrms")
    True
    """
    from llvmlite.binding import get_host_cpu_name

    lines = [
        ("fastrms", __version__),
        ("Python", f"{platform.python_version()} on {platform.platform()}"),
        *((package, _installed(package)) for package in _PACKAGES),
        ("processor", f"{get_host_cpu_name()}, {os.cpu_count()} logical"),
        ("threads", str(get_num_threads())),
        ("cache", _cache()),
        *(("GPU", device) for device in _devices()),
    ]
    return "\n".join(f"{name:<14} {value}" for name, value in lines)
