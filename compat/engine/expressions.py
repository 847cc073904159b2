"""Expressions: the nodes of a static graph, with the operators that scripts write between them."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .binding import Array, Shape
from .operations import OPERATIONS, static_shape
from .session import FLOATS, SESSION, number_kind

FRAMEWORKS = ("tensorflow", "theano", "torch", "jax", "jaxlib", "keras", "tf_keras")


# What modules above this one add: how an expression is evaluated, and NumPy functions of it.
ABOVE: dict[str, Callable[..., Any]] = {}


def _binary(operation: str) -> tuple[Callable[..., "Expression"], Callable[..., "Expression"]]:
    """Return an operator and its reflection."""
    return (
        lambda self, other: build(operation, self, other),
        lambda self, other: build(operation, other, self),
    )


def _reduction(operation: str) -> Callable[..., "Expression"]:
    """Return a reduction as a method, as Theano's tensors had it."""
    return lambda self, axis=None, keepdims=False: reduce(operation, self, axis, keepdims)


class StaticShape(tuple[Any, ...]):
    """A shape as `get_shape()` gave it in TensorFlow 1."""

    def as_list(self) -> list[Any]:
        """Return the sizes as a list, None where unknown."""
        return list(self)


class Expression:
    """One node: an operation on other nodes, of a known dtype and a shape as far as known.

    `shape` has None for sizes that only a call makes known, and is None where nothing is known.
    Expressions are compared by identity (`==`), as TensorFlow 1 and Theano compare tensors; they
    have no truth value and no number until a function evaluates them.
    """

    __array_priority__ = 1000
    history: Any  # the layer that made the node, with its inputs and outputs; absent elsewhere

    def __init__(
        self,
        operation: str,
        inputs: tuple["Expression", ...],
        dtype: str,
        shape: Shape,
        given: dict[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        self.operation, self.inputs, self.dtype = operation, inputs, dtype
        self.shape = shape
        self.given: dict[str, Any] = given or {}
        self.name = name or f"{SESSION.name(operation)}:0"

    @property
    def ndim(self) -> int | None:
        """The number of dimensions, or None where only a call makes it known."""
        return None if self.shape is None else len(self.shape)

    def get_shape(self) -> StaticShape:
        """Return the shape with `as_list`."""
        return StaticShape(self.shape or ())

    def __repr__(self) -> str:
        return f"<{self.operation} {self.name!r} shape={self.shape} dtype={self.dtype}>"

    def __bool__(self) -> bool:
        raise TypeError(
            f"{self!r} has no truth value before a function evaluates it. Use K.switch(condition, "
            "a, b) inside a graph, or K.eval(expression) for its value."
        )

    def __array__(self, *_: Any, **__: Any) -> Array:
        raise TypeError(
            f"{self!r} is not an array before a function evaluates it. Use K operations on it, or "
            "K.eval(expression) and K.get_value(variable) for values."
        )

    def __iter__(self) -> Iterator["Expression"]:
        if not self.shape or self.shape[0] is None:
            raise TypeError(f"{self!r} cannot be iterated: its first size is not known.")
        return iter([self[i] for i in range(self.shape[0])])

    def __getitem__(self, index: Any) -> "Expression":
        if isinstance(index, list | np.ndarray):
            index = constant(index, np.asarray(index).dtype.name)
        if isinstance(index, Expression) and index.dtype.startswith("int"):
            return build("gather", self, index)
        parts = index if isinstance(index, tuple) else (index,)
        if not all(isinstance(p, int | np.integer | slice | type(None)) or p is ... for p in parts):
            raise TypeError(
                f"{self!r} cannot be indexed by {index!r}; valid: integers, slices, '...', None, "
                "or one list or integer expression for rows. Use K.gather, or K.sum(x * "
                "K.one_hot(i, n), axis=1) to choose one element per row."
            )
        return build("item", self, index=index)

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        name = UFUNCS.get(function.__name__)
        if method != "__call__" or kwargs or name is None:
            raise TypeError(
                f"np.{function.__name__} ({method}) does not work on {self!r}; valid: "
                f"{', '.join(sorted(UFUNCS))}. Use the K function of that name, or K.eval first."
            )
        return build(name, *inputs)

    def __array_function__(self, function: Any, _: Any, args: Any, kwargs: Any) -> Any:
        return ABOVE["numpy"](function, args, kwargs)

    __add__, __radd__ = _binary("add")
    __sub__, __rsub__ = _binary("subtract")
    __mul__, __rmul__ = _binary("multiply")
    __truediv__, __rtruediv__ = _binary("divide")
    __floordiv__, __rfloordiv__ = _binary("floor_divide")
    __mod__, __rmod__ = _binary("remainder")
    __pow__, __rpow__ = _binary("power")
    __matmul__, __rmatmul__ = _binary("dot")
    __lt__, _ = _binary("less")
    __le__, _ = _binary("less_equal")
    __gt__, _ = _binary("greater")
    __ge__, _ = _binary("greater_equal")

    def __neg__(self) -> "Expression":
        return build("negative", self)

    def __abs__(self) -> "Expression":
        return build("absolute", self)

    sum, mean, max, min = (_reduction(name) for name in ("sum", "mean", "max", "min"))

    def reshape(self, *shape: Any) -> "Expression":
        """Return the elements in another shape."""
        return reshape(self, shape[0] if len(shape) == 1 else shape)

    def flatten(self) -> "Expression":
        """Return the elements as a vector."""
        return reshape(self, (-1,))

    def transpose(self, *axes: int) -> "Expression":
        """Return the dimensions in another order, reversed by default."""
        return build("transpose", self, axes=axes or None)

    def dimshuffle(self, *pattern: Any) -> "Expression":
        """Permute dimensions and add new ones ('x'), as Theano's method did."""
        flat = pattern[0] if len(pattern) == 1 and isinstance(pattern[0], tuple | list) else pattern
        moved = build("transpose", self, axes=tuple(p for p in flat if p != "x"))
        return moved[tuple(None if p == "x" else slice(None) for p in flat)]

    T = property(lambda self: build("transpose", self, axes=None), doc="Dimensions reversed.")

    def astype(self, dtype: Any) -> "Expression":
        """Return the elements in another dtype."""
        return cast(self, number_kind(f"astype of {self!r}", dtype))

    def eval(self, feeds: Any = None, **_: Any) -> Any:
        """Return the value of an expression, given its placeholders' values by placeholder."""
        return ABOVE["evaluate"](self, feeds or {})


_NUMPY = {n for n, row in OPERATIONS.items() if row.elementwise and hasattr(np, n)} - {"where"}
UFUNCS = {**{name: name for name in _NUMPY}, "true_divide": "divide", "float_power": "power"}


def constant(value: Any, dtype: str, name: str | None = None) -> Expression:
    """Return a node that holds a value."""
    array = np.array(value, dtype)
    array.flags.writeable = False
    return Expression("constant", (), dtype, array.shape, {"value": array}, name)


def numbers(value: Any, what: Any) -> Array:
    """Return a value as an array of numbers, or raise with what (text or a node) received it."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # how tensors refuse, too
        problem = str(error)
    else:
        if array.dtype.kind in "fiub":
            return array
        problem = f"its dtype is {array.dtype}"
    raise TypeError(
        f"{what} received {value!r:.80} ({problem}); valid: numbers, and lists and arrays of them."
    )


def literal(value: Any) -> Array:
    """Return what stands beside expressions as numbers; a tensor of a framework is refused."""
    origin = type(value).__module__.partition(".")[0]
    if origin in FRAMEWORKS:
        raise TypeError(
            f"received a tensor of {origin} ({value!r:.80}), but fastrms.compat runs without a "
            "framework. Write that part of the graph with K operations (tf.reduce_mean -> K.mean), "
            "or pass the finished gradients: get_updates(..., grads=[...])."
        )
    return numbers(value, "a K operation")


def lifted(value: Any, dtype: str) -> Expression:
    """Return a value as an expression; numbers take the dtype given."""
    return value if isinstance(value, Expression) else constant(literal(value), dtype)


def _common(values: tuple[Any, ...]) -> str:
    """Return the dtype in which several operands meet; literals follow the expressions."""
    dtypes = {v.dtype for v in values if isinstance(v, Expression)}
    floats = dtypes & set(FLOATS)
    if len(floats) > 1:
        shown = ", ".join(repr(v) for v in values if isinstance(v, Expression))
        raise TypeError(
            f"dtypes {' and '.join(sorted(floats))} meet in {shown}. Convert one with "
            "K.cast(x, dtype); nothing is widened silently."
        )
    if floats:
        return floats.pop()
    literals = [literal(v) for v in values if not isinstance(v, Expression)]
    if not dtypes or any(array.dtype.kind == "f" for array in literals):
        return SESSION.floatx
    return np.result_type(*dtypes, *(["int8"] if literals and dtypes == {"bool"} else [])).name


def build(operation: str, *values: Any, dtype: str | None = None, **given: Any) -> Expression:
    """Return a new node.

    Parameters
    ----------
    operation : str
        A key of `operations.OPERATIONS`.
    *values : Expression, number or array
        The operands; numbers take the dtype of the expressions beside them.
    dtype : str, optional
        The result's, where the operation does not fix it.
    **given
        What the operation needs besides: `axis`, `index`, ...
    """
    row = OPERATIONS[operation]
    if row.dtype in ("given", "first"):
        nodes = tuple(lifted(v, SESSION.floatx) for v in values)
        kind = dtype or nodes[0].dtype
    else:
        alike = values[1:] if row.dtype == "choice" else values
        common = _common(alike)
        if row.dtype == "float" and common not in FLOATS:
            common = SESSION.floatx
        wanted = ["bool"] * (len(values) - len(alike)) + [common] * len(alike)
        nodes = tuple(cast(lifted(v, k), k) for v, k in zip(values, wanted, strict=True))
        kind = "bool" if row.dtype == "bool" else common
    shape = static_shape(operation, [node.shape for node in nodes], given, kind)
    return Expression(operation, nodes, kind, shape, given)


def cast(x: Expression, dtype: str) -> Expression:
    """Return an expression in another dtype, itself if it has it."""
    return x if x.dtype == dtype else build("cast", x, dtype=dtype)


def reduce(operation: str, x: Expression, axis: Any, keepdims: bool) -> Expression:
    """Return a reduction over one axis, several, or all."""
    axes = tuple(int(a) for a in axis) if isinstance(axis, tuple | list) else axis
    kept = build(operation, x, axis=axes)
    return kept if keepdims else build("squeeze", kept, axis=axes)


def sized(shape: Any) -> tuple[Any, tuple[Expression, ...]]:
    """Split a shape into its fixed sizes, None for the others, and these as expressions."""
    if isinstance(shape, Expression):
        return None, (shape,)
    sizes = list(shape) if isinstance(shape, Iterable) else [shape]
    if shape is None or not all(isinstance(s, int | np.integer | Expression | None) for s in sizes):
        raise TypeError(
            f"a shape is {shape!r:.60}; valid: integers, -1 for one size that follows from the "
            "others, and K.shape(x)[i]."
        )
    return (
        tuple(None if isinstance(s, Expression) or s is None else int(s) for s in sizes),
        tuple(s for s in sizes if isinstance(s, Expression)),
    )


def reshape(x: Expression, shape: Any) -> Expression:
    """Return the elements in another shape, some of whose sizes may be expressions."""
    fixed, rest = sized(shape)
    if fixed is not None and fixed.count(None) == len(rest) + 1:  # one unknown size: inferred
        fixed = tuple(-1 if s is None and not rest else s for s in fixed)
    return build("reshape", x, *rest, shape=fixed)
