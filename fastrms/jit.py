"""The rule for users' own compiled code.

`update` may be called from any function under ``numba.njit`` and gives the bits that
`fastrms.RMSprop.apply` gives. A whole training loop can so be compiled::

    from fastrms.jit import Slots, hyper, update, variant

    numbers = hyper(np.float32, learning_rate=0.01, momentum=0.9)
    choices = variant(momentum=0.9)

    @njit
    def train(w, velocity, momentum, steps, numbers, choices):
        for _ in range(steps):
            for i in range(w.size):
                slots = Slots(velocity[i], momentum[i], w[i])
                w[i], slots = update(w[i], w[i] - 3, slots, numbers, choices)
                velocity[i], momentum[i] = slots.velocity, slots.momentum
"""

from typing import Any

import numpy as np
from numba import config, njit

from fastrms import compiling, kernels, reference
from fastrms.arguments import Settings, settle
from fastrms.dialects import Dialect, get_dialect
from fastrms.errors import ArgumentError
from fastrms.hyper import fixed, rate
from fastrms.rates import scheduled
from fastrms.rule import Hyper, Slots, Variant
from fastrms.schedules import LearningRateSchedule
from fastrms.state import State
from fastrms.variables import Variables
from fastrms.work import UPDATE, Workshop

__all__ = ["Hyper", "Slots", "Variant", "hyper", "update", "variant"]

# The kernels' own `update` has no wrapper for callers outside compiled code.
_python: Any = getattr(kernels.update, "py_func", reference.advance)
update = reference.advance if config.DISABLE_JIT else njit(**compiling.OPTIONS)(_python)


def hyper(
    dtype: Any, *, dialect: str | Dialect = "keras-3", iterations: int = 0, **arguments: Any
) -> Hyper:
    """Return the numbers of one step, rounded as a dialect rounds them.

    Parameters
    ----------
    dtype : numpy dtype
        float32 or float64, the dtype of the variables.
    dialect : str
        A name in `fastrms.DIALECTS`.
    iterations : int
        The steps made so far; matters with a schedule and where the dialect has ``decay``.
    **arguments
        As for `fastrms.RMSprop`.

    Returns
    -------
    Hyper
        A named tuple of scalars of `dtype`, to be passed to `update`.

    Raises
    ------
    ArgumentError
        An argument is not valid for the dialect, or the dtype is not float32 or float64.

    Examples
    --------
    >>> float(hyper("float64", rho=0.5).rho)
    0.5
    """
    kind = _dtype(dtype)
    row = get_dialect(dialect)
    settings = settle(row, arguments)
    base = settings.learning_rate
    if isinstance(base, LearningRateSchedule):
        base = scheduled(row, base, iterations, kind)
    if callable(base):
        raise ArgumentError("learning_rate is a callable; pass its value to hyper().")
    now = rate(row, settings, base, iterations, kind)
    return fixed(row, settings, kind)._replace(learning_rate=now)


def variant(*, dialect: str | Dialect = "keras-3", **arguments: Any) -> Variant:
    """Return the form of the rule that a dialect uses with these arguments.

    Parameters
    ----------
    dialect : str
        A name in `fastrms.DIALECTS`.
    **arguments
        As for `fastrms.RMSprop`, without clipping, loss scaling, accumulation and moving
        averages, which are not part of `update`.

    Returns
    -------
    Variant
        A named tuple of bools, to be passed to `update`.

    Raises
    ------
    ArgumentError
        An argument is not valid for the dialect, or has no part in `update`.

    Examples
    --------
    >>> variant(dialect="keras-2.2").epsilon_inside
    False
    """
    row = get_dialect(dialect)
    variables = Variables([np.zeros(1, np.float32)], ["variable"], named=False)
    settings = settle(row, arguments)
    _require_plain(settings)
    shop = Workshop(row, settings, variables, State(variables, 0.0), frozenset())
    chosen = shop.variant(0, UPDATE)
    # `apply` lets the processor flush; compiled code of others runs in the default mode.
    return chosen._replace(flush=row.flushes_subnormals)


def _dtype(dtype: Any) -> np.dtype[Any]:
    """Return a dtype that Numba can compute in."""
    kind: np.dtype[Any] = np.dtype(dtype)
    if kind.name not in ("float32", "float64"):
        raise ArgumentError(
            f"dtype={kind.name} is not valid here; valid: float32 or float64 (Numba's CPU target "
            "has no float16 arithmetic; RMSprop.apply does update float16 arrays)."
        )
    return kind


def _require_plain(settings: Settings) -> None:
    """Refuse options that are not part of `update` and so would have no effect."""
    acting = {
        name: value
        for name in (
            "clipnorm",
            "clipvalue",
            "global_clipnorm",
            "use_ema",
            "loss_scale_factor",
            "gradient_accumulation_steps",
        )
        if (value := getattr(settings, name))
    }
    if acting:
        raise ArgumentError(
            f"{acting} would have no effect in update(), which is the rule for one weight; valid: "
            "the other arguments. Use fastrms.RMSprop for these, or do it in your own code."
        )
