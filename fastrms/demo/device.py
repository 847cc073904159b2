"""Where the demo trains: NumPy arrays on the host, or CuPy's on a GPU, through the same code."""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from fastrms import cuda

DEVICES = ("cpu", "cuda")


def obstacle(device: str) -> str:
    """Say why the demo cannot train on a device; an empty string if it can."""
    if device == "cpu":
        return ""
    if not cuda.is_available():
        return cuda.reason()
    if "cupy" not in sys.modules and find_spec("cupy") is None:
        return "CuPy is not installed; install with: pip install cupy-cuda13x (or cupy-cuda12x)"
    try:
        import cupy

        (cupy.asarray([1.0]) + 1).get()
    except Exception as error:
        # Without its CUDA libraries or with another driver it raises what their loaders do.
        return f"the installed CuPy does not work here: {error}".strip().replace("\n", " ")
    return ""


def mover(device: str) -> Callable[[Any], Any]:
    """Return what puts an array where training happens."""
    if device == "cpu":
        return lambda array: array
    import cupy

    place: Callable[[Any], Any] = cupy.asarray
    return place


def to_host(array: Any) -> Any:
    """Return a copy of an array in the host's memory."""
    return array.get() if hasattr(array, "get") else array.copy()
