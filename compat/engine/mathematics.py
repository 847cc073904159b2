"""Mathematics of the backend: element by element, reductions, shapes and products."""

import builtins
import math
from collections.abc import Callable, Sequence
from typing import Any

from . import expressions
from .expressions import Expression, build, lifted, reduce, reshape
from .session import SESSION, number_kind

Node = Expression


def of(x: Any) -> Node:
    """Return a value as an expression."""
    return lifted(x, SESSION.floatx)


def _one(operation: str, doc: str) -> Callable[[Any], Node]:
    """Return the function of an operation on one operand."""

    def function(x: Any) -> Node:
        return build(operation, x)

    function.__doc__ = doc
    return function


def _two(operation: str, doc: str) -> Callable[[Any, Any], Node]:
    """Return the function of an operation on two operands."""

    def function(x: Any, y: Any) -> Node:
        return build(operation, x, y)

    function.__doc__ = doc
    return function


def _reducing(operation: str, doc: str) -> Callable[..., Node]:
    """Return the function of a reduction."""

    def function(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
        return reduce(operation, of(x), axis, keepdims)

    function.__doc__ = doc
    return function


abs = _one("absolute", "Return absolute values.")
square = _one("square", "Return squares.")
exp = _one("exp", "Return exponentials.")
log = _one("log", "Return natural logarithms.")
tanh = _one("tanh", "Return hyperbolic tangents.")
sigmoid = _one("sigmoid", "Return 1 / (1 + exp(-x)).")
softplus = _one("softplus", "Return log(1 + exp(x)).")
sign = _one("sign", "Return -1, 0 or 1.")
round = _one("rint", "Return the nearest integers, halves to even.")
maximum = _two("maximum", "Return the larger of two.")
minimum = _two("minimum", "Return the smaller of two.")
equal = _two("equal", "Tell where two are equal.")
not_equal = _two("not_equal", "Tell where two differ.")
greater = _two("greater", "Tell where x is greater.")
greater_equal = _two("greater_equal", "Tell where x is greater or equal.")
less = _two("less", "Tell where x is less.")
less_equal = _two("less_equal", "Tell where x is less or equal.")
mean = _reducing("mean", "Return the mean.")
max = _reducing("max", "Return the largest element.")
min = _reducing("min", "Return the smallest element.")


def pow(x: Any, a: Any) -> Node:
    """Return powers."""
    return build("power", x, a)


def sqrt(x: Any) -> Node:
    """Return square roots, of 0 for negative numbers."""
    return build("sqrt", build("maximum", x, 0.0))


def hard_sigmoid(x: Any) -> Node:
    """Return 0.2 * x + 0.5, clipped to [0, 1]."""
    return clip(0.2 * of(x) + 0.5, 0.0, 1.0)


def relu(x: Any, alpha: Any = 0.0, max_value: Any = None) -> Node:
    """Return max(x, 0), with a slope below 0 and a bound above where given."""
    found = build("relu", x)
    if max_value is not None:
        found = build("minimum", found, max_value)
    flat = isinstance(alpha, float | int) and alpha == 0
    return found if flat else found - alpha * build("relu", -x)


def elu(x: Any, alpha: float = 1.0) -> Node:
    """Return x, or alpha * (exp(x) - 1) below 0."""
    return switch(of(x) > 0, x, alpha * (exp(build("minimum", x, 0.0)) - 1.0))


def softmax(x: Any, axis: int = -1) -> Node:
    """Return exponentials divided by their sum."""
    return build("softmax", x, axis=axis)


def clip(x: Any, min_value: Any, max_value: Any) -> Node:
    """Return x bounded from below and above; None bounds nothing."""
    if min_value is None or max_value is None:
        bounded = x if max_value is None else build("minimum", x, max_value)
        return of(bounded) if min_value is None else build("maximum", bounded, min_value)
    if isinstance(min_value, float | int) and isinstance(max_value, float | int):
        max_value = max_value if max_value >= min_value else min_value
    return build("maximum", build("minimum", x, max_value), min_value)


def cast(x: Any, dtype: Any) -> Node:
    """Return x in another dtype."""
    return expressions.cast(of(x), number_kind("K.cast", dtype))


def stop_gradient(variables: Any) -> Any:
    """Return x (or each of a list), constant for derivatives."""
    if isinstance(variables, list | tuple):
        return [stop_gradient(x) for x in variables]
    return build("stop_gradient", variables)


def switch(condition: Any, then_expression: Any, else_expression: Any) -> Node:
    """Return one of two expressions (or functions that return them), element by element."""
    yes = then_expression() if callable(then_expression) else then_expression
    no = else_expression() if callable(else_expression) else else_expression
    chosen = lifted(condition, "bool")
    rank = builtins.max(x.ndim or 0 for x in (of(yes), of(no)))
    while chosen.ndim and chosen.ndim < rank:
        chosen = expand_dims(chosen, -1)
    return build("where", chosen, yes, no)


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """Return the sum."""
    node = cast(x, SESSION.floatx) if of(x).dtype == "bool" else of(x)
    return reduce("sum", node, axis, keepdims)


def argmax(x: Any, axis: int = -1) -> Node:
    """Return where the largest element is."""
    return build("argmax", x, axis=axis, dtype="int64")


def dot(x: Any, y: Any) -> Node:
    """Return a product with a matrix (or the inner product with a vector)."""
    right = of(y)
    return sum(of(x) * right, axis=-1) if right.ndim == 1 else build("dot", x, right)


def batch_dot(x: Node, y: Node, axes: Any = None) -> Node:
    """Return one product per row: over axes[0] of x and axes[1] of y."""
    if not x.ndim or not y.ndim:
        raise ValueError("K.batch_dot needs inputs of known rank; give the placeholder a shape.")
    first, second = (axes, axes) if isinstance(axes, int) else axes or (x.ndim - 1, y.ndim - 2)
    if x.ndim == y.ndim == 2:
        return sum(x * y, axis=1, keepdims=True)
    left = expand_dims(x, 1) if x.ndim == 2 else x
    left = permute_dimensions(left, (0, 2, 1)) if x.ndim == 3 and first % 3 == 1 else left
    right = expand_dims(y, 2) if y.ndim == 2 else y
    right = permute_dimensions(right, (0, 2, 1)) if y.ndim == 3 and second % 3 == 2 else right
    found = build("matmul", left, right)
    return squeeze(found, 1 if x.ndim == 2 else 2) if 2 in (x.ndim, y.ndim) else found


def transpose(x: Any) -> Node:
    """Return the dimensions in reversed order."""
    return build("transpose", x, axes=None)


def permute_dimensions(x: Any, pattern: Any) -> Node:
    """Return the dimensions in another order."""
    return build("transpose", x, axes=tuple(int(p) for p in pattern))


def flatten(x: Any) -> Node:
    """Return the elements as a vector."""
    return reshape(of(x), (-1,))


def batch_flatten(x: Node) -> Node:
    """Return each row's elements as a vector."""
    rest = (x.shape or (None,))[1:]
    if None not in rest and x.shape is not None:
        return reshape(x, (-1, math.prod(size or 0 for size in rest)))
    return reshape(x, (shape(x)[0], -1))


def expand_dims(x: Any, axis: int = -1) -> Node:
    """Return x with a new dimension of size 1."""
    return build("expand_dims", x, axis=int(axis))


def squeeze(x: Any, axis: int) -> Node:
    """Return x without a dimension of size 1."""
    return build("squeeze", x, axis=axis)


def concatenate(tensors: Sequence[Any], axis: int = -1) -> Node:
    """Return arrays joined along a dimension."""
    return build("concatenate", *tensors, axis=int(axis))


def repeat_elements(x: Any, rep: int, axis: int) -> Node:
    """Return x with every element along a dimension repeated."""
    apart = expand_dims(x, axis + 1 if axis >= 0 else axis)
    return build("merge", concatenate([apart] * rep, axis + 1 if axis >= 0 else axis), axis=axis)


def gather(reference: Any, indices: Any) -> Node:
    """Return rows by their numbers."""
    return build("gather", reference, lifted(indices, "int64"))


def one_hot(indices: Any, num_classes: int) -> Node:
    """Return vectors that are 1 at an index and 0 elsewhere."""
    return build(
        "one_hot", lifted(indices, "int64"), classes=int(num_classes), dtype=SESSION.floatx
    )


def l2_normalize(x: Any, axis: Any = None) -> Node:
    """Return x divided by its norm along an axis."""
    node = of(x)
    return node / sqrt(maximum(sum(square(node), axis, True), 1e-12))


def identity(x: Any, name: str | None = None) -> Node:
    """Return a node of the same value."""
    return build("identity", x)


def shape(x: Node) -> Node:
    """Return the shape as an expression."""
    return build("shape", x, dtype="int32")
