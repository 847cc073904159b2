"""The core's own rule, evaluated on expressions instead of numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastrms.arguments import Settings
from fastrms.dialects.fields import Dialect
from fastrms.hyper import bounds, fixed
from fastrms.layout import HARDWARE_FLUSH
from fastrms.rule import EACH, Slots, Variant, make_rule

from ..engine.expressions import Expression, build, cast


def _fit(value: Any, variant: Variant) -> Any:
    """Flush subnormal results where the processor cannot."""
    return build("flush", value) if variant.flush else value


RULE = make_rule(
    lambda x: build("sqrt", x), _fit, lambda x, bound: build("smaller", x, bound), lambda f: f
)


def _variant(row: Dialect, dtype: str, **choices: bool) -> Variant:
    half = dtype == "float16"
    soft = row.flushes_subnormals and not HARDWARE_FLUSH and not half
    return Variant(**{"update": False, **choices}, half=half, flush=soft)


def clipped(row: Dialect, settings: Settings, gradients: Sequence[Expression]) -> list[Expression]:
    """Return gradients clipped as the row says: by the norm of all or of each, then by value."""
    acting = bounds(row, settings)
    if not acting:
        return list(gradients)
    norm_acts = "norm" in acting
    total = build("norm", *gradients) if norm_acts and row.clipping.norm_spans_all else None
    found = []
    for gradient in gradients:
        hyper = fixed(row, settings, np.dtype(gradient.dtype))
        choices = {"factor": norm_acts, "divisor": norm_acts, "value_last": "value" in acting}
        variant = _variant(row, gradient.dtype, **choices)
        pair: tuple[Any, Any] = (hyper.one, hyper.one)
        if total is not None:
            large = total >= hyper.clipnorm
            one = build("fill_like", total, value=1, dtype=total.dtype)
            pair = build("where", large, hyper.clipnorm, one), build("where", large, total, one)
        elif norm_acts:
            norm = build("norm", gradient)
            numbers = hyper.clipnorm, hyper.inverse_clipnorm, hyper.one
            pair = RULE.clip(norm, *numbers, EACH, variant)
        found.append(RULE.condition(gradient, None, pair, hyper, variant))
    return found


def stepped(
    row: Dialect,
    values: Sequence[Expression],
    rates: Sequence[Any],
    epsilon: Any,
) -> tuple[Expression, Expression]:
    """Return new parameter and velocity from (parameter, gradient, velocity) and (lr, rho)."""
    variable, gradient, velocity = values
    dtype = variable.dtype
    form = row.form.choices(has_momentum=False, centered=False)
    variant = _variant(row, dtype, update=True, **dict.fromkeys(form, True))
    rate, rho = [cast(r, dtype) if isinstance(r, Expression) else r for r in rates]
    hyper = fixed(row, Settings(), np.dtype(dtype))._replace(
        learning_rate=rate, rho=rho, one_minus_rho=1.0 - rho, epsilon=epsilon
    )
    slots = Slots(velocity, gradient, gradient)
    fresh, kept = RULE.advance(variable, cast(gradient, dtype), slots, hyper, variant)
    return fresh, kept.velocity
