"""What both families of tf.keras optimizers share: arguments, variables, state, steps."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, TypeVar

import numpy as np

import fastrms
from fastrms import constraints
from fastrms.arguments import settle
from fastrms.errors import ArgumentError, GradientError
from fastrms.schedules import deserialize

from .pairs import Pairs
from .state import State
from .weights import Array, Weight, array_of, name_of, number_of

Own = TypeVar("Own", bound="Base")


class Base(State):
    """An optimizer of tf.keras over `fastrms`; its row says what it takes, keeps and reports."""

    ORDER: ClassVar[tuple[str, ...]] = ()
    HOOK: ClassVar[Callable[..., Any] | None] = None  # what classes of one's own override
    FIXED: ClassVar[tuple[str, ...]] = ("momentum", "centered", "use_ema", "amsgrad")
    EXTRA: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.HOOK is not None:
            cls.WRITES_UPDATE |= getattr(cls, cls.HOOK.__name__) is not cls.HOOK

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
        if "jit_compile" in every and "jit_compile" not in self.EXTRA:
            raise ArgumentError(
                f"{type(self).__name__} has no argument 'jit_compile' (received "
                f"{every['jit_compile']!r}): the classes of tf.keras 2.11 have it. Leave it out."
            )
        arguments = {k: number_of(v) for k, v in every.items() if k not in self.EXTRA}
        if "lr" in arguments and self.ROW.arguments["lr"].effect == "used":
            arguments.pop("learning_rate", None)  # keras 2.10.0 rmsprop.py:141: lr wins
        object.__setattr__(self, "_inner", fastrms.RMSprop(dialect=self.ROW, **arguments))
        self._hold()

    # Steps.

    def _take(self, pairs: Pairs) -> None:
        """Make one step with gradients and variables that are known by now."""
        if self._pending is not None:
            self.set_weights(self._pending)
        if self._shared is not None:
            self._inner.iterations = int(array_of(self._shared))
        if self.WRITES_UPDATE:
            _require_whole(pairs)
        self._constrain([variable for _, variable in pairs])
        gradients = [g.numpy() if isinstance(g, Weight) else g for g, _ in pairs]
        self._inner.apply(gradients, [array_of(variable) for _, variable in pairs])
        if self._shared is not None:
            self._shared.assign(self._inner.iterations)

    def _constrain(self, variables: list[Any]) -> None:
        """Tell the core which variables have a constraint now; it gets the variable, as there."""
        stepper = self._core.stepper
        assert stepper is not None
        held = {self._index(v): v for v in variables if getattr(v, "constraint", None) is not None}
        if held or stepper.constraints:
            found = {index: partial(_constrained, variable) for index, variable in held.items()}
            stepper.variables.constraints = found
            stepper.constraints = constraints.acting(stepper.row, stepper.variables)

    def _slots(self) -> tuple[tuple[str, ...], ...]:
        """Return the slots of an update written out here, in the groups in which they are made."""
        return ()

    def _rule(self, gradient: Array, variable: Any) -> None:
        """Update one variable in place, by a rule that is written out here."""
        raise NotImplementedError(
            f"{type(self).__name__} does not say how a variable is updated; valid: a class that "
            "overrides _resource_apply_dense(grad, var, apply_state=None) if it is of tf.keras 2.0 "
            "to 2.10, update_step(gradient, variable) if it is of a later one."
        )

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
                core.stepper = self._make(old, old.variables)
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
        arguments = settled(cls.__name__, config)
        rate = arguments.get("learning_rate")
        if isinstance(rate, Mapping):
            arguments["learning_rate"] = deserialize(rate, custom_objects)
        return cls(**arguments)

    def _differentiated(self, loss: Any, var_list: Any, tape: Any) -> Pairs:
        """Return pairs of gradient and variable for a callable loss."""
        return self._inner.compute_gradients(loss, var_list, tape)


def settled(who: str, config: Any) -> dict[str, Any]:
    """Return a copy of a configuration, or raise what is valid."""
    if not isinstance(config, Mapping) or not all(isinstance(name, str) for name in config):
        raise ArgumentError(
            f"from_config of {who} received {config!r:.60}; valid: a dictionary of arguments by "
            "name, as get_config() returns."
        )
    return dict(config)


def _require_whole(pairs: Pairs) -> None:
    """Refuse gradients of rows, for which each tf.keras class has a rule of its own."""
    for gradient, variable in pairs:
        if isinstance(gradient, fastrms.IndexedSlices):
            raise GradientError(
                f"the gradient of variable {name_of(variable, 0)!r} is IndexedSlices, which only "
                "RMSprop's own update takes, no update step of another class; give a dense "
                "gradient. Nothing was changed."
            )


def _constrained(variable: Any, _: Array) -> Array:
    """Return what a variable's constraint makes of it."""
    return np.asarray(variable.constraint(variable))
