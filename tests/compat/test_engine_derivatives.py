"""Every derivative row against autograd, against finite differences, and differentiated again."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

from fastrms.compat.engine import backend
from fastrms.compat.engine.derivatives import DERIVATIVES, NONE, gradients
from fastrms.compat.engine.expressions import build, constant
from fastrms.compat.engine.functions import Function
from fastrms.compat.engine.operations import OPERATIONS
from fastrms.compat.engine.variables import Variable

A, B, V = (3, 4), (4,), (2, 3, 4)
ROWS = np.array([2, 0, 2])


def op(name, **given):
    """The engine's operation, as a function of expressions."""
    return lambda *xs: build(name, *xs, **given)


def like(name, dtype="float64", **given):
    return lambda *xs: build(name, *xs, dtype=dtype, **given)


def anp_softmax(x):
    e = anp.exp(x - anp.max(x, axis=-1, keepdims=True))
    return e / anp.sum(e, axis=-1, keepdims=True)


def put(g, shape):
    """Place g in zeros at [1:, ::2] by matrix products, which autograd can differentiate."""
    rows, columns = np.eye(shape[0])[:, 1:], np.eye(shape[1])[:, ::2]
    return anp.dot(anp.dot(rows, g), columns.T)


def of_fixed(name, index, value, **given):
    """An operation one of whose operands is an integer array."""

    def made(*xs):
        operands = list(xs)
        operands.insert(index, constant(value, "int64"))
        return build(name, *operands, **given)

    return made


# operation -> (engine, autograd, shapes of the operands). Operands are away from kinks and 0.
CASES = {
    "add": (op("add"), lambda a, b: a + b, (A, B)),
    "subtract": (op("subtract"), lambda a, b: a - b, (B, A)),
    "multiply": (op("multiply"), lambda a, b: a * b, (A, B)),
    "divide": (op("divide"), lambda a, b: a / b, (B, A)),
    "remainder": (op("remainder"), lambda a, b: a - b * np.floor(VALUE(a) / VALUE(b)), (A, B)),
    "power": (op("power"), lambda a, b: anp.abs(a) ** b, (A, B)),
    "negative": (op("negative"), lambda a: -a, (A,)),
    "absolute": (op("absolute"), anp.abs, (A,)),
    "square": (op("square"), lambda a: a**2, (A,)),
    "sqrt": (op("sqrt"), anp.sqrt, (A,)),
    "exp": (op("exp"), anp.exp, (A,)),
    "log": (op("log"), anp.log, (A,)),
    "tanh": (op("tanh"), anp.tanh, (A,)),
    "sigmoid": (op("sigmoid"), lambda a: 1 / (1 + anp.exp(-a)), (A,)),
    "relu": (op("relu"), lambda a: anp.maximum(a, 0.0), (A,)),
    "softplus": (op("softplus"), lambda a: anp.log(1 + anp.exp(a)), (A,)),
    "maximum": (op("maximum"), anp.maximum, (A, B)),
    "minimum": (op("minimum"), anp.minimum, (A, B)),
    "smaller": (op("smaller"), anp.minimum, (A, B)),
    "flush": (op("flush"), lambda a: a, (A,)),
    "where": (
        lambda a, b: build("where", a > 0.9, a, b),
        lambda a, b: anp.where(VALUE(a) > 0.9, a, b + 0 * a),
        (A, B),
    ),
    "softmax": (op("softmax", axis=-1), anp_softmax, (A,)),
    "sum": (lambda a: a.sum(axis=(0, 2)), lambda a: anp.sum(a, axis=(0, 2)), (V,)),
    "mean": (op("mean", axis=1), lambda a: anp.mean(a, 1, keepdims=True), (V,)),
    "max": (lambda a: a.max(axis=-1), lambda a: anp.max(a, axis=-1), (A,)),
    "min": (lambda a: a.min(), anp.min, (A,)),
    "dot": (op("dot"), anp.dot, (V, (4, 2))),
    "matmul": (op("matmul"), anp.matmul, (V, (2, 4, 5))),
    "norm": (op("norm"), lambda a, b: anp.sqrt(anp.sum(a**2) + anp.sum(b**2)), (A, B)),
    "reshape": (op("reshape", shape=(2, 6)), lambda a: anp.reshape(a, (2, 6)), (A,)),
    "reshape_like": (like("reshape_like"), lambda a, b: anp.reshape(a, (12,)) + 0 * b, (A, (12,))),
    "rows": (op("rows"), lambda a: anp.reshape(a, (6, 4)), (V,)),
    "merge": (op("merge", axis=1), lambda a: anp.reshape(a, (2, 12)), (V,)),
    "swap": (op("swap"), lambda a: anp.swapaxes(a, -1, -2), (V,)),
    "transpose": (op("transpose", axes=(2, 0, 1)), lambda a: anp.transpose(a, (2, 0, 1)), (V,)),
    "expand_dims": (op("expand_dims", axis=1), lambda a: anp.expand_dims(a, 1), (A,)),
    "squeeze": (op("squeeze", axis=0), lambda a: anp.squeeze(a, 0), ((1, 4),)),
    "item": (
        op("item", index=(slice(1, None), slice(None, None, 2))),
        lambda a: a[1:, ::2],
        (A,),
    ),
    "put_like": (
        like("put_like", index=(slice(1, None), slice(None, None, 2))),
        lambda g, x: put(g, A) + 0 * x,
        ((2, 2), A),
    ),
    "sum_like": (like("sum_like"), lambda a, b: anp.sum(a, axis=0) + 0 * b, (A, B)),
    "expand_like": (like("expand_like"), lambda b, a: b + 0 * a, (B, A)),
    "concatenate": (
        op("concatenate", axis=1),
        lambda a, b: anp.concatenate([a, b], axis=1),
        (A, (3, 2)),
    ),
    "part": (
        like("part", axis=1, number=1),
        lambda g, a, b: g[:, 4:] + 0 * b,
        ((3, 6), A, (3, 2)),
    ),
    "gather": (of_fixed("gather", 1, ROWS), lambda a: a[ROWS], (A,)),
    "scatter_like": (
        of_fixed("scatter_like", 1, ROWS),
        lambda g, x: anp.dot(np.eye(3)[:, ROWS], g) + 0 * x,
        (A, A),
    ),
    "cast": (
        lambda a: build("cast", build("cast", a, dtype="float64"), dtype="float64"),
        lambda a: a,
        (A,),
    ),
    "identity": (op("identity"), lambda a: a, (A,)),
}


def VALUE(x):  # noqa: N802
    """The number inside an autograd box."""
    while hasattr(x, "_value"):
        x = x._value
    return x


def operands(shapes):
    """Positive numbers, far enough from each other that no difference crosses a kink."""
    generator = np.random.default_rng(3)
    return [
        0.3
        + 1.5
        * generator.permutation(np.linspace(0, 1, int(np.prod(s)) + k)[: int(np.prod(s))]).reshape(
            s
        )
        + 0.013 * k
        for k, s in enumerate(shapes)
    ]


def weighted(name, variables):
    """A scalar that weights every element of the result differently, and its weights."""
    y = CASES[name][0](*variables)
    weights = np.cos(np.arange(int(np.prod(y.shape)))).reshape(y.shape)
    return (y * constant(weights, "float64")).sum(), weights


@pytest.mark.parametrize("name", CASES)
def test_first_derivative_equals_autograd(name):
    _, reference, shapes = CASES[name]
    values = operands(shapes)
    variables = [Variable(v, "float64") for v in values]
    loss, weights = weighted(name, variables)
    ours = gradients(loss, variables)
    found = Function([], [loss, *[g for g in ours if g is not None]])([])
    expected = autograd.value_and_grad(lambda xs: anp.sum(reference(*xs) * weights))(tuple(values))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-12)
    present = [e for e, g in zip(expected[1], ours, strict=True) if g is not None]
    for mine, theirs in zip(found[1:], present, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)
    absent = [e for e, g in zip(expected[1], ours, strict=True) if g is None]
    assert all(not np.any(e) for e in absent)


def differences(function, variables, step=1e-6):
    """Central differences of a scalar function in every element of every variable."""
    found = []
    for variable in variables:
        slope = np.empty_like(variable.array)
        for index in np.ndindex(slope.shape):
            kept = variable.array[index]
            ends = []
            for sign in (1, -1):
                variable.array[index] = kept + sign * step
                ends.append(function())
            variable.array[index] = kept
            slope[index] = (ends[0] - ends[1]) / (2 * step)
        found.append(slope)
    return found


@pytest.mark.parametrize("name", CASES)
def test_derivatives_equal_finite_differences_and_nest(name):
    variables = [Variable(v, "float64") for v in operands(CASES[name][2])]
    loss, _ = weighted(name, variables)
    first = [g for g in gradients(loss, variables) if g is not None]
    terms = [(g * g).sum() for g in first]
    penalty = sum(terms[1:], terms[0])
    for scalar in (loss, penalty):
        value = Function([], scalar)
        slopes = differences(lambda value=value: float(value([])), variables)
        for variable, slope in zip(variables, slopes, strict=True):
            (gradient,) = gradients(scalar, [variable])
            mine = 0.0 if gradient is None else Function([], gradient)([])
            np.testing.assert_allclose(mine, slope, rtol=2e-6, atol=5e-8)


def test_every_operation_has_a_derivative_row_and_every_row_a_case():
    assert set(DERIVATIVES) == set(OPERATIONS)
    assert {name for name, row in DERIVATIVES.items() if row is not NONE} == set(CASES)


@pytest.mark.parametrize("name", [n for n, row in DERIVATIVES.items() if row is NONE])
def test_operations_without_derivative_cut_the_path(name):
    x = Variable(np.ones((2, 3)), "float64")
    given = {
        "argmax": {"axis": 0, "dtype": "int64"},
        "one_hot": {"classes": 3, "dtype": "float64"},
        "fill_like": {"value": 1.0, "dtype": "float64"},
        "shape": {"dtype": "int32"},
        "random": {"shape": (2, 3), "sampler": lambda out: None, "dtype": "float64"},
    }
    two = OPERATIONS[name].elementwise and name not in (
        "sign", "rint", "logical_not",
    )  # fmt: skip
    inputs = () if name == "random" else (x, x) if two else (x,)
    y = build(name, *inputs, **given.get(name, {}))
    z = build("cast", y, dtype="float64")
    assert gradients(z.sum(), [x]) == [None]


def test_ties_share_the_gradient_of_a_maximum_and_go_first_between_two():
    x = Variable([2.0, 1.0, 2.0], "float64")
    (shared,) = gradients(x.max(), [x])
    np.testing.assert_array_equal(shared.eval(), [0.5, 0.0, 0.5])
    y = Variable([2.0, 3.0, 1.0], "float64")
    first, second = gradients(build("maximum", x, y), [x, y])
    np.testing.assert_array_equal(first.eval(), [1.0, 0.0, 1.0])
    np.testing.assert_array_equal(second.eval(), [0.0, 1.0, 0.0])


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_repeated_elements_and_their_gradient(axis):
    x = Variable(operands((V,))[0], "float64")
    repeated = backend.repeat_elements(x, 3, axis)
    np.testing.assert_array_equal(repeated.eval(), np.repeat(x.array, 3, axis))
    weights = np.cos(np.arange(repeated.eval().size)).reshape(repeated.shape)
    (gradient,) = gradients((repeated * weights).sum(), [x])
    at = axis % 3
    apart = weights.reshape(*V[: at + 1], 3, *V[at + 1 :])
    np.testing.assert_allclose(gradient.eval(), apart.sum(axis=at + 1), rtol=1e-6, atol=1e-7)


def test_an_axis_that_is_not_there_is_refused():
    x = Variable(np.ones((2, 3)), "float64")
    for function in (backend.sum, backend.mean, backend.max, backend.softmax, backend.argmax):
        with pytest.raises(ValueError, match=r"\(2, 3\), axis=5: (axis|index) 5 is out of bounds"):
            function(x, axis=5)


def test_a_permutation_counted_from_the_end_has_its_derivative():
    x = Variable(operands((V,))[0], "float64")
    y = backend.permute_dimensions(x, (-1, 0, 1))
    weights = constant(np.arange(24.0).reshape(4, 2, 3), "float64")
    (gradient,) = gradients((y * weights).sum(), [x])
    np.testing.assert_array_equal(gradient.eval(), weights.eval().transpose(1, 2, 0))
