"""Activations, losses, constraints and metrics, written in K operations."""

from collections.abc import Callable
from typing import Any

from ..engine import backend as K  # noqa: N812 (the name scripts use)
from .generations import Generation
from .naming import adapted

Operation = Callable[..., Any]


def linear(x: Any) -> Any:
    """Return x."""
    return x


def softsign(x: Any) -> Any:
    """Return x / (1 + |x|)."""
    return x / (1 + K.abs(x))


ACTIVATIONS: dict[str, Operation] = {
    "linear": linear,
    "softsign": softsign,
    "softmax": K.softmax,
    "relu": K.relu,
    "tanh": K.tanh,
    "sigmoid": K.sigmoid,
    "hard_sigmoid": K.hard_sigmoid,
    "softplus": K.softplus,
    "elu": K.elu,
}


def mean_squared_error(y_true: Any, y_pred: Any) -> Any:
    """Return the mean of squared differences over the last axis."""
    return K.mean(K.square(y_pred - y_true), axis=-1)


def mean_absolute_error(y_true: Any, y_pred: Any) -> Any:
    """Return the mean of absolute differences over the last axis."""
    return K.mean(K.abs(y_pred - y_true), axis=-1)


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Any:
    """Return the mean of absolute differences in per cent of the targets."""
    share = K.abs((y_true - y_pred) / K.maximum(K.abs(y_true), K.epsilon()))
    return 100.0 * K.mean(share, axis=-1)


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Any:
    """Return the mean of squared differences of log(1 + y)."""
    logs = [K.log(K.maximum(y, K.epsilon()) + 1.0) for y in (y_pred, y_true)]
    return K.mean(K.square(logs[0] - logs[1]), axis=-1)


def squared_hinge(y_true: Any, y_pred: Any) -> Any:
    """Return the mean of squared margins."""
    return K.mean(K.square(K.maximum(1.0 - y_true * y_pred, 0.0)), axis=-1)


def hinge(y_true: Any, y_pred: Any) -> Any:
    """Return the mean of margins."""
    return K.mean(K.maximum(1.0 - y_true * y_pred, 0.0), axis=-1)


def categorical_crossentropy(y_true: Any, y_pred: Any) -> Any:
    """Return the cross-entropy of class probabilities."""
    return K.categorical_crossentropy(y_true, y_pred)


def sparse_categorical_crossentropy(y_true: Any, y_pred: Any) -> Any:
    """Return the cross-entropy of class numbers."""
    return K.sparse_categorical_crossentropy(y_true, y_pred)


def binary_crossentropy(y_true: Any, y_pred: Any) -> Any:
    """Return the mean cross-entropy of independent probabilities."""
    return K.mean(K.binary_crossentropy(y_true, y_pred), axis=-1)


def kullback_leibler_divergence(y_true: Any, y_pred: Any) -> Any:
    """Return the divergence of two distributions."""
    true, found = (K.clip(y, K.epsilon(), 1) for y in (y_true, y_pred))
    return K.sum(true * K.log(true / found), axis=-1)


def poisson(y_true: Any, y_pred: Any) -> Any:
    """Return the Poisson loss."""
    return K.mean(y_pred - y_true * K.log(y_pred + K.epsilon()), axis=-1)


_LOSSES = (
    mean_squared_error, mean_absolute_error, mean_absolute_percentage_error,
    mean_squared_logarithmic_error, squared_hinge, hinge, categorical_crossentropy,
    sparse_categorical_crossentropy, binary_crossentropy, kullback_leibler_divergence, poisson,
)  # fmt: skip
_BRIEF = ("mse", "mae", "mape", "msle")
LOSSES: dict[str, Operation] = {loss.__name__: loss for loss in _LOSSES}
LOSSES |= {
    name: loss
    for short, loss in zip(_BRIEF, _LOSSES, strict=False)
    for name in (short, short.upper())
}
LOSSES |= {"kld": kullback_leibler_divergence, "KLD": kullback_leibler_divergence}


def binary_accuracy(y_true: Any, y_pred: Any) -> Any:
    """Return the share of elements on the right side of one half."""
    return K.mean(K.cast(K.equal(y_true, K.round(y_pred)), K.floatx()), axis=-1)


def categorical_accuracy(y_true: Any, y_pred: Any) -> Any:
    """Return 1 where the likeliest class is the target's."""
    return K.cast(K.equal(K.argmax(y_true, axis=-1), K.argmax(y_pred, axis=-1)), K.floatx())


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Any:
    """Return 1 where the likeliest class has the target's number."""
    return K.cast(
        K.equal(K.cast(K.max(y_true, axis=-1), "int64"), K.argmax(y_pred, axis=-1)), K.floatx()
    )


_METRICS = (binary_accuracy, categorical_accuracy, sparse_categorical_accuracy)
METRICS: dict[str, Operation] = {**LOSSES, **{metric.__name__: metric for metric in _METRICS}}


class Constraint:
    """What a weight must fulfil after each update."""

    generation: Generation

    def __call__(self, w: Any) -> Any:
        """Return the weight as it must be."""
        return w

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make the same constraint again."""
        return dict(vars(self))


def _norms(w: Any, axis: int) -> Any:
    """Return the norms of the weights along an axis."""
    return K.sqrt(K.sum(K.square(w), axis=axis, keepdims=True))


class MaxNorm(Constraint):
    """Norms along an axis of at most `max_value`."""

    def __init__(self, max_value: float = 2, axis: int = 0) -> None:
        self.max_value, self.axis = max_value, axis

    def __call__(self, w: Any) -> Any:
        """Return the weight with its long vectors shortened."""
        norms = _norms(w, self.axis)
        return w * (K.clip(norms, 0, self.max_value) / (K.epsilon() + norms))


class NonNeg(Constraint):
    """No element below zero."""

    def __init__(self) -> None:
        pass

    def __call__(self, w: Any) -> Any:
        """Return the weight with negative elements set to zero."""
        return w * K.cast(K.greater_equal(w, 0.0), K.floatx())


class UnitNorm(Constraint):
    """Norms of one along an axis."""

    def __init__(self, axis: int = 0) -> None:
        self.axis = axis

    def __call__(self, w: Any) -> Any:
        """Return the weight with its vectors scaled to length one."""
        return w / (K.epsilon() + _norms(w, self.axis))


class MinMaxNorm(Constraint):
    """Norms along an axis between two values, approached at a rate."""

    def __init__(
        self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: int = 0
    ) -> None:
        self.min_value, self.max_value, self.rate, self.axis = min_value, max_value, rate, axis

    def __call__(self, w: Any) -> Any:
        """Return the weight with its vectors scaled towards the bounds."""
        norms = _norms(w, self.axis)
        inside = K.clip(norms, self.min_value, self.max_value)
        return w * ((self.rate * inside + (1 - self.rate) * norms) / (K.epsilon() + norms))


def constraints(generation: Generation) -> dict[str, Any]:
    """Return the constraints of a generation with their aliases."""
    found: dict[str, Any] = {"Constraint": Constraint}
    for kind in (MaxNorm, NonNeg, UnitNorm, MinMaxNorm):
        found[kind.__name__] = adapted(kind, generation)
    short = {"max_norm": "MaxNorm", "non_neg": "NonNeg", "unit_norm": "UnitNorm"}
    short |= {"min_max_norm": "MinMaxNorm"}
    for name, kind_name in short.items():
        found[name] = found[name.replace("_", "")] = found[kind_name]
    return found


# What None asks for; of other kinds one is needed.
_NOTHING: dict[str, Any] = {"activation": linear, "constraint": None, "loss": None}


def getter(kind: str, found: dict[str, Any], makes: bool = False) -> Callable[[Any], Any]:
    """Return the function that finds a piece by name, or takes it as it is."""

    def get(identifier: Any) -> Any:
        """Return a piece from its name, from `{"class_name", "config"}`, or itself."""
        config: dict[str, Any] = {}
        if identifier is None and kind in _NOTHING:
            return _NOTHING[kind]
        if isinstance(identifier, dict) and makes:
            config, identifier = identifier.get("config", {}), identifier["class_name"]
        if isinstance(identifier, str) and identifier in found:
            return found[identifier](**config) if makes else found[identifier]
        if callable(identifier):
            return identifier
        known = ", ".join(sorted(n for n in found if n != "get"))
        raise ValueError(f"unknown {kind} {identifier!r:.60}; valid: a function, {known}.")

    return get
