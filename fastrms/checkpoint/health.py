"""What in a state is no state of a run in good health."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CACHED = 1 << 16  # numbers that stay in a core's cache between the two looks at them


def suspicions(checkpoint: Any) -> Iterator[str]:
    """Name slots that hold values which no run in good health has."""
    for slot, arrays in checkpoint.slots.items():
        for variable, array in zip(checkpoint.variables, arrays, strict=True):
            if array is None or not array.size:
                continue
            finite, negative = _looked_at(np.asarray(array))
            if not finite:
                yield f"slot {slot!r} of variable {variable.name!r} holds NaN or infinity."
            elif negative and slot == "velocity":
                yield f"slot {slot!r} of variable {variable.name!r} holds negative mean squares."


def _looked_at(array: NDArray[Any]) -> tuple[bool, bool]:
    """Tell whether all numbers are finite, and whether one is negative; memory is read once.

    The bits of IEEE numbers, taken as whole numbers, are in order, those with a sign above the
    others if they are taken without one: whole numbers are compared as fast in any width.
    """
    flat = array.astype(array.dtype.newbyteorder("="), copy=False).ravel(order="K")
    width = flat.dtype.itemsize
    infinity = int(np.array(np.inf, flat.dtype).view(f"u{width}"))
    sign = 1 << (8 * width - 1)
    positive, most = -sign, 0
    for first in range(0, flat.size, _CACHED):
        part = flat[first : first + _CACHED]
        positive = max(positive, int(part.view(f"i{width}").max()))
        most = max(most, int(part.view(f"u{width}").max()))
    return positive < infinity and most < sign + infinity, most > sign
