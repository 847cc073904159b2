"""`tf.keras.backend`, as far as callbacks use it on an optimizer: reading and setting values."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from .weights import array_of

__all__ = ["batch_get_value", "batch_set_value", "get_value", "set_value"]


def get_value(x: Any) -> Any:
    """Return the value of a weight or variable, a copy; a number is returned as it is."""
    return x.numpy() if hasattr(x, "numpy") else np.array(x)[()]


def set_value(x: Any, value: Any) -> None:
    """Assign to a weight or variable."""
    if hasattr(x, "assign"):
        x.assign(value)
    else:
        array_of(x)[...] = value


def batch_get_value(tensors: Iterable[Any]) -> list[Any]:
    """Return the values of several weights or variables."""
    return [get_value(x) for x in tensors]


def batch_set_value(tuples: Iterable[tuple[Any, Any]]) -> None:
    """Assign to several weights or variables."""
    for x, value in tuples:
        set_value(x, value)


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"tf.keras.backend.{name} is not provided here; valid: get_value, set_value, "
        "batch_get_value, batch_set_value. Use NumPy for arithmetic, or the backend of a "
        "graph-mode module such as fastrms.compat.keras22."
    )
