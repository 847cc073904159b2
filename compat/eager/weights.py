"""Arrays and numbers that look like TensorFlow variables to a script."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.errors import VariableError
from fastrms.variables import describe

Array = NDArray[Any]


class Weight(np.lib.mixins.NDArrayOperatorsMixin):
    """A number or array of an optimizer that is read, assigned to and computed with.

    Parameters
    ----------
    name : str
        What the mirrored system calls it.
    read : callable
        Returns the value now, as an array; a view for arrays that are changed in place.
    write : callable
        Takes a new value of the same shape.

    Examples
    --------
    >>> from fastrms.compat.tf_keras_v2.optimizers import RMSprop
    >>> rate = RMSprop(learning_rate=0.25).lr
    >>> rate.assign(0.5).numpy(), rate * 2
    (np.float32(0.5), np.float32(1.0))
    """

    def __init__(
        self, name: str, read: Callable[[], Any], write: Callable[[Any], None] | None = None
    ) -> None:
        self.name, self._read, self._write = name, read, write

    @property
    def live(self) -> Any:
        """The value itself, not a copy."""
        return self._read()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value."""
        return np.shape(self._read())

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the value."""
        return np.asarray(self._read()).dtype

    def numpy(self) -> Any:
        """Return the value as a NumPy array or number."""
        return np.array(self._read())[()]

    def value(self) -> Any:
        """Return the value as a NumPy array or number."""
        return self.numpy()

    read_value = value

    def assign(self, value: Any) -> "Weight":
        """Replace the value; return this weight."""
        fresh = np.asarray(value)
        if fresh.shape != self.shape:
            raise VariableError(
                f"{self.name} has shape {self.shape}; it cannot be assigned {describe(fresh)}. "
                "Assign an array of its shape. Nothing was changed."
            )
        if self._write is None:
            np.copyto(self._read(), fresh, casting="same_kind")
        else:
            self._write(fresh[()])
        return self

    def assign_add(self, value: Any) -> "Weight":
        """Add to the value; return this weight."""
        return self.assign(self._read() + self._cast(value))

    def assign_sub(self, value: Any) -> "Weight":
        """Subtract from the value; return this weight."""
        return self.assign(self._read() - self._cast(value))

    def _cast(self, value: Any) -> Any:
        """Return what stands beside the value, in its dtype."""
        return np.asarray(value).astype(self.dtype)[()]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self._read(), dtype=dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Compute with the value as it is now."""
        values = [x._read() if isinstance(x, Weight) else x for x in inputs]
        return getattr(ufunc, method)(*values, **kwargs)

    def __float__(self) -> float:
        return float(self._read())

    def __int__(self) -> int:
        return int(self._read())

    __index__ = __int__

    def __bool__(self) -> bool:
        return bool(self._read())

    def __format__(self, form: str) -> str:
        return format(self.numpy(), form)

    def __getitem__(self, key: Any) -> Any:
        return self._read()[key]

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return f"<{self.name!r} shape={self.shape} dtype={self.dtype} numpy={self.numpy()!r}>"


def array_of(variable: Any) -> Array:
    """Return the array behind a variable: an ndarray itself, or what its `value` is."""
    if isinstance(variable, Weight):
        return np.asarray(variable.live)
    value = variable if isinstance(variable, np.ndarray) else getattr(variable, "value", None)
    value = value() if callable(value) else value
    if not isinstance(value, np.ndarray):
        raise VariableError(
            f"{describe(variable)} is not a variable; valid: a NumPy array, or an object whose "
            "`value` is one (fastrms.Variable). TensorFlow's variables are not: pass their arrays."
        )
    return value


def name_of(variable: Any, position: int) -> str:
    """Return a variable's name as the old systems used it in their weights' names."""
    name = getattr(variable, "name", None)
    return name.removesuffix(":0") if isinstance(name, str) else f"variable_{position}"


def number_of(value: Any) -> Any:
    """Return a Python number for a weight or a NumPy number; leave the rest."""
    if isinstance(value, Weight | np.ndarray | np.generic) and np.ndim(value) == 0:
        return np.asarray(value).item()
    return value
