"""Variables and placeholders: the leaves of a graph."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .binding import Array, Shape, zeros
from .expressions import Expression, lifted, numbers, sized
from .session import SESSION, number_kind


class Update(tuple[Any, Any]):
    """A variable and its new value, as `K.update` returns it; `handle` names a fused update."""

    handle: Any = None

    def __new__(cls, variable: "Variable", value: Any) -> "Update":
        """Keep a variable and its new value."""
        if not isinstance(variable, Variable):
            raise TypeError(
                f"an update received {variable!r:.80}; valid: a variable (K.variable) and its new "
                "value."
            )
        return super().__new__(cls, (variable, lifted(value, variable.dtype)))


class Variable(Expression):
    """A node whose value is kept in `array`, memory that never moves."""

    def __init__(
        self,
        value: Any,
        dtype: str | None = None,
        name: str | None = None,
        constraint: Callable[[Any], Any] | None = None,
    ) -> None:
        kind = number_kind("K.variable", dtype or SESSION.floatx)
        if isinstance(value, Expression):
            value = value.eval()
        start = numbers(value, "K.variable")
        super().__init__("variable", (), kind, start.shape, None, name or SESSION.name("Variable"))
        self.array = zeros(start.shape, kind)
        self.set_value(start)
        self.constraint = constraint
        self.trainable = True

    def get_value(self, *_: Any, **__: Any) -> Any:
        """Return a copy of the value: an array, or a NumPy scalar for a single number."""
        return self.array.copy()[()]

    def set_value(self, value: Any, *_: Any, **__: Any) -> None:
        """Replace the value by another of the same shape."""
        fresh = self.holding(numbers(value, self))
        with np.errstate(over="ignore", under="ignore"):
            np.copyto(self.array, fresh, casting="unsafe")

    def holding(self, value: Array, what: str = "a value") -> Array:
        """Return an array if it has the variable's shape, or raise."""
        if value.shape != self.array.shape:
            raise ValueError(
                f"variable {self.name!r} cannot hold {what} of shape {value.shape}; expected "
                f"{self.array.shape}. Nothing was changed."
            )
        return value

    def assign(self, value: Any, *_: Any, **__: Any) -> Any:
        """Set a number or array at once; for an expression, return the update for K.function."""
        if isinstance(value, Expression):
            return Update(self, value)
        self.set_value(value)
        return self

    numpy = get_value

    def value(self) -> Expression:
        """Return the variable itself, as an expression."""
        return self

    def __float__(self) -> float:
        return float(self.array)

    def __int__(self) -> int:
        return int(self.array)


def placeholder(
    shape: Any = None,
    ndim: int | None = None,
    dtype: str | None = None,
    sparse: bool = False,
    name: str | None = None,
) -> Expression:
    """Return a node whose value is given at each call; the shape may be unknown in part."""
    if sparse:
        raise ValueError("sparse placeholders are not provided; pass a dense array (.toarray()).")
    known: Shape = None if ndim is None else (None,) * ndim
    if shape is not None:
        known, _ = sized(shape)
        if any(size is not None and size < 0 for size in known):
            raise ValueError(f"a placeholder's shape is {shape!r:.60}; valid: sizes from 0, None.")
    kind = number_kind("K.placeholder", dtype or SESSION.floatx)
    return Expression("placeholder", (), kind, known, {}, name or SESSION.name("Placeholder"))


def update(variable: Variable, value: Any) -> Update:
    """Return the update that gives a variable a new value."""
    return Update(variable, value)
