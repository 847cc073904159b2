"""`minimize` and `compute_gradients`: losses in plain NumPy, against finite differences."""

import math
import subprocess
import sys

import numpy as np
import pytest

import fastrms
from fastrms import GradientError, RMSprop, Variable, VariableError

X = np.array([[0.5, -1.0], [2.0, 0.25], [1.5, -0.75]])
LOSSES = {
    "operators": lambda w, b: ((w * 2 - b) ** 2 / 3 + abs(w) - 1 / (w @ w.T + 9).sum()).sum(),
    "ufuncs": lambda w, b: np.sum(np.exp(-w) + np.tanh(b) * np.sqrt(w * w + 1) + np.log1p(w * w)),
    "functions": lambda w, b: (
        np.linalg.norm(np.concatenate([w, b[None]])) + np.mean(np.stack([b, b]))
    ),
    "methods": lambda w, b: w.reshape(-1).max() + w.T.mean() * b.sum() + w.std() + w.copy().min(),
    "elements": lambda w, b: w[0, 0] * w[1].sum() + w[[0, 0], [1, 0]].sum() * b[0] + w.T[1, 0],
    "loops": lambda w, b: sum(row.sum() ** 2 for row in w) + sum((b * k).mean() for k in range(3)),
    "data": lambda w, b: np.mean((np.maximum(X @ w, 0) + b) ** 2),
    "choices": lambda w, b: np.where(w > 0.4, w**2, w).sum() + np.clip(b, -0.5, 0.5).sum(),
    "einsum": lambda w, b: np.einsum("ij,j->", w, b) + np.add.reduce(w)[0] + np.dot(b, b),
    "arrays": lambda w, b: w * b,
    "splits": lambda w, b: np.split(b, 2)[0].sum() * np.linalg.slogdet(w).logabsdet + b.ravel()[1],
}


def increased(loss):
    """Add in place, which Python turns into a new value."""
    total = 0.0
    for part in loss:
        total += part
    return total


def numerical(loss, variables):
    """Central differences of a loss's sum."""
    found = []
    for v in variables:
        result = np.zeros(v.shape)
        for place in np.ndindex(v.shape):
            kept, ends = v.value[place], []
            for shift in (1e-6, -1e-6):
                v.value[place] = kept + shift
                ends.append(float(np.sum(loss())))
            v.value[place] = kept
            result[place] = (ends[0] - ends[1]) / 2e-6
        found.append(result)
    return found


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_finite_differences(name):
    w = Variable(np.array([[0.75, -0.3], [0.9, 1.2]]))
    b = Variable(np.array([0.3, -0.8]))

    def loss():
        return LOSSES[name](w, b)

    pairs = RMSprop().compute_gradients(loss, [w, b])
    for (gradient, variable), expected in zip(pairs, numerical(loss, [w, b]), strict=True):
        assert gradient.dtype == variable.dtype
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)


def test_the_documented_example():
    opt = RMSprop(learning_rate=0.1)
    var1 = Variable(10.0)
    assert opt.minimize(lambda: (var1**2) / 2.0, [var1]) is None
    assert str(var1.numpy()) == "9.683772"
    assert opt.iterations == 1


def test_a_loss_scale_changes_nothing():
    found = []
    for factor in (None, 1024.0):
        v = Variable([1.0, -2.0, 3.0])
        optimizer = RMSprop(0.1, loss_scale_factor=factor, jit_compile=False)
        for _ in range(3):
            optimizer.minimize(lambda v=v: np.sum(np.sin(v) * v), [v])
        found.append(v.value.tobytes())
        assert float(optimizer.compute_gradients(lambda v=v: v.sum(), [v])[0][0][0]) == (
            factor or 1
        )
    assert found[0] == found[1]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_gradients_have_the_variables_dtype_whatever_the_data(dtype):
    v = Variable(np.ones(3, dtype))
    ((gradient, _),) = RMSprop().compute_gradients(lambda: np.sum(v * np.arange(3.0)), [v])
    assert gradient.dtype == dtype
    assert gradient.tolist() == [0, 1, 2]


def test_gradients_lie_apart_from_everything():
    v, w = Variable(np.ones((2, 2))), Variable(np.ones((2, 2)))
    pairs = RMSprop().compute_gradients(lambda: (v.T + w).sum(), [v, w])
    assert not np.shares_memory(pairs[0][0], pairs[1][0])
    pairs = RMSprop().compute_gradients(lambda: (v * w).sum(), [v, w])
    assert not np.shares_memory(pairs[0][0], w.value)


def test_a_variable_without_influence_gets_none_and_a_warning():
    v, w = Variable(1.0, name="v"), Variable(1.0, name="idle")
    optimizer = RMSprop(0.1, jit_compile=False)
    with pytest.warns(UserWarning, match=r"Gradients do not exist for variables \['idle'\]"):
        optimizer.minimize(lambda: v**2, [v, w])
    assert float(w) == 1 > float(v)


def test_a_loss_without_any_variable_changes_nothing():
    v = Variable(1.0)
    optimizer = RMSprop()
    for loss in (lambda: 3.0, lambda: np.sign(v)):
        with pytest.raises(GradientError, match="No gradients provided for any variable"):
            optimizer.minimize(loss, [v])
    assert (float(v), optimizer.built) == (1, False)


def test_only_the_listed_variables_are_constants_no_more():
    v, w = Variable(2.0), Variable(3.0)
    pairs = RMSprop().compute_gradients(lambda: v * w, {"v": v})
    assert float(pairs[0][0]) == 3


def test_an_assignment_after_reading_does_not_change_the_derivative():
    v, count = Variable(2.0), Variable(5.0)

    def loss():
        result = v * count
        count.assign_add(1.0)
        return result

    assert float(RMSprop().compute_gradients(loss, [v])[0][0]) == 5
    assert float(count) == 6


def test_scipys_special_functions_are_known_where_scipy_is_loaded():
    special = pytest.importorskip("scipy.special")
    v = Variable(np.array([0.5, -1.0]))
    ((gradient, _),) = RMSprop().compute_gradients(lambda: special.expit(v).sum(), [v])
    sigmoid = special.expit(v.value)
    np.testing.assert_allclose(gradient, sigmoid * (1 - sigmoid))
    with pytest.raises(GradientError, match=r"np\.kn"):
        RMSprop().compute_gradients(lambda: special.kn(2, v).sum(), [v])


def test_sums_in_place_are_recorded():
    v = Variable([1.0, 2.0])
    ((gradient, _),) = RMSprop().compute_gradients(lambda: increased([v[0] ** 2, v.sum()]), [v])
    assert gradient.tolist() == [3, 1]


def test_variables_may_come_from_a_callable():
    made = []

    def loss():
        if not made:
            made.append(Variable(3.0))
        return made[0] ** 2

    RMSprop(0.1, jit_compile=False).minimize(loss, lambda: made)
    assert float(made[0]) < 3


NO_DERIVATIVE = {
    "np.median": lambda v: np.median(v),
    "np.interp": lambda v: np.interp(v, [0, 1], [0, 1]).sum(),
    "np.sum(where=...)": lambda v: np.sum(v, where=v > 0),
    "np.multiply.outer": lambda v: np.multiply.outer(v, v).sum(),
    "np.cumprod": lambda v: np.cumprod(v).sum(),
    "np.concatenate": lambda v: np.concatenate([v[None], [v]]).sum(),
    "conversion to an array or number": lambda v: float((v * 2)[0]),
    ".item": lambda v: (v * 2)[0].item(),
    "assignment to elements": lambda v: (v * 2).__setitem__(0, 1.0),
    "by position, not by name": lambda v: np.sum(a=v),
    "np.add": lambda v: np.add(v, 1, out=np.zeros(2)).sum(),
}


@pytest.mark.parametrize("name", NO_DERIVATIVE)
def test_what_has_no_derivative_is_named_with_its_line(name):
    v = Variable([1.0, 2.0])

    def loss():
        return NO_DERIVATIVE[name](v)

    with pytest.raises(GradientError, match="has no derivative here") as caught:
        RMSprop().minimize(loss, [v])
    message = str(caught.value)
    assert name in message
    assert 'test_minimize.py: "' in message
    assert "Nothing was changed" in message
    assert v.value.tolist() == [1, 2]


def test_a_variable_made_an_array_in_a_loss_is_refused():
    v = Variable([1.0, 2.0])
    for make in (lambda: np.array([v, v]).sum(), lambda: v.numpy().sum(), lambda: float(v[0])):
        with pytest.raises(GradientError, match=r"np\.stack"):
            RMSprop().minimize(make, [v])
    for change in (lambda: v.assign([1, 1]), lambda: np.add(v, 1, out=v), lambda: v.__iadd__(1)):
        with pytest.raises(VariableError, match="inside the loss"):
            RMSprop().minimize(change, [v])
    assert v.value.tolist() == [1, 2]


def test_errors_of_the_loss_come_as_they_are():
    v = Variable([1.0, 2.0])
    with pytest.raises(ValueError, match="mismatch in its core dimension"):
        RMSprop().minimize(lambda: v @ np.ones(3), [v])
    with pytest.raises(IndexError):
        RMSprop().minimize(lambda: v[5], [v])
    with pytest.raises(ZeroDivisionError):
        RMSprop().minimize(lambda: v.sum() / (1 // 0), [v])
    RMSprop(jit_compile=False).minimize(lambda: v.sum(), [v])  # nothing of them is left behind


@pytest.mark.parametrize("loss", [lambda: "a", lambda: None])
def test_a_loss_must_give_numbers(loss):
    with pytest.raises(GradientError, match="valid: a number"):
        RMSprop().minimize(loss, [Variable(1.0)])


def test_a_complex_loss_is_refused():
    v = Variable(1.0)
    with pytest.raises(GradientError, match="real number"):
        RMSprop().minimize(lambda: v * 1j, [v])


def test_losses_are_not_nested():
    v = Variable(1.0)
    with pytest.raises(fastrms.StateError, match="take them before"):
        RMSprop().minimize(lambda: RMSprop().minimize(lambda: v, [v]), [v])


def test_arguments_that_cannot_be():
    v, optimizer = Variable(1.0), RMSprop()
    for arguments in ((v, [v]), (3.0, [v]), (lambda: v, [v], object())):
        with pytest.raises(fastrms.ArgumentError, match="no tape"):
            optimizer.minimize(*arguments)
    with pytest.raises(VariableError, match=r"valid: fastrms\.Variable"):
        optimizer.minimize(lambda: v, [np.ones(2)])
    with pytest.raises(VariableError, match="empty"):
        optimizer.minimize(lambda: v, [])


def test_without_autograd_the_extra_is_named():
    code = (
        "import sys; sys.modules['autograd'] = None\n"
        "import fastrms\n"
        "v = fastrms.Variable(1.0)\n"
        "try: fastrms.RMSprop().minimize(lambda: v, [v])\n"
        "except fastrms.MissingExtraError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'fastrms[autodiff]'" in done.stdout


@pytest.mark.parametrize(
    "loss",
    [lambda v: math.sqrt(v), lambda v: float(v), lambda v: v.numpy() ** 2],
    ids=["math.sqrt", "float", "numpy"],
)
def test_a_variable_made_a_plain_number_is_blamed_with_its_line(loss):
    v = Variable(2.0)
    with pytest.raises(GradientError, match=r"has no derivative here .* line \d+ of test_minimize"):
        RMSprop().minimize(lambda: loss(v), [v])
    assert v.numpy() == 2
