"""The arrays an optimizer updates: what may be one, who is who, and what has changed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.cuda import arrays as device
from fastrms.cuda.protocols import lies_on_device
from fastrms.errors import GradientError, VariableError
from fastrms.layout import C_ORDER, F_ORDER

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
    return any(isinstance(item, np.ndarray | Mapping) or lies_on_device(item) for item in items)


def is_lone(tree: Any) -> bool:
    """Tell whether a tree of variables or gradients is one array, which could be walked through."""
    return isinstance(tree, np.ndarray) or lies_on_device(tree)


def describe(array: Any) -> str:
    """Describe an array in an error message."""
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


def owner_of(array: Array) -> Any:
    """Return the object that the user gave for an array."""
    return array if isinstance(array, np.ndarray) else array.owner


@dataclass
class Variables:
    """The variables of one optimizer, in the order in which it was built."""

    arrays: list[Array]
    names: list[str]
    named: bool
    constraints: dict[int, Any] = field(default_factory=dict)
    by_id: dict[int, int] = field(init=False)
    by_key: dict[Any, int] = field(init=False)

    def __post_init__(self) -> None:
        self.by_id = {id(owner_of(a)): i for i, a in enumerate(self.arrays)}
        self.by_key = {key_of(a): i for i, a in enumerate(self.arrays) if a.size}

    def index(self, array: Any) -> int | None:
        """Return which variable an array is: by identity, else by its buffer."""
        found = self.by_id.get(id(array))
        if found is not None and owner_of(self.arrays[found]) is array:
            return found
        if lies_on_device(array):
            return self.by_key.get(device.key_of(array))
        if not isinstance(array, np.ndarray) or array.dtype.hasobject:
            return None
        return self.by_key.get(key_of(array)) if array.flags.writeable else None

    def label(self, index: int) -> str:
        """Name a variable in an error message."""
        return repr(self.names[index]) if self.named else f"{index} ({self.names[index]!r})"


def collect(tree: Any) -> Variables:
    """Check the variables given to `build` and name them."""
    if is_lone(tree) or not isinstance(tree, Mapping | list | tuple):
        tree = [tree] if is_lone(tree) else list(tree)
    leaves = list(flatten(tree))
    if not leaves:
        raise VariableError("no variables were given; pass a list or a dictionary of arrays.")
    named = isinstance(tree, Mapping)
    names = [name if name is not None else f"variable_{i}" for i, (name, _) in enumerate(leaves)]
    if len(set(names)) != len(names):
        twice = sorted({n for n in names if names.count(n) > 1})
        raise VariableError(
            f"the names {twice[:8]} are given to more than one variable (nested keys are joined "
            "by '/'); give every variable a name of its own."
        )
    shown = [repr(n) if named else str(i) for i, n in enumerate(names)]
    arrays = [require_variable(leaf, s) for (_, leaf), s in zip(leaves, shown, strict=True)]
    device.require_one_place(arrays)
    require_apart(arrays, shown)
    asked = [getattr(leaf, "constraint", None) for _, leaf in leaves]
    constraints = {i: found for i, found in enumerate(asked) if found is not None}
    return Variables(arrays, names, named, constraints)


def order_of(array: Array) -> int:
    """Return the flags under which a gradient lies in memory as a variable's elements do."""
    flags = array.flags
    if flags.c_contiguous or flags.f_contiguous:
        return C_ORDER * flags.c_contiguous | F_ORDER * flags.f_contiguous
    return C_ORDER


def is_strided(array: Array) -> bool:
    """Tell whether an array needs a contiguous stand-in."""
    return not (array.flags.c_contiguous or array.flags.f_contiguous)


def flat(array: Array) -> Array:
    """View a contiguous array as its elements in memory order."""
    return array.reshape(-1, order="A")


def paired(grads: Any, variables: Any, known: Variables | None) -> tuple[list[Any], Any]:
    """Turn dictionaries and other iterables into lists, gradients matched by key to variables."""
    leaves = None if variables is None else leaves_of(variables)
    if not isinstance(grads, Mapping):
        return ([grads] if is_lone(grads) else list(grads)), leaves
    if isinstance(variables, Mapping):
        names = [str(name) for name, _ in flatten(variables)]
    elif variables is None and known is not None and known.named:
        names = known.names
    else:
        raise VariableError(
            "the gradients are a dictionary, so the variables must be one too: pass it to build() "
            "or as the second argument."
        )
    given = dict(flatten(grads))
    if set(names) != set(given):
        raise VariableError(
            f"the gradients' names {sorted(map(str, given))[:8]} are not the variables' "
            f"{sorted(names)[:8]}; use the same keys."
        )
    return [given[name] for name in names], leaves


def as_trees(gradients: Any, variables: Any) -> tuple[Any, Any]:
    """Return trees that can be walked twice: iterators become lists."""
    if not (isinstance(gradients, Iterable) or lies_on_device(gradients)):
        raise GradientError(
            f"the gradients are {describe(gradients)}; valid: a list or a dictionary with one "
            "gradient (or None) per variable; pass [gradient] for one."
        )
    if not (isinstance(variables, Iterable | None) or lies_on_device(variables)):
        raise VariableError(
            f"the variables are {describe(variables)}; valid: a list or a dictionary of arrays, "
            "or None for those of build(); pass [variable] for one."
        )
    kept = (Mapping, list, tuple, np.ndarray, type(None))
    found = [
        tree if isinstance(tree, kept) or lies_on_device(tree) else list(tree)
        for tree in (gradients, variables)
    ]
    return found[0], found[1]


def leaves_of(tree: Any) -> list[Any]:
    """Return the arrays of a tree of variables."""
    if is_lone(tree):
        return [tree]
    return [leaf for _, leaf in flatten(tree if isinstance(tree, Mapping) else list(tree))]
