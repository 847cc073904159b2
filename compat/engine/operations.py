"""The operations of a graph, one row each, and the shape that each gives."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastrms.reference import fit, smaller
from fastrms.rule import Variant

from . import binding as b
from .binding import Array, Given, Operation, Shape, broadcast, reduction, reshaping, ufunc, view


def _sigmoid(x: Array, out: Array) -> None:
    """Compute 1 / (1 + exp(-x))."""
    np.negative(x, out)
    np.exp(out, out)
    np.add(out, out.dtype.type(1), out)
    np.reciprocal(out, out)


def _max_of(x: Array, y: Any, out: Array) -> None:
    """Compute the larger of two."""
    np.maximum(x, y, out=out)


def _min_of(x: Array, y: Any, out: Array) -> None:
    """Compute the smaller of two."""
    np.minimum(x, y, out=out)


def _smaller_of(x: Array, y: Array, out: Array) -> None:
    """Compute the core's minimum, in which a NaN of the first stays."""
    out[...] = smaller(x, y)


def _flushed(x: Array, out: Array) -> None:
    """Compute the core's rounding of subnormal numbers to zero."""
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
    "relu": ufunc(lambda x, out: _max_of(x, out.dtype.type(0), out), "float"),
    "softplus": ufunc(lambda x, out: np.logaddexp(x, out.dtype.type(0), out), "float"),
    "maximum": ufunc(_max_of),
    "minimum": ufunc(_min_of),
    "smaller": ufunc(_smaller_of),
    "flush": ufunc(_flushed),
    "where": Operation(b.where, "choice"),
    "softmax": Operation(b.softmax, "float"),
    "sum": reduction(np.add),
    "mean": reduction(np.add, "float", mean=True),
    "max": reduction(np.maximum),
    "min": reduction(np.minimum),
    "argmax": b.argument(np.argmax),
    "dot": b.product(np.dot),
    "matmul": b.product(np.matmul),
    "norm": Operation(b.norm, "float"),
    "reshape": reshaping(b.wanted),
    "reshape_like": reshaping(lambda plan, arrays, given: arrays[1].shape),
    "rows": reshaping(lambda plan, arrays, given: (-1, (1, *arrays[0].shape)[-1])),
    "transpose": view(lambda x, given, _: x.transpose(given["axes"])),
    "expand_dims": view(lambda x, given, _: np.expand_dims(x, given["axis"])),
    "squeeze": view(lambda x, given, _: np.squeeze(x, given["axis"])),
    "item": view(lambda x, given, _: x[given["index"]]),
    "part": view(b.part),
    "expand_like": view(lambda x, given, arrays: np.broadcast_to(x, arrays[1].shape)),
    "stop_gradient": view(lambda x, given, _: x),
    "identity": view(lambda x, given, _: x),
    "spread_like": Operation(b.spread_like),
    "sum_like": Operation(b.sum_like),
    "put_like": Operation(b.put),
    "concatenate": Operation(b.concatenate),
    "repeat": Operation(b.repeat),
    "unrepeat": Operation(b.unrepeat),
    "gather": Operation(b.gather, "first"),
    "scatter_like": Operation(b.scatter_like, "first"),
    "one_hot": Operation(b.one_hot, "given"),
    "cast": Operation(b.cast, "given"),
    "random": Operation(b.random, "given"),
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
