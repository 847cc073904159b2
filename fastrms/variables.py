"""The arrays an optimizer updates: what may be one, who is who, and what has changed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.cuda import arrays as device
from fastrms.cuda.protocols import lies_on_device
from fastrms.errors import VariableError
from fastrms.layout import C_ORDER, F_ORDER
from fastrms.listing import members
from fastrms.operand import marks
from fastrms.sources import is_source, lent, view_of
from fastrms.variable import Variable

Array = NDArray[Any]
DTYPES = ("float16", "float32", "float64")


def flatten(tree: Any, prefix: str = "") -> Iterator[tuple[str | None, Any]]:
    """Yield (name, leaf) of nested dictionaries, lists and tuples; a lone list has no names."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from flatten(value, f"{prefix}/{key}" if prefix else str(key))
    elif isinstance(tree, list | tuple) and (prefix == "" or _holds_arrays(tree)):
        for index, value in enumerate(tree):
            yield from flatten(value, f"{prefix}/{index}") if prefix else ((None, value),)
    else:
        yield prefix or None, tree


def _holds_arrays(items: Sequence[Any]) -> bool:
    """Tell a list of arrays from a gradient written as a list of numbers."""
    return any(isinstance(item, Mapping) or is_one(item) for item in items)


def is_one(tree: Any) -> bool:
    """Tell whether a tree of variables or gradients is a lone leaf that could be walked through."""
    return isinstance(tree, np.ndarray) or is_source(tree) or lies_on_device(tree)


def array_of(leaf: Any, name: str) -> Array:
    """Return the array to update in place for a leaf of the tree of variables, or raise."""
    if isinstance(leaf, Variable):
        leaf = leaf._array  # not .value: that is another thing inside a loss
    elif lies_on_device(leaf):
        return device.variable(leaf, name)  # type: ignore[return-value]
    elif is_source(leaf):
        try:
            leaf = lent(leaf)
        except TypeError as error:
            raise VariableError(
                f"variable {name}, a {type(leaf).__name__}, cannot be updated in place: {error}. "
                "Valid: a tensor in CPU memory of float16, float32 or float64."
            ) from error
    return require_variable(leaf, name)


def describe(array: Any) -> str:
    """Describe an array in an error message."""
    if isinstance(array, Variable):
        return f"Variable {array.path!r} of shape {array.shape} and dtype {array.dtype}"
    if isinstance(array, np.ndarray):
        return f"an array of shape {array.shape} and dtype {array.dtype}"
    return f"{type(array).__name__} {array!r:.60}"


def key_of(array: Array) -> tuple[int, tuple[int, ...], tuple[int, ...], str]:
    """Return what identifies an array's buffer: address, shape, strides and dtype."""
    return array.ctypes.data, array.shape, array.strides, array.dtype.str


def require_variable(array: Any, name: str) -> Array:
    """Return an array that can be updated in place, or raise."""
    if lies_on_device(array):
        return device.variable(array, name)  # type: ignore[return-value]
    problem = None
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        problem = f"is {describe(array)}; valid: a NumPy array of float16, float32 or float64"
    elif array.dtype.name not in DTYPES or not array.dtype.isnative:
        problem = f"has dtype {array.dtype.str!r}; valid: native float16, float32 or float64"
    elif not array.flags.writeable:
        problem = "is read-only; pass a writable array, for example array.copy()"
    elif not array.flags.aligned:
        problem = "is not aligned in memory; pass array.copy()"
    elif array.size and _repeats(array):
        problem = "repeats elements (a stride of 0, or overlapping); pass array.copy()"
    if problem:
        raise VariableError(f"variable {name} {problem}.")
    return array  # type: ignore[no-any-return]


def _repeats(array: Array) -> bool:
    """Tell whether two indices of an array name the same memory."""
    if array.flags.c_contiguous or array.flags.f_contiguous:
        return False
    steps = sorted((abs(s), n) for s, n in zip(array.strides, array.shape, strict=True) if n > 1)
    reach = array.itemsize
    for step, length in steps:
        if step < reach:
            return _repeats_exactly(array)
        reach += step * (length - 1)
    return False


def _repeats_exactly(array: Array) -> bool:
    """Count the distinct addresses of an array whose axes interleave."""
    offsets = np.zeros(1, np.int64)
    for stride, length in zip(array.strides, array.shape, strict=True):
        offsets = (offsets[:, None] + stride * np.arange(length)).ravel()
    return bool(np.unique(offsets).size < offsets.size)


def extent(array: Array) -> tuple[int, int]:
    """Return the first and one past the last byte address of an array."""
    if not isinstance(array, np.ndarray):
        return array.extent()
    low, high = np.lib.array_utils.byte_bounds(array)
    return int(low), int(high)


def meets(one: Array, other: Array) -> bool:
    """Tell whether the extents of two arrays overlap."""
    (low, high), (start, end) = extent(one), extent(other)
    return low < end and start < high


def shares(one: Array, other: Array) -> bool:
    """Tell whether two arrays whose extents overlap share an element."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return bool(np.shares_memory(one, other))
    return isinstance(one, np.ndarray) == isinstance(other, np.ndarray)  # on a device: one piece


def require_apart(arrays: Sequence[Array], names: Sequence[str]) -> None:
    """Raise if two variables share an element (or are the same array)."""
    order = sorted((extent(a), i) for i, a in enumerate(arrays) if a.size)
    reach: list[tuple[int, int]] = []
    for (low, high), i in order:
        reach = [(end, k) for end, k in reach if end > low]
        for _, k in reach:
            if arrays[i] is arrays[k] or shares(arrays[i], arrays[k]):
                first, second = sorted((i, k))
                raise VariableError(
                    f"variables {names[first]} and {names[second]} share elements; each number "
                    "can be updated once per step. Pass each array once, or copies."
                )
        reach.append((high, i))
    empty = [id(a) for a in arrays if not a.size]
    if len(set(empty)) != len(empty):
        raise VariableError("the same empty array is given twice; pass each array once.")


@dataclass
class Variables:
    """The variables of one optimizer, in the order in which it was built."""

    arrays: list[Array]
    names: list[str]
    named: bool
    given: list[Any] = field(default_factory=list)  # what the user passed for each array
    constraints: dict[int, Any] = field(default_factory=dict)
    by_id: dict[int, int] = field(init=False)
    by_key: dict[Any, int] = field(init=False)

    def __post_init__(self) -> None:
        self.given = self.given or self.arrays
        self.by_id = {id(a): i for given in (self.arrays, self.given) for i, a in enumerate(given)}
        own = (np.ndarray, Variable)
        foreign = [i for i, given in enumerate(self.given) if not isinstance(given, own)]
        self.sources = [i for i in foreign if isinstance(self.arrays[i], np.ndarray)]
        self._seen, self._heard, self._overwritten = -1, -1, list[int]()
        self.by_key = {key_of(a): i for i, a in enumerate(self.arrays) if a.size}

    def overwritten(self) -> list[int]:
        """Return the variables that a step replaces by their gradients."""
        if self._seen != marks.version:
            found = [(i, v) for i, v in enumerate(self.given) if isinstance(v, Variable)]
            self._overwritten = [i for i, v in found if v.overwrite_with_gradient]
            self._seen = marks.version
        return self._overwritten

    def constrained_anew(self) -> bool:
        """Read constraints again if any Variable's has changed; tell whether these have."""
        if self._heard == marks.version:
            return False
        self._heard, before = marks.version, self.constraints
        found = [(i, v) for i, v in enumerate(self.given) if isinstance(v, Variable)]
        kept = {i: c for i, c in before.items() if not isinstance(self.given[i], Variable)}
        own = {i: v.constraint for i, v in found if v.constraint is not None}
        self.constraints = {**kept, **own}
        return self.constraints != before

    def forget_constraints(self) -> None:
        """Let `constrained_anew` find all constraints again."""
        self.constraints, self._heard = {}, -1

    def index(self, array: Any) -> int | None:
        """Return which variable an array is: by identity, else by its buffer."""
        found = self.by_id.get(id(array))
        if found is not None and (self.arrays[found] is array or self.given[found] is array):
            return found
        if lies_on_device(array):
            return self.by_key.get(device.key_of(array))
        if is_source(array):
            try:
                array = view_of(array)
            except TypeError:
                return None
        if not isinstance(array, np.ndarray) or array.dtype.hasobject:
            return None
        return self.by_key.get(key_of(array)) if array.flags.writeable else None

    def moved(self) -> int | None:
        """Return a variable whose tensor has got other memory since it was given, or None."""
        for i in self.sources:
            try:
                now = key_of(view_of(self.given[i]))
            except TypeError:
                return i
            if now != key_of(self.arrays[i]):
                return i
        return None

    def label(self, index: int) -> str:
        """Name a variable in an error message."""
        return repr(self.names[index]) if self.named else f"{index} ({self.names[index]!r})"


def collect(tree: Any) -> Variables:
    """Check the variables given to `build` and name them."""
    if is_one(tree) or not isinstance(tree, Mapping | list | tuple):
        tree = leaves_of(tree)
    leaves = list(flatten(tree))
    if not leaves:
        raise VariableError("no variables were given; pass a list or a dictionary of arrays.")
    named = isinstance(tree, Mapping)
    names = _names(leaves)
    if len(set(names)) != len(names):
        twice = sorted({n for n in names if names.count(n) > 1})
        raise VariableError(
            f"the names {twice[:8]} are given to more than one variable (nested keys are joined "
            "by '/'); give every variable a name of its own."
        )
    shown = [repr(n) if named else str(i) for i, n in enumerate(names)]
    arrays = [array_of(leaf, s) for (_, leaf), s in zip(leaves, shown, strict=True)]
    device.require_one_place(arrays)
    require_apart(arrays, shown)
    asked = [getattr(leaf, "constraint", None) for _, leaf in leaves]
    constraints = {i: found for i, found in enumerate(asked) if found is not None}
    return Variables(arrays, names, named, [leaf for _, leaf in leaves], constraints)


def _names(leaves: list[tuple[str | None, Any]]) -> list[str]:
    """Name leaves by their keys, else by their own paths or places, each apart from the others."""
    names: list[str] = []
    for i, (name, leaf) in enumerate(leaves):
        own = leaf.path if isinstance(leaf, Variable) else f"variable_{i}"
        while name is None and own in names:
            own = f"{own}_{i}"
        names.append(own if name is None else name)
    return names


def order_of(array: Array) -> int:
    """Return the flags under which a gradient lies in memory as a variable's elements do."""
    flags = array.flags
    return (C_ORDER * flags.c_contiguous | F_ORDER * flags.f_contiguous) or C_ORDER


def is_strided(array: Array) -> bool:
    """Tell whether an array needs a contiguous stand-in."""
    return not (array.flags.c_contiguous or array.flags.f_contiguous)


def flat(array: Array) -> Array:
    """View a contiguous array as its elements in memory order."""
    return array.reshape(-1, order="A")


def leaves_of(tree: Any) -> list[Any]:
    """Return the arrays of a tree of variables."""
    if is_one(tree):
        return [tree]
    if not isinstance(tree, Mapping):
        tree = members(tree, VariableError, "the variables are", "a list or a dictionary of arrays")
    return [leaf for _, leaf in flatten(tree)]
