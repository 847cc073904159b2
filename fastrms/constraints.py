"""Constraints: callables that map a variable's new value to the one it is to have.

A constraint is read from the attribute `constraint` of what is given to `build`. It sees the
variable after the step, moving average included, and returns the value to store. Where variables
lie on a GPU it gets what was given to `build`. A step with constraints keeps a copy of all that it
may change, and puts it back if anything fails.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastrms.cuda import arrays as device
from fastrms.cuda.memory import DeviceArray
from fastrms.cuda.protocols import lies_on_device
from fastrms.dialects.fields import Dialect
from fastrms.errors import PortingWarning, VariableError
from fastrms.state import State
from fastrms.variables import Variables, describe

Array = NDArray[Any]
Constraint: TypeAlias = Callable[[Array], Any]


class Steps(Protocol):
    """What is asked of the stepper whose variables have constraints."""

    variables: Variables
    state: State
    counter: Array
    constraints: dict[int, Constraint]

    def forget_slots(self, keys: set[tuple[str, int]]) -> None:
        """Drop slots that a step has made in vain."""

    def require_unchanged(self) -> None:
        """Raise if a variable's memory has changed."""


def acting(row: Dialect, variables: Variables) -> dict[int, Constraint]:
    """Return the constraints that a row's system applies, by variable; warn or raise of others."""
    found = variables.constraints
    for index, constraint in found.items():
        if not callable(constraint):
            raise VariableError(
                f"the constraint of variable {variables.label(index)} is {constraint!r}; valid: a "
                "callable that takes the variable and returns its new value, or None."
            )
    labels = ", ".join(variables.label(index) for index in found)
    if found and row.constraints == "none":
        variables.forget_constraints()  # the next step meets them anew and refuses them again
        raise VariableError(
            f"variable {labels} has a constraint, and the dialect {row.name!r} ({row.systems}) "
            "has none; valid: constraint=None. Apply it to the variable after each step."
        )
    if found and row.constraints == "never":
        warnings.warn(
            f"the constraint of variable {labels} has no effect in the dialect {row.name!r}: its "
            "system never applies constraints.",
            PortingWarning,
            stacklevel=6,
        )
        return {}
    return found


@contextmanager
def undone_on_error(stepper: Steps) -> Iterator[None]:
    """Put variables, slots and counters back as they were if what is done inside fails."""
    slots, counter = dict(stepper.state.slots), stepper.counter.copy()
    saved = [(a, a.copy()) for a in (*stepper.variables.arrays, *slots.values())]
    try:
        yield
    except BaseException:
        for array, copy in saved:
            array[...] = copy
        stepper.counter[:] = counter
        if len(stepper.state.slots) != len(slots):
            stepper.forget_slots(set(stepper.state.slots) - set(slots))
        raise


def enforce(stepper: Steps, present: tuple[int, ...]) -> None:
    """Give the variables that had a gradient the values that their constraints return."""
    chosen = [i for i in stepper.constraints if present[i]]
    arrays = stepper.variables.arrays
    values = [_checked(stepper, i, stepper.constraints[i](_passed(stepper, i))) for i in chosen]
    stepper.require_unchanged()  # constraints ran code that is not ours
    for index, value in zip(chosen, values, strict=True):
        arrays[index][...] = value
        if isinstance(value, DeviceArray):
            device.given_back(value.owner, arrays[index].place)


def _passed(stepper: Steps, index: int) -> Any:
    """Return what a constraint gets: an array, or on a GPU what its library computes with."""
    variable, given = stepper.variables.arrays[index], stepper.variables.given[index]
    if isinstance(variable, np.ndarray):
        return variable
    device.given_back(given, variable.place)
    return given


def _checked(stepper: Steps, index: int, value: Any) -> Array:
    """Return what a constraint gave if it can be stored as it is."""
    variable, label = stepper.variables.arrays[index], stepper.variables.label(index)
    foreign = not isinstance(value, np.ndarray | np.generic) and hasattr(value, "__array__")
    if not isinstance(variable, np.ndarray) and lies_on_device(value):
        given: Any = device.taken(value, variable.place)
    else:
        given = np.asarray(value) if foreign else value
    if (
        not isinstance(given, np.ndarray | np.generic | DeviceArray)
        or isinstance(given, np.ma.MaskedArray)
        or given.shape != variable.shape
        or given.dtype != variable.dtype
    ):
        raise VariableError(
            f"the constraint of variable {label} returned {describe(value)}; valid: an array of "
            f"shape {variable.shape} and dtype {variable.dtype}, the variable's (convert it with "
            ".astype). Nothing was changed by this step."
        )
    return given if isinstance(given, DeviceArray) else np.asarray(given)  # type: ignore[return-value]
