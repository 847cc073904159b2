"""The base of layers: weights that are built on the first call, and where outputs come from."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..engine import backend as K  # noqa: N812 (the name scripts use)
from ..engine.expressions import Expression, sized
from ..engine.variables import Variable
from . import initializers
from .generations import Generation
from .naming import refuse


def listed(value: Any) -> list[Any]:
    """Return a list or tuple as a list, anything else as a list of one."""
    return list(value) if isinstance(value, list | tuple) else [value]


def alone(values: list[Any]) -> Any:
    """Return the only element of a list, or the list."""
    return values[0] if len(values) == 1 else values


class Layer:
    """A function of expressions with weights; `build` and `call` are what a subclass writes."""

    generation: Generation

    def __init__(self, **kwargs: Any) -> None:
        kind = type(self).__name__.lower()
        self.name: str = kwargs.pop("name", None) or f"{kind}_{K.get_uid(kind)}"
        self.trainable: bool = kwargs.pop("trainable", True)
        self.dtype: str | None = kwargs.pop("dtype", None)
        size, shape = kwargs.pop("input_dim", None), kwargs.pop("input_shape", None)
        batch = kwargs.pop("batch_input_shape", None)
        shape = (size,) if shape is None and size else shape
        self.start_shape = batch if shape is None else (None, *sized(shape)[0])
        self.initial_weights = kwargs.pop("weights", None)
        if kwargs:
            raise TypeError(
                f"{type(self).__name__} received unknown arguments {sorted(kwargs)}; valid besides "
                "its own: name, trainable, dtype, input_dim, input_shape, "
                "batch_input_shape, weights."
            )
        self.built = False
        self.own_weights: list[Variable] = []
        self.own_frozen: list[Variable] = []
        self.constraints: dict[Any, Any] = {}
        self.calls: list[tuple[list[Any], list[Any]]] = []

    def build(self, input_shape: Any) -> None:
        """Make the weights for inputs of a shape."""

    def call(self, inputs: Any) -> Any:
        """Return the outputs."""
        return inputs

    def __call__(self, inputs: Any) -> Any:
        """Build if needed, and return the outputs."""
        given = listed(inputs)
        for x in given:
            if not isinstance(x, Expression):
                raise TypeError(
                    f"layer {self.name!r} received {x!r:.60}; valid: expressions, such as Input() "
                    "or the output of another layer. Numbers go into predict or a K.function."
                )
        if not self.built:
            self.build(alone([x.shape for x in given]))
            self.built = True
            if self.initial_weights is not None:
                self.set_weights(self.initial_weights)
        if type(self).__name__ in self.generation.layer_draws:
            np.random.randint(self.generation.layer_draws[type(self).__name__])
        outputs = [K.identity(y) if y in given else y for y in listed(self.call(inputs))]
        for output in outputs:
            output.history = (self, given, outputs)
        self.calls.append((given, outputs))
        return alone(outputs)

    def add_weight(
        self, *args: Any, shape: Any = None, name: Any = None, initializer: Any = None,
        trainable: bool = True, constraint: Any = None, **rest: Any,
    ) -> Variable:  # fmt: skip
        """Make a weight: `(shape, initializer, name)` in Keras 1, `(name, shape, ...)` later."""
        refuse(f"add_weight of {self.name!r}", **{k: v for k, v in rest.items() if k != "dtype"})
        for part in args:
            if isinstance(part, tuple | list) and shape is None:
                shape = part
            elif isinstance(part, str) and name is None and shape is None:
                name = part
            else:
                initializer = part
        table = initializers.module(self.generation)
        start = table["get"](initializer or "glorot_uniform")
        value = start(tuple(shape))
        weight = value if isinstance(value, Variable) else K.variable(value, name=name)
        weight.name = name or weight.name  # Keras 1's initialisers return variables
        if constraint is not None:
            self.constraints[weight] = constraint
            weight.constraint = None if self.generation.constraints_apart else constraint
        (self.own_weights if trainable else self.own_frozen).append(weight)
        return weight

    @property
    def trainable_weights(self) -> list[Any]:
        """The weights that training changes."""
        return self.own_weights if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[Any]:
        """The weights that training leaves alone."""
        return self.own_frozen if self.trainable else self.own_weights + self.own_frozen

    @property
    def weights(self) -> list[Any]:
        """All weights."""
        return self.trainable_weights + self.non_trainable_weights

    def get_weights(self) -> list[Any]:
        """Return copies of all weights."""
        return K.batch_get_value(self.weights)

    def set_weights(self, weights: Any) -> None:
        """Replace all weights, or none.

        Raises
        ------
        ValueError
            The number of arrays or a shape is another.
        """
        if isinstance(weights, str) or not isinstance(weights, Iterable):
            raise ValueError(
                f"set_weights of {self.name!r} received {weights!r:.60}; valid: a list of arrays, "
                "as get_weights() returns. Nothing was changed."
            )
        own, given = self.weights, [np.asarray(w) for w in weights]
        expected = [tuple(w.shape) for w in own]
        if len(given) != len(own):
            raise ValueError(
                f"{self.name!r} has {len(own)} weights of shapes {expected}; received "
                f"{len(given)}: {[w.shape for w in given]}. Nothing was changed."
            )
        for place, (variable, value) in enumerate(zip(own, given, strict=True)):
            variable.holding(value, f"array {place}")
        K.batch_set_value(list(zip(own, given, strict=True)))

    def count_params(self) -> int:
        """Return the number of elements of all weights."""
        return sum(int(np.prod(w.shape)) for w in self.weights)

    @property
    def input(self) -> Any:
        """The input of the only call."""
        return alone(self._only_call()[0])

    @property
    def output(self) -> Any:
        """The output of the only call."""
        return alone(self._only_call()[1])

    @property
    def input_shape(self) -> Any:
        """The shape of the input."""
        return self.input.shape

    @property
    def output_shape(self) -> Any:
        """The shape of the output."""
        return self.output.shape

    def _only_call(self) -> tuple[list[Any], list[Any]]:
        if not self.calls:
            raise AttributeError(f"layer {self.name!r} has no input or output: call it first.")
        return self.calls[0]
