"""The optimizers of graph-mode Keras: one implementation, a row per generation.

`Optimizer` is what scripts subclass; RMSprop, SGD and Adam are written as such subclasses are.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from fastrms.arguments import Settings, settle
from fastrms.errors import ArgumentError, GradientError, PortingWarning, StateError

from ..engine.derivatives import gradients
from ..engine.expressions import Expression, lifted, numbers
from ..engine.session import SESSION
from ..engine.variables import Variable
from .formulas import clipped
from .generations import Generation


class Optimizer:
    """The base of graph-mode optimizers: subclass it and write `get_updates` in K operations.

    Parameters
    ----------
    **kwargs
        ``clipnorm`` and ``clipvalue``, as in the mirrored generation.
    """

    generation: ClassVar[Generation]
    backend: ClassVar[ModuleType]

    def __init__(self, **kwargs: Any) -> None:
        clips = {"clipnorm", "clipvalue"}
        for name in set(kwargs) - clips:
            raise ArgumentError(
                f"Unexpected keyword argument passed to optimizer: {name} (= {kwargs[name]!r}). "
                f"Valid here: {', '.join(sorted(clips))}, and what the class's own __init__ takes."
            )
        settle(self.generation.row, kwargs)
        self.__dict__.update(kwargs)
        self.updates: list[Any] = []
        self.weights = []

    # The learning rate: `lr` and `learning_rate` are one value.

    @property
    def lr(self) -> Any:
        """The learning rate: a variable, or whatever a script put in its place."""
        try:
            return self.__dict__["_rate"]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no learning rate (yet)") from None

    @lr.setter
    def lr(self, value: Any) -> None:
        old = self.__dict__.get("_rate")
        if isinstance(old, Variable) and not isinstance(value, Expression):
            given, value = value, self.backend.variable(value, name="lr")
            if self.__dict__.get("updates"):
                warnings.warn(
                    f"optimizer.lr = {given!r} has no effect on functions that were already "
                    f"built, as in {self.generation.name}; use K.set_value(optimizer.lr, value).",
                    PortingWarning,
                    stacklevel=2,
                )
        self.__dict__["_rate"] = value

    learning_rate = lr

    @property
    def inital_decay(self) -> Any:
        """Keras 1.1's spelling of `initial_decay`."""
        return self.initial_decay

    @inital_decay.setter
    def inital_decay(self, value: Any) -> None:
        self.initial_decay: Any = value

    # Weights: lists of variables, whose values may arrive before they do.

    @property
    def weights(self) -> list[Variable]:
        """The variables that `get_weights` reads, in the generation's order."""
        return self.__dict__.setdefault("_weights", [])  # type: ignore[no-any-return]

    @weights.setter
    def weights(self, variables: Sequence[Variable]) -> None:
        self.__dict__["_weights"] = list(variables)
        waiting = self.__dict__.get("_waiting")
        if waiting is not None and variables:
            self.set_weights(waiting)
            self.__dict__["_waiting"] = None

    def get_weights(self) -> list[Any]:
        """Return copies of the weights, or, before `get_updates`, of those that wait for it."""
        waiting = self.__dict__.get("_waiting")
        if waiting is not None:
            return [np.array(w) for w in waiting]
        values: list[Any] = self.backend.batch_get_value(self.weights)
        return values

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Replace the weights, all or nothing; before `get_updates` they wait for it.

        Raises
        ------
        StateError
            The number or a shape does not fit. Nothing was changed.
        """
        if not isinstance(weights, Iterable):
            raise StateError(f"set_weights received {weights!r:.80}; valid: a list of arrays.")
        values = [numbers(w, f"array {i} given to set_weights") for i, w in enumerate(weights)]
        if not self.weights:
            self.__dict__["_waiting"] = values
            return
        if self._optional_counter and len(values) == len(self.weights) - 1:
            values = [np.array(0), *values]
        if len(values) != len(self.weights):
            raise StateError(
                f"set_weights received {len(values)} arrays of shapes "
                f"{[v.shape for v in values]}; expected {len(self.weights)}: "
                f"{', '.join(f'{w.name} {w.array.shape}' for w in self.weights)}. "
                "Nothing was changed."
            )
        for number, (own, value) in enumerate(zip(self.weights, values, strict=True)):
            if own.array.shape != value.shape:
                raise StateError(
                    f"array {number} given to set_weights has shape {value.shape}; weight "
                    f"{own.name!r} of variable {own.given.get('of')!r} expects numbers of shape "
                    f"{own.array.shape}. Nothing was changed. Were the "
                    "weights saved in another order of layers?"
                )
        self._warn_of_lost_counter()
        self.backend.batch_set_value(list(zip(self.weights, values, strict=True)))

    _optional_counter: ClassVar[bool] = False

    def _warn_of_lost_counter(self) -> None:
        """Warn where the generation's weights lack the counter that `decay` reads."""
        counter: Any = self.__dict__.get("iterations")
        decays = self.__dict__.get("initial_decay")
        lost = counter is not None and not any(w is counter for w in self.weights)
        if isinstance(decays, int | float) and decays > 0 and lost and int(counter) == 0:
            warnings.warn(
                f"the weights of {type(self).__name__} in {self.generation.name} do not hold "
                "`iterations`, so decay starts again from the count this optimizer has, as it did "
                "there. Set it: K.set_value(optimizer.iterations, n).",
                PortingWarning,
                stacklevel=3,
            )

    # Gradients and updates.

    def get_gradients(self, loss: Any, params: Sequence[Any]) -> list[Expression]:
        """Return the gradients of a loss, clipped, as expressions.

        Parameters
        ----------
        loss : Expression
            What is minimised.
        params : list of Variable
            Every one of them must lie on a differentiable path to the loss.
        """
        return self._clipped(self._raw_gradients(loss, params))

    def _raw_gradients(self, loss: Any, params: Sequence[Any]) -> list[Expression]:
        found = gradients(lifted(loss, SESSION.floatx), params)
        params = params if isinstance(params, list | tuple) else [params]
        missing = [p.name for p, g in zip(params, found, strict=True) if g is None]
        if missing:
            raise GradientError(
                f"the loss does not depend on {', '.join(map(repr, missing))} through operations "
                "that have a derivative (K.argmax, K.round, comparisons, K.cast to integers and "
                "K.stop_gradient have none). Leave these variables out of params, or check the "
                "path from them to the loss."
            )
        return [g for g in found if g is not None]

    def _clipped(self, found: Sequence[Expression]) -> list[Expression]:
        return clipped(self.generation.row, self._clips(), found)

    def _clips(self) -> Settings:
        bounds: dict[str, Any] = {
            k: self.__dict__[k] for k in ("clipnorm", "clipvalue") if k in self.__dict__
        }
        return settle(self.generation.row, bounds)

    def get_updates(self, *args: Any, **kwargs: Any) -> Any:
        """Return the updates of one step; subclasses write it, in any old signature."""
        raise NotImplementedError(
            f"{type(self).__name__} has no get_updates; write get_updates(self, loss, params) (or "
            "the Keras 1 form) in K operations."
        )

    # Configuration.

    def get_config(self) -> dict[str, Any]:
        """Return the clipping arguments that were given; subclasses add theirs."""
        return {k: self.__dict__[k] for k in ("clipnorm", "clipvalue") if k in self.__dict__}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Optimizer":
        """Build an optimizer from what `get_config` returned."""
        if not isinstance(config, Mapping):
            raise ArgumentError(
                f"from_config of {cls.__name__} received {config!r:.60}; valid: a dictionary of "
                "arguments by name, as get_config() returns."
            )
        return cls(**config)

    def __reduce__(self) -> Any:
        count = self.__dict__.get("iterations")
        steps = None if count is None else self.backend.get_value(count)
        return _restored, (type(self), self.get_config(), self.get_weights(), steps)


def _restored(cls: Any, config: dict[str, Any], weights: list[Any], steps: Any) -> Any:
    """Build a pickled optimizer; its weights wait for `get_updates`, as its graph is not kept."""
    optimizer = cls.from_config(config)
    if steps is not None:
        optimizer.iterations.set_value(steps)
    if weights:
        optimizer.set_weights(weights)
    return optimizer
