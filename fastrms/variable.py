"""`Variable`: a named array that NumPy treats as one, and that `minimize` can differentiate by."""

import copy
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastrms.cuda import arrays as gpu
from fastrms.errors import VariableError
from fastrms.operand import Operand, bare, marks, standing
from fastrms.sources import fitting

Array = NDArray[Any]
Constraint = Callable[[Any], Any]
_numbers = itertools.count()


class Variable(Operand):
    """A number or array that an optimizer updates, usable wherever NumPy takes an array.

    Parameters
    ----------
    value : number, list of numbers, array or tensor
        The initial value, which is copied. An array keeps its dtype; Python's numbers and lists
        become float32.
    dtype : dtype, optional
        The dtype to convert to. Optimizers update float16, float32 and float64.
    name : str, optional
        A name without ``/``; ``variable``, ``variable_1``, ... by default.
    trainable : bool
        Kept for the user; nothing here reads it, as in Keras 3's optimizers.
    constraint : callable, optional
        Gets the variable after each update and returns the value to keep.
    device : str, optional
        ``"cpu"``, or ``"cuda"`` or ``"cuda:1"`` for a GPU; by default where the value lies.

    Raises
    ------
    VariableError
        The value is not made of real numbers, or the name is not valid.

    Notes
    -----
    Operators, NumPy functions and an array's methods give arrays, not variables; ``v += x`` and
    ``v[...] = x`` change the variable, as `assign` does. Inside a loss given to `minimize` they
    are recorded for differentiation.

    Examples
    --------
    >>> import numpy as np
    >>> v = Variable([1.0, 2.0], name="v")
    >>> v
    <Variable name='v', shape=(2,), dtype=float32, value=[1., 2.]>
    >>> print(np.sum(v * 2))
    6.0
    """

    __slots__ = (
        *("__weakref__", "_array", "_assigned_to", "_constraint", "_name", "_overwrites"),
        *("_path", "trainable"),
    )

    _array: Array
    _assigned_to: Callable[[Array], None] | None  # told of each new value before it is written
    _constraint: Constraint | None
    _name: str
    _overwrites: bool
    _path: str
    trainable: bool

    def __init__(
        self,
        value: Any,
        dtype: DTypeLike | None = None,
        name: str | None = None,
        trainable: bool = True,
        constraint: Constraint | None = None,
        device: str | None = None,
    ) -> None:
        if name is None:
            number = next(_numbers)
            name = f"variable_{number}" if number else "variable"
        if not isinstance(name, str) or "/" in name:
            raise VariableError(
                f"name={name!r} is not valid for a Variable; valid: a string without '/'."
            )
        self._array = gpu.stored(value, dtype, device)
        self._name = self._path = name
        self.trainable = bool(trainable)
        self._overwrites, self._constraint, self._assigned_to = False, None, None
        self.constraint = constraint

    @classmethod
    def _over(cls, array: Any, name: str, path: str) -> "Variable":
        """Return a variable over an array's memory, not over a copy."""
        self = cls.__new__(cls)
        self._array, self._name, self._path = array, name, path
        self.trainable = self._overwrites = False
        self._constraint = self._assigned_to = None
        return self

    @property
    def value(self) -> Any:
        """The variable's array itself, not a copy; inside a loss, what is differentiated."""
        boxes = standing.boxes
        if boxes is None:
            return self._array
        found = boxes.get(id(self))
        # A copy, because the derivative needs what was read even if it is assigned to later.
        return self._array.copy() if found is None else found

    def numpy(self) -> Array:
        """Return the value as an array (a copy).

        Examples
        --------
        >>> print(Variable(9.5).numpy())
        9.5
        """
        return np.array(self)

    @property
    def name(self) -> str:
        """The variable's name."""
        return self._name

    @property
    def path(self) -> str:
        """The name with those of its owners, joined by ``/``."""
        return self._path

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        return self._array.shape

    @property
    def dtype(self) -> "np.dtype[Any]":
        """The dtype of the elements."""
        return self._array.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._array.ndim

    @property
    def device(self) -> str:
        """Where the value lies: ``"cpu"``, or ``"cuda:0"`` and so on."""
        return gpu.device_of(self._array)

    @property
    def constraint(self) -> Constraint | None:
        """A callable from the variable to the value to keep after each update, or None."""
        return self._constraint

    @constraint.setter
    def constraint(self, value: Constraint | None) -> None:
        if value is not None and not callable(value):
            raise VariableError(
                f"constraint={value!r} is not valid; valid: a callable that takes the variable "
                "and returns its new value, or None."
            )
        marks.version += value is not self._constraint
        self._constraint = value

    @property
    def overwrite_with_gradient(self) -> bool:
        """Whether a step replaces the variable by its gradient instead of updating it."""
        return self._overwrites

    @overwrite_with_gradient.setter
    def overwrite_with_gradient(self, value: bool) -> None:
        if not isinstance(value, bool):
            raise VariableError(
                f"overwrite_with_gradient={value!r} is not valid; valid: True or False."
            )
        marks.version += value != self._overwrites
        self._overwrites = value

    def assign(self, value: Any) -> Array:
        """Replace the value, in the variable's dtype and in place.

        Parameters
        ----------
        value : number, array_like or Variable
            Of the variable's shape; the result is the new value.

        Raises
        ------
        VariableError
            The shape or kind of the value does not fit, or a loss is differentiated by this
            variable. Nothing was changed then.

        Examples
        --------
        >>> v = Variable([1.0, 2.0])
        >>> v.assign([3, 4])
        array([3., 4.], dtype=float32)
        """
        return self._assigned("assign", value, lambda fresh: fresh)

    def assign_add(self, value: Any) -> Array:
        """Add to the value in place, rounded to the variable's dtype; see `assign`.

        Examples
        --------
        >>> print(Variable(1.0).assign_add(0.5))
        1.5
        """
        return self._assigned("assign_add", value, lambda fresh: self._array + fresh)

    def assign_sub(self, value: Any) -> Array:
        """Subtract from the value in place, rounded to the variable's dtype; see `assign`.

        Examples
        --------
        >>> print(Variable(1.0).assign_sub(0.25))
        0.75
        """
        return self._assigned("assign_sub", value, lambda fresh: self._array - fresh)

    def _assigned(self, doing: str, value: Any, change: Callable[[Array], Any]) -> Array:
        """Check and convert a value, then write what a change makes of it."""
        self._require_free(doing)
        if gpu.assigned(self._array, doing, value, self.path):
            return self._array
        fresh = fitting(value, f"{doing} of variable {self.path!r}", self.shape, self.dtype)
        with np.errstate(all="ignore"):
            result: Array = np.asarray(change(fresh))
        if self._assigned_to is not None:
            self._assigned_to(result)
        self._array[...] = result
        return result

    def _require_free(self, doing: str) -> None:
        """Raise while a loss is differentiated by this variable."""
        if standing.boxes is not None and id(self) in standing.boxes:
            raise VariableError(
                f"{doing} of variable {self.path!r} inside the loss that is differentiated by it; "
                "compute a new value instead, or change the variable before or after."
            )

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        value = self.value  # inside a loss differentiated by it, one that refuses and says where
        if not isinstance(value, np.ndarray):
            found: Array = value.__array__(dtype, copy)
            return found
        return np.array(value, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.get("out", ())
        for target in (*out, *(inputs[:1] if method == "at" else ())):
            if isinstance(target, Variable):
                target._require_free(f"np.{ufunc.__name__} in place")
        given, named = bare(inputs), bare(kwargs)
        if out:
            named["out"] = tuple(t._array if isinstance(t, Variable) else t for t in out)
        if method == "at" and isinstance(inputs[0], Variable):
            given = (inputs[0]._array, *given[1:])
        result = getattr(ufunc, method)(*given, **named)
        for target in out:
            if isinstance(target, Variable) and target._assigned_to is not None:
                target._assigned_to(target._array)
        return out[0] if len(out) == 1 else result

    def __setitem__(self, key: Any, value: Any) -> None:
        self._require_free("assignment to elements")
        fresh = self._array.copy()
        fresh[bare(key)] = bare(value)
        self._assigned("assignment to elements", fresh, lambda array: array)

    def __format__(self, form: str) -> str:
        return format(self._array[()], form) if form else repr(self)

    def __repr__(self) -> str:
        shown = np.array2string(np.asarray(self._array), separator=", ", threshold=20, edgeitems=3)
        about = f"name={self.path!r}, shape={self.shape}, dtype={self.dtype}"
        about += "" if self.device == "cpu" else f", device={self.device!r}"
        return f"<Variable {about}, value={shown}>"

    __hash__ = object.__hash__

    def __copy__(self) -> "Variable":
        return copy.deepcopy(self)  # as of an array: the copy keeps its values when this one moves

    def __reduce__(self) -> Any:
        about = (self._name, self._path, self.trainable, self._constraint, self._overwrites)
        return _restored, (type(self), self._array, about)


def _restored(kind: type[Variable], array: Array, about: tuple[Any, ...]) -> Variable:
    """Return an unpickled or copied variable."""
    self = kind._over(array, about[0], about[1])
    self.trainable, self.constraint, self.overwrite_with_gradient = about[2:]
    return self
