"""The variables, slots and counter of an optimizer, as scripts read and set them."""

import contextlib
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, ClassVar

import numpy as np

import fastrms
from fastrms import weights
from fastrms.dialects import Dialect
from fastrms.errors import ArgumentError, StateError
from fastrms.exclusion import undecayed
from fastrms.listing import members
from fastrms.stepper import Stepper
from fastrms.subclassing import UserPlan
from fastrms.variables import Variables, describe, require_apart, require_variable

from .pairs import CounterError, UnknownVariableError
from .weights import Array, Weight, array_of, name_of


class Callables(list[Any]):
    """A list that can be called, for `optimizer.variables` and `optimizer.variables()`."""

    def __call__(self) -> "Callables":
        """Return the list."""
        return self


def listed(values: Any) -> list[Any]:
    """Return weights as a list, or raise what is valid."""
    valid = "a list of arrays, as get_weights() returns"
    return members(values, StateError, "set_weights received", valid)


class State:
    """The part of an optimizer that holds its state; `Base` is its one user."""

    ROW: ClassVar[Dialect]
    WRITES_UPDATE: ClassVar[bool] = True

    _inner: fastrms.RMSprop

    def _hold(self) -> None:
        """Start without state."""
        self._views: dict[Any, Weight] = {}
        self._pending: list[Any] | None = None
        self._shared: Any = None
        self._scope = ""

    @property
    def _core(self) -> weights.Core:
        """The state behind this optimizer."""
        return self._inner._core

    def _make(self, old: Stepper | None, variables: Variables) -> Stepper:
        """Return a stepper over variables, with the slots and counter of an old one."""
        core = self._core
        fresh = Stepper(core.row, core.settings, variables, undecayed(core.excluded, variables))
        self._hand_over(fresh)
        if old is None:
            fresh.calls = core.calls_before_build
            return fresh
        for name, index in old.state.slots:
            fresh.state.create([name], [index])
            fresh.state.shaped(name, index)[...] = old.state.shaped(name, index)
        fresh.calls, fresh.last_rate = old.calls, old.last_rate
        return fresh

    def _hand_over(self, stepper: Stepper) -> None:
        """Let a class that has an update of its own carry out a stepper's steps."""
        if self.WRITES_UPDATE:
            stepper.hand_over(partial(UserPlan, self._updated, self._core))

    @contextlib.contextmanager
    def _undone_on_error(self) -> Iterator[None]:
        """Let a step that fails leave no variables, slots or names behind."""
        core, stepper = self._core, self._core.stepper
        known = set(stepper.state.slots) if stepper is not None else set()
        kept, own = {**self.__dict__, "_views": dict(self._views)}, list(core.own)
        try:
            yield
        except BaseException:
            core.stepper, core.own[:] = stepper, own
            if stepper is not None:
                stepper.forget_slots(set(stepper.state.slots) - known)
            self.__dict__.clear()
            self.__dict__.update(kept)
            raise

    def _cover(self, variables: Iterable[Any]) -> None:
        """Let the core know variables that it does not know yet, their slots to come."""
        old = self._core.stepper
        arrays = list(old.variables.arrays) if old else []
        known = list(old.variables.names) if old else []
        for variable in variables:
            array = array_of(variable)
            if old is None or old.variables.index(array) is None:
                known.append(name_of(variable, len(arrays)))
                arrays.append(require_variable(array, repr(known[-1])))
        if old is None or len(arrays) > len(old.variables.arrays):
            require_apart(arrays, [repr(name) for name in known])
            self._core.stepper = self._make(old, Variables(arrays, known, True))

    def _index(self, variable: Any) -> int:
        """Return which variable one is; KeyError when it has not been seen, as there."""
        stepper = self._core.stepper
        index = stepper.variables.index(array_of(variable)) if stepper else None
        if index is None:
            raise UnknownVariableError(
                f"the optimizer does not know {describe(array_of(variable))} named "
                f"{name_of(variable, 0)!r}; it was built with "
                f"{stepper.variables.names if stepper else 'no variables'}. Call build() with all "
                "variables before the first step, or make a new optimizer. Nothing was changed."
            )
        return index

    def _slot_of(self, variable: Any, slot: str, shape: Any, initial: Any) -> Weight:
        """Return the slot of a variable, created if need be with what an initializer gives."""
        array, index, stepper = array_of(variable), self._index(variable), self._core.stepper
        assert stepper is not None
        if shape is not None and tuple(shape) != array.shape:
            raise ArgumentError(
                f"shape={shape!r} of slot {slot!r} is not the variable's {array.shape}; slots have "
                "their variables' shapes here. Leave shape out, or use add_variable of 2.11."
            )
        if callable(initial):
            initial = initial(shape=array.shape, dtype=array.dtype)
        if (slot, index) not in stepper.state.slots:
            stepper.state.create([slot], [index])
            if initial is not None:
                stepper.state.shaped(slot, index)[...] = initial
        return self._view(slot, index)

    def _view(self, slot: str, index: int) -> Weight:
        """Return a slot as a weight; the same one every time."""
        if (slot, index) not in self._views:
            core, names = self._core, self._core.row.weights.names
            if slot == weights.OWN:
                name = core.own[index].name
            else:
                assert core.stepper is not None
                name = self._scoped(names["slot"]).format(
                    variable=core.stepper.variables.names[index],
                    slot=core.row.slot_names.get(slot, slot),
                )
            self._views[slot, index] = Weight(name, partial(self._array, slot, index))
        return self._views[slot, index]

    def _array(self, slot: str, index: int) -> Array:
        """Return a slot as it is now; the core may have moved it."""
        if slot == weights.OWN:
            return self._core.own[index]._array
        stepper = self._core.stepper
        assert stepper is not None
        return stepper.state.shaped(slot, index)

    def _scoped(self, template: str) -> str:
        """Return a weight's name; TensorFlow put what a step creates under the optimizer's name."""
        return self._scope + template.removeprefix("{name}/")

    @property
    def iterations(self) -> Any:
        """How many steps were made; a weight that can be read and assigned to."""
        if "iterations" not in self._views:
            name = self._scoped(self.ROW.weights.names["iterations"])
            self._views["iterations"] = Weight(name, self._count, self._recount)
        return self._views["iterations"]

    @iterations.setter
    def iterations(self, value: Any) -> None:
        if self._counted():
            raise CounterError(
                f"iterations cannot be replaced by {value!r} after the optimizer's weights exist; "
                "set it before the first step, or use iterations.assign(number)."
            )
        self._recount(value if isinstance(value, int) else array_of(value))
        self._shared = None if isinstance(value, int) else value

    def _count(self) -> Any:
        """Return the counter in the system's dtype."""
        return np.dtype(self.ROW.weights.counter_dtype).type(self._inner.iterations)

    def _recount(self, value: Any) -> None:
        """Set the counter; the core refuses what is no whole number."""
        number = np.asarray(value)[()]
        if np.ndim(number) or not isinstance(number, int | np.number):
            raise ArgumentError(
                f"iterations received {number!s:.60}; valid: a whole number from 0."
            )
        number = number.item()
        self._inner.iterations = int(number) if number == np.floor(number) else number

    def _counted(self) -> bool:
        """Tell whether the counter can no longer be replaced."""
        return self._core.stepper is not None

    @property
    def weights(self) -> list[Weight]:
        """The optimizer's own variables in the order of `get_weights`."""
        scalar = {"iterations": self.iterations}
        parts = weights.layout(self._core)
        return [scalar[name] if i is None else self._view(name, i) for name, i in parts]

    @property
    def variables(self) -> Callables:
        """The optimizer's own variables; the list can also be called."""
        return Callables(self.weights)

    def get_weights(self) -> list[Array]:
        """Return copies of the optimizer's own variables, in its system's order."""
        if self._pending is not None:
            return [np.array(value) for value in self._pending]
        return [np.array(weight.live) for weight in self.weights]

    def set_weights(self, values: Iterable[Any]) -> None:
        """Replace the optimizer's own variables, all or nothing.

        Parameters
        ----------
        values : iterable of array_like
            As `get_weights` returned them. Before the slots exist they are kept, checked and set
            when the first step creates the slots.

        Raises
        ------
        StateError
            The number or a shape does not fit. Nothing was changed.
        """
        fresh = [np.asarray(value) for value in listed(values)]
        if self._core.stepper is None and len(fresh) > 1:
            self._pending = fresh
            return
        weights.replace(self._core, fresh)
        self._pending = None

    def _updated(self, gradient: Array, variable: Any, rate: Any) -> None:
        """Call the class's update of one variable."""
        raise NotImplementedError

    def _rate(self, dtype: Any) -> Any:
        """Return this step's learning rate in a dtype, schedule and decay included."""
        stepper = self._core.stepper
        assert stepper is not None
        return stepper.shop.numbers[np.dtype(dtype)].hyper.learning_rate

    def __getstate__(self) -> dict[str, Any]:
        core = self._core
        # A step reads the constraints anew from its variables.
        held = {**weights.pickled(core), "constraints": {}, "settings": vars(core.settings).copy()}
        return {**self.__dict__, "_inner": {**held, "name": core.name}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        held = state["_inner"]
        self.__dict__.update(state, _inner=fastrms.RMSprop(dialect=self.ROW))
        core = self._core
        vars(core.settings).update(held["settings"])
        core.name = held["name"]
        weights.unpickle(core, held)
        if core.stepper is not None:
            self._hand_over(core.stepper)
