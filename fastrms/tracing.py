"""Differentiate a loss in plain NumPy over Variables, with autograd's derivatives.

NumPy hands every function of a `Traced` value to this module (NEP 13 and NEP 18), which calls
autograd's function of the same name. autograd is the extra ``autodiff``.
"""

import importlib
import linecache
import os
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.errors import GradientError, MissingExtraError, StateError
from fastrms.operand import READING, Operand, standing
from fastrms.variable import Variable

Array = NDArray[Any]
# What `ufunc.reduce` is called as a function.
_REDUCTIONS = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min"}
_ABOUT = frozenset({"shape", "ndim", "size", "dtype"})
# autograd takes these arguments of `np.sum` and others without heeding them.
_UNHEEDED = frozenset({"where", "initial", "out"})
_LEAVING = frozenset({"item", "tolist", "tobytes", "flat", "itemsize", "nbytes", "strides"})


def _autograd() -> Any:
    """Import autograd, or say how to install it."""
    try:
        import autograd.core
        import autograd.numpy
        import autograd.util
    except ImportError as error:
        raise MissingExtraError(
            "differentiating a loss needs autograd, which is not installed; install it with: "
            "pip install 'fastrms[autodiff]'"
        ) from error
    return autograd


def _line() -> str:
    """Return the line of the loss that is being evaluated."""
    packages = (np.__file__, __file__, _autograd().__file__)
    skipped = tuple(os.path.dirname(path) + os.sep for path in packages)
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(skipped):
        frame = frame.f_back
    if frame is None:
        return "a line that cannot be found"
    name, number = frame.f_code.co_filename, frame.f_lineno
    text = linecache.getline(name, number).strip()
    return f"line {number} of {os.path.basename(name)}" + (f": {text}" if text else "")


def _refused(operation: str, why: Any) -> GradientError:
    """Build the error of an operation through which no derivative goes."""
    return GradientError(
        f"{operation} has no derivative here ({why}); {_line()}. Write the loss with NumPy "
        "functions that autograd differentiates. Nothing was changed."
    )


def _unboxed(value: Any, final: bool = False) -> Any:
    """Return an argument with autograd's boxes, or in the end the plain values, in its place."""
    if isinstance(value, Traced):
        return value.box._value if final else value.box
    if isinstance(value, Operand):
        return _unboxed(value.value, final)
    if type(value) in (list, tuple):
        return type(value)(_unboxed(item, final) for item in value)
    return value


def _wrapped(operation: str, value: Any) -> Any:
    """Return a result as a `Traced` value where it depends on a variable."""
    from autograd.tracer import isbox

    if isbox(value):
        if isinstance(value._value, np.ndarray) and value._value.dtype.hasobject:
            raise _refused(operation, "autograd does not follow lists in lists")
        if isinstance(value._value, list | tuple):
            parts = [_wrapped(operation, value[k]) for k in range(len(value._value))]
            fields = getattr(value._value, "_fields", None)
            return type(value._value)(*parts) if fields else type(value._value)(parts)
        return Traced(value)
    if isinstance(value, list | tuple):
        return type(value)(_wrapped(operation, part) for part in value)
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        raise _refused(operation, "autograd does not follow it")
    return value


def _carried_out(
    operation: str, raw: Callable[..., Any], differentiable: Any, args: Any, kwargs: Any
) -> Any:
    """Call autograd's version of a function; blame what it cannot differentiate, and the line."""
    if any(isinstance(value, Operand) for value in kwargs.values()):
        raise _refused(operation, "pass what is differentiated by position, not by name")
    if differentiable is None:
        raise _refused(operation, "autograd does not know it")
    for name in _UNHEEDED & set(kwargs):
        raise _refused(f"{operation}({name}=...)", f"autograd does not heed {name}=")
    try:
        return _wrapped(operation, differentiable(*_unboxed(args), **kwargs))
    except GradientError:
        raise
    except Exception as error:
        raw(*_unboxed(args, final=True), **kwargs)  # an error of the loss itself comes as it is
        raise _refused(operation, error) from error


def _counterpart(function: Any) -> Any:
    """Return autograd's version of a NumPy function, or of a ufunc of NumPy or SciPy, or None."""
    package = _autograd()
    if isinstance(function, np.ufunc):
        found = getattr(package.numpy, function.__name__, None)
        if getattr(found, "fun", None) is not function and "scipy.special" in sys.modules:
            special = importlib.import_module("autograd.scipy.special")
            found = getattr(special, function.__name__, None)
        return found if getattr(found, "fun", None) is function else None
    where = package.numpy
    for part in function.__module__.split(".")[1:]:
        where = getattr(where, part, None)
    return getattr(where, function.__name__, None)


class Traced(Operand):
    """A value in a loss that depends on a variable; NumPy computes with it, and it is recorded."""

    __slots__ = ("box",)

    def __init__(self, box: Any) -> None:
        self.box = box

    @property
    def value(self) -> "Traced":
        """What is computed with."""
        return self

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        name = f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
        out = kwargs.pop("out", None)
        # `total += x` gives a new value, to which Python binds the name.
        if out is not None and not (
            len(out) == 1 and out[0] is inputs[0] and type(out[0]) is Traced
        ):
            raise _refused(name, "it writes into an array, which keeps no record")
        if method == "__call__":
            return _carried_out(name, ufunc, _counterpart(ufunc), inputs, kwargs)
        if method == "reduce" and ufunc.__name__ in _REDUCTIONS:
            kwargs.setdefault("axis", 0)
            return getattr(np, _REDUCTIONS[ufunc.__name__])(*inputs, **kwargs)
        raise _refused(name, "autograd does not know it")

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        name = f"{func.__module__.replace('numpy', 'np', 1)}.{func.__name__}"
        return _carried_out(name, func, _counterpart(func), args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in _ABOUT:
            return getattr(self.box, name)
        if name == "T":
            return np.transpose(self)
        if name.startswith("__") or not hasattr(np.ndarray, name):
            raise AttributeError(f"a value in a loss has no attribute {name!r}.")
        if name in _LEAVING or name not in READING:
            raise _refused(f".{name}", "it leads out of what is recorded")
        raw, own = getattr(np.ndarray, name), getattr(type(self.box), name, None)
        if name == "copy":
            return lambda *args, **kwargs: self
        if own is None and hasattr(np, name):
            return lambda *args, **kwargs: getattr(np, name)(self, *args, **kwargs)
        return lambda *args, **kwargs: _carried_out(f".{name}", raw, own, (self, *args), kwargs)

    def __getitem__(self, key: Any) -> Any:
        return _carried_out("[...]", lambda a, k: a[k], type(self.box).__getitem__, (self, key), {})

    def __setitem__(self, key: Any, value: Any) -> None:
        raise _refused("assignment to elements", "it leaves no record; use np.where, for example")

    def __len__(self) -> int:
        return len(self.box)

    def __iter__(self) -> Any:
        return iter([self[k] for k in range(len(self))])

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        raise _refused("conversion to an array or number", "use np.stack instead of np.array")

    def __format__(self, form: str) -> str:
        return format(self.box._value, form)

    def __repr__(self) -> str:
        return f"<being differentiated: {self.box._value!r}>"


def differentiated(
    loss: Callable[[], Any], variables: Sequence[Variable]
) -> tuple[Any, list[Array | None]]:
    """Return what a loss gives and its derivatives by variables, each of its variable's dtype.

    A loss that is an array counts as its sum, as in TensorFlow. A variable on which the loss does
    not depend gets None.
    """
    package = _autograd()
    from autograd.tracer import new_box, trace_stack

    if standing.boxes is not None:
        raise StateError(
            "a loss that is being differentiated asks for derivatives itself; take them before."
        )
    roots = [package.core.VJPNode.new_root() for _ in variables]
    with trace_stack.new_trace() as trace:
        pairs = zip(variables, roots, strict=True)
        standing.boxes = {id(v): Traced(new_box(v._array, trace, root)) for v, root in pairs}
        try:
            value = loss()
            result = np.sum(value) if np.ndim(getattr(value, "box", value)) else value
            result = result.value if isinstance(result, Operand) else result
        finally:
            standing.boxes = None
    if not isinstance(result, Traced):
        if np.asarray(result).dtype.kind not in "biuf":
            raise GradientError(f"the loss gave {result!r:.60}; valid: a number.")
        return result, [None] * len(roots)
    derivatives = _backward(result.box, roots)
    with np.errstate(over="ignore", under="ignore"):
        return result.box._value, [
            None if d is None else np.array(d, v.dtype, order="C").reshape(v.shape)
            for d, v in zip(derivatives, variables, strict=True)
        ]


def _backward(end: Any, roots: list[Any]) -> list[Any]:
    """Go through the recorded operations from the end to the roots; return what reaches these."""
    package = _autograd()
    space = package.core.vspace(end._value)
    if np.iscomplexobj(end._value) or not np.issubdtype(np.result_type(end._value), np.floating):
        raise GradientError(
            f"the loss is {end._value!r}; valid: a real number. Nothing was changed."
        )
    found: dict[Any, Any] = {end._node: (space.ones(), False)}
    try:
        for node in package.util.toposort(end._node):
            reached = found[node] if node in roots else found.pop(node)
            for parent, part in zip(node.parents, node.vjp(reached[0]), strict=True):
                found[parent] = package.core.add_outgrads(found.get(parent), part)
    except NotImplementedError as error:
        raise GradientError(
            f"the loss has no derivative here ({error}). Nothing was changed."
        ) from error
    return [found[root][0] if root in found else None for root in roots]
