"""Check hyperparameters against what a dialect's row lets each of them be."""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from fastrms.dialects.fields import Argument, Dialect
from fastrms.errors import ArgumentError, PortingWarning
from fastrms.rates import owner


class Default:
    """Stands for an argument left out; shows Keras 3's default in `help()`."""

    def __init__(self, shown: Any) -> None:
        self.shown = shown

    def __repr__(self) -> str:
        return repr(self.shown)


@dataclass
class Settings:
    """The hyperparameters of one optimizer, after its dialect's rules."""

    learning_rate: float | Callable[..., Any] = 0.001
    rho: float = 0.9
    momentum: float | None = 0.0
    epsilon: float = 1e-7
    centered: bool = False
    weight_decay: float | None = None
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None
    use_ema: bool = False
    ema_momentum: float = 0.99
    ema_overwrite_frequency: int | None = None
    loss_scale_factor: float | None = None
    gradient_accumulation_steps: int | None = None
    name: str | None = None
    decay: float = 0.0
    decay_offset: int = 0
    jit_compile: bool = True
    mesh: None = None
    slot_dtype: str | None = None


def _valid(argument: Argument, kind: str) -> str:
    """Describe what an argument may be."""
    low, high = argument.low, argument.high
    bounds = "" if low is None else f" >= {low:g}"
    bounds = bounds if high is None else f" in [{low:g}, {high:g}]"
    return f"{kind}{bounds}" + (" or None" if argument.none != "refused" else "")


def _refuse(row: Dialect, name: str, value: Any, valid: str, advice: str = "") -> ArgumentError:
    """Build the error of an argument that cannot be."""
    note = row.arguments[name].note if name in row.arguments else ""
    advice = advice or (f"Note: {note}." if note else "Pass a valid value or leave it out.")
    return ArgumentError(
        f"{name}={value!r} is not valid for the dialect {row.name!r}; valid: {valid}. {advice}"
    )


def _number(row: Dialect, name: str, value: Any, argument: Argument) -> float | int | None:
    """Check a number's kind, finiteness and range."""
    whole = argument.kind == "count"
    wanted = _valid(argument, "an integer" if whole else "a finite real number")
    broken = isinstance(value, bool | np.bool_) or not isinstance(value, Real)
    # Real systems ask for an integer after they asked for truth, so that 0.0 is none.
    if broken or (whole and value != 0 and not isinstance(value, int | np.integer)):
        raise _refuse(row, name, value, wanted)
    if argument.kind == "float rate" and not isinstance(value, float | np.floating):
        raise _refuse(row, name, value, "a float, or a callable without arguments")
    try:
        number = int(value) if whole else float(value)
        finite = math.isfinite(number)
    except OverflowError:
        finite = False
    if not finite:
        raise _refuse(row, name, value, wanted)
    if argument.zero_is_default and number == 0:
        return argument.fallback  # type: ignore[no-any-return]
    below = argument.low is not None and number < argument.low
    if below or (argument.high is not None and number > argument.high):
        raise _refuse(row, name, value, wanted)
    return number


def _switch(row: Dialect, name: str, value: Any) -> bool:
    """Return whether an option is on: the real systems ask for the truth of what they are given."""
    plain = value is None or isinstance(value, int | np.bool_)
    if plain or (isinstance(value, Real) and math.isfinite(value)):
        return bool(value)
    raise _refuse(row, name, value, "True or False")


def _checked(row: Dialect, name: str, value: Any) -> Any:
    """Return one argument's value as the row understands it."""
    argument = row.arguments[name]
    if argument.kind == "bool":
        return _switch(row, name, value)
    if value is None:
        if argument.none == "refused":
            raise _refuse(row, name, value, "a number, not None")
        return argument.fallback if argument.none == "default" else None
    if argument.kind == "absent":
        raise _refuse(row, name, value, "None")
    if argument.kind == "name":
        if not isinstance(value, str) or "/" in value:
            raise _refuse(row, name, value, "a string without '/'")
        return value
    if argument.kind.endswith("rate") and (callable(value) or isinstance(value, Mapping)):
        return owner(row, value)
    return _number(row, name, value, argument)


def _accepted(row: Dialect, name: str, value: Any) -> bool:
    """Tell whether an argument is used; warn if it is ignored, raise if it is refused."""
    argument = row.arguments.get(name)
    if argument is None or argument.effect == "refused":
        known = ", ".join(k for k, a in row.arguments.items() if a.effect != "refused")
        note = f": {argument.note}" if argument is not None and argument.note else ""
        raise ArgumentError(
            f"the dialect {row.name!r} ({row.systems}) has no argument {name!r} "
            f"(received {name}={value!r}){note}. Valid: {known}."
        )
    if argument.effect == "ignored":
        if value is not None:
            warnings.warn(
                f"{name}={value!r} has no effect in the dialect {row.name!r}: {argument.note}.",
                PortingWarning,
                stacklevel=4,  # the line that calls RMSprop
            )
        return False
    return True


def _decay_offset(row: Dialect, value: Any) -> int:
    """Check `decay_offset`, which exists exactly where the row has decay."""
    if row.decay is None:
        raise ArgumentError(
            f"the dialect {row.name!r} has no decay, so no decay_offset (received {value!r}). "
            "Choose a dialect with decay, or leave it out."
        )
    if isinstance(value, bool) or value not in (0, 1):
        raise ArgumentError(
            f"decay_offset={value!r} is not valid; valid: 0 (the step reads `iterations` before "
            "it advances) or 1 (after)."
        )
    return int(value)


def _slot_dtype(value: Any) -> str | None:
    """Check `slot_dtype`, which every dialect takes and no mirrored system has."""
    if value is not None and value != "float32":
        raise ArgumentError(
            f"slot_dtype={value!r} is not valid; valid: 'float32', for the state and arithmetic of "
            "16-bit variables, or None for the variable's dtype. Leave it out otherwise."
        )
    return None if value is None else "float32"


def _engine(value: Any) -> bool:
    """Check `jit_compile`, which every dialect has: both engines give the same bits."""
    if not isinstance(value, bool | np.bool_):
        raise ArgumentError(
            f"jit_compile={value!r} is not valid; valid: True (compiled kernels) or False (NumPy, "
            "slower, the same bits)."
        )
    return bool(value)


def _exclusive(row: Dialect, settings: Settings) -> None:
    """Refuse kinds of clipping that the system refuses together."""
    kinds = ["clipnorm", "global_clipnorm"]
    if row.clipping.rivals == "refused":
        kinds.insert(1, "clipvalue")
    elif row.clipping.rivals == "all":
        return
    given = {kind: getattr(settings, kind) for kind in kinds if getattr(settings, kind) is not None}
    if len(given) > 1:
        listed = ", ".join(f"{kind}={value!r}" for kind, value in given.items())
        shown = [f"`{kind}`" for kind in kinds]
        raise ArgumentError(
            f"Only one of {', '.join(shown[:-1])} and {shown[-1]} can be set in the dialect "
            f"{row.name!r}; received {listed}. Leave out all but one."
        )


def _looked_at(row: Dialect, name: str, value: Any, given: Mapping[str, Any]) -> Any:
    """Check an argument; one without effect here may be any finite number, or None."""
    switch = row.arguments[name].only_with
    if switch is None:
        return _checked(row, name, value)
    on = given.get(switch)
    if not isinstance(on, Default) and on:
        return _checked(row, name, value)
    return None if value is None else _number(row, name, value, Argument())


def settle(row: Dialect, given: Mapping[str, Any]) -> Settings:
    """Merge the given arguments with a row's defaults; raise or warn where the row says so."""
    values = {
        name: argument.default
        for name, argument in row.arguments.items()
        if argument.effect == "used" and name != "lr"
    }
    offset, compiled, slots = row.decay.offset if row.decay is not None else 0, True, None
    for name, value in given.items():
        if isinstance(value, Default):
            continue
        if name == "jit_compile":
            compiled = _engine(value)
        elif name == "decay_offset":
            offset = _decay_offset(row, value)
        elif name == "slot_dtype":
            slots = _slot_dtype(value)
        elif _accepted(row, name, value):
            values["learning_rate" if name == "lr" else name] = _looked_at(row, name, value, given)
    if values.get("learning_rate") is None:
        raise _refuse(row, "learning_rate", None, "a number or a callable")
    settings = Settings(decay_offset=offset, jit_compile=compiled, slot_dtype=slots)
    for name, value in values.items():
        setattr(settings, name, value)
    settings.decay = settings.decay or 0.0
    _exclusive(row, settings)
    return settings
