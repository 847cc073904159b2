"""The layers that scripts without a framework are built around."""

from collections.abc import Callable
from typing import Any

from fastrms.errors import ArgumentError

from ..checks import real, whole
from ..engine import backend as K  # noqa: N812 (the name scripts use)
from ..engine.backend import training_dropout
from ..engine.expressions import sized
from . import initializers, pieces
from .generations import Generation
from .layer import Layer
from .naming import refuse


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
        self.units, self.use_bias = whole(f"Dense {self.name!r}", "units", units, 1), use_bias
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
        kernel, bias = self.generation.weight_names
        self.kernel = self.add_weight(
            shape=(int(input_shape[-1]), self.units), initializer=self.kernel_initializer,
            name=f"{self.name}{kernel}", constraint=self.kernel_constraint,
        )  # fmt: skip
        self.W = self.kernel  # Keras 1's name
        self.bias = self.b = None
        if self.use_bias:
            self.bias = self.b = self.add_weight(
                shape=(self.units,), initializer=self.bias_initializer,
                name=f"{self.name}{bias}", constraint=self.bias_constraint,
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
        self.alpha = float(real("LeakyReLU", "alpha", alpha))

    def call(self, inputs: Any) -> Any:
        """Return the activation."""
        return K.relu(inputs, alpha=self.alpha)


class Dropout(Layer):
    """Sets a share of the inputs to zero in training, and scales the others up."""

    def __init__(
        self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.rate = min(1.0, max(0.0, float(real("Dropout", "rate", rate))))
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
        self.target_shape, _ = sized(target_shape)

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
        if not callable(function):
            raise ArgumentError(f"Lambda received {function!r:.60}; valid: a function.")
        self.function, self.arguments = function, arguments or {}

    def call(self, inputs: Any) -> Any:
        """Return what the function makes of the inputs."""
        return self.function(inputs, **self.arguments)


class InputLayer(Layer):
    """Where a net begins."""

    def __init__(self, shape: Any, dtype: Any = None, name: str | None = None) -> None:
        super().__init__(name=name or f"input_{K.get_uid('input')}", dtype=dtype)
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
        full = (None, *sized(shape)[0]) if batch_shape is None else sized(batch_shape)[0]
        return kind(full, dtype, name).output

    return Input


LAYERS = (Dense, Activation, LeakyReLU, Dropout, Flatten, Reshape, Lambda, Layer)
