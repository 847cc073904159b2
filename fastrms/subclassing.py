"""The part of an optimizer that lets users write an update step of their own, as in Keras 3."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms import reference
from fastrms.arguments import Settings
from fastrms.cuda.memory import DeviceArray, placed
from fastrms.cuda.slices import Scattered
from fastrms.engines import ReferencePlan, pairs_of
from fastrms.errors import ArgumentError, DialectError, GradientError
from fastrms.layout import Count
from fastrms.results import results_of
from fastrms.rule import CONDITIONING, Slots, Variant
from fastrms.stepper import Stepper
from fastrms.tracked import FREE, require_settable
from fastrms.variable import Variable
from fastrms.variables import flat
from fastrms.weights import Core
from fastrms.work import UPDATE, Item

Array = NDArray[Any]
OVERRIDABLE = frozenset({"build", "update_step", "get_config", "from_config"})
# What Keras' and tf.keras' optimizers call, and this one does not.
HOOKS = frozenset(
    (
        *("_apply_weight_decay", "_backend_apply_gradients", "_backend_update_step"),
        *("_backend_increment_gradient_accumulators", "_backend_reset_gradient_accumulators"),
        *("_create_all_weights", "_create_hypers", "_create_slots", "_filter_empty_gradients"),
        *("_get_current_learning_rate", "_get_hyper", "_internal_apply_gradients"),
        *("_overwrite_model_variables_with_average_value", "_prepare", "_prepare_local"),
        *("_overwrite_variables_directly_with_gradients", "_resource_apply_dense"),
        *("_resource_apply_sparse", "_resource_apply_sparse_duplicate_indices", "_set_hyper"),
        *("_update_model_variables_moving_average", "_update_step", "_use_weight_decay"),
        *("aggregate_gradients", "get_gradients", "get_updates"),
    )
)
SLOTS = ("velocity", "momentum", "average_gradient")
_AROUND = (*Variant._fields[CONDITIONING], "decoupled_decay", "coupled_decay", "ema")
_UNCONDITIONED = dict.fromkeys(_AROUND, False)


def _is_ours(kind: type) -> bool:
    """Tell whether a class is of this package, which knows what calls what."""
    return kind.__module__.partition(".")[0] == "fastrms"


class Subclassing:
    """What may be overridden, and how it is called; a base of `RMSprop`."""

    _core: Core

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if _is_ours(cls):
            return
        ours = next(kind for kind in cls.__mro__ if _is_ours(kind))
        for kind in cls.__mro__[: cls.__mro__.index(ours)]:
            for name in vars(kind):
                special = name.startswith("__") and name.endswith("__")
                used = hasattr(ours, name) or name in HOOKS or name in vars(Settings())
                used = used and not (cls._replaces_step() and name in FREE)
                if used and not special and name not in OVERRIDABLE:
                    raise ArgumentError(
                        f"{cls.__name__} overrides {name!r}, which a step here would not call as "
                        f"Keras does; valid: {', '.join(sorted(OVERRIDABLE))}, and new names. Wrap "
                        "the optimizer instead, or rename yours."
                    )

    def __setattr__(self, name: str, value: Any) -> None:
        if "_core" in vars(self):
            require_settable(self._overrides, name, self._core.settings)
        super().__setattr__(name, value)

    @property
    def _overrides(self) -> bool:
        """Whether a subclass has an update step of its own."""
        return self._replaces_step()

    @classmethod
    def _replaces_step(cls) -> bool:
        """Whether a class has an update step of its own."""
        return cls.update_step is not Subclassing.update_step

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable and its slots, and nothing else: what `apply` does at its core.

        A subclass may override it, to be called with each gradient (unscaled, accumulated and
        clipped; rows of a table as an array of its size), its Variable and the rate of the step;
        weight decay comes before it and moving averages after it. It runs in NumPy and keeps
        copies of everything to go back to if it raises, so it is slower than a step without. With
        two parameters, as in tf.keras, it is called without the rate.

        Parameters
        ----------
        gradient : numpy.ndarray
            Of the variable's shape; other float dtypes are cast to the variable's.
        variable : Variable or numpy.ndarray
            One of those of `build`.
        learning_rate : float
            The step size.

        Raises
        ------
        VariableError, GradientError
            The variable is unknown, or the gradient does not fit it. Nothing was changed then.

        Examples
        --------
        >>> import numpy as np
        >>> from fastrms import RMSprop, Variable
        >>> class Signs(RMSprop):
        ...     def update_step(self, gradient, variable, learning_rate):
        ...         self.assign_sub(variable, learning_rate * np.sign(gradient))
        >>> v = Variable([1.0, 1.0])
        >>> Signs(learning_rate=0.5).apply([[3.0, -3.0]], [v])
        >>> v.numpy()
        array([0.5, 1.5], dtype=float32)
        """
        index = self._get_variable_index(variable)  # type: ignore[attr-defined]
        stepper = self._core.stepper
        assert stepper is not None, "an optimizer that knows a variable is built"
        shop, array = stepper.shop, stepper.variables.arrays[index]
        if not self._core.refusal:  # a step under way has looked at all variables
            stepper.require_unchanged()
        if isinstance(array, DeviceArray) and isinstance(gradient, np.ndarray):
            gradient = placed(gradient.astype(array.dtype), array.place.ordinal)
        value = shop.as_array(index, gradient).astype(array.dtype)
        stepper.create_slots([index])
        variant = shop.variant(index, UPDATE)._replace(**_UNCONDITIONED)
        kept = {n: shop.state.shaped(n, index) for n in SLOTS if (n, index) in shop.state.slots}
        hyper = shop.numbers[array.dtype].hyper._replace(
            learning_rate=array.dtype.type(learning_rate)
        )
        slots = Slots(*(kept.get(name, value) for name in SLOTS))
        with reference.flushing(shop.row.flushes_subnormals), np.errstate(all="ignore"):
            fresh, slots = reference.advance(array, value, slots, hyper, variant)
        for name, new in zip(SLOTS, slots, strict=True):
            if name in kept:
                kept[name][...] = new
        array[...] = fresh

    def _hand_over(self, stepper: Stepper) -> None:
        """Let a subclass's update step carry out a stepper's steps."""
        if not self._overrides:
            return
        settings, row = self._core.settings, self._core.row
        if "coupled_decay" in row.form.always and settings.weight_decay:
            raise DialectError(
                f"the dialect {row.name!r} adds weight decay to the gradients inside the update, "
                "which a subclass's update_step replaces; add it there, or choose keras-3."
            )
        parameters = inspect.signature(self.update_step).parameters.values()
        bare = len(parameters) == 2 and not any(p.kind == p.VAR_POSITIONAL for p in parameters)
        step = self.update_step
        call = (lambda g, v, _: step(g, v)) if bare else step  # type: ignore[call-arg]
        stepper.hand_over(functools.partial(UserPlan, call, self._core))


class UserPlan(ReferencePlan):
    """One kind of step, carried out by a subclass's `update_step`, or taken back as a whole."""

    def __init__(self, call: Callable[..., None], core: Core, *about: Any) -> None:
        super().__init__(*about)
        self.call, self.core = call, core
        known = self.shop.variables
        self.passed = [
            given if isinstance(given, Variable) else Variable._over(array, name, name)
            for given, array, name in zip(known.given, known.arrays, known.names, strict=True)
        ]

    def put(self, index: int, gradient: Any) -> None:
        """Set the gradient of a variable; from a GPU it is copied: update steps are for NumPy."""
        if isinstance(gradient, Scattered):
            raise GradientError(
                f"the gradient of variable {self.shop.variables.label(index)} is IndexedSlices on "
                "a GPU, which only RMSprop's own update takes, no update step of another class; "
                "give a dense gradient. Nothing was changed."
            )
        super().put(index, np.asarray(flat(gradient)))

    def run(self) -> None:
        """Carry out the step; an exception leaves everything as it was."""
        shop = self.shop
        self.counter[Count.ENDED] += 1
        if shop.guarded and not self._finite():
            self.counter[Count.STOP] = 1
        if self.counter[Count.STOP]:
            return
        held = [*shop.variables.arrays, *shop.state.slots.values()]
        held += [variable._array for variable in self.core.own]
        copies = [array.copy() for array in held]
        try:
            with np.errstate(all="ignore"):
                self._carry_out()
        except BaseException:
            for array, old in zip(held, copies, strict=True):
                array[...] = old
            raise
        self.counter[Count.CALLS] += self.counter[Count.ADDED]

    def _carry_out(self) -> None:
        """Condition gradients, decay variables, call the subclass, then go on as the rule does."""
        shop, first = self.shop, self.phases[0]
        updates = [item for item in first if item.variant.update]
        with reference.flushing(shop.row.flushes_subnormals):
            pairs = pairs_of(shop, updates)
            gradients = [self._conditioned(item, pairs) for item in updates]
            for item in updates:
                if item.variant.decoupled_decay:
                    array = shop.variables.arrays[item.index]
                    array[...] = self._decayed(item, array)
        for item, gradient in zip(updates, gradients, strict=True):
            hyper = shop.numbers[gradient.dtype].hyper
            self.call(gradient, self.passed[item.index], hyper.learning_rate)
        with reference.flushing(shop.row.flushes_subnormals):
            for items in self.phases:
                for item in items:
                    self._finish(item)

    def _conditioned(self, item: Item, pairs: dict[int, Any]) -> Array:
        """Return a gradient as the update step gets it."""
        shop = self.shop
        hyper = shop.numbers[item.arrays["variable"].dtype].hyper
        clip = pairs.get(item.index, (hyper.one, hyper.one))
        partial = item.arrays.get("gradient_accumulator")
        value = reference.condition(item.arrays["gradient"], partial, clip, hyper, item.variant)
        array = shop.variables.arrays[item.index]
        columns = array.flags.f_contiguous and not array.flags.c_contiguous
        return np.array(value).reshape(array.shape, order="F" if columns else "C")

    def _decayed(self, item: Item, array: Array) -> Any:
        """Return a variable after weight decay: the rule's update with a gradient of 0."""
        hyper = self.shop.numbers[array.dtype].hyper._replace(epsilon=array.dtype.type(1))
        kept = {name: getattr(item.variant, name) for name in ("flush", "half")}
        still, zeros = Variant(decoupled_decay=True, **kept), np.zeros_like(array)
        return reference.advance(array, zeros, Slots(zeros, zeros, zeros), hyper, still)[0]

    def _finish(self, item: Item) -> None:
        """Do what a step does besides updating: accumulate, clear, average."""
        shop, array = self.shop, self.shop.variables.arrays[item.index]
        stand_in = shop.stand_ins.get(item.index)
        if stand_in is not None:
            np.copyto(stand_in.reshape(array.shape), array)
        rest = Item(item.index, item.variant._replace(update=False), item.arrays)
        hyper = shop.numbers[array.dtype].hyper
        for name, value in results_of(shop, rest, (hyper.one, hyper.one)).items():
            rest.arrays[name][...] = value
        if stand_in is not None:
            np.copyto(array, stand_in.reshape(array.shape))
