"""What stands for a variable in a computation, and how NumPy reads it."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from fastrms.errors import ArgumentError

# What an array offers that neither moves its memory nor changes it.
READING = frozenset(
    (
        *("T", "all", "any", "argmax", "argmin", "argsort", "astype", "clip", "conj", "copy"),
        *("cumprod", "cumsum", "diagonal", "dot", "flat", "flatten", "imag", "item", "itemsize"),
        *("max", "mean", "min", "nbytes", "nonzero", "prod", "ravel", "real", "repeat", "reshape"),
        *("round", "size", "std", "squeeze", "strides", "sum", "swapaxes", "take", "tobytes"),
        *("tolist", "trace", "transpose", "var"),
        *("__cuda_array_interface__", "__dlpack__", "__dlpack_device__"),  # lend, do not move
    )
)


class _Standing(threading.local):
    """What stands for which variable, by id, while a loss is differentiated in this thread."""

    boxes: dict[int, Any] | None = None


class _Marks:
    """Counts the changes of constraints and the like, for those who remember them."""

    version = 0


standing, marks = _Standing(), _Marks()


class Operand(NDArrayOperatorsMixin):
    """Reads like an array: operators, functions, methods and elements of its `value`."""

    __slots__ = ()

    @property
    def value(self) -> Any:
        """What is computed with."""
        raise NotImplementedError

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return func(*bare(args), **bare(kwargs))

    def __getattr__(self, name: str) -> Any:
        if name in READING:
            return getattr(self.value, name)
        raise AttributeError(
            f"{type(self).__name__} has no attribute {name!r}; an array's methods that change it "
            "or move its memory are those of .value."
        )

    def __getitem__(self, key: Any) -> Any:
        return self.value[bare(key)]

    def __len__(self) -> int:
        return len(self._require("len()", self.ndim > 0))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._require("iteration", self.ndim > 0))

    def __float__(self) -> float:
        """Return the shortest decimal that names the value: 9.683772, not 9.683772087097168."""
        return float(str(self._number("float()")))

    def __int__(self) -> int:
        return int(self._number("int()"))

    def __bool__(self) -> bool:
        return bool(self._number("truth"))

    def __round__(self, digits: int | None = None) -> Any:
        """Return the value rounded, in its dtype, as in Keras 3."""
        return np.round(self.value, digits or 0)

    def _number(self, what: str) -> Any:
        """Return the value of one element, or raise."""
        self._require(what, self.size == 1)
        return np.asarray(self).reshape(())[()]

    def _require(self, what: str, fits: bool) -> Any:
        """Return the value if it fits what is asked of it, or raise."""
        if not fits:
            raise ArgumentError(
                f"{what} of a {type(self).__name__} of shape {self.shape}; valid: one element for "
                "numbers and truth, an axis for the others. Reduce it with .sum(), for example."
            )
        return self.value

    __hash__ = object.__hash__


def bare(value: Any) -> Any:
    """Return an argument of a NumPy function with the values of its operands."""
    if isinstance(value, Operand):
        return value.value
    if type(value) in (list, tuple):
        return type(value)(bare(item) for item in value)
    if type(value) is dict:
        return {key: bare(item) for key, item in value.items()}
    return value
