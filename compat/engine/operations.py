"""The operations of a graph: the NumPy calls that compute each, bound to memory that stays.

An operation is bound once per shape of the inputs: `bind` gets arrays whose memory does not move,
returns the array of the result, and leaves with the plan the calls that fill it. Views cost none.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastrms.reference import chunk_sums, fit, smaller
from fastrms.rule import Variant

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


def _argument(function: Any) -> Operation:
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


def _put(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    out = plan.new(arrays[1].shape, kind)  # elements outside the slice stay 0
    plan.call(np.copyto, out[given["index"]], arrays[0])
    return out


def _sum_like(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    x, like = arrays[0], arrays[1].shape
    sizes = (1,) * (x.ndim - len(like)) + like
    axes = tuple(i for i, size in enumerate(sizes) if size == 1 and x.shape[i] != 1)
    if not axes:
        return x if x.shape == like else x.reshape(like)
    out = plan.new(like, kind)
    plan.call(np.add.reduce, x, axes, None, out.reshape(sizes), True)
    return out


def _spread_like(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    x, like = arrays[0], arrays[1].shape
    axes = axes_of(given["axis"], len(like))
    kept = tuple(1 if i in axes else size for i, size in enumerate(like))
    return np.broadcast_to(_contiguous(plan, x).reshape(kept), like)


def _concatenate(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    axis, sizes = given["axis"] % arrays[0].ndim, list(arrays[0].shape)
    sizes[axis] = sum(a.shape[axis] for a in arrays)
    out = plan.new(tuple(sizes), kind)
    plan.call(np.concatenate, arrays, axis, out)
    return out


def _part(x: Array, given: Given, arrays: list[Array]) -> Any:
    axis, number = given["axis"] % x.ndim, given["number"]
    first = sum(a.shape[axis] for a in arrays[1 : 1 + number])
    return x[(slice(None),) * axis + (slice(first, first + arrays[1 + number].shape[axis]),)]


def _repeat(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    x, axis, times = arrays[0], given["axis"] % arrays[0].ndim, given["times"]
    before, count, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    out = plan.new((*before, count * times, *after), kind)
    apart = out.reshape((*before, count, times, *after))
    plan.call(np.copyto, apart, np.expand_dims(x, axis + 1))
    return out


def _unrepeat(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    x, axis, times = arrays[0], given["axis"] % arrays[0].ndim, given["times"]
    before, count, after = x.shape[:axis], x.shape[axis] // times, x.shape[axis + 1 :]
    out = plan.new((*before, count, *after), kind)
    apart = _contiguous(plan, x).reshape((*before, count, times, *after))
    plan.call(np.add.reduce, apart, axis + 1, None, out)
    return out


def _gather(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    x, rows = arrays
    out = plan.new(rows.shape + x.shape[1:], kind)
    plan.call(np.take, x, rows, 0, out)
    return out


def _scatter_like(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    values, rows, like = arrays
    out = plan.new(like.shape, kind)
    plan.call(out.fill, 0)
    plan.call(np.add.at, out, rows, values)
    return out


def _one_hot(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    out = plan.new((*arrays[0].shape, given["classes"]), kind)
    plan.call(np.equal, arrays[0][..., None], np.arange(given["classes"]), out)
    return out


def _cast(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    if arrays[0].dtype == kind:
        return arrays[0]
    out = plan.new(arrays[0].shape, kind)
    plan.call(np.copyto, out, arrays[0], "unsafe")
    return out


def _where(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    chosen, yes, no = arrays
    out = plan.new(np.broadcast_shapes(*[a.shape for a in arrays]), kind)
    plan.call(np.copyto, out, no)
    plan.call(np.copyto, out, yes, "same_kind", chosen)
    return out


def _softmax(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    x, axis = arrays[0], given["axis"]
    out = plan.new(x.shape, kind)
    norm = plan.new(tuple(1 if i == axis % x.ndim else n for i, n in enumerate(x.shape)), kind)
    plan.call(np.maximum.reduce, x, axis, None, norm, True)
    plan.call(np.subtract, x, norm, out)
    plan.call(np.exp, out, out)
    plan.call(np.add.reduce, out, axis, None, norm, True)
    plan.call(np.divide, out, norm, out)
    return out


def _random(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    if given.get("in_training"):  # the last input is the learning phase
        *arrays, phase = arrays
        out = plan.new(wanted(plan, arrays, given), kind)
        plan.call(lambda: given["sampler"](out) if phase else None)
        return out
    out = plan.new(wanted(plan, arrays, given), kind)
    plan.call(given["sampler"], out)
    return out


def _norm(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    """Bind the norm over all inputs, summed in float64 in the order of the kernels."""
    out = plan.new((), kind)

    def norm() -> None:
        out[...] = math.sqrt(sum((s for a in arrays for s in chunk_sums(a.ravel())), 0.0))

    plan.call(norm)
    return out


def _sigmoid(x: Array, out: Array) -> None:
    np.negative(x, out)
    np.exp(out, out)
    np.add(out, out.dtype.type(1), out)
    np.reciprocal(out, out)


def _max(x: Array, y: Any, out: Array) -> None:
    np.maximum(x, y, out=out)


def _min(x: Array, y: Any, out: Array) -> None:
    np.minimum(x, y, out=out)


def _smaller(x: Array, y: Array, out: Array) -> None:
    out[...] = smaller(x, y)


def _flushed(x: Array, out: Array) -> None:
    out[...] = fit(x, Variant(flush=True))


_ALIKE = ("add", "subtract", "multiply", "floor_divide", "remainder", "power", "negative")
_FLOATING = ("divide", "sqrt", "exp", "log", "tanh")
_COMPARED = ("equal", "not_equal", "greater", "greater_equal", "less", "less_equal")
_LOGICAL = ("logical_and", "logical_or", "logical_not")
OPERATIONS: dict[str, Operation] = {
    **{name: ufunc(getattr(np, name)) for name in (*_ALIKE, "absolute", "sign", "square", "rint")},
    **{
        name: ufunc(getattr(np, name), "float") for name in ("divide", "sqrt", "exp", "log", "tanh")
    },
    **{name: ufunc(getattr(np, name), "bool") for name in (*_COMPARED, *_LOGICAL)},
    "sigmoid": ufunc(_sigmoid, "float"),
    "relu": ufunc(lambda x, out: _max(x, out.dtype.type(0), out), "float"),
    "softplus": ufunc(lambda x, out: np.logaddexp(x, out.dtype.type(0), out), "float"),
    "maximum": ufunc(_max),
    "minimum": ufunc(_min),
    "smaller": ufunc(_smaller),
    "flush": ufunc(_flushed),
    "where": Operation(_where, "choice"),
    "softmax": Operation(_softmax, "float"),
    "sum": reduction(np.add),
    "mean": reduction(np.add, "float", mean=True),
    "max": reduction(np.maximum),
    "min": reduction(np.minimum),
    "argmax": _argument(np.argmax),
    "dot": product(np.dot),
    "matmul": product(np.matmul),
    "norm": Operation(_norm, "float"),
    "reshape": reshaping(wanted),
    "reshape_like": reshaping(lambda plan, arrays, given: arrays[1].shape),
    "rows": reshaping(lambda plan, arrays, given: (-1, (1, *arrays[0].shape)[-1])),
    "transpose": view(lambda x, given, _: x.transpose(given["axes"])),
    "expand_dims": view(lambda x, given, _: np.expand_dims(x, given["axis"])),
    "squeeze": view(lambda x, given, _: np.squeeze(x, given["axis"])),
    "item": view(lambda x, given, _: x[given["index"]]),
    "part": view(_part),
    "expand_like": view(lambda x, given, arrays: np.broadcast_to(x, arrays[1].shape)),
    "stop_gradient": view(lambda x, given, _: x),
    "identity": view(lambda x, given, _: x),
    "spread_like": Operation(_spread_like),
    "sum_like": Operation(_sum_like),
    "put_like": Operation(_put),
    "concatenate": Operation(_concatenate),
    "repeat": Operation(_repeat),
    "unrepeat": Operation(_unrepeat),
    "gather": Operation(_gather, "first"),
    "scatter_like": Operation(_scatter_like, "first"),
    "one_hot": Operation(_one_hot, "given"),
    "cast": Operation(_cast, "given"),
    "random": Operation(_random, "given"),
    "fill_like": Operation(
        lambda plan, arrays, given, kind: np.broadcast_to(
            np.asarray(given["value"], kind), arrays[0].shape
        ),
        "given",
        shapes_only=True,
    ),
    "shape": Operation(
        lambda plan, arrays, given, kind: np.array(arrays[0].shape, kind), "given", shapes_only=True
    ),
}


class _Probe:
    """A plan that computes nothing: it finds out shapes."""

    def new(self, shape: tuple[int, ...], dtype: Any) -> Array:
        return np.empty(shape, dtype)

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        pass

    def known(self, array: Array) -> Any:
        raise LookupError


def static_shape(operation: str, shapes: list[Shape], given: Given, kind: str) -> Shape:
    """Return the shape of a result as far as the inputs' shapes fix it.

    The operation is bound with each unknown size as 5, then as 7: what differs is unknown.
    """
    row = OPERATIONS[operation]
    if row.bind.__name__ == "elementwise" or operation == "where":
        return broadcast(shapes)
    if operation == "random" or any(shape is None for shape in shapes):
        scalar = operation in ("sum", "mean", "max", "min") and given["axis"] is None
        return () if scalar and not given["keepdims"] else given.get("shape")
    unknown = any(None in (shape or ()) for shape in shapes)
    try:
        found = []
        for size in (5, 7)[: 1 + unknown]:
            sizes = [tuple(size if n is None else n for n in shape or ()) for shape in shapes]
            arrays = [np.empty(s, np.int8 if operation == "shape" else kind) for s in sizes]
            found.append(row.bind(_Probe(), arrays, given, kind).shape)
    except LookupError:
        return tuple(None if n == -1 else n for n in given["shape"]) if given["shape"] else None
    except (ValueError, IndexError):
        if unknown:
            return None
        raise
    if len(found[0]) != len(found[-1]):
        return None
    return tuple(a if a == b else None for a, b in zip(found[0], found[-1], strict=True))
