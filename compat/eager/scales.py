"""What a loss scale may be, and how earlier versions wrote one down."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastrms.errors import ArgumentError
from fastrms.sparse import IndexedSlices

from .weights import number_of

_INITIAL, _GROWTH = 2.0**15, 2000


def checked_scale(dynamic: Any, scale: Any, growth: Any) -> tuple[float, int | None]:
    """Return the initial scale and the growth steps, or raise."""
    if not isinstance(dynamic, bool):
        raise ArgumentError(f"dynamic={dynamic!r} is not valid; valid: True or False.")
    if not dynamic and (scale is None or growth is not None):
        raise ArgumentError(
            f"with dynamic=False, initial_scale is needed (received {scale!r}) and "
            f"dynamic_growth_steps must be None (received {growth!r})."
        )
    first = _INITIAL if scale is None else number_of(scale)
    steps = _GROWTH if dynamic and growth is None else number_of(growth)
    number = isinstance(first, int | float) and not isinstance(first, bool)
    if not number or not np.isfinite(first) or first <= 0:
        raise ArgumentError(f"initial_scale={scale!r} is not valid; valid: a positive number.")
    if dynamic and (not isinstance(steps, int) or steps < 1):
        raise ArgumentError(f"dynamic_growth_steps={growth!r} is not valid; valid: an int >= 1.")
    return (first if dynamic else float(first)), steps


def from_older(given: dict[str, Any]) -> dict[str, Any]:
    """Translate a configuration of tf.keras 2.0 to 2.3, whose scale was an object."""
    scale = given.pop("loss_scale")
    about = scale.get("config", {}) if isinstance(scale, Mapping) else {}
    kind = scale.get("class_name") if isinstance(scale, Mapping) else None
    found: dict[str, Any] = {"inner_optimizer": given.pop("optimizer")}
    if kind == "FixedLossScale":
        return {**found, "dynamic": False, "initial_scale": about["loss_scale_value"]}
    if kind != "DynamicLossScale" or about.get("multiplier", 2) != 2:
        raise ArgumentError(
            f"loss_scale={scale!r:.120} cannot be read; valid: a FixedLossScale, or a "
            "DynamicLossScale with the multiplier 2."
        )
    first, period = about["initial_loss_scale"], about["increment_period"]
    return {**found, "initial_scale": first, "dynamic_growth_steps": period}


def times(gradient: Any, factor: Any) -> Any:
    """Return a gradient, of rows or not, times a factor in its dtype."""
    if isinstance(gradient, IndexedSlices):
        values = times(gradient.values, factor)
        return IndexedSlices(values, gradient.indices, gradient.dense_shape)
    array = np.asarray(gradient)
    return array * array.dtype.type(factor)


def is_finite(gradient: Any) -> bool:
    """Tell whether a gradient, of rows or not, has only finite elements."""
    values = gradient.values if isinstance(gradient, IndexedSlices) else gradient
    return bool(np.isfinite(np.asarray(values)).all())
