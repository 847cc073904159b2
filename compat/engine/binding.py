"""How operations are bound: the NumPy calls that compute each, on memory that stays.

An operation is bound once per shape of the inputs: `bind` gets arrays whose memory does not move,
returns the array of the result, and leaves with the plan the calls that fill it. Views cost none.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastrms.reference import chunk_sums

Array = NDArray[Any]
Shape = tuple[int | None, ...] | None
Given = Mapping[str, Any]


class Plan(Protocol):
    """What binds an operation: gives out memory that starts as zeros, takes calls."""

    def new(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an array that lives as long as the plan."""

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Carry out a call whenever the plan runs."""

    def known(self, array: Array) -> Any:
        """Return what an array holds at every run, or raise."""


Bind = Callable[[Plan, list[Array], Given, str], Array]


class Operation(NamedTuple):
    """One row: `dtype` is "same" as the inputs', "float", "bool", "choice", "first" or "given"."""

    bind: Bind
    dtype: str = "same"
    shapes_only: bool = False  # the result depends on the inputs' shapes alone


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """Return the shape of an element-by-element result as far as it is known."""
    if any(shape is None for shape in shapes):
        return None
    rank = max(len(shape or ()) for shape in shapes)
    result: list[int | None] = []
    for sizes in zip(*[(1,) * (rank - len(s or ())) + (s or ()) for s in shapes], strict=True):
        known = {size for size in sizes if size not in (1, None)}
        if len(known) > 1:
            raise ValueError(
                f"shapes {' and '.join(map(str, shapes))} do not go together; valid: equal sizes, "
                "or 1, counted from the last dimension. Reshape or transpose one of them."
            )
        result.append(known.pop() if known else (None if None in sizes else 1))
    return tuple(result)


def ufunc(function: Any, dtype: str = "same") -> Operation:
    """Return the row of a NumPy function that works element by element."""

    def elementwise(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
        out = plan.new(np.broadcast_shapes(*[a.shape for a in arrays]), kind)
        plan.call(function, *arrays, out)
        return out

    return Operation(elementwise, dtype)


def axes_of(axis: Any, rank: int) -> tuple[int, ...]:
    """Return which axes a reduction runs over."""
    if axis is None:
        return tuple(range(rank))
    return tuple(int(a) % max(rank, 1) for a in (axis if np.iterable(axis) else [axis]))


def reduction(function: Any, dtype: str = "same", mean: bool = False) -> Operation:
    """Return the row of a NumPy reduction, or of a sum divided by its count."""

    def bind(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
        x, axes = arrays[0], axes_of(given["axis"], arrays[0].ndim)
        out = plan.new(tuple(1 if i in axes else n for i, n in enumerate(x.shape)), kind)
        plan.call(function.reduce, x, axes, None, out, True)
        if mean:
            plan.call(np.divide, out, np.asarray(x.size // max(out.size, 1), kind), out)
        left = tuple(n for i, n in enumerate(x.shape) if i not in axes)
        return out if given["keepdims"] else out.reshape(left)

    return Operation(bind, dtype)


def view(function: Callable[[Array, Given, list[Array]], Any]) -> Operation:
    """Return the row of an operation that only looks at its first input in another way."""
    return Operation(lambda plan, arrays, given, kind: function(arrays[0], given, arrays))


def reshaping(shape: Callable[[Plan, list[Array], Given], tuple[int, ...]]) -> Operation:
    """Return the row of an operation that gives elements another shape."""
    return Operation(
        lambda plan, arrays, given, kind: _contiguous(plan, arrays[0]).reshape(
            shape(plan, arrays, given)
        )
    )


def _contiguous(plan: Plan, array: Array) -> Array:
    """Return an array, or a copy in C order made at each run, that any shape can view."""
    if array.flags.c_contiguous:
        return array
    out = plan.new(array.shape, array.dtype)
    plan.call(np.copyto, out, array)
    return out


def wanted(plan: Plan, arrays: list[Array], given: Given) -> tuple[int, ...]:
    """Return a shape some of whose sizes (None) come from the last inputs, or all of it."""
    if given["shape"] is None:
        return tuple(int(size) for size in np.atleast_1d(plan.known(arrays[-1])))
    rest = iter(arrays[len(arrays) - sum(size is None for size in given["shape"]) :])
    return tuple(int(plan.known(next(rest))) if s is None else int(s) for s in given["shape"])


def argument(function: Any) -> Operation:
    """Return the row of the place of an extreme element."""

    def bind(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
        left = list(arrays[0].shape)
        del left[given["axis"]]
        out = plan.new(tuple(left), kind)
        plan.call(function, arrays[0], given["axis"], out)
        return out

    return Operation(bind, "given")


def product(function: Any) -> Operation:
    """Return the row of a matrix product; only `matmul` takes more than a matrix on its right."""

    def bind(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
        x, y = arrays
        fits = x.ndim > 0 and y.ndim > 1 and x.shape[-1] == y.shape[-2]
        if not fits or (function is np.dot and y.ndim != 2):
            raise ValueError(
                f"shapes {x.shape} and {y.shape} cannot be multiplied; valid: (..., n) and (n, m). "
                "Transpose one, or use K.batch_dot, or K.sum of a product."
            )
        out = plan.new((*x.shape[:-1], y.shape[-1]), kind)
        plan.call(function, x, y, out)
        return out

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


def spread_like(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    """Bind a reduced array repeated along the reduced axes."""
    x, like = arrays[0], arrays[1].shape
    axes = axes_of(given["axis"], len(like))
    kept = tuple(1 if i in axes else size for i, size in enumerate(like))
    return np.broadcast_to(_contiguous(plan, x).reshape(kept), like)


def concatenate(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    """Bind arrays joined along an axis."""
    axis, sizes = given["axis"] % arrays[0].ndim, list(arrays[0].shape)
    sizes[axis] = sum(a.shape[axis] for a in arrays)
    out = plan.new(tuple(sizes), kind)
    plan.call(np.concatenate, arrays, axis, out)
    return out


def part(x: Array, given: Given, arrays: list[Array]) -> Any:
    """View one of several joined arrays."""
    axis, number = given["axis"] % x.ndim, given["number"]
    first = sum(a.shape[axis] for a in arrays[1 : 1 + number])
    return x[(slice(None),) * axis + (slice(first, first + arrays[1 + number].shape[axis]),)]


def repeat(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    """Bind an array whose elements are repeated along an axis."""
    x, axis, times = arrays[0], given["axis"] % arrays[0].ndim, given["times"]
    before, count, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    out = plan.new((*before, count * times, *after), kind)
    apart = out.reshape((*before, count, times, *after))
    plan.call(np.copyto, apart, np.expand_dims(x, axis + 1))
    return out


def unrepeat(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    """Bind sums of neighbours along an axis."""
    x, axis, times = arrays[0], given["axis"] % arrays[0].ndim, given["times"]
    before, count, after = x.shape[:axis], x.shape[axis] // times, x.shape[axis + 1 :]
    out = plan.new((*before, count, *after), kind)
    apart = _contiguous(plan, x).reshape((*before, count, times, *after))
    plan.call(np.add.reduce, apart, axis + 1, None, out)
    return out


def gather(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    """Bind rows by number."""
    x, rows = arrays
    out = plan.new(rows.shape + x.shape[1:], kind)
    plan.call(np.take, x, rows, 0, out)
    return out


def scatter_like(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    """Bind zeros to which rows are added."""
    values, rows, like = arrays
    out = plan.new(like.shape, kind)
    plan.call(out.fill, 0)
    plan.call(np.add.at, out, rows, values)
    return out


def one_hot(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    """Bind vectors that are 1 at an index."""
    out = plan.new((*arrays[0].shape, given["classes"]), kind)
    plan.call(np.equal, arrays[0][..., None], np.arange(given["classes"]), out)
    return out


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
    out = plan.new(x.shape, kind)
    norm = plan.new(tuple(1 if i == axis % x.ndim else n for i, n in enumerate(x.shape)), kind)
    plan.call(np.maximum.reduce, x, axis, None, norm, True)
    plan.call(np.subtract, x, norm, out)
    plan.call(np.exp, out, out)
    plan.call(np.add.reduce, out, axis, None, norm, True)
    plan.call(np.divide, out, norm, out)
    return out


def random(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    """Bind samples drawn at each run, or in training only."""
    if given.get("in_training"):  # the last input is the learning phase
        *arrays, phase = arrays
        out = plan.new(wanted(plan, arrays, given), kind)
        plan.call(lambda: given["sampler"](out) if phase else None)
        return out
    out = plan.new(wanted(plan, arrays, given), kind)
    plan.call(given["sampler"], out)
    return out


def norm(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    """Bind the norm over all inputs, summed in float64 in the order of the kernels."""
    out = plan.new((), kind)

    def norm() -> None:
        out[...] = math.sqrt(sum((s for a in arrays for s in chunk_sums(a.ravel())), 0.0))

    plan.call(norm)
    return out
