"""What a `LossScaleOptimizer` may be made of."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

from fastrms.dialects.fields import LossScale
from fastrms.errors import ArgumentError, DialectError, StateError
from fastrms.optimizer import RMSprop

WRAPPED = (
    "this optimizer belongs to a LossScaleOptimizer, which alone knows by what its gradients are "
    "scaled; valid: apply and apply_gradients of the LossScaleOptimizer. Nothing was changed."
)
# Arguments of every Keras optimizer; a wrapper takes them only with the value that means "off".
_OFF = ("weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "use_ema",
        "ema_momentum", "ema_overwrite_frequency", "loss_scale_factor",
        "gradient_accumulation_steps")  # fmt: skip


def rules_of(inner: Any) -> LossScale:
    """Return the rules of the inner optimizer's dialect, or raise."""
    if not isinstance(inner, RMSprop):
        raise ArgumentError(
            f"inner_optimizer={inner!r} is not valid; valid: a fastrms.RMSprop. Make one first."
        )
    row = inner._core.row
    if row.loss_scale is None:
        raise DialectError(
            f"the dialect {row.name!r} ({row.systems}) has no LossScaleOptimizer; valid: keras-3 "
            "and the dialects of tf.keras 2. Scale and unscale in your own code."
        )
    if inner._core.refusal:
        raise ArgumentError(
            f"inner_optimizer={inner!r} already belongs to a LossScaleOptimizer, or is stepping; "
            "valid: an optimizer of its own. Make a new one."
        )
    return row.loss_scale


def require_dynamic(rules: LossScale, inner: RMSprop, given: dict[str, Any]) -> bool:
    """Return the argument `dynamic`; refuse others."""
    kept = dict(given)
    dynamic = kept.pop("dynamic", True) if rules.fixed else True
    if not isinstance(dynamic, bool):
        raise ArgumentError(f"dynamic={dynamic!r} is not valid; valid: True or False.")
    off = {None: None, "use_ema": False}
    wrong = {k: v for k, v in kept.items() if k not in _OFF or v not in (off.get(k), None)}
    if wrong:
        raise ArgumentError(
            f"LossScaleOptimizer has no arguments {wrong} in the dialect {inner.dialect!r}; valid: "
            "initial_scale, dynamic_growth_steps and name. Set others on the inner optimizer."
        )
    return dynamic


def require_numbers(scale: Any, steps: Any, dynamic: bool) -> None:
    """Check the scale and the number of steps."""
    real = isinstance(scale, Real) and not isinstance(scale, bool)
    with np.errstate(over="ignore", under="ignore"):
        fits = real and 0 < float(np.float32(scale)) < np.inf
    if not fits:
        raise ArgumentError(
            f"initial_scale={scale!r} is not valid; valid: a finite number above 0 in float32."
        )
    whole = isinstance(steps, int | np.integer) and not isinstance(steps, bool)
    if dynamic and not (whole and steps > 0):
        raise ArgumentError(f"dynamic_growth_steps={steps!r} is not valid; valid: an integer > 0.")
    if not dynamic and steps not in (None, 2000):
        raise ArgumentError(
            f"dynamic_growth_steps={steps!r} has no effect with dynamic=False; leave one out."
        )


def next_scale(old: Any, stopped: bool, rules: LossScale) -> Any:
    """Return the scale after a skipped step, or after enough steps in a row without one."""
    with np.errstate(over="ignore", under="ignore"):
        if stopped:
            return max(old * np.float32(0.5), np.float32(rules.floor or 0))
        return old * np.float32(2) if old <= np.finfo(np.float32).max / 2 else old


def require_scalars(given: Mapping[str, Any]) -> None:
    """Check the scalars that `set_weights` is to set."""
    for name, value in given.items():
        number = np.asarray(value)
        least = 0 if name != "dynamic_scale" else np.finfo(np.float32).smallest_subnormal
        whole = name in ("iterations", "step_counter")
        if (
            number.shape != ()
            or number.dtype.kind not in "fiu"
            or not least <= number <= np.finfo(np.float32).max
            or (whole and number != np.floor(number))
        ):
            raise StateError(
                f"weight {name} of the LossScaleOptimizer is {value!r}; valid: a finite "
                f"{'integer' if whole else 'number'} from {least}. Nothing was changed."
            )
