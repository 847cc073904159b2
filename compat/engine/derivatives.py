"""One derivative per operation, and the walk over a graph that combines them.

A row takes a node and the gradient of its result, and returns one gradient per input (None: no
path). Rows are written in operations, so that gradients can be differentiated again.
"""

from collections.abc import Callable, Sequence
from typing import Any

from .expressions import Expression, build, cast
from .session import FLOATS

Gradient = Expression | None
Row = Callable[[Expression, Expression], tuple[Gradient, ...]]


def _fit(gradient: Expression, like: Expression) -> Expression:
    """Sum a gradient over the dimensions along which its input was repeated."""
    known = gradient.static_shape is not None and gradient.static_shape == like.static_shape
    if known and None not in (like.static_shape or ()):
        return gradient
    return build("sum_like", gradient, like, dtype=gradient.dtype)


def _spread(x: Expression, like: Expression, axis: Any) -> Expression:
    """Repeat a reduced expression along the axes that were reduced."""
    return build("spread_like", x, like, axis=axis, dtype=x.dtype)


def _pair(left: Callable[..., Expression], right: Callable[..., Expression]) -> Row:
    """Return the row of an operation on two broadcast operands."""

    def row(y: Expression, g: Expression) -> tuple[Gradient, ...]:
        a, b = y.inputs
        return _fit(left(g, a, b, y), a), _fit(right(g, a, b, y), b)

    return row


def _one(derivative: Callable[..., Expression]) -> Row:
    """Return the row of an operation on one operand."""
    return lambda y, g: (derivative(g, y.inputs[0], y),)


def _zero(x: Expression) -> Expression:
    return build("fill_like", x, value=0.0, dtype=x.dtype)


def _power_of_base(g: Expression, a: Expression, b: Expression, y: Expression) -> Expression:
    return g * b * build("power", a, b - 1.0)


def _power_of_exponent(g: Expression, a: Expression, b: Expression, y: Expression) -> Expression:
    safe = build("where", a > 0.0, a, build("fill_like", a, value=1.0, dtype=a.dtype))
    return g * y * build("log", safe)


def _chosen(larger: str) -> Row:
    """Return the row of maximum or minimum: ties go to the first operand, as in TensorFlow."""

    def row(y: Expression, g: Expression) -> tuple[Gradient, ...]:
        a, b = y.inputs
        first = build(larger, a, b)
        zero = _zero(g)
        return _fit(build("where", first, g, zero), a), _fit(build("where", first, zero, g), b)

    return row


def _where(y: Expression, g: Expression) -> tuple[Gradient, ...]:
    condition, a, b = y.inputs
    zero = _zero(g)
    yes, no = build("where", condition, g, zero), build("where", condition, zero, g)
    return None, _fit(yes, a), _fit(no, b)


def _extreme(y: Expression, g: Expression) -> tuple[Gradient, ...]:
    """Share the gradient of a largest or smallest element among those equal to it."""
    x, axis = y.inputs[0], y.given["axis"]
    hits = cast(build("equal", x, _spread(y, x, axis)), x.dtype)
    count = _spread(build("sum", hits, axis=axis, keepdims=y.given["keepdims"]), x, axis)
    return (hits / count * _spread(g, x, axis),)


def _sum(y: Expression, g: Expression) -> tuple[Gradient, ...]:
    return (_spread(g, y.inputs[0], y.given["axis"]),)


def _mean(y: Expression, g: Expression) -> tuple[Gradient, ...]:
    x, axis = y.inputs[0], y.given["axis"]
    ones = build("fill_like", x, value=1.0, dtype=x.dtype)
    count = build("sum", ones, axis=axis, keepdims=y.given["keepdims"])
    return (_spread(g / count, x, axis),)


def _dot(y: Expression, g: Expression) -> tuple[Gradient, ...]:
    a, b = y.inputs
    return build("dot", g, b.T), build("dot", build("rows", a).T, build("rows", g))


def _swapped(x: Expression) -> Expression:
    rank = x.ndim or 2
    return build("transpose", x, axes=(*range(rank - 2), rank - 1, rank - 2))


def _matmul(y: Expression, g: Expression) -> tuple[Gradient, ...]:
    a, b = y.inputs
    return build("matmul", g, _swapped(b)), build("matmul", _swapped(a), g)


def _softmax(y: Expression, g: Expression) -> tuple[Gradient, ...]:
    axis = y.given["axis"]
    return ((g - build("sum", g * y, axis=axis, keepdims=True)) * y,)


def _transpose(y: Expression, g: Expression) -> tuple[Gradient, ...]:
    axes = y.given["axes"]
    back = None if axes is None else tuple(sorted(range(len(axes)), key=lambda k: axes[k]))
    return (build("transpose", g, axes=back),)


def _back_to_input(y: Expression, g: Expression) -> tuple[Gradient, ...]:
    return (build("reshape_like", g, y.inputs[0], dtype=g.dtype), *[None] * (len(y.inputs) - 1))


def _concatenate(y: Expression, g: Expression) -> tuple[Gradient, ...]:
    axis = y.given["axis"]
    return tuple(
        build("part", g, *y.inputs, axis=axis, number=k, dtype=g.dtype)
        for k in range(len(y.inputs))
    )


def _part(y: Expression, g: Expression) -> tuple[Gradient, ...]:
    parts = [_zero(x) for x in y.inputs[1:]]
    parts[y.given["number"]] = g
    whole = build("concatenate", *parts, axis=y.given["axis"])
    return (whole, *[None] * len(parts))


def _item(y: Expression, g: Expression) -> tuple[Gradient, ...]:
    return (build("put_like", g, y.inputs[0], index=y.given["index"], dtype=g.dtype),)


def _gather(y: Expression, g: Expression) -> tuple[Gradient, ...]:
    x, rows = y.inputs
    return build("scatter_like", g, rows, x), None


def _norm(y: Expression, g: Expression) -> tuple[Gradient, ...]:
    return tuple(g * (x / y) for x in y.inputs)


def _relu(g: Expression, x: Expression, y: Expression) -> Expression:
    return build("where", y > 0.0, g, _zero(g))


def _like(back: Callable[[Expression, Expression], Expression]) -> Row:
    """Return the row of an operation whose second input lends only its shape."""
    return lambda y, g: (back(g, y), *[None] * (len(y.inputs) - 1))


def _cast(y: Expression, g: Expression) -> tuple[Gradient, ...]:
    x = y.inputs[0]
    return (cast(g, x.dtype) if x.dtype in FLOATS and y.dtype in FLOATS else None,)


def _unspread(g: Expression, y: Expression) -> Expression:
    summed = build("sum", g, axis=y.given["axis"], keepdims=False)
    return build("reshape_like", summed, y.inputs[0], dtype=g.dtype)


NONE: Row = lambda y, g: tuple(None for _ in y.inputs)  # noqa: E731 (a row of the table)

DERIVATIVES: dict[str, Row] = {
    "add": _pair(lambda g, a, b, y: g, lambda g, a, b, y: g),
    "subtract": _pair(lambda g, a, b, y: g, lambda g, a, b, y: -g),
    "multiply": _pair(lambda g, a, b, y: g * b, lambda g, a, b, y: g * a),
    "divide": _pair(lambda g, a, b, y: g / b, lambda g, a, b, y: -g * y / b),
    "remainder": _pair(lambda g, a, b, y: g, lambda g, a, b, y: -g * ((a - y) / b)),
    "power": _pair(_power_of_base, _power_of_exponent),
    "negative": _one(lambda g, x, y: -g),
    "absolute": _one(lambda g, x, y: g * build("sign", x)),
    "square": _one(lambda g, x, y: g * (x * 2.0)),
    "sqrt": _one(lambda g, x, y: g * 0.5 / y),
    "exp": _one(lambda g, x, y: g * y),
    "log": _one(lambda g, x, y: g / x),
    "tanh": _one(lambda g, x, y: g * (1.0 - build("square", y))),
    "sigmoid": _one(lambda g, x, y: g * y * (1.0 - y)),
    "relu": _one(_relu),
    "softplus": _one(lambda g, x, y: g * build("sigmoid", x)),
    "maximum": _chosen("greater_equal"),
    "minimum": _chosen("less_equal"),
    "smaller": _chosen("less_equal"),
    "where": _where,
    "softmax": _softmax,
    "sum": _sum,
    "mean": _mean,
    "max": _extreme,
    "min": _extreme,
    "dot": _dot,
    "matmul": _matmul,
    "norm": _norm,
    "reshape": _back_to_input,
    "reshape_like": _back_to_input,
    "rows": _back_to_input,
    "expand_dims": _back_to_input,
    "squeeze": _back_to_input,
    "transpose": _transpose,
    "item": _item,
    "put_like": _like(lambda g, y: build("item", g, index=y.given["index"])),
    "sum_like": _like(lambda g, y: build("expand_like", g, y.inputs[0], dtype=g.dtype)),
    "expand_like": _like(lambda g, y: _fit(g, y.inputs[0])),
    "spread_like": _like(_unspread),
    "concatenate": _concatenate,
    "part": _part,
    "repeat": _one(lambda g, x, y: build("unrepeat", g, **y.given)),
    "unrepeat": _one(lambda g, x, y: build("repeat", g, **y.given)),
    "gather": _gather,
    "scatter_like": lambda y, g: (build("gather", g, y.inputs[1]), None, None),
    "cast": _cast,
    "identity": _one(lambda g, x, y: g),
    "flush": _one(lambda g, x, y: g),
    # Steps, counts and samples: constant wherever they have a derivative at all.
    **dict.fromkeys(("stop_gradient", "sign", "rint", "floor_divide", "argmax"), NONE),
    **dict.fromkeys(("one_hot", "fill_like", "shape", "random"), NONE),
    **dict.fromkeys(("equal", "not_equal", "greater", "greater_equal", "less"), NONE),
    **dict.fromkeys(("less_equal", "logical_and", "logical_or", "logical_not"), NONE),
}


def ordered(outputs: Sequence[Expression]) -> list[Expression]:
    """Return every node below the outputs, inputs before what uses them."""
    order: list[Expression] = []
    seen: set[int] = set()
    stack: list[tuple[Expression, bool]] = [(node, False) for node in reversed(outputs)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((x, False) for x in reversed(node.inputs))
    return order


def gradients(loss: Expression, variables: Any) -> list[Gradient]:
    """Return the gradient of a loss (its sum, if it is no scalar) for each variable.

    Parameters
    ----------
    loss : Expression
        A node of a floating dtype.
    variables : Expression or list of Expression
        Nodes below it.

    Returns
    -------
    list of Expression or None
        None where no differentiable path leads to the variable. The expressions can be
        differentiated again.
    """
    wanted = list(variables) if isinstance(variables, list | tuple) else [variables]
    order = ordered([loss])
    below = {id(v) for v in wanted}
    needed: set[int] = set()
    for node in order:
        if id(node) in below or any(id(x) in needed for x in node.inputs):
            needed.add(id(node))
    found: dict[int, Expression] = {id(loss): build("fill_like", loss, value=1.0, dtype=loss.dtype)}
    for node in reversed(order):
        gradient = found.get(id(node))
        if gradient is None or id(node) not in needed or not node.inputs:
            continue
        shares = DERIVATIVES[node.operation](node, gradient)
        for x, share in zip(node.inputs, shares, strict=True):
            if share is not None and id(x) in needed and x.dtype in FLOATS:
                known = found.get(id(x))
                found[id(x)] = share if known is None else known + share
    return [found.get(id(v)) for v in wanted]
