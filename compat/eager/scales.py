"""How earlier versions wrote a loss scale down, and what one does to gradients."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastrms.errors import ArgumentError
from fastrms.sparse import IndexedSlices


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
