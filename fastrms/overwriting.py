"""Gradients that replace their variables instead of updating them.

Source: keras 3.15.1 optimizers/base_optimizer.py:777-836 (`overwrite_with_gradient`).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.work import ACCUMULATE, UPDATE, Workshop

Array = NDArray[Any]


def set_aside(shop: Workshop, mode: str, gradients: list[Any]) -> list[tuple[Array, Array]]:
    """Take such gradients out of a list in the variables' order; return what to write and where.

    With accumulation it is the largest of each element's gradients that replaces the variable.
    """
    writes: list[tuple[Array, Array]] = []
    for i in shop.variables.overwritten():
        if gradients[i] is None:
            continue
        variable = shop.variables.arrays[i]
        with np.errstate(over="ignore", under="ignore"):
            value = shop.as_array(i, gradients[i]).astype(variable.dtype)
        gradients[i] = None
        if shop.settings.gradient_accumulation_steps:
            shop.state.create(["gradient_accumulator"], [i])
            largest = shop.state.shaped("gradient_accumulator", i)
            value = np.maximum(value, largest)
            writes.append((largest, value if mode == ACCUMULATE else np.zeros_like(value)))
        if mode == UPDATE:
            writes.append((variable, value))
    return writes
