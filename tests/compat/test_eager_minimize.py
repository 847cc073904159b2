"""Losses in plain NumPy over Variables, minimised by the tf.keras classes."""

import numba
import numpy as np
import pytest

import fastrms
from fastrms.compat import tf_keras, tf_keras_v2

pytest.importorskip("autograd")
Variable = fastrms.Variable

FAMILIES = {
    "v2": tf_keras_v2.optimizers,
    "experimental": tf_keras_v2.optimizers.experimental,
    "late": tf_keras.optimizers,
}


@pytest.fixture(autouse=True)
def reference_engine(monkeypatch):
    """Let NumPy carry out the steps: what is asked here is not about the kernels."""
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_documented_example(family):
    variable = Variable(10.0, name="var1")
    optimizer = FAMILIES[family].RMSprop(learning_rate=0.1)
    optimizer.minimize(lambda: (variable**2) / 2.0, [variable])
    assert f"{float(variable.numpy()):.6f}" == "9.683772"
    assert int(optimizer.iterations) == 1


@pytest.mark.parametrize("kind", ["RMSprop", "SGD", "Adam"])
@pytest.mark.parametrize("family", FAMILIES)
def test_minimize_is_apply_gradients_of_the_derivative(family, kind):
    make = getattr(FAMILIES[family], kind)
    one = [Variable([1.0, 2.0], name="a"), Variable(3.0, name="b")]
    two = [Variable(v.numpy(), name=v.name) for v in one]
    first, second = make(0.1), make(0.1)
    for _ in range(3):
        first.minimize(lambda: np.sum(one[0] ** 2) * one[1], one)
        a, b = (v.numpy() for v in two)
        second.apply_gradients([(2 * a * b, two[0]), (np.sum(a**2), two[1])])
    for mine, other in zip(one, two, strict=True):
        np.testing.assert_allclose(mine.numpy(), other.numpy(), rtol=1e-6)


def test_a_variable_without_part_in_the_loss_stays():
    used, idle = Variable([1.0]), Variable([1.0])
    optimizer = FAMILIES["late"].SGD(0.5)
    optimizer.minimize(lambda: np.sum(used), [used, idle])
    assert (float(used[0]), float(idle[0])) == (0.5, 1.0)
    pairs = optimizer.compute_gradients(lambda: np.sum(used), [used, idle])
    assert pairs[1][0] is None
    with pytest.raises(ValueError, match="does not depend on"):
        FAMILIES["v2"].SGD().get_gradients(lambda: np.sum(used), [used, idle])


def test_get_updates_takes_a_step_as_it_did():
    variable = Variable([1.0, 2.0])
    optimizer = FAMILIES["v2"].SGD(0.5)
    updates = optimizer.get_updates(lambda: np.sum(variable * 2), [variable])
    assert [int(count) for count in updates] == [1]
    np.testing.assert_array_equal(variable.numpy(), [0.0, 1.0])


def test_grad_loss_and_variables_that_come_late():
    made = []

    def loss():
        if not made:
            made.append(Variable([2.0]))
        return np.sum(made[0] * 3)

    FAMILIES["v2"].SGD(0.5).minimize(loss, lambda: made, grad_loss=2.0)
    np.testing.assert_array_equal(made[0].numpy(), [-1.0])


@pytest.mark.parametrize("family", ["v2", "late"])
def test_a_scaled_loss_gives_the_unscaled_step(family):
    module = FAMILIES[family]
    plain, scaled = Variable([1.0, 2.0]), Variable([1.0, 2.0])
    module.SGD(0.5).minimize(lambda: np.sum(plain**2), [plain])
    wrapped = module.LossScaleOptimizer(module.SGD(0.5), initial_scale=1024)
    wrapped.minimize(lambda: np.sum(scaled**2), [scaled])
    np.testing.assert_array_equal(plain.numpy(), scaled.numpy())
    assert (float(wrapped.loss_scale), int(wrapped.iterations)) == (1024.0, 1)


def test_arrays_cannot_be_differentiated_by():
    array = np.ones(2, np.float32)
    with pytest.raises(fastrms.VariableError, match="Wrap it, or compute its gradient"):
        FAMILIES["v2"].SGD().minimize(lambda: np.sum(array), [array])


def test_a_constraint_of_a_variable_is_applied():
    variable = Variable([1.0, 2.0], constraint=lambda v: np.maximum(v.numpy(), 0))
    FAMILIES["late"].SGD(1.5).apply_gradients([(np.ones(2, np.float32), variable)])
    np.testing.assert_array_equal(variable.numpy(), [0.0, 0.5])
