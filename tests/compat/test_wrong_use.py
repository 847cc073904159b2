"""Old scripts in unpractised hands: what cannot work is told, with what is valid."""

import importlib
import re
from types import SimpleNamespace

import numpy as np
import pytest

from fastrms.compat import tf_keras, tf_keras_v2
from fastrms.compat.keras22 import backend as K  # noqa: N812
from fastrms.compat.keras22 import layers, models, optimizers, utils

X, Y = np.ones((8, 3)), np.ones((8, 2))
EAGER = [
    getattr(module.optimizers, kind)
    for module in (tf_keras, tf_keras_v2)
    for kind in ("RMSprop", "SGD", "Adam")
]


def net():
    made = models.Sequential([layers.Dense(2, input_dim=3)])
    made.compile("rmsprop", "mse")
    return made


@pytest.mark.parametrize("name", ["epochs", "initial_epoch"])
@pytest.mark.parametrize("value", ["3", -1, 2.5, None, True], ids=repr)
def test_wrong_numbers_of_epochs_are_told_and_nothing_is_trained(name, value):
    made = net()
    before = made.get_weights()
    with pytest.raises(ValueError, match=rf"{name}={re.escape(repr(value))}; valid: an integer"):
        made.fit(X, Y, verbose=0, **{name: value})
    assert all(np.array_equal(a, b) for a, b in zip(before, made.get_weights(), strict=True))


@pytest.mark.parametrize("value", ["a", None, 1.0], ids=repr)
def test_a_wrong_validation_split_is_told(value):
    with pytest.raises(ValueError, match=r"validation_split=.*valid: from 0, below 1"):
        net().fit(X, Y, verbose=0, validation_split=value)


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("save", "save_weights"),
        ("fit_generator", "train_on_batch"),
        ("predict_proba", r"predict\(x\)"),
        ("to_json", "save_weights"),
    ],
)
def test_what_a_model_lacks_is_named_with_what_does_it(name, instead):
    with pytest.raises(AttributeError, match=rf"{name}.*does not provide it; instead.*{instead}"):
        getattr(net(), name)
    assert not hasattr(net(), name)
    with pytest.raises(AttributeError, match=r"no attribute 'nonsense'$"):
        net().nonsense  # noqa: B018


def test_wrong_arguments_of_a_model_are_told():
    made = net()
    with pytest.raises(ValueError, match=r"set_weights of .* received 3; valid: a list of arrays"):
        made.set_weights(3)
    with pytest.raises(ValueError, match=r"no layer of index 7; there are 1"):
        made.get_layer(index=7)
    with pytest.raises(ValueError, match=r"from_config of RMSprop received 3; valid: a dictionary"):
        optimizers.RMSprop.from_config(3)


@pytest.mark.parametrize("shape", ["a", 2.5, None, ("a", "b")], ids=repr)
def test_a_shape_of_no_numbers_is_told(shape):
    x = K.placeholder((None, 3))
    with pytest.raises(TypeError, match=r"a shape is .*; valid: integers, -1"):
        x.reshape(shape)


@pytest.mark.parametrize("dtype", ["foo", None, "object", str, 3], ids=repr)
def test_a_dtype_of_no_numbers_is_told(dtype):
    x = K.placeholder((None, 3))
    with pytest.raises(TypeError, match=r"astype of .* received .*; valid: the name of a number"):
        x.astype(dtype)
    assert x.astype(np.float64).dtype == "float64"


@pytest.mark.parametrize(
    "package", ["keras1", "tf_contrib", "keras20", "keras22", "keras23", "tf_keras_v1"]
)
def test_a_module_that_is_absent_is_named(package):
    module = importlib.import_module(f"fastrms.compat.{package}")
    with pytest.raises(ImportError, match=rf"{package} does not provide 'foo'; provided: .*layers"):
        exec(f"from {module.__name__} import foo", {})
    assert not hasattr(module, "__wrapped__")


@pytest.mark.parametrize("module", [tf_keras, tf_keras_v2], ids=lambda m: m.__name__)
def test_a_module_that_an_eager_generation_lacks_is_named(module):
    with pytest.raises(ImportError, match=r"does not provide 'layers'; provided: backend"):
        exec(f"from {module.__name__} import layers", {})


@pytest.mark.parametrize("kind", EAGER, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
@pytest.mark.parametrize("value", [3, None, "abc", [1]], ids=repr)
def test_wrong_containers_of_eager_classes_are_told(kind, value):
    optimizer = kind()
    if value != [1]:
        with pytest.raises(ValueError, match=r"set_weights received .*; valid: a list of arrays"):
            optimizer.set_weights(value)
    with pytest.raises(ValueError, match=r"from_config of .* received .*; valid: a dictionary"):
        kind.from_config(value)
    with pytest.raises(ValueError, match=r"iterations received a; valid: a whole number"):
        optimizer.iterations.assign("a")
    assert int(optimizer.iterations) == 0


@pytest.mark.parametrize(("package", "renewed"), [("keras22", False), ("tf_keras_v1", True)])
def test_each_epoch_shuffles_what_its_system_shuffled(package, renewed):
    """Of tf.keras 1.13 the epochs' orders are shuffles of 0, 1, 2, ...; before, of the last."""
    modules = SimpleNamespace(
        **{
            n: importlib.import_module(f"fastrms.compat.{package}.{n}")
            for n in ("models", "layers")
        }
    )
    made = modules.models.Sequential([modules.layers.Dense(1, input_dim=1)])
    made.compile("sgd", "mse")
    seen = []
    function = made._function("train")
    made._function = lambda kind: lambda arrays: seen.append(arrays[0][:, 0]) or function(arrays)
    np.random.seed(3)
    made.fit(np.arange(16.0)[:, None], np.ones((16, 1)), batch_size=16, epochs=2, verbose=0)
    np.random.seed(3)
    order = np.arange(16)
    for found in seen:
        order = np.arange(16) if renewed else order
        np.random.shuffle(order)
        np.testing.assert_array_equal(found, order)
    assert len(seen) == 2


def compiled(**given):
    models.Sequential([layers.Dense(2, input_dim=3)]).compile(
        **{"optimizer": "sgd", "loss": "mse", **given}
    )


x3 = K.placeholder((None, 3))
WRONG = {
    "text as classes": (lambda: utils.to_categorical("a"), r"to_categorical received 'a'.*valid"),
    "ragged classes": (lambda: utils.to_categorical([[1], [2, 3]]), r"received \[\[1\], .*valid"),
    "a number of classes of text": (
        lambda: utils.to_categorical([0, 1], "a"), r"num_classes='a'; valid: an integer from 0",
    ),
    "a shape of text": (lambda: layers.Input("a"), r"a shape is 'a'; valid: integers"),
    "a negative size": (lambda: layers.Input((-1,)), r"shape is \(None, -1\); valid: sizes from 0"),
    "an input shape of text": (
        lambda: layers.Dense(2, input_shape=3.5), r"a shape is 3.5; valid: integers",
    ),
    "a target shape of text": (lambda: layers.Reshape("a"), r"a shape is 'a'; valid: integers"),
    "units that are an object": (lambda: layers.Dense(()), r"units=\(\); valid: an integer from 1"),
    "a rate of text": (lambda: layers.Dropout("a"), r"Dropout\(rate='a'\).*valid: a finite number"),
    "a slope of nothing": (lambda: layers.LeakyReLU(None), r"alpha=None.*valid: a finite number"),
    "a layer of text": (lambda: layers.Lambda("a"), r"Lambda received 'a'; valid: a function"),
    "layers that are a number": (lambda: models.Sequential(3), r"received 3; valid: a layer"),
    "metrics that are a number": (lambda: compiled(metrics=3), r"metrics=3; valid: a list"),
    "metrics that are text": (lambda: compiled(metrics="accuracy"), r"'accuracy'; valid: a list"),
    "metrics by output": (lambda: compiled(metrics={"a": "mse"}), r"\{'a': 'mse'\}; valid: a list"),
    "weights of losses that are a number": (
        lambda: compiled(loss_weights=3), r"loss_weights=3; valid: a list",
    ),
    "a weight of text": (lambda: compiled(loss_weights=["a"]), r"'a'\).*valid: a finite number"),
    "outputs that are a number": (lambda: K.function([x3], 3), r"outputs .* are 3; valid: a list"),
    "outputs with a number": (lambda: K.function([x3], [3]), r"outputs .* are \[3\]; valid"),
    "an input alone": (lambda: K.function(x3, [x3]), r"inputs .* are <placeholder.*valid: a list"),
    "updates that are a number": (lambda: K.function([x3], [x3], 3), r"updates hold 3; valid: a l"),
    "a placeholder of objects": (
        lambda: K.placeholder((2,), dtype="object"), r"placeholder received 'object'; valid: the",
    ),
    "no dtype": (lambda: K.cast(x3, None), r"K.cast received None; valid: the name of a number"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_is_told_with_what_is_valid(name):
    attempt, words = WRONG[name]
    with pytest.raises((ValueError, TypeError), match=f"(?s){words}") as told:
        attempt()
    assert not str(told.value).endswith("..")
    assert "+.. " not in str(told.value)


@pytest.mark.parametrize("wrong", [{"metrics": ["?"]}, {"loss": "?"}, {"optimizer": "?"}], ids=str)
def test_a_model_that_cannot_be_compiled_stays_as_it_was(wrong):
    made = net()
    before = dict(vars(made))
    with pytest.raises(ValueError, match=r"'\?'"):
        made.compile(**{"optimizer": "sgd", "loss": "mae", **wrong})
    assert vars(made) == before


@pytest.mark.parametrize("kind", ["RMSprop", "SGD", "Adam"])
@pytest.mark.parametrize("package", ["keras1", "keras22", "keras23", "tf_keras_v1"])
def test_a_rate_of_nothing_is_told(package, kind):
    module = importlib.import_module(f"fastrms.compat.{package}.optimizers")
    with pytest.raises(ValueError, match=r"learning_rate=None is not valid"):
        getattr(module, kind)(lr=None)


def test_of_two_names_lr_stands_over_learning_rate_in_keras_2_3():
    """Keras 2.3.1 optimizers.py: learning_rate = kwargs.pop('lr', learning_rate)."""
    optimizer = importlib.import_module("fastrms.compat.keras23.optimizers").RMSprop(0.5, lr=0.25)
    assert float(optimizer.learning_rate) == 0.25


def test_clear_session_counts_layers_from_1_again():
    """As Keras 1.2.2, 2.0.8, 2.2.4 and 2.3.1 did: clear_session calls reset_uids."""
    K.clear_session()
    assert [layers.Dense(1).name, layers.Dense(1).name] == ["dense_1", "dense_2"]
    K.clear_session()
    assert layers.Dense(1).name == "dense_1"


def test_gradients_of_relu_are_products_as_in_tensorflow():
    """Recorded of tf.gradients(tf.nn.relu(x), x, g) on TensorFlow 1.3, 1.13, 1.15 and 2.12."""
    x = K.variable([-1.0, -1.0, -1.0, 1.0, 0.0, np.nan])
    g = K.variable([np.inf, np.nan, -2.0, np.inf, 3.0, 4.0])
    (found,) = K.gradients(K.sum(K.relu(x) * g), [x])
    np.testing.assert_array_equal(K.eval(found), [np.nan, np.nan, -0.0, np.inf, 0, 0])


def test_inputs_are_named_as_in_keras_and_wrong_weights_of_a_layer_by_their_place():
    K.clear_session()
    assert [layers.Input((2,)).name, layers.Input((2,), name="mine").name] == ["input_1", "mine"]
    made = net()
    kernel, _ = made.get_weights()
    with pytest.raises(ValueError, match=r"'dense_1/bias' .* array 1 of shape \(3,\); .* \(2,\)"):
        made.layers[0].set_weights([kernel + 1, np.ones(3)])
    np.testing.assert_array_equal(made.get_weights()[0], kernel)


def test_summary_prints_each_layer_and_the_sum(capsys):
    models.Sequential(
        [layers.Dense(2, input_dim=3, name="one"), layers.Flatten(name="two")]
    ).summary()
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["one", "(None,", "2)", "8"]
    assert rows[1:] == [["two", "(None,", "2)", "0"], ["Total", "params:", "8"]]
