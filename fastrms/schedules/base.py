"""What all schedules share: the base class, checks, and how numbers get their dtype.

Source: keras 3.15.1 optimizers/schedules/learning_rate_schedule.py.
"""

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.errors import ArgumentError


class LearningRateSchedule:
    """The base of all schedules: override ``__call__`` and, to be serializable, ``get_config``.

    ``__call__(step)`` gets the number of steps made so far: an int, or in the dialect tf-keras-v2
    a NumPy float of the variables' dtype. It returns the rate of the coming step.

    Examples
    --------
    >>> class Halving(LearningRateSchedule):
    ...     def __init__(self, rate):
    ...         self.rate = rate
    ...
    ...     def __call__(self, step):
    ...         return self.rate / 2**step
    ...
    ...     def get_config(self):
    ...         return {"rate": self.rate}
    >>> from fastrms import RMSprop
    >>> RMSprop(learning_rate=Halving(0.5)).learning_rate
    0.5
    """

    def __call__(self, step: Any) -> Any:
        """Return the rate at a step."""
        raise NotImplementedError(
            f"Learning rate schedule '{type(self).__name__}' must override `__call__(self, step)`."
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments by name."""
        raise NotImplementedError(
            f"Learning rate schedule '{type(self).__name__}' must override `get_config()` in "
            "order to be serializable."
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "LearningRateSchedule":
        """Build a schedule from `get_config`'s result."""
        return cls(**config)


def require_number(name: str, value: Any) -> None:
    """Raise unless a schedule can compute with an argument."""
    bare = value[()] if isinstance(value, np.ndarray) else value
    real = isinstance(bare, Real) and not isinstance(bare, bool | np.bool_)
    if not real or not _is_finite(bare):
        raise ArgumentError(
            f"{name}={value!r} is not valid for a schedule; valid: a finite real number. Pass "
            "one, or leave the argument out if it has a default."
        )


def _is_finite(value: Any) -> bool:
    """Tell whether a number has a finite value as a float."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def require_positive(name: str, value: Any) -> None:
    """Raise unless a number of steps is positive; it may be infinite."""
    if not isinstance(value, float) or value != math.inf:
        require_number(name, value)
    if value <= 0:
        raise ArgumentError(
            f"Argument `{name}` must be > 0. Received: {name}={value!r}. Pass the number of steps "
            "that the decay takes."
        )


def dtype_of(rate: Any) -> "np.dtype[Any]":
    """Return what a schedule computes in: its rate's dtype, float32 for Python's numbers.

    Integers count as floats. (Keras computes integer rates in integers and mostly fails or gives
    0, even in the example of `CosineDecay`'s documentation.)
    """
    kind: np.dtype[Any] = np.asarray(rate).dtype
    given = isinstance(rate, np.ndarray | np.generic) and kind.kind == "f"
    return kind if given else np.dtype(np.float32)


def number_of(step: Any) -> Any:
    """Return a step, or an array of steps, in the dtype that Keras gives it."""
    if step.__class__ is int and abs(step) < 2**63:
        return np.int64(step)  # what an optimizer passes, made without detours
    array: NDArray[Any] = np.asarray(step)
    if array.dtype.kind not in "iuf":
        raise ArgumentError(
            f"step={step!r} is not valid; valid: an integer, a float or an array of them. Pass "
            "the number of steps made so far."
        )
    plain = not isinstance(step, np.ndarray | np.generic)
    return (array.astype(np.float32) if plain and array.dtype.kind == "f" else array)[()]


def rounded(function: Any, dtype: "np.dtype[Any]", *values: Any) -> Any:
    """Compute in double precision and round once.

    NumPy's own float32 powers, logarithms and cosines depend on the processor.
    """
    return function(*(value.astype(np.float64) for value in values)).astype(dtype)


# Where Keras quietly returns NaN or inf, so does NumPy here; the optimizer refuses such a rate.
silent = np.errstate(all="ignore")
