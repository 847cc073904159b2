"""Gradients of rows in a GPU's memory: which rows are summed in what order, decided on the host.

Values stay where they are. Indices are looked at before anything changes, so that those on a GPU
are copied to the host, for which a step waits.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastrms.cuda.arrays import taken
from fastrms.cuda.memory import DeviceArray, Place
from fastrms.cuda.protocols import lies_on_device

Words = NDArray[np.uint64]


class Scattered(NamedTuple):
    """Rows of one gradient: row `indices[k]` has the values `order[starts[k]:starts[k + 1]]`."""

    values: DeviceArray
    indices: Words
    starts: Words
    order: Words


def indices_of(value: Any, place: Place) -> NDArray[Any]:
    """Return a copy of indices in the host's memory."""
    found = taken(value, place, "iu") if lies_on_device(value) else value
    return np.array(found)


def values_of(value: Any, target: DeviceArray) -> DeviceArray:
    """Return values in a device's memory; a `TypeError` says why they cannot be taken."""
    if not lies_on_device(value):
        raise TypeError("values in the host's memory")
    values = taken(value, target.place)
    if values.place.ordinal != target.place.ordinal:
        raise TypeError(f"values on device {values.place.ordinal}")
    if values.dtype != target.dtype:
        raise TypeError(f"values of dtype {values.dtype}")
    if not values.flags.c_contiguous:
        raise TypeError(f"values with strides {values.strides}")
    return values


def read(
    given: Any, target: DeviceArray, refuse: Callable[[str, str], Exception]
) -> tuple[DeviceArray, NDArray[Any]]:
    """Return values on the device and indices on the host, or raise what `refuse` makes."""
    try:
        return values_of(given.values, target), indices_of(given.indices, target.place)
    except TypeError as error:
        valid = f"values of {target.dtype} in C order on the variable's device, whole indices"
        raise refuse(str(error), valid) from error


def scattered(values: DeviceArray, indices: NDArray[Any]) -> Scattered:
    """Sort rows, those given twice in the order given."""
    order = np.argsort(indices, kind="stable")
    ordered = indices[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]][: ordered.size])
    starts = np.append(first, order.size).astype(np.uint64)
    return Scattered(values, ordered[first].astype(np.uint64), starts, order.astype(np.uint64))
