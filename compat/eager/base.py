"""What both families of tf.keras optimizers share: arguments, variables, state, steps."""

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

import fastrms
from fastrms.arguments import settle
from fastrms.dialects import Dialect
from fastrms.errors import ArgumentError, PortingWarning, StateError, VariableError
from fastrms.schedules import LearningRateSchedule, deserialize
from fastrms.stepper import Stepper
from fastrms.variables import Variables, describe, require_apart, require_variable
from fastrms.weights import Core, layout, names, replace, undecayed

from .stepping import WrittenStepper, all_or_nothing, transplanted
from .weights import Weight, array_of, name_of, number_of

Array = NDArray[Any]
Pairs = list[tuple[Any, Any]]
Own = TypeVar("Own", bound="Base")


class Callables(list[Any]):
    """A list that can be called, for `optimizer.variables` and `optimizer.variables()`."""

    def __call__(self) -> "Callables":
        """Return the list."""
        return self


class Base:
    """An optimizer of tf.keras over `fastrms`; its row says what it takes, keeps and reports."""

    ROW: ClassVar[Dialect]
    ORDER: ClassVar[tuple[str, ...]] = ()
    WRITES_UPDATE: ClassVar[bool] = True
    FIXED: ClassVar[tuple[str, ...]] = ("momentum", "centered", "use_ema", "amsgrad")
    EXTRA: ClassVar[Mapping[str, Any]] = {}

    _inner: fastrms.RMSprop

    def _start(self, *args: Any, **kwargs: Any) -> None:
        """Bind the constructor's arguments in the old order and make the core."""
        if len(args) > len(self.ORDER):
            raise ArgumentError(
                f"{type(self).__name__} takes {len(self.ORDER)} positional arguments "
                f"({', '.join(self.ORDER)}); received {len(args)}. Name the others."
            )
        given = dict(zip(self.ORDER, args, strict=False))
        twice = sorted(set(given) & set(kwargs))
        if twice:
            raise ArgumentError(
                f"{type(self).__name__} got {', '.join(twice)} twice, by position and by name; "
                "pass each once."
            )
        arguments = {k: number_of(v) for k, v in {**given, **kwargs}.items()}
        if "lr" in arguments and self.ROW.arguments["lr"].effect == "used":
            arguments.pop("learning_rate", None)  # keras 2.10.0 rmsprop.py:141: lr wins
        object.__setattr__(self, "_inner", fastrms.RMSprop(dialect=self.ROW, **arguments))
        self._views: dict[Any, Weight] = {}
        self._added: list[Weight] = []
        self._pending: list[Any] | None = None
        self._shared: Any = None
        self._scope = ""

    @property
    def _core(self) -> Core:
        """The state behind this optimizer."""
        return self._inner._core

    # Variables and slots.

    def _make(self, variables: Variables) -> Stepper:
        """Return a stepper over variables, with the class's own update where it has one."""
        core = self._core
        spared = undecayed(core, variables)
        if not self.WRITES_UPDATE:
            return Stepper(core.row, core.settings, variables, spared)
        return WrittenStepper(core.row, core.settings, variables, spared, self._updated)

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
            self._core.stepper = transplanted(old, self._make(Variables(arrays, known, True)))
            if old is None:
                self._core.stepper.calls = self._core.calls_before_build

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

    def _slot(self, slot: str, index: int, initial: Any = None) -> Weight:
        """Return the slot of a variable, created if need be."""
        stepper = self._core.stepper
        assert stepper is not None
        if (slot, index) not in stepper.state.slots:
            stepper.state.create([slot], [index])
            if initial is not None:
                stepper.state.shaped(slot, index)[...] = initial
        return self._view(slot, index)

    def _view(self, slot: str, index: int) -> Weight:
        """Return a slot as a weight; the same one every time."""
        if (slot, index) not in self._views:
            core = self._core
            templates = core.row.weights.names
            assert core.stepper is not None
            name = self._scoped(templates["slot"]).format(
                variable=core.stepper.variables.names[index],
                slot=core.row.slot_names.get(slot, slot),
            )
            read = lambda: core.stepper.state.shaped(slot, index)  # type: ignore[union-attr]  # noqa: E731
            self._views[slot, index] = Weight(name, read)
        return self._views[slot, index]

    def _scoped(self, template: str) -> str:
        """Return a weight's name; TensorFlow put what a step creates under the optimizer's name."""
        return self._scope + template.removeprefix("{name}/")

    # State.

    @property
    def iterations(self) -> Any:
        """How many steps were made; a weight that can be read and assigned to."""
        if "iterations" not in self._views:
            name = self._scoped(self.ROW.weights.names["iterations"])
            inner, dtype = self._inner, self.ROW.weights.counter_dtype
            read = lambda: np.array(inner.iterations, dtype)[()]  # noqa: E731
            self._views["iterations"] = Weight(
                name, read, lambda value: setattr(inner, "iterations", int(value))
            )
        return self._views["iterations"]

    @iterations.setter
    def iterations(self, value: Any) -> None:
        if self._counted():
            raise CounterError(
                f"iterations cannot be replaced by {value!r} after the optimizer's weights exist; "
                "set it before the first step, or use iterations.assign(number)."
            )
        number = np.asarray(value if isinstance(value, int) else array_of(value)).item()
        self._inner.iterations = int(number)
        self._shared = None if isinstance(value, int) else value

    def _counted(self) -> bool:
        """Tell whether the counter can no longer be replaced."""
        return self._core.stepper is not None

    @property
    def weights(self) -> list[Weight]:
        """The optimizer's own variables in the order of `get_weights`."""
        scalar = {"iterations": self.iterations}
        found = [scalar[n] if i is None else self._view(n, i) for n, i in layout(self._core)]
        return [*found, *self._added]

    @property
    def variables(self) -> Callables:
        """The optimizer's own variables; the list can also be called."""
        return Callables(self.weights)

    def get_weights(self) -> list[Array]:
        """Return copies of the optimizer's own variables, in its system's order."""
        if self._pending is not None:
            return [np.array(value) for value in self._pending]
        return [np.array(weight.live) for weight in self.weights]

    def set_weights(self, weights: Iterable[Any]) -> None:
        """Replace the optimizer's own variables, all or nothing.

        Parameters
        ----------
        weights : iterable of array_like
            As `get_weights` returned them. Before the slots exist they are kept, checked and set
            when the first step creates the slots.

        Raises
        ------
        StateError
            The number or a shape does not fit. Nothing was changed.
        """
        values = [np.asarray(value) for value in weights]
        if self._core.stepper is None and len(values) > 1:
            self._pending = values
            return
        own = len(values) - len(self._added)
        added = list(zip(self._added, values[own:], strict=True)) if own > 0 else []
        if any(weight.shape != value.shape for weight, value in added):
            shapes = [weight.shape for weight in self._added]
            raise StateError(f"the last weights must have the shapes {shapes}. Nothing was changed.")
        replace(self._core, values[:own] if self._added else values)
        for weight, value in added:
            weight.assign(value)
        self._pending = None

    # Steps.

    @contextlib.contextmanager
    def _stepping(self, variables: Iterable[Any]) -> Iterator[None]:
        """Undo a step that fails: its slots, and with code of others everything it wrote."""
        given = list(variables)
        guarded = self.WRITES_UPDATE or any(getattr(v, "constraint", None) for v in given)
        views, scope, added = dict(self._views), self._scope, list(self._added)
        try:
            with all_or_nothing(self._core, [array_of(v) for v in given] if guarded else []):
                yield
        except BaseException:
            self._views, self._scope, self._added = views, scope, added
            raise

    def _take(self, pairs: Pairs) -> None:
        """Make one step with gradients and variables that are known by now."""
        if self._pending is not None:
            waiting, self._pending = self._pending, None
            try:
                self.set_weights(waiting)
            except StateError:
                self._pending = waiting
                raise
        if self._shared is not None:
            self._inner.iterations = int(array_of(self._shared))
        gradients = [g.numpy() if isinstance(g, Weight) else g for g, _ in pairs]
        self._given = {self._index(v): v for _, v in pairs}
        self._inner.apply(gradients, [array_of(variable) for _, variable in pairs])
        if self.ROW.constraints == "after update":
            for _, variable in pairs:
                self._constrain(variable)
        if self._shared is not None:
            self._shared.assign(self._inner.iterations)

    @staticmethod
    def _constrain(variable: Any) -> None:
        """Replace a variable by what its constraint makes of it."""
        constraint = getattr(variable, "constraint", None)
        if constraint is None:
            return
        array = array_of(variable)
        fresh = np.asarray(constraint(variable))
        if fresh.shape != array.shape or fresh.dtype.kind != "f":
            raise VariableError(
                f"the constraint of {name_of(variable, 0)!r} returned {describe(fresh)}; expected "
                f"floats of shape {array.shape}. The step was undone."
            )
        array[...] = fresh

    def _updated(self, index: int, gradient: Array) -> None:
        """Call the class's update of one variable."""
        raise NotImplementedError

    def _variable(self, index: int) -> Weight:
        """Return a variable for an update to read and assign to."""
        stepper = self._core.stepper
        assert stepper is not None
        array = stepper.variables.arrays[index]
        return Weight(stepper.variables.names[index], lambda: array)

    def _rate(self, dtype: Any) -> Any:
        """Return this step's learning rate in a dtype, schedule and decay included."""
        stepper = self._core.stepper
        assert stepper is not None
        return stepper.shop.numbers[np.dtype(dtype)].hyper.learning_rate

    # Hyperparameters and configuration.

    def _uses(self, name: str) -> bool:
        """Tell whether a name is a hyperparameter of the row."""
        argument = self.ROW.arguments.get(name)
        return argument is not None and argument.effect == "used" and name not in ("name", "lr")

    def _change(self, name: str, value: Any) -> None:
        """Set a hyperparameter, checked as the constructor checks it."""
        value = number_of(value)
        if name == "learning_rate":
            self._inner.learning_rate = value
            return
        core = self._core
        settings, old = core.settings, core.stepper
        before = getattr(settings, name)
        if name in self.FIXED and bool(before) != bool(value) and self._slots_are_fixed():
            raise ArgumentError(
                f"{name} was {before!r} when the optimizer's slots were laid out and cannot become "
                f"{value!r}; the old system ignored or failed at that. Make a new optimizer."
            )
        used = {k: getattr(settings, k) for k in self.ROW.arguments if self._uses(k)}
        vars(settings).update(
            {k: v for k, v in vars(settle(core.row, {**used, name: value})).items() if k in used}
        )
        if old is not None:
            core.stepper = transplanted(old, self._make(old.variables))

    def _slots_are_fixed(self) -> bool:
        """Tell whether it is too late to change which slots there are."""
        return self._core.stepper is not None

    def _rate_weight(self) -> Weight:
        """Return the learning rate as a weight."""
        inner = self._inner
        read = lambda: np.float32(inner.learning_rate)  # noqa: E731
        return Weight("learning_rate:0", read, lambda value: self._change("learning_rate", value))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as the mirrored system reports them."""
        config = self._inner.get_config()
        for name in ("dialect", "decay_offset"):
            config.pop(name, None)
        return {**config, **self.EXTRA}

    @classmethod
    def from_config(
        cls: type[Own], config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Own:
        """Build an optimizer from `get_config`'s result.

        Parameters
        ----------
        config : mapping
            Constructor arguments by name.
        custom_objects : mapping, optional
            Users' schedule classes by name.
        """
        arguments = dict(config)
        rate = arguments.get("learning_rate")
        if isinstance(rate, Mapping):
            arguments["learning_rate"] = deserialize(rate, custom_objects)
        return cls(**arguments)

    # Gradients.

    def _differentiated(self, loss: Any, var_list: Any, tape: Any) -> Pairs:
        """Return pairs of gradient and variable for a callable loss."""
        from .gradients import gradients_of

        return gradients_of(loss, var_list, tape)


class UnknownVariableError(VariableError, KeyError):
    """A variable is not one of those that the optimizer was built with."""

    __str__ = Exception.__str__


class CounterError(StateError, RuntimeError):
    """The counter was to be replaced when it was in use."""


def filtered(pairs: Any) -> Pairs:
    """Return the pairs that have a gradient; raise when there are pairs but none has."""
    try:
        found = [(gradient, variable) for gradient, variable in list(pairs)]
    except TypeError as error:
        if isinstance(pairs, list | tuple):
            raise _malformed(pairs) from error
        raise ArgumentError(
            f"grads_and_vars={pairs!r:.80} is not valid; valid: (gradient, variable) pairs, as "
            "zip(gradients, variables) gives them."
        ) from error
    except ValueError as error:
        raise _malformed(pairs) from error
    kept = [pair for pair in found if pair[0] is not None]
    if found and not kept:
        shown = [name_of(variable, k) for k, (_, variable) in enumerate(found)]
        raise fastrms.GradientError(
            f"no gradients were given for any variable: all of {shown} have None. Give at least "
            "one a gradient: does the loss depend on them?"
        )
    if len(kept) < len(found):
        missing = [name_of(v, k) for k, (g, v) in enumerate(found) if g is None]
        _note(f"variables {missing} have no gradient (None); they stay as they are.")
    return kept


def _malformed(pairs: Any) -> ArgumentError:
    """Build the error of a list that holds something else than pairs."""
    return ArgumentError(
        f"grads_and_vars holds {type(next(iter(pairs), None)).__name__}; valid: (gradient, "
        "variable) pairs, as zip(gradients, variables) gives them."
    )


def _note(text: str) -> None:
    """Say what TensorFlow logged."""
    import logging

    logging.getLogger("fastrms.compat").warning(text)


def ignored(text: str) -> None:
    """Warn of something without effect."""
    warnings.warn(text, PortingWarning, stacklevel=4)


def is_schedule(value: Any) -> bool:
    """Tell a schedule from a number or a callable without arguments."""
    return isinstance(value, LearningRateSchedule)


Transform = Callable[[Pairs], Pairs]
