"""The operations of a graph, one row each, and the shape that each gives."""

from typing import Any

import numpy as np

from fastrms.reference import fit, smaller
from fastrms.rule import Variant

from . import binding as b
from .binding import Array, Given, Operation, Plan, Shape


def _sigmoid(x: Array, one: Array, out: Array) -> None:
    """Compute 1 / (1 + exp(-x))."""
    np.negative(x, out)
    np.exp(out, out)
    np.add(out, one, out)
    np.reciprocal(out, out)


def _maximum(x: Array, y: Array, out: Array) -> None:
    """Compute the larger; NumPy takes its `out` by name."""
    np.maximum(x, y, out=out)


_ALIKE = "add subtract multiply floor_divide remainder power negative absolute sign square rint"
_FLOATING = "divide sqrt exp log tanh"
TELLING = "equal not_equal greater greater_equal less less_equal"
TELLING += " logical_and logical_or logical_not"
OPERATIONS: dict[str, Operation] = {
    **{name: b.ufunc(getattr(np, name)) for name in _ALIKE.split()},
    **{name: b.ufunc(getattr(np, name), "float") for name in _FLOATING.split()},
    **{name: b.ufunc(getattr(np, name), "bool") for name in TELLING.split()},
    "maximum": b.ufunc(_maximum),
    "minimum": b.ufunc(lambda x, y, out: np.minimum(x, y, out=out)),
    "sigmoid": b.ufunc(_sigmoid, "float", 1),
    "relu": b.ufunc(_maximum, "float", 0),
    "softplus": b.ufunc(np.logaddexp, "float", 0),
    # The core's minimum, in which a NaN of the first stays, and its flush of subnormal numbers.
    "smaller": b.ufunc(lambda x, y, out: np.copyto(out, smaller(x, y))),
    "flush": b.ufunc(lambda x, out: np.copyto(out, fit(x, Variant(flush=True)))),
    "where": Operation(b.where, "choice", elementwise=True),
    "softmax": Operation(b.softmax, "float"),
    "sum": b.reduction(np.add),
    "mean": b.reduction(np.add, "float", mean=True),
    "max": b.reduction(np.maximum),
    "min": b.reduction(np.minimum),
    "argmax": Operation(b.argmax, "given"),
    "dot": b.product(np.dot),
    "matmul": b.product(np.matmul),
    "norm": Operation(b.norm, "float"),
    "reshape": b.reshaping(b.wanted),
    "reshape_like": b.reshaping(lambda plan, arrays, given: arrays[1].shape),
    "rows": b.reshaping(lambda plan, arrays, given: (-1, (1, *arrays[0].shape)[-1])),
    "merge": b.reshaping(b.merged),
    "transpose": b.view(lambda x, given, _: x.transpose(given["axes"])),
    "swap": b.view(lambda x, given, _: x.swapaxes(-1, -2)),
    "expand_dims": b.view(lambda x, given, _: np.expand_dims(x, given["axis"])),
    "squeeze": b.view(lambda x, given, _: np.squeeze(x, given["axis"])),
    "item": b.view(lambda x, given, _: x[given["index"]]),
    "part": b.view(b.part),
    "expand_like": b.view(lambda x, given, arrays: np.broadcast_to(x, arrays[1].shape)),
    "stop_gradient": b.view(lambda x, given, _: x),
    "identity": b.view(lambda x, given, _: x),
    "sum_like": Operation(b.sum_like, "first"),
    "put_like": Operation(b.put, "first"),
    "concatenate": Operation(b.concatenate),
    "gather": Operation(b.gather, "first"),
    "scatter_like": Operation(b.scatter_like, "first"),
    "one_hot": Operation(b.one_hot, "given"),
    "cast": Operation(b.cast, "given"),
    "random": Operation(b.random, "given"),
    "fill_like": b.of_shape(
        lambda n, given, kind: np.broadcast_to(np.asarray(given["value"], kind), n)
    ),
    "shape": b.of_shape(lambda shape, given, kind: np.array(shape, kind)),
}


def bind(operation: str, plan: Plan, arrays: list[Array], given: Given, kind: str) -> Array:
    """Bind an operation, or say why it cannot take arrays of these shapes."""
    try:
        return OPERATIONS[operation].bind(plan, arrays, given, kind)
    except (TypeError, ValueError, IndexError) as error:
        settings = "".join(f", {k}={v!r:.60}" for k, v in given.items())
        raise ValueError(
            f"{operation} cannot take {' and '.join(str(a.shape) for a in arrays)}{settings}: "
            f"{error}. Print K.int_shape(x) of each operand, and reshape, transpose or index it."
        ) from error


def _unknown(array: Array) -> Any:
    raise LookupError


_PROBE = Plan(np.empty, lambda *_: None, _unknown)  # computes nothing: it finds out shapes


def static_shape(operation: str, shapes: list[Shape], given: Given, kind: str) -> Shape:
    """Return the shape of a result as far as the inputs' shapes fix it.

    The operation is bound with each unknown size as 5, then as 7: what differs is unknown.
    """
    if OPERATIONS[operation].elementwise:
        return b.broadcast(shapes)
    wanted = given.get("shape")
    asked = wanted and tuple(None if size == -1 else size for size in wanted)
    if operation == "random" or any(shape is None for shape in shapes):
        return () if operation == "squeeze" and given["axis"] is None else asked
    unknown = any(None in (shape or ()) for shape in shapes)
    try:
        found = []
        for size in (5, 7)[: 1 + unknown]:
            arrays = [np.empty([size if n is None else n for n in s or ()], kind) for s in shapes]
            found.append(bind(operation, _PROBE, arrays, given, kind).shape)
    except LookupError:
        return asked
    except ValueError:
        if unknown:
            return None
        raise
    if len(found[0]) != len(found[-1]):
        return None
    return tuple(a if a == b else None for a, b in zip(found[0], found[-1], strict=True))
