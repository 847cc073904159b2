"""An optimizer's state as lists of arrays, as configuration, as a pickle, on other variables."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastrms.errors import StateError, VariableError
from fastrms.stepper import Stepper
from fastrms.variables import Variables, flatten

if TYPE_CHECKING:
    from fastrms.optimizer import RMSprop

Array = NDArray[Any]


def _scalars(optimizer: "RMSprop") -> dict[str, Any]:
    """Return the scalars that `get_weights` may hold, as arrays of the system's dtypes."""
    stepper, row = optimizer._stepper, optimizer._row
    calls = stepper.calls if stepper else optimizer._calls_before_build
    scalars: dict[str, Any] = {"iterations": np.array(calls, row.weights.counter_dtype)}
    rate = optimizer.settings.learning_rate
    if not callable(rate):
        scalars["learning_rate"] = np.array(rate, np.float32)
    return scalars


def layout(optimizer: "RMSprop") -> list[tuple[str, int | None]]:
    """Return what each weight is: (scalar, None) or (slot, variable index)."""
    stepper, weights = optimizer._stepper, optimizer._row.weights
    scalars = _scalars(optimizer)
    found: list[tuple[str, int | None]] = [(n, None) for n in weights.order if n in scalars]
    if stepper is None:
        return found
    if weights.late:
        return [*found, *stepper.state.slots]
    count = len(stepper.variables.arrays)
    slots = stepper.state.slots
    return found + [(n, i) for n in weights.order for i in range(count) if (n, i) in slots]


def arrays(optimizer: "RMSprop") -> list[Array]:
    """Return the weights, slots as views in their variables' shapes."""
    scalars = _scalars(optimizer)
    stepper = optimizer._stepper
    return [
        scalars[name] if index is None or stepper is None else stepper.state.shaped(name, index)
        for name, index in layout(optimizer)
    ]


def names(optimizer: "RMSprop") -> list[str]:
    """Return what the mirrored system calls each weight."""
    row, stepper = optimizer._row, optimizer._stepper
    templates = row.weights.names
    result = []
    for name, index in layout(optimizer):
        template = templates.get("slot" if index is not None else name, name)
        variable = stepper.variables.names[index] if stepper and index is not None else ""
        slot = row.slot_names.get(name, name)
        result.append(template.format(name=optimizer.name, variable=variable, slot=slot))
    return result


def replace(optimizer: "RMSprop", values: list[Any]) -> None:
    """Set every weight from a list in the order of `layout`, after checking all of it."""
    expected = layout(optimizer)
    optional = optimizer._row.weights.optional_iterations
    if optional and len(values) == len(expected) - 1:
        values = [np.array(0), *values]
    if len(values) != len(expected):
        built = "" if optimizer.built else " The optimizer is not built: call build() first."
        raise StateError(
            f"{len(values)} weights were given, {len(expected)} expected: "
            f"{', '.join(names(optimizer))}.{built}"
        )
    current = arrays(optimizer)
    fresh = [np.asarray(value) for value in values]
    for name, old, new in zip(names(optimizer), current, fresh, strict=True):
        if old.shape != new.shape or new.dtype.kind not in "fiu":
            raise StateError(
                f"weight {name} has shape {new.shape} and dtype {new.dtype}; expected shape "
                f"{old.shape} and numbers. Nothing was changed."
            )
    _set(optimizer, expected, current, fresh)


def _set(optimizer: "RMSprop", expected: Any, current: list[Array], fresh: list[Array]) -> None:
    """Write checked weights."""
    by_name = {name: new for (name, index), new in zip(expected, fresh, strict=True) if index is None}
    calls = int(by_name.get("iterations", 0))
    rate = by_name.get("learning_rate")
    if calls < 0 or (rate is not None and not np.isfinite(rate)):
        raise StateError(
            f"iterations={calls} or learning_rate={rate} is not valid; valid: an integer >= 0 and "
            "a finite number. Nothing was changed."
        )
    if rate is not None and np.float32(rate) != np.float32(optimizer.settings.learning_rate):
        optimizer.settings.learning_rate = float(rate)
    if "iterations" in by_name and optimizer._stepper is not None:
        optimizer._stepper.calls = calls
    elif "iterations" in by_name:
        optimizer._calls_before_build = calls
    for (_, index), old, new in zip(expected, current, fresh, strict=True):
        if index is not None:
            with np.errstate(over="ignore", under="ignore"):
                np.copyto(old, new, casting="unsafe")


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
        if array.shape != stepper.shapes[i] or array.dtype != stepper.dtypes[i]:
            raise VariableError(
                f"variable {old.label(i)} has shape {array.shape} and dtype {array.dtype}; rebind "
                f"needs {stepper.shapes[i]} and {stepper.dtypes[i]} (now {known.shape})."
            )
    target = Variables(arranged, old.names, old.named)
    result = Stepper(stepper.row, stepper.settings, target, stepper.shop.undecayed)
    for name, index in stepper.state.slots:
        result.state.create([name], [index])
        result.state.shaped(name, index)[...] = stepper.slot(name, index)
    result.calls = stepper.calls
    return result


def finalize(stepper: Stepper, variables: Any) -> None:
    """Copy moving averages into variables."""
    chosen = list(range(len(stepper.variables.arrays)))
    if variables is not None:
        leaves = [leaf for _, leaf in flatten(variables)]
        found = [stepper.variables.index(leaf) for leaf in leaves]
        if None in found:
            raise VariableError(
                f"array {found.index(None)} is not a variable of this optimizer; pass those given "
                "to build(), or none at all."
            )
        chosen = [i for i in found if i is not None]
    stepper.require_unchanged()
    for i in chosen:
        if ("average", i) in stepper.state.slots:
            stepper.variables.arrays[i][...] = stepper.state.shaped("average", i)


def config(optimizer: "RMSprop") -> dict[str, Any]:
    """Return the configuration in the keys, order and rounding of the mirrored system."""
    row, settings = optimizer._row, optimizer.settings
    result: dict[str, Any] = {}
    for key in row.config:
        name = "learning_rate" if key == "lr" else key.removeprefix("?")
        value = optimizer.name if name == "name" else getattr(settings, name)
        if key.startswith("?") and value is None:
            continue
        if name in row.config_in_float32 and isinstance(value, float) and not _wide(optimizer):
            value = float(np.float32(value))
        result[name if key.startswith("?") else key] = value
    if row.decay is not None and settings.decay_offset != row.decay.offset:
        result["decay_offset"] = settings.decay_offset
    if row.name != "keras-3":
        result["dialect"] = row.name
    return result


def _wide(optimizer: "RMSprop") -> bool:
    """Tell whether a graph-mode optimizer works in float64 (floatx), and so reports doubles."""
    stepper = optimizer._stepper
    if stepper is None or "rho" not in optimizer._row.config_in_float32:
        return False
    return all(a.dtype == np.float64 for a in stepper.variables.arrays)


def pickled(optimizer: "RMSprop") -> dict[str, Any]:
    """Return everything that a copy needs, the variables included."""
    stepper = optimizer._stepper
    arguments = {k: v for k, v in vars(optimizer.settings).items() if k in optimizer._row.arguments}
    arguments["name"] = optimizer.name
    if "name" not in optimizer._row.arguments:
        del arguments["name"]
    if optimizer._row.decay is not None:
        arguments["decay_offset"] = optimizer.settings.decay_offset
    state: dict[str, Any] = {
        "config": {**arguments, "dialect": optimizer._row.name},
        "calls": stepper.calls if stepper else optimizer._calls_before_build,
        "excluded": optimizer._excluded,
    }
    if stepper is not None:
        stepper.require_unchanged()
        slots = {key: stepper.state.shaped(*key) for key in stepper.state.slots}
        known = stepper.variables
        state["variables"] = (known.arrays, known.names, known.named, stepper.shop.undecayed, slots)
    return state


def unpickle(optimizer: "RMSprop", state: dict[str, Any]) -> None:
    """Restore what `pickled` returned into a fresh optimizer."""
    optimizer._excluded = state["excluded"]
    optimizer._calls_before_build = state["calls"]
    if "variables" not in state:
        return
    found, known, named, undecayed, slots = state["variables"]
    variables = Variables(found, known, named)
    stepper = Stepper(optimizer._row, optimizer._settings, variables, undecayed)
    for (name, index), values in slots.items():
        stepper.state.create([name], [index])
        stepper.state.shaped(name, index)[...] = values
    stepper.calls = state["calls"]
    optimizer._stepper = stepper
