"""The numbers of a step: rounded in the order in which the real system rounds them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.arguments import Settings
from fastrms.dialects.fields import Dialect
from fastrms.errors import ArgumentError
from fastrms.rule import Hyper

COUNT = len(Hyper._fields)


def _rounded(row: Dialect, name: str, value: float, dtype: np.dtype[Any]) -> Any:
    """Round a number to a dtype, through float32 first where the system stores it so."""
    with np.errstate(over="ignore", under="ignore"):
        if name in row.float32_first and not isinstance(value, np.float64):
            value = float(np.float32(value))
        result = dtype.type(value)
    if not np.isfinite(result) or (name == "epsilon" and value != 0 and result == 0):
        what = "underflows to 0" if result == 0 else "overflows"
        raise ArgumentError(
            f"{name}={value!r} {what} in {dtype.name}, the dtype of a variable. Valid: magnitudes "
            f"from {np.finfo(dtype).smallest_subnormal:g} to {np.finfo(dtype).max:g}; "
            f"pass another {name} or use float32 variables."
        )
    return result


def _complement(row: Dialect, settings: Settings, dtype: np.dtype[Any]) -> Any:
    """Return 1 - rho as the system rounds it."""
    if row.rho_complement_in_dtype:
        return dtype.type(1) - _rounded(row, "rho", settings.rho, dtype)
    return dtype.type(1 - settings.rho)


def rate(row: Dialect, settings: Settings, base: float, iterations: int, dtype: Any) -> Any:
    """Return the learning rate of a step in a dtype, `decay` included.

    Source of the two forms: keras 2.2.4 optimizers.py:247-249 (`lr * (1. / (1. + decay * it))`),
    keras 2.10.0 optimizer_v2.py `_decayed_lr` (`lr_t / (1. + decay_t * local_step)`).
    """
    value = _rounded(row, "learning_rate", base, dtype)
    if row.decay is None or not settings.decay > 0:
        return value
    one = dtype.type(1)
    decay = _rounded(row, "decay", settings.decay, dtype)
    with np.errstate(all="ignore"):  # float16 counts to 65504; the real systems go on with inf
        steps = dtype.type(iterations + settings.decay_offset)
        scale = one + decay * steps
        return value * (one / scale) if row.decay.reciprocal else value / scale


def bounds(row: Dialect, settings: Settings) -> dict[str, float]:
    """Return the kinds of clipping that act, by name in `Clipping.order`, with their bounds."""
    arguments = {"value": "clipvalue", "norm": "clipnorm", "global": "global_clipnorm"}
    acting = {}
    for kind in row.clipping.order:
        bound = getattr(settings, arguments[kind])
        if bound is not None and (bound > 0 or row.clipping.zero_acts):
            acting[kind] = bound
    if row.clipping.rivals == "first" and acting:
        first = next(iter(acting))
        return {first: acting[first]}
    return acting


def _inverse(row: Dialect, bound: float, dtype: np.dtype[Any]) -> Any:
    """Return 1 / bound, rounded once or after the bound was, and flushed as results are."""
    with np.errstate(all="ignore"):
        if row.clipping.inverse_in_double and bound:
            found = dtype.type(1.0 / bound)
        else:
            found = dtype.type(1) / dtype.type(bound)
    wide = np.float64 if dtype == np.float64 else np.float32
    flushes = row.flushes_subnormals and dtype != np.float16
    return dtype.type(0) if flushes and abs(found) < np.finfo(wide).tiny else found


def fixed(row: Dialect, settings: Settings, dtype: np.dtype[Any]) -> Hyper:
    """Return the numbers that stay the same from step to step, as scalars of a dtype."""
    one = dtype.type(1)
    acting = bounds(row, settings)
    norm = acting.get("norm", acting.get("global", 1.0))
    average = row.average
    in_dtype = average is not None and average.dtype_complement
    ema = _rounded(row, "ema_momentum", settings.ema_momentum if settings.use_ema else 0.0, dtype)
    scale = settings.loss_scale_factor
    return Hyper(
        learning_rate=one,
        rho=_rounded(row, "rho", settings.rho, dtype),
        one_minus_rho=_complement(row, settings, dtype),
        momentum=_rounded(row, "momentum", settings.momentum or 0.0, dtype),
        epsilon=_rounded(row, "epsilon", settings.epsilon, dtype),
        weight_decay=_rounded(row, "weight_decay", settings.weight_decay or 0.0, dtype),
        ema_momentum=ema,
        one_minus_ema_momentum=one - ema
        if in_dtype
        else dtype.type(1 - settings.ema_momentum if settings.use_ema else 1),
        loss_scale=_rounded(row, "loss_scale_factor", 1.0 if scale is None else scale, dtype),
        accumulation_steps=_rounded(
            row, "gradient_accumulation_steps", settings.gradient_accumulation_steps or 1, dtype
        ),
        clipvalue=_rounded(row, "clipvalue", acting.get("value", 1.0), dtype),
        clipnorm=_rounded(row, "clipnorm", norm, dtype),
        inverse_clipnorm=_inverse(row, norm, dtype),
        one=one,
        overwrite=dtype.type(0),
    )


class Numbers:
    """The numbers of a step for the variables of one dtype, where kernels read them."""

    def __init__(self, row: Dialect, settings: Settings, dtype: np.dtype[Any]) -> None:
        self.row, self.settings, self.dtype = row, settings, dtype
        wide = np.float64 if dtype == np.float64 else np.float32
        self.array: NDArray[Any] = np.empty(COUNT, wide)
        self.hyper = fixed(row, settings, dtype)
        self.array[:] = self.hyper
        self._base = self.hyper

    def rescale(self, scale: np.float32, reciprocal: bool) -> None:
        """Set the scale of the loss: a divisor (kept in float32 for float16), or a factor.

        Source: keras 3.15.1 loss_scale_optimizer.py:180-186 divides by a float32 variable; keras
        2.12.0 mixed_precision/loss_scale_optimizer.py:1235, 1520 casts 1/scale to the gradient.
        """
        with np.errstate(all="ignore"):
            if reciprocal:
                number = self.dtype.type(np.float32(1) / scale)
            else:
                number = self.array.dtype.type(scale)
        self._base = self._base._replace(loss_scale=number)
        self.hyper = self.hyper._replace(loss_scale=number)
        self.array[Hyper._fields.index("loss_scale")] = number

    def advance(self, base: float, iterations: int, first: bool, overwrite: bool) -> None:
        """Set what changes: the learning rate, the first average, the overwriting."""
        now = rate(self.row, self.settings, base, iterations, self.dtype)
        hyper = self._base._replace(learning_rate=now, overwrite=self.dtype.type(overwrite))
        if first:
            hyper = hyper._replace(
                ema_momentum=self.dtype.type(0), one_minus_ema_momentum=self.hyper.one
            )
        self.hyper = hyper
        self.array[:] = hyper
