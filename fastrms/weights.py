"""An optimizer's state as lists of arrays, as configuration, as a pickle, on other variables."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms import locks
from fastrms.arguments import Settings
from fastrms.dialects.fields import Dialect
from fastrms.errors import StateError, VariableError
from fastrms.listing import members
from fastrms.rates import shown, written
from fastrms.schedules import LearningRateSchedule
from fastrms.stepper import Stepper
from fastrms.variable import Variable
from fastrms.variables import Variables, array_of, require_apart

Array = NDArray[Any]
OWN = "own"  # variables that users added


@dataclass(eq=False)
class Core:
    """What an optimizer is: its dialect, its hyperparameters, and, once built, its state."""

    row: Dialect
    settings: Settings
    name: str
    stepper: Stepper | None = None
    calls_before_build: int = 0
    excluded: tuple[list[Any], list[str]] = field(default_factory=lambda: ([], []))
    own: list[Variable] = field(default_factory=list)
    refusal: str = ""  # why `apply` cannot be called now
    at_rest: str = ""  # the same while nothing is under way
    scaling: tuple[Any, bool] | None = None  # set by a LossScaleOptimizer: see Stepper.scale_by

    def __post_init__(self) -> None:
        self.lock = locks.new(self)


def _scalars(core: Core) -> dict[str, Any]:
    """Return the scalars that `get_weights` may hold, as arrays of the system's dtypes."""
    stepper, row = core.stepper, core.row
    calls = stepper.calls if stepper else core.calls_before_build
    scalars: dict[str, Any] = {"iterations": np.array(calls, row.weights.counter_dtype)}
    rate = core.settings.learning_rate
    if not callable(rate):
        scalars["learning_rate"] = np.array(rate, np.float32)
    return scalars


def rate_of_schedule(core: Core, schedule: LearningRateSchedule) -> float:
    """Return the rate that the optimizer shows."""
    stepper = core.stepper
    calls = stepper.calls if stepper else core.calls_before_build
    return shown(core.row, schedule, calls, stepper.last_rate if stepper else None)


def layout(core: Core) -> list[tuple[str, int | None]]:
    """Return what each weight is: (scalar, None) or (slot, variable index)."""
    stepper, weights = core.stepper, core.row.weights
    scalars = _scalars(core)
    found: list[tuple[str, int | None]] = [(n, None) for n in weights.order if n in scalars]
    added: list[tuple[str, int | None]] = [(OWN, k) for k in range(len(core.own))]
    if stepper is None:
        return found + added
    if weights.late == "appended":
        return [*found, *stepper.state.slots, *added]
    count = len(stepper.variables.arrays)
    slots = stepper.state.slots
    return [
        *found,
        *((n, i) for n in weights.order for i in range(count) if (n, i) in slots),
        *added,
    ]


def arrays(core: Core) -> list[Array]:
    """Return the weights, slots as views in their variables' shapes."""
    scalars, found = _scalars(core), []
    for name, index in layout(core):
        if index is None:
            found.append(scalars[name])
        elif name == OWN:
            found.append(core.own[index]._array)
        elif core.stepper is not None:
            found.append(core.stepper.state.shaped(name, index))
    return found


def signed(core: Core, values: list[Array]) -> list[Array]:
    """Return copies with the signs of the mirrored system: from its weights to ours and back."""
    negated = core.row.weights.negated
    pairs = zip(layout(core), values, strict=True)
    return [np.array(-np.asarray(v) if name in negated else v) for (name, _), v in pairs]


def names(core: Core) -> list[str]:
    """Return what the mirrored system calls each weight."""
    row, stepper = core.row, core.stepper
    templates = row.weights.names
    result = []
    for name, index in layout(core):
        if name == OWN and index is not None:
            result.append(core.own[index].path)
            continue
        template = templates.get("slot" if index is not None else name, name)
        variable = stepper.variables.names[index] if stepper and index is not None else ""
        slot = row.slot_names.get(name, name)
        result.append(template.format(name=core.name, variable=variable, slot=slot))
    return result


def listed(values: Any) -> list[Any]:
    """Return the arrays of a list of weights, or raise."""
    return members(values, StateError, "the weights are", "a list of arrays, as of get_weights")


def replace(core: Core, values: list[Any]) -> None:
    """Set every weight from a list in the order of `layout`, after checking all of it."""
    expected = layout(core)
    optional = core.row.weights.optional_iterations
    if optional and len(values) == len(expected) - 1:
        values = [np.array(0), *values]
    if len(values) != len(expected):
        early = " You are calling set_weights() before build(variables): call that first."
        raise StateError(
            f"{len(values)} weights were given, {len(expected)} expected: "
            f"{', '.join(names(core))}.{'' if core.stepper else early}"
        )
    current = arrays(core)
    fresh = [np.asarray(value) for value in values]
    for name, old, new in zip(names(core), current, fresh, strict=True):
        if old.shape != new.shape or new.dtype.kind not in "fiu":
            raise StateError(
                f"weight {name} has shape {new.shape} and dtype {new.dtype}; expected shape "
                f"{old.shape} and numbers. Nothing was changed."
            )
    _set(core, expected, current, signed(core, fresh))


def set_scalar(core: Core, name: str, value: Array) -> None:
    """Set one of the scalars that `get_weights` holds."""
    _set(core, [(name, None)], [value], [value])


def _set(core: Core, expected: Any, current: list[Array], fresh: list[Array]) -> None:
    """Write checked weights."""
    by_name = {
        name: new for (name, index), new in zip(expected, fresh, strict=True) if index is None
    }
    count = by_name.get("iterations", 0)
    calls = int(count) if np.isfinite(count) and count == np.floor(count) else -1
    rate = by_name.get("learning_rate")
    if not 0 <= calls < 2**63 or (rate is not None and not np.isfinite(rate)):
        raise StateError(
            f"iterations={count} or learning_rate={rate} is not valid; valid: an integer >= 0 and "
            "a finite number. Nothing was changed."
        )
    old_rate = core.settings.learning_rate
    if rate is not None and not callable(old_rate) and np.float32(rate) != np.float32(old_rate):
        core.settings.learning_rate = float(rate)
    if "iterations" in by_name and core.stepper is not None:
        core.stepper.calls = calls
    elif "iterations" in by_name:
        core.calls_before_build = calls
    for (_, index), old, new in zip(expected, current, fresh, strict=True):
        if index is not None:
            with np.errstate(over="ignore", under="ignore"):
                old[...] = new


def moved(stepper: Stepper, variables: Variables) -> Stepper:
    """Return a stepper on other arrays with the same slots and counter."""
    old = stepper.variables
    order = list(range(len(old.arrays)))
    if old.named and variables.named:
        if set(old.names) != set(variables.names):
            raise VariableError(
                f"the new names {sorted(variables.names)[:8]} are not the old ones "
                f"{sorted(old.names)[:8]}; rebind needs the same names, or lists on one side."
            )
        order = [variables.names.index(name) for name in old.names]
    if len(variables.arrays) != len(old.arrays):
        raise VariableError(
            f"{len(variables.arrays)} variables were given; rebind needs {len(old.arrays)}."
        )
    arranged = [variables.arrays[k] for k in order]
    for i, array in enumerate(arranged):
        known = old.arrays[i]
        if array.shape != stepper.state.shapes[i] or array.dtype != stepper.dtypes[i]:
            raise VariableError(
                f"variable {old.label(i)} has shape {array.shape} and dtype {array.dtype}; rebind "
                f"needs {stepper.state.shapes[i]} and {stepper.dtypes[i]} (now {known.shape})."
            )
    given = [variables.given[k] for k in order]
    chains = {order.index(k): found for k, found in variables.constraints.items()}
    target = Variables(arranged, old.names, old.named, given, chains or old.constraints)
    result = Stepper(stepper.row, stepper.settings, target, stepper.shop.undecayed)
    for name, index in stepper.state.slots:
        result.state.create([name], [index])
        result.state.shaped(name, index)[...] = stepper.state.shaped(name, index)
    result.calls, result.last_rate = stepper.calls, stepper.last_rate
    if stepper.shop.scale is not None:
        result.scale_by(stepper.shop.scale, stepper.shop.guarded)
    return result


def config(core: Core) -> dict[str, Any]:
    """Return the configuration in the keys, order and rounding of the mirrored system."""
    row, settings = core.row, core.settings
    result: dict[str, Any] = {}
    for key in row.config:
        name = "learning_rate" if key == "lr" else key.removeprefix("?")
        value = core.name if name == "name" else getattr(settings, name)
        if key.startswith("?") and value is None:
            continue
        if isinstance(value, LearningRateSchedule) and row.schedules is not None:
            as_value = row.schedules.config == "value"
            value = rate_of_schedule(core, value) if as_value else written(row, value)
        elif callable(value) and row.rate_in_config == "value":
            value = value()
        if name in row.config_in_float32 and isinstance(value, float):
            value = float(_floatx(core).type(value))
        result[name if key.startswith("?") else key] = value
    if row.decay is not None and settings.decay_offset != row.decay.offset:
        result["decay_offset"] = settings.decay_offset
    if settings.slot_dtype is not None:
        result["slot_dtype"] = settings.slot_dtype
    if row.named_in_config:
        result["dialect"] = row.name
    return result


def _floatx(core: Core) -> np.dtype[Any]:
    """Return the dtype of reported numbers: that of the variables in graph mode, else float32."""
    stepper, found = core.stepper, np.dtype(np.float32)
    if stepper is not None and "rho" in core.row.config_in_float32:
        kinds = set(stepper.dtypes)
        found = kinds.pop() if len(kinds) == 1 else found
    return found


def pickled(core: Core) -> dict[str, Any]:
    """Return everything that a copy needs, the variables included."""
    stepper = core.stepper
    used = {k for k, argument in core.row.arguments.items() if argument.effect == "used"}
    arguments = {k: v for k, v in vars(core.settings).items() if k in used}
    if "name" in used:
        arguments["name"] = core.name
    arguments["jit_compile"] = core.settings.jit_compile
    if core.row.decay is not None:
        arguments["decay_offset"] = core.settings.decay_offset
    arguments["slot_dtype"] = core.settings.slot_dtype
    state: dict[str, Any] = {
        "config": {**arguments, "dialect": core.row.name},
        "calls": stepper.calls if stepper else core.calls_before_build,
        "excluded": core.excluded,
        "own": core.own,
    }
    if stepper is not None:
        stepper.require_unchanged()
        slots = {key: stepper.state.shaped(*key) for key in stepper.state.slots}
        known = stepper.variables
        state["last_rate"] = stepper.last_rate
        # A tensor's memory is not its own in a copy: it goes as an array.
        kept = [known.arrays[i] if i in known.sources else g for i, g in enumerate(known.given)]
        state["variables"] = (kept, known.names, known.named, stepper.shop.undecayed, slots)
        state["constraints"] = known.constraints
    return state


def unpickle(core: Core, state: dict[str, Any]) -> None:
    """Restore what `pickled` returned into a fresh optimizer."""
    core.excluded, core.own = state["excluded"], state["own"]
    core.calls_before_build = state["calls"]
    if "variables" not in state:
        return
    found, known, named, undecayed, slots = state["variables"]
    arrays = [array_of(given, repr(name)) for given, name in zip(found, known, strict=True)]
    require_apart(arrays, [repr(name) for name in known])
    variables = Variables(arrays, known, named, found, state["constraints"])
    stepper = Stepper(core.row, core.settings, variables, undecayed)
    for (name, index), values in slots.items():
        stepper.state.create([name], [index])
        stepper.state.shaped(name, index)[...] = values
    stepper.calls, stepper.last_rate = state["calls"], state["last_rate"]
    core.stepper = stepper
