"""The part of an optimizer that moves its state: weights, configuration, pickles, other arrays."""

import dataclasses
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastrms import averages, weights
from fastrms.arguments import Settings, settle
from fastrms.dialects import get_dialect
from fastrms.dialects.recognition import recognized
from fastrms.errors import ArgumentError, StateError
from fastrms.rates import checked_rate
from fastrms.schedules import LearningRateSchedule, deserialize
from fastrms.stepper import Stepper
from fastrms.variables import collect

Array = NDArray[Any]
Own = TypeVar("Own", bound="Portable")


class Portable:
    """State in and out of an optimizer; `RMSprop` is its one user."""

    _core: weights.Core

    def __init__(self, **config: Any) -> None:
        """Take the constructor arguments that `get_config` returns."""
        raise TypeError("Portable is the base of RMSprop and is not used alone.")

    def _hand_over(self, stepper: Stepper) -> None:
        """Let a subclass's update step carry out a stepper's steps."""

    @property
    def name(self) -> str:
        """The optimizer's name; Keras 3 names its weights after it."""
        return self._core.name

    @property
    def dialect(self) -> str:
        """The name of this optimizer's dialect."""
        return self._core.row.name

    @property
    def built(self) -> bool:
        """Whether the optimizer knows its variables."""
        return self._core.stepper is not None

    @property
    def iterations(self) -> int:
        """How many updates were made; settable."""
        core = self._core
        calls = core.stepper.calls if core.stepper else core.calls_before_build
        return calls // (core.settings.gradient_accumulation_steps or 1)

    @iterations.setter
    def iterations(self, value: int) -> None:
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        steps = self._core.settings.gradient_accumulation_steps or 1
        if not whole or not 0 <= int(value) * steps < 2**63:
            valid = f"an integer >= 0 and < {2**63 // steps}"
            raise ArgumentError(f"iterations={value!r} is not valid; valid: {valid}.")
        calls = int(value) * steps
        with self._core.lock:
            if self._core.stepper is None:
                self._core.calls_before_build = calls
            else:
                self._core.stepper.calls = calls

    @property
    def learning_rate(self) -> float:
        """The learning rate, without `decay`; settable unless a schedule or callable owns it.

        With a schedule it is the next step's; in dialects that say so, the last one used.
        """
        rate = self._core.settings.learning_rate
        if isinstance(rate, LearningRateSchedule):
            return weights.rate_of_schedule(self._core, rate)
        return checked_rate(rate()) if callable(rate) else rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        settings, row = self._core.settings, self._core.row
        if not isinstance(value, bool) and isinstance(value, int | np.integer | np.ndarray):
            # A constructor may refuse them; assigning to the system's variable takes them.
            value = float(value) if np.ndim(value) == 0 and np.isrealobj(value) else value
        checked = settle(row, {"learning_rate": value}).learning_rate
        settable = row.schedules is not None and row.schedules.settable
        if callable(settings.learning_rate) and not callable(checked) and not settable:
            raise ArgumentError(
                f"the learning rate comes from a callable, {settings.learning_rate!r}, and cannot "
                f"be set to {value!r}; valid: another schedule or callable. Build the optimizer "
                "with a number to set numbers, or change what the callable returns."
            )
        settings.learning_rate = checked

    @property
    def settings(self) -> Settings:
        """A copy of the hyperparameters in use, after the dialect's rules."""
        return dataclasses.replace(self._core.settings)

    def get_weights(self) -> list[Array]:
        """Return copies of the optimizer's state in its dialect's order.

        Returns
        -------
        list of numpy.ndarray

        Examples
        --------
        >>> from fastrms import RMSprop
        >>> RMSprop().get_weights()
        [array(0), array(0.001, dtype=float32)]
        """
        with self._core.lock:
            return weights.signed(self._core, weights.arrays(self._core))

    def set_weights(self, values: Iterable[Any]) -> None:
        """Replace the optimizer's state, all or nothing.

        Parameters
        ----------
        values : iterable of array_like
            As `get_weights` returned them, of the same shapes.

        Raises
        ------
        StateError
            The number or a shape of the arrays does not fit.

        Examples
        --------
        >>> from fastrms import RMSprop
        >>> optimizer = RMSprop()
        >>> optimizer.set_weights([7, 0.5])
        >>> optimizer.iterations, optimizer.learning_rate
        (7, 0.5)
        """
        fresh = weights.listed(values)
        with self._core.lock:
            weights.replace(self._core, fresh)

    def rebind(self, new_variables: Any) -> None:
        """Move all state to other arrays, by name if both sides have names, else by position.

        Parameters
        ----------
        new_variables : list or (nested) dict of numpy.ndarray
            Of the same shapes and dtypes as those of `build`.

        Raises
        ------
        VariableError
            They do not correspond. Nothing was changed then.

        Examples
        --------
        >>> from fastrms import RMSprop
        >>> import numpy as np
        >>> w = np.ones(2)
        >>> optimizer = RMSprop()
        >>> optimizer.build([w])
        >>> optimizer.rebind([w.copy()])
        """
        if self._core.stepper is None:
            raise StateError("the optimizer has no variables yet; call build(variables).")
        with self._core.lock:
            averages.require_live(self._core)
            stepper = weights.moved(self._core.stepper, collect(new_variables))
            self._hand_over(stepper)
            self._core.stepper = stepper

    def finalize_variable_values(self, trainable_variables: Any = None) -> None:
        """Replace the variables by their moving averages; call after training with `use_ema`.

        Parameters
        ----------
        trainable_variables : list or (nested) dict of numpy.ndarray, optional
            Which variables; by default all.

        Examples
        --------
        >>> from fastrms import RMSprop
        >>> import numpy as np
        >>> w = np.ones(2)
        >>> optimizer = RMSprop(use_ema=True)
        >>> optimizer.apply([np.ones(2)], [w])
        >>> optimizer.finalize_variable_values()
        """
        with self._core.lock:
            averages.finalize(self._core, trainable_variables)

    def swapped_ema(self, variables: Any = None) -> AbstractContextManager[None]:
        """Let a `with` block see the moving averages in the variables, then restore these.

        Inside, steps, `rebind`, pickling and another `swapped_ema` are refused; what the block
        writes into the variables is lost when they are restored, also by an exception.

        Parameters
        ----------
        variables : list or (nested) dict of numpy.ndarray, optional
            Which variables; by default all.

        Raises
        ------
        StateError
            There are no averages yet, or they are swapped in already.

        Examples
        --------
        >>> from fastrms import RMSprop
        >>> import numpy as np
        >>> w = np.ones(1)
        >>> optimizer = RMSprop(learning_rate=0.5, use_ema=True, ema_momentum=0.5)
        >>> for _ in range(2):
        ...     optimizer.apply([np.ones(1)], [w])
        >>> with optimizer.swapped_ema():
        ...     print(w.round(3))
        [-1.155]
        >>> w.round(3)
        array([-1.728])
        """
        return averages.swapped(self._core, variables)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as the mirrored system reports them.

        Returns
        -------
        dict
            With the key ``dialect`` exactly when it is not ``keras-3``.

        Examples
        --------
        >>> from fastrms import RMSprop
        >>> RMSprop(dialect="keras-2.2", decay=0.1).get_config()["dialect"]
        'keras-2.2'
        """
        return weights.config(self._core)

    @classmethod
    def from_config(
        cls: type[Own], config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Own:
        """Build an optimizer from `get_config`'s result.

        Parameters
        ----------
        config : mapping
            Constructor arguments by name. Without the key ``dialect``, the keys tell which system
            wrote them; a part of them, or those of keras-3, means keras-3.
        custom_objects : mapping, optional
            Users' schedule classes by name, for a learning rate in serialized form.

        Examples
        --------
        >>> from fastrms import RMSprop
        >>> RMSprop.from_config(RMSprop(rho=0.5).get_config()).get_config()["rho"]
        0.5
        """
        arguments = recognized(config, default="keras-3")
        for name in {"learning_rate", "lr"} & set(arguments):
            if isinstance(arguments[name], Mapping):
                arguments[name] = deserialize(arguments[name], custom_objects)
        return cls(**arguments)

    def __getstate__(self) -> dict[str, Any]:
        with self._core.lock:
            averages.require_live(self._core)
            others = {key: value for key, value in vars(self).items() if key != "_core"}
            return {**weights.pickled(self._core), "attributes": others}

    def __setstate__(self, state: dict[str, Any]) -> None:
        given = dict(state["config"])
        row = get_dialect(given.pop("dialect"))
        settings = settle(row, given)
        self._core = weights.Core(row, settings, settings.name or row.default_name)
        weights.unpickle(self._core, state)
        if self._core.stepper is not None:
            self._hand_over(self._core.stepper)
        vars(self).update(state["attributes"])
