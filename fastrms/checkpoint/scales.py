"""The state of a LossScaleOptimizer: checked, described, and given back to one."""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fastrms.checkpoint.rules import SCALERS
from fastrms.errors import ArgumentError, CheckpointError, DialectError, PortingWarning

# Arguments of a LossScaleOptimizer, by our word for the same thing in a file.
_ARGUMENTS = {
    "initial_scale": "initial_scale",
    "growth_steps": "dynamic_growth_steps",
    "dynamic": "dynamic",
}


def require_scale(state: Any) -> None:
    """Raise unless the state of a loss scale is one."""
    if state is None:
        return
    if not isinstance(state, Mapping):
        raise CheckpointError(f"loss_scale is {state!r:.60}; valid: a dictionary, or None.")
    for name, value in state.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        whole = isinstance(value, int) and number and value < 2**63
        fits = {
            "scale": number and 2.0**-149 <= value < 2.0**128 * (1 - 2.0**-25),
            "initial_scale": number and 2.0**-149 <= value < 2.0**128 * (1 - 2.0**-25),
            "counter": whole and value >= 0,
            "growth_steps": whole and value > 0,
            "dynamic": isinstance(value, bool),
        }
        if not fits.get(name, False) and (value is not None or name not in fits):
            raise CheckpointError(
                f"loss_scale[{str(name)!r:.40}] is {value!r:.60}; valid: scale and initial_scale, "
                "finite float32 numbers above 0; counter, a whole number from 0; growth_steps, "
                "one from 1; dynamic, true or false. The file is damaged."
            )


def described(checkpoint: Any, scaler: Any) -> Any:
    """Return an inner optimizer's checkpoint with the state of the scaler around it."""
    state = {"growth_steps": scaler.dynamic_growth_steps, "initial_scale": scaler.initial_scale}
    held = {"counter": scaler.step_counter, "scale": scaler.dynamic_scale}
    return replace(checkpoint, loss_scale=state | (held if scaler.dynamic else {"dynamic": False}))


def scaled(optimizer: Any, state: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """Return a LossScaleOptimizer around an optimizer, in the state of a file."""
    known = {a: state[n] for n, a in _ARGUMENTS.items() if state.get(n) is not None}
    if state.get("scale") is not None:
        known.setdefault("initial_scale", state["scale"])
    if known.get("dynamic", True):
        known.pop("dynamic", None)
    try:
        scaler = SCALERS[0](optimizer, **{**known, **given})
    except (ArgumentError, DialectError) as error:
        if given:
            raise
        raise CheckpointError(f"the file's loss scale cannot be: {error}") from error
    _set(scaler, state.get("scale"), state.get("counter"))
    return scaler


def _set(scaler: Any, scale: Any, counter: Any) -> None:
    """Let a scaler go on with a scale and a counter, those that are known."""
    if counter is not None and scaler.dynamic:
        scaler._own["step_counter"] = counter
    if scale is not None:
        scaler._set_scale(scale)


def given_of(checkpoint: Any, hyper: dict[str, Any]) -> dict[str, Any]:
    """Take the arguments of a LossScaleOptimizer out of the caller's hyperparameters."""
    if checkpoint.loss_scale is None:
        return {}
    return {name: hyper.pop(name) for name in _ARGUMENTS.values() if name in hyper}


def require_fitting(scaler: Any, checkpoint: Any) -> None:
    """Raise unless a scaler adapts its scale, or keeps it, as the file's does."""
    fixed = (checkpoint.loss_scale or {}).get("dynamic") is False
    if fixed and scaler.dynamic:
        raise CheckpointError(
            "the file's loss scale is a fixed one, the optimizer's adapts; make the optimizer with "
            "dynamic=False. Nothing was changed."
        )


def resume(scaler: Any, checkpoint: Any) -> None:
    """Give a scaler the scale and counter of a file, and warn of what stays its own."""
    state = checkpoint.loss_scale or {}
    fixed = state.get("initial_scale") if state.get("dynamic") is False else None
    scale = state.get("scale") or fixed
    _set(scaler, scale, state.get("counter"))
    own = {"initial_scale": scaler.initial_scale, "growth_steps": scaler.dynamic_growth_steps}
    other = [
        f"{_ARGUMENTS[name]}={value!r} (the file has {state[name]!r})"
        for name, value in own.items()
        if state.get(name) not in (None, value)
    ]
    if scale is None:
        other.append(f"scale {scaler.dynamic_scale!r} (the file holds none)")
    if other:
        warnings.warn(
            f"the LossScaleOptimizer goes on with its own {', '.join(other)}.",
            PortingWarning,
            stacklevel=3,
        )


def unscaled(checkpoint: Any) -> Any:
    """Return a checkpoint without its loss scale, for an optimizer that has none, and warn."""
    if checkpoint.loss_scale is None:
        return checkpoint
    shown = {k: v for k, v in checkpoint.loss_scale.items() if v is not None}
    warnings.warn(
        f"the file's loss scale {shown} is left out: this optimizer has none; load the file "
        "into a fastrms.LossScaleOptimizer to go on with it.",
        PortingWarning,
        stacklevel=3,
    )
    return replace(checkpoint, loss_scale=None)
