"""What a number in an old script may be, told where it is something else."""

import math
from numbers import Real
from typing import Any

import numpy as np

from fastrms.errors import ArgumentError


def real(who: str, name: str, value: Any) -> Any:
    """Return a number, if it is a finite one."""
    number = isinstance(value, Real | np.generic) and not isinstance(value, bool | np.bool_)
    if not number or not math.isfinite(value):
        raise ArgumentError(
            f"{who}({name}={value!r:.60}) is not valid; valid: a finite number. Pass one, as a "
            "number of Python or NumPy."
        )
    return value


def whole(who: str, name: str, value: Any, least: int = 0) -> int:
    """Return a whole number, if it is one and large enough."""
    kinds = int | np.integer | float
    if isinstance(value, bool) or not isinstance(value, kinds) or value < least or value % 1:
        raise ArgumentError(f"{who} received {name}={value!r:.60}; valid: an integer from {least}.")
    return int(value)
