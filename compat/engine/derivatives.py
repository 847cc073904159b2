"""One derivative per operation, and the walk over a graph that combines them.

A row takes a node, the gradient of its result and the node's inputs, and returns a gradient for
each input; those that are None, or left out at the end, have no path. Where operands were
broadcast, the walk sums what a row returns. Rows are written in operations, so that gradients can
be differentiated again.
"""

from collections.abc import Callable, Container, Sequence
from typing import Any

from .expressions import Expression, build, cast, lifted
from .operations import OPERATIONS, TELLING
from .session import FLOATS, SESSION

Gradient = Expression | None
Row = Callable[..., tuple[Gradient, ...]]


def _filled(x: Expression, value: float) -> Expression:
    return build("fill_like", x, value=value, dtype=x.dtype)


def _fit(gradient: Expression, like: Expression) -> Expression:
    """Sum a gradient over the dimensions along which its input was repeated."""
    sizes = gradient.shape
    same = sizes is not None and None not in sizes and sizes == like.shape
    return gradient if same else build("sum_like", gradient, like)


def _either(condition: Expression, g: Expression) -> tuple[Gradient, ...]:
    """Give a gradient to the first of two operands where a condition holds, else to the second."""
    zero = _filled(g, 0.0)
    return build("where", condition, g, zero), build("where", condition, zero, g)


def _power(y: Expression, g: Expression, a: Expression, b: Expression) -> tuple[Gradient, ...]:
    safe = build("where", a > 0.0, a, _filled(a, 1.0))
    return g * b * build("power", a, b - 1.0), g * y * build("log", safe)


def _extreme(y: Expression, g: Expression, x: Expression) -> tuple[Gradient, ...]:
    """Share the gradient of a largest or smallest element among those equal to it."""
    hits = cast(build("equal", x, y), x.dtype)
    return (hits / build("sum", hits, **y.given) * g,)


def _transpose(y: Expression, g: Expression, x: Expression) -> tuple[Gradient, ...]:
    axes = y.given["axes"]
    back = axes and tuple(sorted(range(len(axes)), key=lambda k: axes[k] % len(axes)))
    return (build("transpose", g, axes=back),)


def _back_to_input(y: Expression, g: Expression, x: Expression, *_: Any) -> tuple[Gradient, ...]:
    return (build("reshape_like", g, x),)


def _part(y: Expression, g: Expression, whole: Expression, *parts: Any) -> tuple[Gradient, ...]:
    filled = [_filled(x, 0.0) for x in parts]
    filled[y.given["number"]] = g
    return (build("concatenate", *filled, axis=y.given["axis"]),)


NONE: Row = lambda y, g, *_: ()  # noqa: E731 (a row of the table)
SAME: Row = lambda y, g, *_: (g,)  # noqa: E731

DERIVATIVES: dict[str, Row] = {
    "add": lambda y, g, a, b: (g, g),
    "subtract": lambda y, g, a, b: (g, -g),
    "multiply": lambda y, g, a, b: (g * b, g * a),
    "divide": lambda y, g, a, b: (g / b, -g * y / b),
    "remainder": lambda y, g, a, b: (g, -g * ((a - y) / b)),
    "power": _power,
    "negative": lambda y, g, x: (-g,),
    "absolute": lambda y, g, x: (g * build("sign", x),),
    "square": lambda y, g, x: (g * (x * 2.0),),
    "sqrt": lambda y, g, x: (g * 0.5 / y,),
    "exp": lambda y, g, x: (g * y,),
    "log": lambda y, g, x: (g / x,),
    "tanh": lambda y, g, x: (g * (1.0 - build("square", y)),),
    "sigmoid": lambda y, g, x: (g * y * (1.0 - y),),
    # A product, as in TensorFlow: where x is negative, a gradient of NaN or infinity gives NaN.
    "relu": lambda y, g, x: (g * cast(y > 0.0, g.dtype),),
    "softplus": lambda y, g, x: (g * build("sigmoid", x),),
    # Ties go to the first operand, as in TensorFlow.
    "maximum": lambda y, g, a, b: _either(a >= b, g),
    "minimum": lambda y, g, a, b: _either(a <= b, g),
    "smaller": lambda y, g, a, b: _either(a <= b, g),
    "where": lambda y, g, condition, a, b: (None, *_either(condition, g)),
    "softmax": lambda y, g, x: ((g - build("sum", g * y, **y.given)) * y,),
    "sum": lambda y, g, x: (build("expand_like", g, x),),
    "mean": lambda y, g, x: (
        build("expand_like", g / build("sum", _filled(x, 1.0), **y.given), x),
    ),
    "max": _extreme,
    "min": _extreme,
    "dot": lambda y, g, a, b: (g @ b.T, build("rows", a).T @ build("rows", g)),
    "matmul": lambda y, g, a, b: (
        build("matmul", g, build("swap", b)),
        build("matmul", build("swap", a), g),
    ),
    "norm": lambda y, g, *xs: tuple(g * (x / y) for x in xs),
    **dict.fromkeys(("reshape", "reshape_like", "rows", "merge"), _back_to_input),
    **dict.fromkeys(("expand_dims", "squeeze"), _back_to_input),
    "transpose": _transpose,
    "swap": lambda y, g, x: (build("swap", g),),
    "item": lambda y, g, x: (build("put_like", g, x, **y.given),),
    "put_like": lambda y, g, x, like: (build("item", g, **y.given),),
    "sum_like": lambda y, g, x, like: (build("expand_like", g, x),),
    "expand_like": lambda y, g, x, like: (_fit(g, x),),
    "concatenate": lambda y, g, *xs: tuple(
        build("part", g, *xs, number=k, **y.given) for k in range(len(xs))
    ),
    "part": _part,
    "gather": lambda y, g, x, rows: (build("scatter_like", g, rows, x),),
    "scatter_like": lambda y, g, x, rows, like: (build("gather", g, rows),),
    "cast": lambda y, g, x: (cast(g, x.dtype),),
    **dict.fromkeys(("identity", "flush"), SAME),
    # Steps, counts and samples: constant wherever they have a derivative at all.
    **dict.fromkeys(("stop_gradient", "sign", "rint", "floor_divide", "argmax"), NONE),
    **dict.fromkeys(("one_hot", "fill_like", "shape", "random"), NONE),
    **dict.fromkeys(TELLING.split(), NONE),
}


def ordered(outputs: Sequence[Expression], fed: Container[int] = ()) -> list[Expression]:
    """Return every node that the outputs need, inputs first; none below those that are fed."""
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
            if id(node) not in fed:
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
    if not all(isinstance(v, Expression) for v in wanted):
        raise TypeError(f"{wanted!r:.80} are not all expressions; valid: variables of the loss")
    loss = lifted(loss, SESSION.floatx)
    order = ordered([loss])
    below = {id(v) for v in wanted}
    needed: set[int] = set()
    for node in order:
        if id(node) in below or any(id(x) in needed for x in node.inputs):
            needed.add(id(node))
    found = {id(loss): _filled(loss, 1.0)} if loss.dtype in FLOATS else {}
    for node in reversed(order):
        gradient = found.get(id(node))
        if gradient is None or id(node) not in needed or not node.inputs:
            continue
        spread = OPERATIONS[node.operation].elementwise and len(node.inputs) > 1
        shares = DERIVATIVES[node.operation](node, gradient, *node.inputs)
        for x, share in zip(node.inputs, shares, strict=False):
            if share is not None and id(x) in needed and x.dtype in FLOATS:
                known, own = found.get(id(x)), _fit(share, x) if spread else share
                found[id(x)] = own if known is None else known + own
    return [found.get(id(v)) for v in wanted]
