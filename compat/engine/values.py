"""Variables, constants and their values, as the backend names them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .expressions import Expression, build
from .expressions import constant as _constant
from .functions import evaluate
from .mathematics import of
from .session import SESSION, number_kind
from .variables import Update, Variable, update

Node = Expression


def variable(
    value: Any, dtype: Any = None, name: str | None = None, constraint: Any = None
) -> Variable:
    """Return a variable; its value is copied."""
    return Variable(value, dtype, name, constraint)


def constant(value: Any, dtype: Any = None, shape: Any = None, name: str | None = None) -> Node:
    """Return a node with a fixed value."""
    filled = value if shape is None else np.broadcast_to(np.asarray(value), shape)
    return _constant(filled, number_kind("K.constant", dtype or SESSION.floatx), name)


def zeros(shape: Any, dtype: Any = None, name: str | None = None) -> Variable:
    """Return a variable of zeros."""
    return Variable(np.zeros(shape, np.int8), dtype, name)


def ones(shape: Any, dtype: Any = None, name: str | None = None) -> Variable:
    """Return a variable of ones."""
    return Variable(np.ones(shape, np.int8), dtype, name)


def zeros_like(x: Any, dtype: Any = None, name: str | None = None) -> Node:
    """Return zeros of the shape of x."""
    return build(
        "fill_like", of(x), value=0, dtype=number_kind("K.zeros_like", dtype or of(x).dtype)
    )


def ones_like(x: Any, dtype: Any = None, name: str | None = None) -> Node:
    """Return ones of the shape of x."""
    return build(
        "fill_like", of(x), value=1, dtype=number_kind("K.ones_like", dtype or of(x).dtype)
    )


def get_value(x: Any) -> Any:
    """Return the value of a variable (or of an expression without inputs)."""
    return x.get_value() if isinstance(x, Variable) else evaluate(of(x), {})


def set_value(x: Variable, value: Any) -> None:
    """Replace the value of a variable."""
    if not isinstance(x, Variable):
        raise TypeError(f"K.set_value received {x!r}; valid: a variable and its new value.")
    x.set_value(value)


def batch_get_value(ops: Sequence[Any]) -> list[Any]:
    """Return the values of several variables."""
    return [get_value(x) for x in ops]


def batch_set_value(tuples: Sequence[tuple[Variable, Any]]) -> None:
    """Replace the values of several variables."""
    for x, value in tuples:
        set_value(x, value)


def eval(x: Any) -> Any:
    """Return the value of an expression without inputs."""
    return get_value(x)


def update_add(x: Variable, increment: Any) -> Update:
    """Return the update that adds to a variable."""
    return update(x, x + increment)


def update_sub(x: Variable, decrement: Any) -> Update:
    """Return the update that subtracts from a variable."""
    return update(x, x - decrement)


def dtype(x: Node) -> str:
    """Return the dtype as a string."""
    return x.dtype


def ndim(x: Node) -> int | None:
    """Return the number of dimensions."""
    return x.ndim


def int_shape(x: Any) -> Any:
    """Return the shape as a tuple, None where only a call makes a size known."""
    return getattr(x, "_keras_shape", None) or of(x).shape


def get_variable_shape(x: Node) -> Any:
    """Return the shape of a variable (Keras 1's name of int_shape)."""
    return int_shape(x)
