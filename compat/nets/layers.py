"""Layers: each builds its weights on its first call and is a function of expressions."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..engine import backend as K  # noqa: N812 (the name scripts use)
from ..engine.backend import training_dropout
from ..engine.expressions import Expression
from ..engine.variables import Variable
from . import initializers, pieces
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
        self.start_shape = batch if shape is None else (None, *shape)
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
        own, given = self.weights, [np.asarray(w) for w in weights]
        expected = [tuple(w.shape) for w in own]
        if len(given) != len(own):
            raise ValueError(
                f"{self.name!r} has {len(own)} weights of shapes {expected}; received "
                f"{len(given)}: {[w.shape for w in given]}. Nothing was changed."
            )
        for place, (variable, value) in enumerate(zip(own, given, strict=True)):
            if tuple(variable.shape) != value.shape:
                raise ValueError(
                    f"array {place} for weight {variable.name!r} of {self.name!r} has shape "
                    f"{value.shape}; expected {tuple(variable.shape)}. Nothing was changed."
                )
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


class Dense(Layer):
    """`activation(inputs @ kernel + bias)`."""

    def __init__(
        self, units: int, activation: Any = None, use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform", bias_initializer: Any = None,
        kernel_regularizer: Any = None, bias_regularizer: Any = None,
        activity_regularizer: Any = None, kernel_constraint: Any = None,
        bias_constraint: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        refuse(
            f"Dense {self.name!r}", kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer, activity_regularizer=activity_regularizer,
        )  # fmt: skip
        table = initializers.module(self.generation)
        limits = pieces.getter("constraint", pieces.constraints(self.generation), True)
        self.units, self.use_bias = int(units), use_bias
        self.activation = pieces.getter("activation", pieces.ACTIVATIONS)(activation)
        self.kernel_initializer = table["get"](kernel_initializer)
        self.bias_initializer = table["get"](bias_initializer or "zero")
        self.kernel_constraint, self.bias_constraint = (
            limits(kernel_constraint), limits(bias_constraint)
        )  # fmt: skip

    def build(self, input_shape: Any) -> None:
        """Make kernel and bias."""
        if not input_shape or len(input_shape) < 2 or input_shape[-1] is None:
            raise ValueError(
                f"Dense {self.name!r} received an input of shape {input_shape}; it needs at least "
                "two dimensions and a known last size."
            )
        self.kernel = self.add_weight(
            shape=(int(input_shape[-1]), self.units), initializer=self.kernel_initializer,
            name=f"{self.name}/kernel", constraint=self.kernel_constraint,
        )  # fmt: skip
        self.W = self.kernel  # Keras 1's name
        self.bias = self.b = None
        if self.use_bias:
            self.bias = self.b = self.add_weight(
                shape=(self.units,), initializer=self.bias_initializer,
                name=f"{self.name}/bias", constraint=self.bias_constraint,
            )  # fmt: skip

    def call(self, inputs: Any) -> Any:
        """Return the activation of the weighted sums."""
        sums = K.dot(inputs, self.kernel)
        return self.activation(sums if self.bias is None else sums + self.bias)


class Activation(Layer):
    """A function of each element, or of each row."""

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = pieces.getter("activation", pieces.ACTIVATIONS)(activation)

    def call(self, inputs: Any) -> Any:
        """Return the activation."""
        return self.activation(inputs)


class LeakyReLU(Layer):
    """x above zero and `alpha * x` below."""

    def __init__(self, alpha: float = 0.3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = float(alpha)

    def call(self, inputs: Any) -> Any:
        """Return the activation."""
        return K.relu(inputs, alpha=self.alpha)


class Dropout(Layer):
    """Sets a share of the inputs to zero in training, and scales the others up."""

    def __init__(
        self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.rate = min(1.0, max(0.0, float(rate)))
        self.noise_shape, self.seed = noise_shape, seed

    def call(self, inputs: Any) -> Any:
        """Return the inputs, thinned in training."""
        if not 0.0 < self.rate < 1.0:
            return inputs
        return training_dropout(inputs, self.rate, self.noise_shape, self.seed)


class Flatten(Layer):
    """One row for each example."""

    def call(self, inputs: Any) -> Any:
        """Return the inputs with all sizes but the first made one."""
        return K.batch_flatten(inputs)


class Reshape(Layer):
    """Each example in another shape."""

    def __init__(self, target_shape: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_shape = tuple(target_shape)

    def call(self, inputs: Any) -> Any:
        """Return the inputs in the other shape."""
        return K.reshape(inputs, (-1, *self.target_shape))


class Lambda(Layer):
    """A function of expressions as a layer."""

    def __init__(
        self, function: Callable[..., Any], output_shape: Any = None, mask: Any = None,
        arguments: dict[str, Any] | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        refuse(f"Lambda {self.name!r}", mask=mask)
        self.function, self.arguments = function, arguments or {}

    def call(self, inputs: Any) -> Any:
        """Return what the function makes of the inputs."""
        return self.function(inputs, **self.arguments)


class InputLayer(Layer):
    """Where a net begins."""

    def __init__(self, shape: Any, dtype: Any = None, name: str | None = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.built = True
        found = K.placeholder(shape=shape, dtype=dtype, name=self.name)
        found.history = (self, [], [found])
        self.calls.append(([found], [found]))


def input_of(generation: Generation) -> Callable[..., Any]:
    """Return the function `Input` of a generation."""
    kind = type("InputLayer", (InputLayer,), {"generation": generation})

    def Input(  # noqa: N802 (Keras's name)
        shape: Any = None, batch_shape: Any = None, name: str | None = None, dtype: Any = None,
        sparse: bool = False, tensor: Any = None,
    ) -> Any:  # fmt: skip
        """Return a placeholder for examples of a shape, to build a net on."""
        refuse("Input", sparse=sparse or None, tensor=tensor)
        if shape is None and batch_shape is None:
            raise ValueError("Input needs shape=, the shape of one example: Input(shape=(4,)).")
        whole = (None, *listed(shape)) if batch_shape is None else tuple(batch_shape)
        return kind(whole, dtype, name).output

    return Input


LAYERS = (Dense, Activation, LeakyReLU, Dropout, Flatten, Reshape, Lambda, Layer)
