"""How operations are bound: the NumPy calls that compute each, on memory that stays.

An operation is bound once per shape of the inputs: `bind` gets arrays whose memory does not move,
returns the array of the result, and leaves with the plan the calls that fill it. Views cost none.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import NDArray

from fastrms.reference import chunk_sums
from fastrms.state import aligned

Array = NDArray[Any]
Shape = tuple[int | None, ...] | None
Given = Mapping[str, Any]


class Plan(NamedTuple):
    """What an operation is bound to.

    `new` gives out memory that starts as zeros, `call` takes a call for every run, and `known`
    returns what an array holds at every run, or raises.
    """

    new: Callable[[tuple[int, ...], Any], Array]
    call: Callable[..., None]
    known: Callable[[Array], Any]

    def filled(self, shape: Any, dtype: str, function: Any, *arguments: Any) -> Array:
        """Return memory that a call fills at every run; the call gets it as its last argument."""
        out = self.new(tuple(shape), dtype)
        self.call(function, *arguments, out)
        return out


Bind = Callable[[Plan, list[Array], Given, str], Array]


def zeros(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return aligned memory of zeros."""
    return aligned(math.prod(shape), np.dtype(dtype)).reshape(shape)


class Operation(NamedTuple):
    """One row: `dtype` is "same" as the inputs', "float", "bool", "choice", "first" or "given"."""

    bind: Bind
    dtype: str = "same"
    shapes_only: bool = False  # the result depends on the inputs' shapes alone
    elementwise: bool = False  # the operands are broadcast, the result has their common shape


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """Return the shape of an element-by-element result as far as it is known."""
    sizes = [shape[::-1] for shape in shapes if shape is not None]
    if len(sizes) < len(shapes):
        return None
    result: list[int | None] = []
    for along in zip_longest(*sizes, fillvalue=1):
        known = set(along) - {1, None}
        if len(known) > 1:
            raise ValueError(
                f"shapes {' and '.join(map(str, shapes))} do not go together; valid: equal sizes, "
                "or 1, counted from the last dimension. Reshape or transpose one of them."
            )
        result.append(known.pop() if known else (None if None in along else 1))
    return tuple(result[::-1])


def fits(known: Shape, shape: Sequence[int]) -> bool:
    """Tell whether sizes agree with a shape as far as it is known."""
    if known is None or len(known) != len(shape):
        return known is None
    return all(size in (None, found) for size, found in zip(known, shape, strict=True))


def ufunc(function: Any, dtype: str = "same", *beside: int) -> Operation:
    """Return the row of a NumPy function of operands, and numbers, element by element."""

    def bind(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
        shape = np.broadcast_shapes(*[a.shape for a in arrays])
        fixed = [np.asarray(number, kind) for number in beside]
        return plan.filled(shape, kind, function, *arrays, *fixed)

    return Operation(bind, dtype, elementwise=True)


def reduced(x: Array, axis: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return which axes a reduction runs over, and the shape it leaves, with ones for these."""
    every = axis is None
    axes = tuple(range(x.ndim)) if every else normalize_axis_tuple(axis, x.ndim or 1)
    return axes, tuple(1 if i in axes else n for i, n in enumerate(x.shape))


def reduction(function: Any, dtype: str = "same", mean: bool = False) -> Operation:
    """Return the row of a NumPy reduction that keeps its axes, or of a sum over its count."""

    def bind(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
        axes, shape = reduced(arrays[0], given["axis"])
        out = plan.new(shape, kind)
        plan.call(function.reduce, arrays[0], axes, None, out, True)
        if mean:
            plan.call(np.divide, out, np.asarray(arrays[0].size // max(out.size, 1), kind), out)
        return out

    return Operation(bind, dtype)


def view(function: Callable[[Array, Given, list[Array]], Any]) -> Operation:
    """Return the row of an operation that only looks at its first input in another way."""
    return Operation(lambda plan, arrays, given, kind: function(arrays[0], given, arrays), "first")


def of_shape(function: Callable[[tuple[int, ...], Given, str], Array]) -> Operation:
    """Return the row of an operation that needs only the shape of its input."""
    return Operation(
        lambda plan, arrays, given, kind: function(arrays[0].shape, given, kind),
        "given",
        shapes_only=True,
    )


def reshaping(shape: Callable[[Plan, list[Array], Given], tuple[int, ...]]) -> Operation:
    """Return the row of an operation that gives elements, in C order, another shape."""

    def bind(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
        x = arrays[0]
        if not x.flags.c_contiguous:
            x = plan.new(x.shape, x.dtype)
            plan.call(np.copyto, x, arrays[0])
        return x.reshape(shape(plan, arrays, given))

    return Operation(bind, "first")


def wanted(plan: Plan, arrays: list[Array], given: Given) -> tuple[int, ...]:
    """Return a shape some of whose sizes (None) come from the last inputs, or all of it."""
    if given["shape"] is None:
        return tuple(int(size) for size in np.atleast_1d(plan.known(arrays[-1])))
    rest = iter(arrays[len(arrays) - sum(size is None for size in given["shape"]) :])
    return tuple(int(plan.known(next(rest))) if s is None else int(s) for s in given["shape"])


def argmax(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    """Bind the place of the largest element."""
    left = np.delete(arrays[0].shape, given["axis"])
    return plan.filled(left, kind, np.argmax, arrays[0], given["axis"])


def product(function: Any) -> Operation:
    """Return the row of a matrix product; only `matmul` takes more than a matrix on its right."""

    def bind(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
        x, y = arrays
        fits = x.ndim > 0 and y.ndim > 1 and x.shape[-1] == y.shape[-2]
        if not fits or (function is np.dot and y.ndim != 2):
            raise ValueError(
                "valid are (..., n) and (n, m). Transpose one, or use K.batch_dot, or K.sum(x * y)"
            )
        return plan.filled((*x.shape[:-1], y.shape[-1]), kind, function, x, y)

    return Operation(bind)


def put(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    """Bind zeros with an array in the place of a slice."""
    out = plan.new(arrays[1].shape, kind)  # elements outside the slice stay 0
    plan.call(np.copyto, out[given["index"]], arrays[0])
    return out


def sum_like(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    """Bind a sum over the dimensions along which an operand was repeated."""
    x, like = arrays[0], arrays[1].shape
    sizes = (1,) * (x.ndim - len(like)) + like
    axes = tuple(i for i, size in enumerate(sizes) if size == 1 and x.shape[i] != 1)
    if not axes:
        return x if x.shape == like else x.reshape(like)
    out = plan.new(like, kind)
    plan.call(np.add.reduce, x, axes, None, out.reshape(sizes), True)
    return out


def concatenate(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    """Bind arrays joined along an axis."""
    axis, sizes = given["axis"] % arrays[0].ndim, list(arrays[0].shape)
    sizes[axis] = sum(a.shape[axis] for a in arrays)
    return plan.filled(sizes, kind, np.concatenate, arrays, axis)


def part(x: Array, given: Given, arrays: list[Array]) -> Any:
    """View one of several joined arrays."""
    axis, number = given["axis"] % x.ndim, given["number"]
    first = sum(a.shape[axis] for a in arrays[1 : 1 + number])
    return x[(slice(None),) * axis + (slice(first, first + arrays[1 + number].shape[axis]),)]


def merged(plan: Plan, arrays: list[Array], given: Given) -> tuple[int, ...]:
    """Return a shape in which an axis and the next are one."""
    sizes = arrays[0].shape
    axis = given["axis"] % (len(sizes) - 1)
    return (*sizes[:axis], sizes[axis] * sizes[axis + 1], *sizes[axis + 2 :])


def gather(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    """Bind rows by number."""
    x, rows = arrays
    return plan.filled(rows.shape + x.shape[1:], kind, np.take, x, rows, 0)


def scatter_like(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    """Bind zeros to which rows are added."""
    values, rows, like = arrays
    out = plan.new(like.shape, kind)
    plan.call(out.fill, 0)
    plan.call(np.add.at, out, rows, values)
    return out


def one_hot(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    """Bind vectors that are 1 at an index."""
    numbers, classes = arrays[0][..., None], np.arange(given["classes"])
    return plan.filled((*arrays[0].shape, classes.size), kind, np.equal, numbers, classes)


def cast(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    """Bind another dtype."""
    if arrays[0].dtype == kind:
        return arrays[0]
    out = plan.new(arrays[0].shape, kind)
    plan.call(np.copyto, out, arrays[0], "unsafe")
    return out


def where(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    """Bind a choice between two, element by element."""
    chosen, yes, no = arrays
    out = plan.new(np.broadcast_shapes(*[a.shape for a in arrays]), kind)
    plan.call(np.copyto, out, no)
    plan.call(np.copyto, out, yes, "same_kind", chosen)
    return out


def softmax(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    """Bind exponentials divided by their sum."""
    x, axis = arrays[0], given["axis"]
    out, norm = plan.new(x.shape, kind), plan.new(reduced(x, axis)[1], kind)
    plan.call(np.maximum.reduce, x, axis, None, norm, True)
    plan.call(np.subtract, x, norm, out)
    plan.call(np.exp, out, out)
    plan.call(np.add.reduce, out, axis, None, norm, True)
    plan.call(np.divide, out, norm, out)
    return out


def random(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    """Bind samples drawn at each run, or in training only: the last input is then the phase."""
    phase: Any = arrays[-1] if given.get("in_training") else True
    out = plan.new(wanted(plan, arrays[: len(arrays) - (phase is not True)], given), kind)
    plan.call(lambda: given["sampler"](out) if phase else None)
    return out


def norm(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    """Bind the norm over all inputs, summed in float64 in the order of the kernels."""
    out = plan.new((), kind)

    def norm() -> None:
        out[...] = math.sqrt(sum((s for a in arrays for s in chunk_sums(a.ravel())), 0.0))

    plan.call(norm)
    return out
