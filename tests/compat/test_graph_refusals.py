"""What cannot work is refused by name, with what is valid, and nothing is changed."""

import types

import numpy as np
import pytest

import fastrms
from fastrms.compat import RMSprop
from fastrms.compat.keras1 import backend as K1  # noqa: N812
from fastrms.compat.keras1 import optimizers as optimizers1
from fastrms.compat.keras22 import backend as K  # noqa: N812
from fastrms.compat.keras22 import optimizers
from fastrms.compat.keras23 import optimizers as optimizers23
from fastrms.compat.tf_keras_v1 import optimizers as optimizers_v1


def raised(error):
    raise error


W, V = K.variable([1.0, 2.0], name="dense/kernel"), K.variable([3.0], name="dense/bias")
LOSS = K.sum(W * W)
X = K.placeholder((None, 2), name="states")
N = K.placeholder((None,), dtype="int32", name="actions")
Tensor = type("Tensor", (), {"__module__": "tensorflow.python.framework.ops"})
NoValues = type("NoValues", (), {"__array__": lambda *_: raised(RuntimeError("use detach"))})
Incomparable = type(
    "ArrayImpl",
    (),
    {"__module__": "jaxlib", "__eq__": lambda *_: raised(TypeError("==")), "__hash__": None},
)
Symbol = type("TensorVariable", (), {"__module__": "theano.tensor.var"})


def built():
    optimizer = optimizers.RMSprop()
    optimizer.get_updates(LOSS, [W])
    return optimizer


REFUSED = {
    "two lists of variables": (
        lambda: built().get_updates([W], [V]), TypeError, r"Accepted: \(loss, params\)",
    ),
    "two losses": (lambda: built().get_updates(LOSS, LOSS), TypeError, "Accepted"),
    "no loss": (lambda: built().get_updates(params=[W]), TypeError, "neither a loss"),
    "no params": (lambda: built().get_updates(loss=LOSS), TypeError, "no list of variables"),
    "empty params": (lambda: built().get_updates(LOSS, []), TypeError, "no list of variables"),
    "unknown argument": (lambda: built().get_updates(LOSS, [W], los=LOSS), TypeError, "'los'"),
    "too few gradients": (
        lambda: built().get_updates(params=[W, V], grads=[W]), ValueError, "1 gradients for 2",
    ),
    "too few constraints": (
        lambda: built().get_updates([W], [abs, abs], LOSS), ValueError, "2 constraints for 1",
    ),
    "arrays without gradients": (
        lambda: built().get_updates([np.ones(2)], []), TypeError, "neither a loss nor",
    ),
    "integer arrays": (
        lambda: built().get_updates([np.ones(2, int)], [], [np.ones(2)]), ValueError, "float32",
    ),
    "unconnected": (
        lambda: built().get_updates(LOSS, [W, V]), ValueError, "does not depend on 'dense/bias'",
    ),
    "only through argmax": (
        lambda: built().get_updates(K.sum(K.cast(K.argmax(W), "float32")), [W]),
        ValueError, r"K\.argmax",
    ),
    "TensorFlow loss": (
        lambda: built().get_updates(Tensor(), [W]), TypeError, "tensor of tensorflow",
    ),
    "TensorFlow in an expression": (lambda: W + Tensor(), TypeError, "tf.reduce_mean -> K.mean"),
    "Theano loss": (lambda: built().get_updates([W], [], Symbol()), TypeError, "of theano"),
    "text in an expression": (lambda: W + "a", TypeError, "numbers"),
    "weights too many": (
        lambda: built().set_weights([1, 2]), ValueError, r"2 arrays .* expected 1: .*\(2,\)",
    ),
    "weights of another shape": (
        lambda: built().set_weights([np.ones(3)]), ValueError,
        r"array 0 .* \(3,\); .* variable 'dense/kernel' expects numbers of shape \(2,\)",
    ),
    "weights that are no list": (lambda: built().set_weights(3), ValueError, "a list of arrays"),
    "ragged weights": (lambda: built().set_weights([[1, [2]]]), TypeError, "array 0 given"),
    "a learning rate that is no number": (
        lambda: setattr(built(), "lr", "fast"), TypeError, "'fast'",
    ),
    "a configuration without a name": (
        lambda: optimizers.get({"config": {}}), ValueError, "class_name",
    ),
    "a configuration without a configuration": (
        lambda: optimizers.deserialize({"class_name": "SGD"}), ValueError, "config",
    ),
    "the configuration of no optimizer": (
        lambda: optimizers.serialize(3), ValueError, "valid: an optimizer",
    ),
    "an argument of NumPy's alone": (
        lambda: np.sum(W, dtype="float64"), TypeError, "valid here: x, axis, keepdims",
    ),
    "unknown keyword": (
        lambda: optimizers.RMSprop(foo=1), TypeError, "unexpected keyword argument 'foo'",
    ),
    "learning_rate in Keras 2.2": (
        lambda: optimizers.RMSprop(learning_rate=1.0), TypeError, r"Valid: \(lr=0.001",
    ),
    "momentum of RMSprop": (lambda: optimizers.RMSprop(momentum=0.9), TypeError, "momentum"),
    "too many by position": (
        lambda: optimizers23.RMSprop(0.1, 0.9, 0.1), TypeError, "too many positional arguments",
    ),
    "given twice": (
        lambda: optimizers.RMSprop(0.1, lr=0.1), TypeError, "multiple values for argument 'lr'",
    ),
    "lr of text": (lambda: optimizers.RMSprop(lr="fast"), ValueError, "lr='fast'"),
    "epsilon of text": (lambda: optimizers.RMSprop(epsilon="x"), ValueError, "epsilon='x'"),
    "epsilon None in Keras 1": (lambda: optimizers1.RMSprop(epsilon=None), ValueError, "None"),
    "epsilon None in Keras 2.3": (lambda: optimizers23.RMSprop(epsilon=None), ValueError, "None"),
    "negative clipnorm in tf.keras": (
        lambda: optimizers_v1.RMSprop(clipnorm=-1.0), ValueError, "clipnorm",
    ),
    "decay_offset": (lambda: optimizers.RMSprop(decay_offset=2), ValueError, "0 .* or 1"),
    "unknown optimizer": (lambda: optimizers.get("adagrad"), ValueError, "'adagrad' of Keras 2"),
    "no optimizer": (lambda: optimizers.get(3), ValueError, "Could not interpret"),
    "a class": (
        lambda: optimizers.get(optimizers.SGD), ValueError, r"made: RMSprop\(\), not RMSprop",
    ),
    "a class to serialize": (
        lambda: optimizers.serialize(optimizers.SGD), ValueError, "valid: an optimizer",
    ),
    "unknown class": (lambda: optimizers.Adagrad, AttributeError, r"test_graph_refusals\.py:\d+"),
    "unknown operation": (lambda: K.conv2d, AttributeError, r"'conv2d' .*refusals\.py:\d+.*, dot,"),
    "unknown dialect": (lambda: RMSprop(dialect="keras-9"), ValueError, "'keras-9'.*keras-2.2"),
    "no get_updates": (
        lambda: optimizers.Optimizer().get_updates(LOSS, [W]), NotImplementedError, "K operations",
    ),
    "missing input": (
        lambda: K.function([], [K.sum(X)]), ValueError, "placeholder 'states' .* not among",
    ),
    "inputs that are numbers": (lambda: K.function([3], [W]), TypeError, "placeholders"),
    "another number of inputs": (
        lambda: K.function([X], [W])([]), ValueError, r"1 inputs \(states\) and received 0",
    ),
    "a bare input": (lambda: K.function([X], [W])(np.ones((1, 2))), ValueError, "one list"),
    "an input of another shape": (
        lambda: K.function([X], [W])([np.ones((1, 3))]), ValueError,
        r"'states' received an array of shape \(1, 3\); expected \(None, 2\)",
    ),
    "an input of text": (lambda: K.function([X], [W])([["ab"]]), TypeError, "'states'"),
    "fractions for integers": (
        lambda: K.function([N], [N])([[0.5]]), TypeError, "'actions' .* int32",
    ),
    "an update that is none": (lambda: K.function([], [], [W]), TypeError, "K.update"),
    "an update of another shape": (
        lambda: K.function([], [], [(W, K.zeros((3,)))])([]), ValueError,
        r"of shape \(3,\); expected \(2,\)",
    ),
    "an update of no variable": (lambda: K.update(X, 1.0), TypeError, "valid: a variable"),
    "givens": (lambda: K.function([], [W], givens={}), TypeError, "givens"),
    "two float types": (
        lambda: W + K.variable(1.0, dtype="float64"), TypeError, "float32 and float64 meet",
    ),
    "truth": (lambda: bool(W > 1), TypeError, r"K\.switch"),
    "an array of it": (lambda: np.asarray(W), TypeError, r"K\.eval"),
    "iteration": (lambda: list(X), TypeError, "cannot be iterated"),
    "another NumPy function": (lambda: np.linalg.norm(W), TypeError, r"np\.norm"),
    "another ufunc": (lambda: np.arctan(W), TypeError, r"np\.arctan"),
    "a mask as index": (lambda: W[W > 1], TypeError, r"K\.gather"),
    "products of other sizes": (
        lambda: K.dot(K.zeros((2, 3)), K.zeros((2, 3))), ValueError,
        r"dot cannot take \(2, 3\) and \(2, 3\): valid are",
    ),
    "a size that fits nothing": (
        lambda: K.squeeze(W, 0), ValueError, r"K\.squeeze\(.*squeeze cannot take \(2,\), axis=0",
    ),
    "an axis that is no number": (lambda: K.sum(W, axis="a"), TypeError, r"K\.sum\(x, axis=None"),
    "no tensor": (lambda: K.batch_flatten(3), TypeError, r"K\.batch_flatten\(3\): .*Valid"),
    "a ragged list": (lambda: K.exp([[1], [2, 3]]), TypeError, r"\[\[1\], \[2, 3\]\]"),
    "a ragged list beside it": (lambda: W * [[1], [2, 3]], TypeError, "a K operation received"),
    "no dtype": (lambda: K.cast(W, "float31"), TypeError, r"K\.cast\(x, dtype\)"),
    "no list of shapes": (lambda: K.zeros("a"), TypeError, r"K\.zeros\(shape, dtype=None"),
    "too many in Keras 1": (
        lambda: K1.binary_crossentropy(W, W, False, 3), TypeError,
        r"K\.binary_crossentropy\(output, target, from_logits=False\)",
    ),
    "old names in Keras 1": (
        lambda: K1.random_normal((2,), men=0.0), TypeError, r"K\.random_normal\(shape, .*std=1\.0",
    ),
    "gradients of a tensor": (lambda: K.gradients(Tensor(), [W]), TypeError, "of tensorflow"),
    "gradients for an array": (lambda: K.gradients(LOSS, np.ones(2)), TypeError, "not all expr"),
    "a mask of a list": (lambda: W[[True, False]], TypeError, r"K\.gather"),
    "a tensor without values": (lambda: K.variable(NoValues()), TypeError, "use detach"),
    "gradients without values": (
        lambda: built().get_updates(params=[W], grads=[NoValues()]), TypeError, "grads for 'dense/",
    ),
    "a loss that cannot be compared": (
        lambda: built().get_updates(Incomparable(), [W]), TypeError, "of jaxlib",
    ),
    "gradients of another shape": (
        lambda: K.function([], [], built().get_updates(params=[W], grads=[np.ones(1)]))([]),
        ValueError, r"gradient of 'dense/kernel' has shape \(1,\); expected \(2,\)",
    ),
    "sums of other sizes": (lambda: K.zeros((2,)) + K.zeros((3,)), ValueError, "go together"),
    "a value of another shape": (
        lambda: K.set_value(W, [1.0]), ValueError, r"'dense/kernel' .* expected .*\(2,\)",
    ),
    "a value for no variable": (lambda: K.set_value(X, 1.0), TypeError, "valid: a variable"),
    "a variable of text": (lambda: K.variable("a"), TypeError, "numbers"),
    "a float type that is none": (lambda: K.set_floatx("int8"), ValueError, "float16"),
    "a third learning phase": (lambda: K.set_learning_phase(2), ValueError, "0 .*1"),
    "a shape known too late": (
        lambda: K.eval(K.reshape(W, (K.cast(W[0], "int32"), 2))), ValueError, "a shape depends",
    ),
    "a sparse placeholder": (lambda: K.placeholder((2,), sparse=True), ValueError, "dense"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_and_nothing_is_changed(name):
    attempt, kind, words = REFUSED[name]
    before = W.array.copy(), V.array.copy()
    with pytest.raises(kind, match=f"(?s){words}"):
        attempt()
    np.testing.assert_array_equal(W.array, before[0])
    np.testing.assert_array_equal(V.array, before[1])
    assert K.floatx() == "float32"


def test_a_step_that_cannot_be_carried_out_changes_nothing():
    one, two = K.variable(1.0), K.variable(1.0)
    first, second = optimizers.RMSprop(), optimizers.RMSprop()
    updates = first.get_updates(K.square(one), [one]) + second.get_updates(K.square(two), [two])
    f = K.function([], [], updates)
    assert len(f.handles) == 2
    K.set_value(second.lr, np.nan)
    with pytest.raises(fastrms.ArgumentError, match="learning rate is"):
        f([])
    assert (float(one), float(two), int(first.iterations)) == (1.0, 1.0, 0)


def test_a_gradient_of_another_shape_stops_the_step_of_every_optimizer():
    one, two = K.variable([1.0]), K.variable([1.0, 1.0])
    first, second = optimizers.RMSprop(), optimizers.RMSprop()
    updates = first.get_updates(K.sum(one), [one])
    updates += second.get_updates(params=[two], grads=[np.ones(1)])
    with pytest.raises(fastrms.GradientError, match="Nothing was changed"):
        K.function([], [], updates)([])
    assert (one.array.tolist(), two.array.tolist(), int(first.iterations)) == ([1], [1, 1], 0)


def test_weights_that_waited_and_do_not_fit_are_refused_at_get_updates():
    optimizer = optimizers.RMSprop()
    optimizer.set_weights([np.ones(7)])
    with pytest.raises(fastrms.StateError, match="dense/kernel"):
        optimizer.get_updates(LOSS, [W])


@pytest.mark.parametrize(
    ("module", "name", "words"),
    [
        ("backend", "conv2d", "names are supported: abs, argmax"),
        ("optimizers", "Adagrad", "Valid: Optimizer, RMSprop, SGD, Adam"),
    ],
)
def test_a_name_that_is_imported_is_refused_with_the_line_and_what_is_valid(module, name, words):
    code = f"\nfrom fastrms.compat.keras22.{module} import {name}"
    with pytest.raises(ImportError, match=rf"no '{name}' \(used at old\.py:2\)\. .*{words}"):
        exec(compile(code, "old.py", "exec"), {})


def test_help_shows_the_arguments_of_the_generation():
    assert optimizers.RMSprop.__doc__.startswith("RMSprop(lr=0.001, rho=0.9, epsilon=None")
    assert optimizers23.SGD.__doc__.startswith("SGD(learning_rate=0.01, momentum=0.0")


def test_backends_list_what_they_support():
    assert isinstance(K, types.ModuleType)
    assert {"function", "mean", "stop_gradient", "update", "placeholder"} <= set(K.__all__)
    assert not hasattr(K, "conv2d")


@pytest.mark.parametrize("kind", ["RMSprop", "SGD", "Adam"])
@pytest.mark.parametrize("module", [optimizers1, optimizers, optimizers23], ids=["1", "2.2", "2.3"])
def test_a_number_may_come_in_an_array(module, kind):
    optimizer = getattr(module, kind)(np.array(0.25), decay=np.array(0.5))
    assert (float(K.get_value(optimizer.lr)), optimizer.initial_decay) == (0.25, 0.5)
    with pytest.raises(ValueError, match="not valid"):
        getattr(module, kind)(np.array([0.25]))
