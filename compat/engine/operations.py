"""The operations of a graph: the shape each result has, and the NumPy calls that compute it.

An operation is bound once per shape of the inputs: `bind` gets arrays whose memory stays, returns
the array of the result, and leaves with the plan the calls that fill it. Views cost no call.
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
    """What binds an operation: gives out memory, takes calls."""

    def new(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an array that lives as long as the plan."""

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Carry out a call whenever the plan runs."""

    def known(self, array: Array) -> Any:
        """Return what an array holds at every run, or raise."""


class Operation(NamedTuple):
    """One row: `dtype` is "same" as the inputs', "float", "bool", or "given"."""

    bind: Callable[[Plan, list[Array], Given, str], Array]
    shape: Callable[[list[Shape], Given], Shape]
    dtype: str = "same"
    shapes_only: bool = False  # the result depends on the inputs' shapes alone


def broadcast(shapes: Sequence[Shape], _: Given | None = None) -> Shape:
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

    def bind(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
        out = plan.new(np.broadcast_shapes(*[a.shape for a in arrays]), kind)
        plan.call(function, *arrays, out)
        return out

    return Operation(bind, broadcast, dtype)


def chain(*steps: Callable[[Array, Array], Any]) -> Operation:
    """Return the row of a function of one input that several calls on one buffer compute."""

    def bind(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
        out = plan.new(arrays[0].shape, kind)
        for step in steps:
            plan.call(step, arrays[0], out)
        return out

    return Operation(bind, broadcast, "float")


def axes_of(axis: Any, rank: int) -> tuple[int, ...]:
    """Return which axes a reduction runs over."""
    if axis is None:
        return tuple(range(rank))
    return tuple(int(a) % rank if rank else 0 for a in (axis if np.iterable(axis) else [axis]))


def _reduced(shapes: list[Shape], given: Given) -> Shape:
    shape = shapes[0]
    if shape is None:
        return () if given["axis"] is None and not given["keepdims"] else None
    axes = axes_of(given["axis"], len(shape))
    if given["keepdims"]:
        return tuple(1 if i in axes else size for i, size in enumerate(shape))
    return tuple(size for i, size in enumerate(shape) if i not in axes)


def reduction(function: Any, dtype: str = "same") -> Operation:
    """Return the row of a NumPy reduction."""

    def bind(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
        x, axes = arrays[0], axes_of(given["axis"], arrays[0].ndim)
        out = plan.new(tuple(_reduced([x.shape], given) or ()), kind)  # type: ignore[arg-type]
        plan.call(function.reduce, x, axes, None, out, given["keepdims"])
        return out

    return Operation(bind, _reduced, dtype)


def view(function: Callable[..., Array], shape: Callable[[list[Shape], Given], Shape]) -> Operation:
    """Return the row of an operation that only looks at its first input in another way."""

    def bind(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
        return function(plan, arrays, given)

    return Operation(bind, shape)


def _mean(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    out = OPERATIONS["sum"].bind(plan, arrays, given, kind)
    plan.call(np.divide, out, np.asarray(arrays[0].size // max(out.size, 1), kind), out)
    return out


def _argument(function: Any) -> Operation:
    def bind(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
        out = plan.new(tuple(_reduced([arrays[0].shape], given) or ()), kind)  # type: ignore[arg-type]
        plan.call(function, arrays[0], given["axis"], out)
        return out

    return Operation(bind, _reduced, "given")


def _dot(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    x, y = arrays
    if y.ndim != 2 or not x.ndim:
        raise ValueError(
            f"K.dot needs a matrix on its right, received shapes {x.shape} and {y.shape}; valid: "
            "(..., n) and (n, m). Use K.batch_dot, or K.sum of a product."
        )
    out = plan.new((*x.shape[:-1], y.shape[1]), kind)
    plan.call(np.dot, x, y, out)
    return out


def _dot_shape(shapes: list[Shape], _: Given) -> Shape:
    x, y = shapes
    if x is None or y is None:
        return None
    if x[-1:] and y[0] not in (None, x[-1]) and x[-1] is not None:
        raise ValueError(f"K.dot cannot multiply shapes {x} and {y}: {x[-1]} is not {y[0]}.")
    return (*x[:-1], y[-1])


def _matmul(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    x, y = arrays
    out = plan.new((*x.shape[:-1], y.shape[-1]), kind)
    plan.call(np.matmul, x, y, out)
    return out


def _wanted(plan: Plan, arrays: list[Array], given: Given) -> tuple[int, ...]:
    """Return a shape some of whose sizes (None) come from inputs, or all of it."""
    if given["shape"] is None:
        return tuple(int(size) for size in np.atleast_1d(plan.known(arrays[-1])))
    rest = iter(arrays[len(arrays) - sum(size is None for size in given["shape"]) :])
    return tuple(int(plan.known(next(rest))) if s is None else int(s) for s in given["shape"])


def _reshape(plan: Plan, arrays: list[Array], given: Given) -> Array:
    return arrays[0].reshape(_wanted(plan, arrays, given))


def _reshape_shape(shapes: list[Shape], given: Given) -> Shape:
    wanted: Shape = given["shape"]
    if wanted is None:
        return None
    old = shapes[0]
    sizes: list[int | None] = [None if size == -1 else size for size in wanted]
    if wanted.count(-1) == 1 and None not in wanted and old is not None and None not in old:
        rest = math.prod(size for size in wanted if size is not None and size != -1)
        sizes[wanted.index(-1)] = math.prod(s or 0 for s in old) // max(rest, 1)
    return tuple(sizes)


def _contiguous(plan: Plan, array: Array) -> Array:
    """Return an array, or a copy in C order made at each run, that any shape can view."""
    if array.flags.c_contiguous:
        return array
    out = plan.new(array.shape, array.dtype)
    plan.call(np.copyto, out, array)
    return out


def reshaping(function: Callable[..., tuple[int, ...]], shape: Any) -> Operation:
    """Return the row of an operation that gives elements another shape."""

    def bind(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
        return _contiguous(plan, arrays[0]).reshape(function(plan, arrays, given))

    return Operation(bind, shape)


def _like(shapes: list[Shape], _: Given) -> Shape:
    return shapes[1]


def _rows(shapes: list[Shape], _: Given) -> Shape:
    return None if shapes[0] is None else (None, shapes[0][-1] if shapes[0] else 1)


def _transposed(shapes: list[Shape], given: Given) -> Shape:
    shape, axes = shapes[0], given["axes"]
    if shape is None:
        return None
    return shape[::-1] if axes is None else tuple(shape[a] for a in axes)


def _expanded(shapes: list[Shape], given: Given) -> Shape:
    if shapes[0] is None:
        return None
    sizes, axis = list(shapes[0]), given["axis"]
    sizes.insert(axis if axis >= 0 else len(sizes) + 1 + axis, 1)
    return tuple(sizes)


def _squeezed(shapes: list[Shape], given: Given) -> Shape:
    if shapes[0] is None:
        return None
    axes = axes_of(given["axis"], len(shapes[0]))
    return tuple(size for i, size in enumerate(shapes[0]) if i not in axes)


def _item_shape(shapes: list[Shape], given: Given) -> Shape:
    """Return the shape of a slice: that of the same slice of an array without memory."""
    if shapes[0] is None:
        return None
    unknown = 2**20 + 7  # a size that no slice with a constant bound gives by chance
    stand_in = np.broadcast_to(np.int8(0), [unknown if s is None else s for s in shapes[0]])
    found = stand_in[given["index"]].shape
    known = {s for s in shapes[0] if s is not None}
    return tuple(s if s in known or s <= 2**16 else None for s in found)


def _put(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    out = plan.new(arrays[1].shape, kind)
    out[...] = 0  # elements outside the slice are written by nothing else
    plan.call(np.copyto, out[given["index"]], arrays[0])
    return out


def _sum_like(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    x, like = arrays[0], arrays[1].shape
    if x.shape == like:
        return x
    sizes = (1,) * (x.ndim - len(like)) + like
    axes = tuple(i for i, size in enumerate(sizes) if size == 1 and x.shape[i] != 1)
    out = plan.new(like, kind)
    if axes:
        plan.call(np.add.reduce, x, axes, None, out.reshape(sizes), True)
        return out
    return x.reshape(like)


def _spread_like(plan: Plan, arrays: list[Array], given: Given) -> Array:
    x, like = arrays[0], arrays[1].shape
    axes = axes_of(given["axis"], len(like))
    kept = tuple(1 if i in axes else size for i, size in enumerate(like))
    return np.broadcast_to(_contiguous(plan, x).reshape(kept), like)


def _expand_like(plan: Plan, arrays: list[Array], given: Given) -> Array:
    return np.broadcast_to(arrays[0], arrays[1].shape)


def _concatenate(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    axis = given["axis"] % arrays[0].ndim
    sizes = list(arrays[0].shape)
    sizes[axis] = sum(a.shape[axis] for a in arrays)
    out = plan.new(tuple(sizes), kind)
    plan.call(np.concatenate, arrays, axis, out)
    return out


def _concatenated(shapes: list[Shape], given: Given) -> Shape:
    known = [list(shape) for shape in shapes if shape is not None]
    if len(known) < len(shapes):
        return None
    axis = given["axis"] % len(known[0])
    sizes = [shape[axis] for shape in known]
    known[0][axis] = None if None in sizes else sum(size or 0 for size in sizes)
    return tuple(known[0])


def _part(plan: Plan, arrays: list[Array], given: Given) -> Array:
    axis, number = given["axis"] % arrays[0].ndim, given["number"]
    first = sum(a.shape[axis] for a in arrays[1 : 1 + number])
    index = (slice(None),) * axis + (slice(first, first + arrays[1 + number].shape[axis]),)
    result: Array = arrays[0][index]
    return result


def _repeat(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    x, axis, times = arrays[0], given["axis"] % arrays[0].ndim, given["times"]
    sizes = (*x.shape[: axis + 1], times, *x.shape[axis + 1 :])
    out = plan.new((*x.shape[:axis], x.shape[axis] * times, *x.shape[axis + 1 :]), kind)
    plan.call(np.copyto, out.reshape(sizes), np.expand_dims(x, axis + 1))
    return out


def _unrepeat(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    x, axis, times = arrays[0], given["axis"] % arrays[0].ndim, given["times"]
    count = x.shape[axis] // times
    out = plan.new((*x.shape[:axis], count, *x.shape[axis + 1 :]), kind)
    sizes = (*x.shape[:axis], count, times, *x.shape[axis + 1 :])
    plan.call(np.add.reduce, _contiguous(plan, x).reshape(sizes), axis + 1, None, out)
    return out


def _scaled(sign: int) -> Callable[[list[Shape], Given], Shape]:
    def shape(shapes: list[Shape], given: Given) -> Shape:
        if shapes[0] is None:
            return None
        sizes, axis = list(shapes[0]), given["axis"] % len(shapes[0])
        old, times = sizes[axis], given["times"]
        sizes[axis] = None if old is None else old * times if sign > 0 else old // times
        return tuple(sizes)

    return shape


def _gather(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    x, rows = arrays
    out = plan.new(rows.shape + x.shape[1:], kind)
    plan.call(np.take, x, rows, 0, out)
    return out


def _gathered(shapes: list[Shape], _: Given) -> Shape:
    x, rows = shapes
    return None if x is None or rows is None else rows + x[1:]


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


def _fill_like(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    return np.broadcast_to(np.asarray(given["value"], kind), arrays[0].shape)


def _shape(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    return np.array(arrays[0].shape, kind)


def _random(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    if given.get("in_training"):  # the last input is the learning phase
        *arrays, phase = arrays
        out = plan.new(_wanted(plan, arrays, given), kind)
        plan.call(lambda: given["sampler"](out) if phase else None)
        return out
    out = plan.new(_wanted(plan, arrays, given), kind)
    plan.call(given["sampler"], out)
    return out


def _norm(plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    """Bind the norm over all inputs, summed in float64 in the order of the kernels."""
    out = plan.new((), kind)

    def norm() -> None:
        out[...] = math.sqrt(sum((s for a in arrays for s in chunk_sums(a.ravel())), 0.0))

    plan.call(norm)
    return out


def _max(x: Array, y: Any, out: Array) -> None:
    np.maximum(x, y, out=out)


def _min(x: Array, y: Any, out: Array) -> None:
    np.minimum(x, y, out=out)


def _smaller(x: Array, y: Array, out: Array) -> None:
    out[...] = smaller(x, y)


def _flushed(x: Array, out: Array) -> None:
    out[...] = fit(x, Variant(flush=True))


def _identity(plan: Plan, arrays: list[Array], given: Given) -> Array:
    return arrays[0]


def _same(shapes: list[Shape], _: Given) -> Shape:
    return shapes[0]


def _scalar(shapes: list[Shape], _: Given) -> Shape:
    return ()


_SIGMOID = (
    lambda x, out: np.negative(x, out),
    lambda x, out: np.exp(out, out),
    lambda x, out: np.add(out, out.dtype.type(1), out),
    lambda x, out: np.reciprocal(out, out),
)

OPERATIONS: dict[str, Operation] = {
    "add": ufunc(np.add),
    "subtract": ufunc(np.subtract),
    "multiply": ufunc(np.multiply),
    "divide": ufunc(np.divide, "float"),
    "floor_divide": ufunc(np.floor_divide),
    "remainder": ufunc(np.remainder),
    "power": ufunc(np.power),
    "negative": ufunc(np.negative),
    "absolute": ufunc(np.absolute),
    "sign": ufunc(np.sign),
    "square": ufunc(np.square),
    "round": ufunc(np.rint),
    "sqrt": ufunc(np.sqrt, "float"),
    "exp": ufunc(np.exp, "float"),
    "log": ufunc(np.log, "float"),
    "tanh": ufunc(np.tanh, "float"),
    "sigmoid": chain(*_SIGMOID),
    "relu": chain(lambda x, out: _max(x, out.dtype.type(0), out)),
    "softplus": chain(lambda x, out: np.logaddexp(x, out.dtype.type(0), out)),
    "maximum": ufunc(_max),
    "minimum": ufunc(_min),
    "smaller": ufunc(_smaller),
    "flush": ufunc(_flushed),
    "equal": ufunc(np.equal, "bool"),
    "not_equal": ufunc(np.not_equal, "bool"),
    "greater": ufunc(np.greater, "bool"),
    "greater_equal": ufunc(np.greater_equal, "bool"),
    "less": ufunc(np.less, "bool"),
    "less_equal": ufunc(np.less_equal, "bool"),
    "logical_and": ufunc(np.logical_and, "bool"),
    "logical_or": ufunc(np.logical_or, "bool"),
    "logical_not": ufunc(np.logical_not, "bool"),
    "where": Operation(_where, broadcast, "choice"),
    "softmax": Operation(_softmax, _same, "float"),
    "sum": reduction(np.add),
    "max": reduction(np.maximum),
    "min": reduction(np.minimum),
    "prod": reduction(np.multiply),
    "any": reduction(np.logical_or, "bool"),
    "all": reduction(np.logical_and, "bool"),
    "mean": Operation(_mean, _reduced, "float"),
    "argmax": _argument(np.argmax),
    "argmin": _argument(np.argmin),
    "dot": Operation(_dot, _dot_shape),
    "matmul": Operation(_matmul, _dot_shape),
    "norm": Operation(_norm, _scalar, "float"),
    "reshape": reshaping(_wanted, _reshape_shape),
    "reshape_like": reshaping(lambda plan, arrays, given: arrays[1].shape, _like),
    "rows": reshaping(lambda plan, arrays, given: (-1, (1, *arrays[0].shape)[-1]), _rows),
    "transpose": view(lambda plan, arrays, given: arrays[0].transpose(given["axes"]), _transposed),
    "expand_dims": view(
        lambda plan, arrays, given: np.expand_dims(arrays[0], given["axis"]), _expanded
    ),
    "squeeze": view(lambda plan, arrays, given: np.squeeze(arrays[0], given["axis"]), _squeezed),
    "item": view(lambda plan, arrays, given: arrays[0][given["index"]], _item_shape),
    "put_like": Operation(_put, _like),
    "sum_like": Operation(_sum_like, _like),
    "spread_like": view(_spread_like, _like),
    "expand_like": view(_expand_like, _like),
    "concatenate": Operation(_concatenate, _concatenated),
    "part": view(_part, lambda shapes, given: shapes[1 + given["number"]]),
    "repeat": Operation(_repeat, _scaled(1)),
    "unrepeat": Operation(_unrepeat, _scaled(-1)),
    "gather": Operation(_gather, _gathered, "first"),
    "scatter_like": Operation(_scatter_like, lambda shapes, given: shapes[2], "first"),
    "one_hot": Operation(
        _one_hot, lambda s, given: None if s[0] is None else (*s[0], given["classes"]), "given"
    ),
    "cast": Operation(_cast, _same, "given"),
    "stop_gradient": view(_identity, _same),
    "identity": view(_identity, _same),
    "fill_like": Operation(_fill_like, _same, "given", shapes_only=True),
    "shape": Operation(
        _shape, lambda s, given: (None if s[0] is None else len(s[0]),), "given", shapes_only=True
    ),
    "random": Operation(_random, lambda shapes, given: given["shape"], "given"),
}
