"""bfloat16 without a package: the upper half of float32's bits."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.errors import CheckpointError

Array = NDArray[Any]


def widened(raw: Array) -> Array:
    """Return bfloat16 bits (any 2-byte dtype, little endian) as the float32 of equal value."""
    bits = np.ascontiguousarray(raw).view("<u2").astype(np.uint32) << np.uint32(16)
    return bits.view(np.float32).reshape(raw.shape)


def narrowed(array: Array, what: str) -> Array:
    """Return float32 values as bfloat16 bits, or raise where one is not a bfloat16."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    if (bits & np.uint32(0xFFFF)).any():
        raise CheckpointError(
            f"{what} has values that bfloat16 cannot hold exactly (it was trained on in float32); "
            "record it as float32: replace its dtype in checkpoint.variables."
        )
    return (bits >> np.uint32(16)).astype("<u2").reshape(np.shape(array))
