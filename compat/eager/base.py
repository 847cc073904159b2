"""What both families of tf.keras optimizers share: arguments, variables, state, steps."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

import fastrms
from fastrms.arguments import settle
from fastrms.errors import ArgumentError, GradientError, VariableError
from fastrms.schedules import deserialize
from fastrms.sparse import IndexedSlices
from fastrms.variables import describe

from .pairs import Pairs
from .state import State
from .stepping import all_or_nothing, transplanted
from .weights import Weight, array_of, name_of, number_of

Array = NDArray[Any]
Own = TypeVar("Own", bound="Base")


class Base(State):
    """An optimizer of tf.keras over `fastrms`; its row says what it takes, keeps and reports."""

    ORDER: ClassVar[tuple[str, ...]] = ()
    FIXED: ClassVar[tuple[str, ...]] = ("momentum", "centered", "use_ema", "amsgrad")
    EXTRA: ClassVar[Mapping[str, Any]] = {}

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
        every = {**given, **kwargs}
        arguments = {k: number_of(v) for k, v in every.items() if k not in self.EXTRA}
        if "lr" in arguments and self.ROW.arguments["lr"].effect == "used":
            arguments.pop("learning_rate", None)  # keras 2.10.0 rmsprop.py:141: lr wins
        object.__setattr__(self, "_inner", fastrms.RMSprop(dialect=self.ROW, **arguments))
        self._hold()

    # Steps.

    @contextlib.contextmanager
    def _stepping(self, variables: Iterable[Any]) -> Iterator[None]:
        """Undo a step that fails: its slots, and with code of others everything it wrote."""
        given = list(variables)
        guarded = self.WRITES_UPDATE or any(getattr(v, "constraint", None) for v in given)
        kept = {**self.__dict__, "_views": dict(self._views), "_added": list(self._added)}
        try:
            with all_or_nothing(self._core, [array_of(v) for v in given] if guarded else []):
                yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(kept)
            raise

    def _take(self, pairs: Pairs) -> None:
        """Make one step with gradients and variables that are known by now."""
        if self._pending is not None:
            self.set_weights(self._pending)
        if self._shared is not None:
            self._inner.iterations = int(array_of(self._shared))
        gradients = [g.numpy() if isinstance(g, Weight) else g for g, _ in pairs]
        if self.WRITES_UPDATE and any(isinstance(g, IndexedSlices) for g in gradients):
            raise GradientError(
                f"{type(self).__name__} takes no gradients of rows here, RMSprop does; valid: "
                "arrays of the variables' shapes. Add the rows up into one. Nothing was changed."
            )
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
        fresh = vars(settle(core.row, {**used, name: value}))
        vars(settings).update({k: v for k, v in fresh.items() if k in used})
        try:
            if old is not None:
                core.stepper = transplanted(old, self._make(old.variables))
        except BaseException:  # a number that the variables' dtype cannot hold
            vars(settings).update(used)
            raise

    def _slots_are_fixed(self) -> bool:
        """Tell whether it is too late to change which slots there are."""
        return self._core.stepper is not None

    def _rate_weight(self) -> Weight:
        """Return the learning rate as a weight."""
        return Weight("learning_rate:0", self._shown_rate, partial(self._change, "learning_rate"))

    def _shown_rate(self) -> Any:
        """Return the learning rate without decay."""
        return np.float32(self._inner.learning_rate)

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
