"""Layers, models, losses, constraints and callbacks of the old generations."""

import importlib
import pickle
import subprocess
import sys

import numpy as np
import pytest

from fastrms.compat.nets.naming import NotProvided

GENERATIONS = ("keras1", "keras20", "keras22", "keras23", "tf_contrib", "tf_keras_v1")


@pytest.fixture(params=GENERATIONS)
def keras(request):
    return Package(request.param)


@pytest.fixture
def k22():
    return Package("keras22")


class Package:
    """The modules of one generation, and what every test needs of them."""

    def __init__(self, name):
        self.name = name
        for module in ("layers", "models", "optimizers", "backend", "callbacks", "losses"):
            setattr(self, module, self.find(module))

    def find(self, module):
        return importlib.import_module(f"fastrms.compat.{self.name}.{module}")

    def net(self, *sizes, **first):
        model = self.models.Sequential()
        model.add(self.layers.Dense(sizes[1], input_dim=sizes[0], activation="tanh", **first))
        for size in sizes[2:]:
            model.add(self.layers.Dense(size))
        return model


ROWS = np.random.RandomState(0).normal(size=(20, 4))
GOALS = ROWS[:, :1] * 2 - 1


def test_dense_computes_activation_of_weighted_sums(keras):
    model = keras.net(4, 3, 2)
    kernel, bias, second, other = model.get_weights()
    expected = np.tanh(ROWS @ kernel + bias) @ second + other
    np.testing.assert_allclose(model.predict(ROWS), expected, rtol=1e-5, atol=1e-6)
    assert model.predict(ROWS).dtype == np.float32
    assert [w.shape for w in model.get_weights()] == [(4, 3), (3,), (3, 2), (2,)]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (lambda k: k.Flatten(input_shape=(2, 2)), lambda x: x),
        (lambda k: k.Reshape((4,), input_shape=(2, 2)), lambda x: x),
        (lambda k: k.Lambda(lambda x: x * 2 + 1, input_shape=(4,)), lambda x: x * 2 + 1),
        (
            lambda k: k.Lambda(lambda x, by: x * by, arguments={"by": 3.0}, input_shape=(4,)),
            lambda x: x * 3,
        ),
        (lambda k: k.LeakyReLU(alpha=0.2, input_shape=(4,)), lambda x: np.where(x > 0, x, 0.2 * x)),
        (lambda k: k.Activation("relu", input_shape=(4,)), lambda x: np.maximum(x, 0)),
        (lambda k: k.Activation("softsign", input_shape=(4,)), lambda x: x / (1 + abs(x))),
        (lambda k: k.Dropout(0.5, input_shape=(4,)), lambda x: x),
    ],
    ids=["flatten", "reshape", "lambda", "arguments", "leaky", "relu", "softsign", "dropout"],
)
def test_layers_without_weights(k22, layer, expected):
    made = layer(k22.layers)
    model = k22.models.Sequential([made])
    shaped = ROWS.reshape(20, *made.start_shape[1:])
    np.testing.assert_allclose(model.predict(shaped), expected(ROWS), rtol=1e-6, atol=1e-7)
    assert model.get_weights() == []


@pytest.mark.parametrize("generation", GENERATIONS)
def test_words_of_keras_1_are_understood_everywhere(generation):
    keras = Package(generation)
    source = keras.layers.Input(shape=(4,))
    made = keras.layers.Dense(output_dim=3, init="one", bias=False)(source)
    model = keras.models.Model(input=source, output=keras.layers.Dropout(p=0.1)(made))
    np.testing.assert_allclose(model.predict(ROWS)[:, 0], ROWS.sum(axis=1), rtol=1e-5, atol=1e-6)
    model.compile("sgd", "mse")
    assert len(model.fit(ROWS, np.ones((20, 3)), nb_epoch=2, verbose=0).epoch) == 2


def test_places_of_arguments_follow_the_generation():
    first, second = Package("keras1"), Package("keras22")
    made = first.layers.Dense(3, "one", "relu", input_dim=4)
    assert made.activation is first.find("activations").get("relu")
    made = second.layers.Dense(3, "relu", False, "ones", input_dim=4)
    assert not made.use_bias
    assert made.activation is second.find("activations").get("relu")


def test_a_model_is_a_layer_with_shared_weights(k22):
    inner = k22.net(4, 3)
    source = k22.layers.Input(shape=(4,))
    outer = k22.models.Model(source, inner(k22.layers.Lambda(lambda x: x * 2)(source)))
    np.testing.assert_array_equal(outer.predict(ROWS), inner.predict(ROWS * 2))
    assert outer.trainable_weights == inner.trainable_weights
    inner.trainable = False
    assert outer.trainable_weights == []
    assert len(outer.non_trainable_weights) == 2


def test_a_net_of_two_outputs_trains_on_the_sum_of_its_losses(k22):
    source = k22.layers.Input(shape=(4,))
    trunk = k22.layers.Dense(5, activation="tanh")(source)
    heads = [k22.layers.Dense(2)(trunk), k22.layers.Dense(1)(trunk)]
    model = k22.models.Model(inputs=source, outputs=heads)
    model.compile("sgd", ["mse", "mae"], loss_weights=[1.0, 0.5])
    targets = [ROWS[:, :2], GOALS]
    total, first, second = model.train_on_batch(ROWS, targets)
    assert total == pytest.approx(first + 0.5 * second, rel=1e-6)
    assert len(model.predict(ROWS)) == 2
    assert [layer.name for layer in model.layers][1] == "dense_1" or len(model.layers) == 4


LOSS_VALUES = {
    "mean_squared_error": lambda t, p: ((p - t) ** 2).mean(),
    "mse": lambda t, p: ((p - t) ** 2).mean(),
    "mean_absolute_error": lambda t, p: abs(p - t).mean(),
    "mape": lambda t, p: (100 * abs(p - t) / abs(t)).mean(),
    "msle": lambda t, p: ((np.log1p(p) - np.log1p(t)) ** 2).mean(),
    "squared_hinge": lambda t, p: (np.maximum(1 - t * p, 0) ** 2).mean(),
    "hinge": lambda t, p: np.maximum(1 - t * p, 0).mean(),
    "categorical_crossentropy": lambda t, p: -(t * np.log(p)).sum(axis=-1).mean(),
    "binary_crossentropy": lambda t, p: -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean(),
    "kullback_leibler_divergence": lambda t, p: (t * np.log(t / p)).sum(axis=-1).mean(),
    "poisson": lambda t, p: (p - t * np.log(p)).mean(),
}


@pytest.mark.parametrize("name", LOSS_VALUES)
def test_losses_are_their_formulas(keras, name):
    data = np.random.RandomState(1)
    true, found = (data.uniform(0.1, 1, size=(6, 3)) for _ in range(2))
    true, found = true / true.sum(axis=1)[:, None], found / found.sum(axis=1)[:, None]
    K = keras.backend  # noqa: N806
    value = K.eval(K.mean(keras.losses.get(name)(K.constant(true), K.constant(found))))
    assert value == pytest.approx(LOSS_VALUES[name](true, found), rel=2e-5)


def test_sparse_targets_and_accuracy(k22):
    model = k22.models.Sequential([k22.layers.Dense(3, activation="softmax", input_dim=4)])
    model.compile("rmsprop", "sparse_categorical_crossentropy", metrics=["accuracy"])
    classes = np.arange(20) % 3
    loss, right = model.evaluate(ROWS, classes, verbose=0)
    chances = model.predict(ROWS)
    assert loss == pytest.approx(-np.log(chances[range(20), classes]).mean(), rel=1e-5)
    assert right == pytest.approx((model.predict_classes(ROWS) == classes).mean())
    assert model.metrics_names == ["loss", "acc"]


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("keras1", "mean_absolute_error mean_squared_error acc"),
        ("keras20", "mean_absolute_error mean_squared_error acc"),
        ("keras22", "mean_absolute_error mean_squared_error acc"),
        ("keras23", "mae mean_squared_error accuracy"),
    ],
)
def test_metrics_are_named_after_outputs_and_as_the_generation_did(version, names):
    keras = Package(version)
    source = keras.layers.Input(shape=(4,))
    heads = [keras.layers.Dense(2, name="a")(source), keras.layers.Dense(1, name="b")(source)]
    model = keras.models.Model(source, heads)
    model.compile("sgd", "mse", metrics=["mae", "mean_squared_error", "accuracy"])
    each = [f"{output}_{name}" for output in "ab" for name in names.split()]
    assert model.metrics_names == ["loss", "a_loss", "b_loss", *each]
    found = model.test_on_batch(ROWS, [ROWS[:, :2], GOALS])
    values = dict(zip(model.metrics_names, found, strict=True))
    assert values["a_mean_squared_error"] == pytest.approx(values["a_loss"])
    assert values["b_mean_squared_error"] == pytest.approx(values["b_loss"])
    alone = keras.net(4, 1)
    alone.compile("sgd", "mse", metrics=["mae", "mean_squared_error", "accuracy"])
    assert alone.metrics_names == ["loss", *names.split()]


@pytest.mark.parametrize(
    ("version", "names", "shapes"),
    [
        ("keras1", ("z", "a"), [(5, 1), (1,), (4, 5), (5,)]),
        ("keras1", ("dense_9", "dense_10"), [(5, 1), (1,), (4, 5), (5,)]),
        ("keras20", ("z", "a"), [(4, 5), (5,), (5, 1), (1,)]),
    ],
)
def test_keras_1_sorted_the_weights_of_its_optimizer_by_name(version, names, shapes):
    keras = Package(version)
    first, second = names
    rows = [keras.layers.Dense(5, input_dim=4, name=first), keras.layers.Dense(1, name=second)]
    model = keras.models.Sequential(rows)
    model.compile("rmsprop", "mse")
    model.train_on_batch(ROWS, GOALS)
    assert [w.shape for w in model.optimizer.get_weights()] == shapes


def norms(weight):
    return np.sqrt((weight**2).sum(axis=0))


@pytest.mark.parametrize(
    ("name", "kwargs", "holds"),
    [
        ("maxnorm", {"axis": 0}, lambda w: (norms(w) <= 2.00001).all()),
        ("MaxNorm", {"max_value": 0.5}, lambda w: (norms(w) <= 0.50001).all()),
        ("MaxNorm", {"m": 0.5}, lambda w: (norms(w) <= 0.50001).all()),
        ("non_neg", {}, lambda w: (w >= 0).all()),
        ("unitnorm", {}, lambda w: np.allclose(norms(w), 1, atol=1e-5)),
        ("MinMaxNorm", {"min_value": 3.0, "max_value": 4.0}, lambda w: (norms(w) >= 2.999).all()),
    ],
)
def test_constraints_hold_after_each_step(keras, name, kwargs, holds):
    constraint = getattr(keras.find("constraints"), name)(**kwargs)
    model = keras.models.Sequential()
    model.add(keras.layers.Dense(3, input_dim=4, W_constraint=constraint))
    model.compile(keras.optimizers.SGD(lr=0.1), "mse")
    model.train_on_batch(ROWS, np.ones((20, 3)))
    assert holds(model.get_weights()[0])
    assert list(model.all_constraints.values()) == [constraint]


def test_fit_reports_epochs_and_validation(keras):
    model = keras.net(4, 3, 1)
    model.compile(loss="mse", optimizer="sgd")
    run = model.fit(ROWS, GOALS, 8, 3, verbose=0, validation_data=(ROWS[:5], GOALS[:5]))
    assert run.epoch == [0, 1, 2]
    assert set(run.history) == {"loss", "val_loss"}
    assert run.history["val_loss"][-1] == pytest.approx(
        model.evaluate(ROWS[:5], GOALS[:5], verbose=0)
    )
    split = model.fit(ROWS, GOALS, verbose=0, validation_split=0.25)
    assert len(split.history["val_loss"]) == 1


def test_fit_shuffles_with_numpys_generator(k22):
    seen = []
    model = k22.net(1, 1)
    model.compile("sgd", "mse")
    original = model._function("train")
    model._function = lambda kind: lambda values: seen.append(values[0][:, 0]) or original(values)
    np.random.seed(4)
    model.fit(np.arange(6.0), np.zeros(6), batch_size=4, epochs=2, verbose=0)
    np.random.seed(4)
    order = np.arange(6)
    for epoch in range(2):
        np.random.shuffle(order)
        np.testing.assert_array_equal(np.concatenate(seen[2 * epoch : 2 * epoch + 2]), order)


def test_callbacks_see_every_moment_and_can_stop(k22):
    moments = []

    class Watch(k22.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            moments.append(("epoch", epoch))

        def on_batch_end(self, batch, logs=None):
            moments.append((batch, logs["size"]))
            self.model.stop_training = len(moments) > 3

    model = k22.net(4, 1)
    model.compile("sgd", "mse")
    model.fit(ROWS, GOALS, batch_size=12, epochs=9, verbose=0, callbacks=[Watch()])
    assert moments == [("epoch", 0), (0, 12), (1, 8), ("epoch", 1), (0, 12)]


@pytest.mark.parametrize("schedule", [lambda e: 0.1 / (1 + e), lambda e, rate: rate / 2])
def test_learning_rate_scheduler(keras, schedule):
    rates = []
    model = keras.net(4, 1)
    model.compile(keras.optimizers.SGD(lr=0.2), "mse")
    after = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: rates.append(
            float(keras.backend.get_value(model.optimizer.lr))
        )
    )
    scheduler = keras.callbacks.LearningRateScheduler(schedule)
    model.fit(ROWS, GOALS, verbose=0, epochs=2, callbacks=[scheduler, after])
    assert rates == pytest.approx([0.1, 0.05])


def test_a_training_step_is_the_optimizers_step(keras):
    model, twin = keras.net(4, 3, 1), keras.net(4, 3, 1)
    twin.set_weights(model.get_weights())
    model.compile(keras.optimizers.RMSprop(lr=0.01), "mse")
    loss = model.train_on_batch(ROWS, GOALS)
    K = keras.backend  # noqa: N806
    target = K.placeholder(ndim=2)
    error = K.mean(K.mean(K.square(twin.output - target), axis=-1))
    optimizer = keras.optimizers.RMSprop(lr=0.01)
    updates = optimizer.get_updates(twin.trainable_weights, [], error)
    assert K.function([twin.input, target], [error], updates)([ROWS, GOALS])[0] == loss
    for one, other in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_users_own_layers_and_initialisers(k22):
    class Scale(k22.layers.Layer):
        def build(self, input_shape):
            self.by = self.add_weight("by", (input_shape[-1],), initializer="ones")
            super().build(input_shape)

        def call(self, inputs):
            return inputs * self.by

    model = k22.models.Sequential([Scale(input_shape=(4,), weights=[np.full(4, 2.0)])])
    np.testing.assert_allclose(model.predict(ROWS), 2 * ROWS, rtol=1e-6)
    own = k22.layers.Dense(2, kernel_initializer=lambda shape: np.full(shape, 0.5), input_dim=4)
    k22.models.Sequential([own])
    assert (own.get_weights()[0] == 0.5).all()


def test_utils(keras):
    utils = keras.find("utils")
    found = utils.np_utils.to_categorical([0, 2, 1], 3)
    np.testing.assert_array_equal(found, np.eye(3)[[0, 2, 1]])
    assert utils.to_categorical([1, 0]).shape == (2, 2)
    with pytest.raises(ValueError, match="class numbers run from 0 to 5; valid: 0 to 2"):
        utils.to_categorical([0, 5], 3)


FLAT = ("keras1", "keras20", "tf_contrib")
# What Keras 1.2.2, 2.0.8, 2.2.4 and 2.3.1 and the Keras of TensorFlow 1.3 and 1.13 returned for
# some class numbers of three classes: in the first three and in the others.
CATEGORIES = {
    "list": ([0, 1, 2], (3, 3), (3, 3)),
    "column": ([[0], [1]], (2, 3), (2, 3)),
    "table": ([[0, 1], [1, 2]], (4, 3), (2, 2, 3)),
    "deep column": (np.zeros((2, 3, 1)), (6, 3), (2, 3, 3)),
    "one number": (1, (1, 3), (3,)),
    "none": ([], (0, 3), (0, 3)),
    "floats": ([1.7], (1, 3), (1, 3)),
}


@pytest.mark.parametrize("case", CATEGORIES)
def test_categories_have_the_shape_and_dtype_that_they_had(keras, case):
    given, flat, kept = CATEGORIES[case]
    encode, old = keras.find("utils").to_categorical, keras.name in FLAT
    found = encode(given, 3)
    assert (found.shape, found.dtype) == ((flat, "float64") if old else (kept, "float32"))
    np.testing.assert_array_equal(found.reshape(-1, 3).argmax(-1), np.ravel(given).astype(int))
    word = "nb_classes" if keras.name == "keras1" else "num_classes"
    np.testing.assert_array_equal(encode(given, **{word: 3}), found)
    if old:
        with pytest.raises(TypeError, match="has no dtype"):
            encode(given, 3, dtype="int32")
    else:
        assert encode(given, 3, dtype="int32").dtype == "int32"


@pytest.mark.parametrize("name", ["Conv2D", "Convolution2D", "LSTM", "BatchNormalization", "Merge"])
def test_unknown_layers_are_refused_by_name(keras, name):
    with pytest.raises(NotProvided, match=rf"layers does not provide '{name}'.*grads="):
        getattr(keras.layers, name)
    with pytest.raises(NotProvided, match=name):
        exec(f"from fastrms.compat.{keras.name}.layers import {name}")
    assert not hasattr(keras.layers, "__wrapped__")


REFUSED = {
    "unknown argument": (lambda k: k.layers.Dense(3, unit=4), TypeError, "unknown arguments"),
    "twice": (lambda k: k.layers.Dense(3, output_dim=4), TypeError, "'units' twice"),
    "too many": (lambda k: k.layers.LeakyReLU(0.1, 2), TypeError, "at most 1"),
    "regularizer": (
        lambda k: k.layers.Dense(3, kernel_regularizer="l2"),
        NotProvided,
        "kernel_regularizer='l2'",
    ),
    "initializer": (lambda k: k.layers.Dense(3, init="glorrot"), ValueError, "'glorrot'; valid"),
    "activation": (lambda k: k.layers.Dense(3, activation="rel"), ValueError, "'rel'; valid"),
    "constraint": (lambda k: k.layers.Dense(3, W_constraint="max"), ValueError, "'max'; valid"),
    "first layer": (
        lambda k: k.models.Sequential([k.layers.Dense(3)]),
        ValueError,
        "needs input_dim= or input_shape=",
    ),
    "array in a layer": (lambda k: k.layers.Dense(3)(ROWS), TypeError, "valid: expressions"),
    "not a layer": (lambda k: k.models.Sequential([3]), TypeError, "valid: a layer"),
    "no path": (
        lambda k: k.models.Model(k.layers.Input((4,)), k.backend.ones((2, 2)) * 2),
        ValueError,
        "wrap K operations in Lambda",
    ),
    "other input": (
        lambda k: k.models.Model(k.layers.Input((4,)), k.layers.Dense(2)(k.layers.Input((4,)))),
        ValueError,
        "not among its inputs",
    ),
    "input without shape": (lambda k: k.layers.Input(), ValueError, "shape="),
    "uncompiled": (lambda k: k.net(4, 1).fit(ROWS, GOALS), RuntimeError, "must be compiled"),
    "loss": (lambda k: k.net(4, 1).compile("sgd", "mze"), ValueError, "'mze'; valid"),
    "no loss": (lambda k: k.net(4, 1).compile("sgd"), ValueError, "loss="),
    "sample weights": (
        lambda k: trained(k).fit(ROWS, GOALS, sample_weight=np.ones(20)),
        NotProvided,
        "sample_weight",
    ),
    "lengths": (lambda k: trained(k).fit(ROWS, GOALS[:5]), ValueError, "different lengths"),
    "input shape": (lambda k: trained(k).predict(ROWS[:, :3]), ValueError, r"shape \(20, 3\)"),
    "target shape": (lambda k: trained(k, 3).fit(ROWS, ROWS), ValueError, "targets of shape"),
    "schedule": (
        lambda k: trained(k).fit(
            ROWS, GOALS, callbacks=[k.callbacks.LearningRateScheduler(lambda e: "x")]
        ),
        ValueError,
        "returned 'x'",
    ),
    "moment": (
        lambda k: k.callbacks.LambdaCallback(on_batch=print),
        TypeError,
        "'on_batch'; valid: on_train_begin",
    ),
    "mode": (lambda k: k.find("initializers").VarianceScaling(mode="in"), ValueError, "fan_avg"),
    "identity": (lambda k: k.net(4, 3, init="identity"), ValueError, "square"),
}


def trained(keras, size=1):
    model = keras.net(4, size)
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_say_what_is_valid(k22, case):
    act, kind, message = REFUSED[case]
    with pytest.raises(kind, match=message):
        act(k22)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([np.ones((4, 3))], "has 2 weights.*received 1"),
        ([np.ones((4, 3)), np.ones(4)], r"array 1 of shape \(4,\); expected \(3,\)"),
    ],
)
def test_wrong_weights_change_nothing(keras, weights, message):
    model = keras.net(4, 3)
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        model.set_weights(weights)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("package", ["keras1", "keras22", "tf_keras_v1"])
@pytest.mark.parametrize(
    ("module", "name"),
    [("regularizers", "l2"), ("layers.recurrent", "LSTM"), ("datasets", "mnist")],
)
def test_a_module_without_a_counterpart_says_so(package, module, name):
    found = importlib.import_module(f"fastrms.compat.{package}.{module}")
    with pytest.raises(NotProvided, match=f"{module} does not provide '{name}'.*grads="):
        getattr(found, name)


BAD_DATA = {
    "targets that would be spread": (lambda m: m.fit(ROWS, ROWS[:, :1]), "targets of shape"),
    "flat targets": (lambda m: m.train_on_batch(ROWS, ROWS[:, 0]), "targets of shape"),
    "no examples": (lambda m: m.fit(ROWS[:0], ROWS[:0, :2]), "at least one example"),
    "nothing to evaluate": (lambda m: m.evaluate(ROWS[:0], ROWS[:0, :2]), "at least one example"),
    "batches of none": (lambda m: m.fit(ROWS, ROWS[:, :2], batch_size=0), "batch_size=0"),
    "batches below none": (lambda m: m.predict(ROWS, batch_size=-4), "batch_size=-4"),
    "batches of a half": (lambda m: m.evaluate(ROWS, ROWS[:, :2], 2.5), "batch_size=2.5"),
    "all held out": (lambda m: m.fit(ROWS, ROWS[:, :2], validation_split=1.5), "from 0, below 1"),
    "weights to validate with": (
        lambda m: m.fit(ROWS, ROWS[:, :2], validation_data=(ROWS, ROWS[:, :2], ROWS[:, 0])),
        "Sample weights are not provided",
    ),
    "a callback's class": (
        lambda m: m.fit(ROWS, ROWS[:, :2], callbacks=[type(m)]), "a list of Callback objects",
    ),
    "no units": (lambda m: m.add(type(m.layers[0])(0)), "units=0"),
    "a class of optimizers": (
        lambda m: m.compile(type(m.optimizer), "mse"), "Could not interpret optimizer",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_DATA)
def test_data_that_do_not_fit_are_refused_before_anything_changes(k22, name):
    act, words = BAD_DATA[name]
    model = k22.net(4, 3, 2)
    model.compile("sgd", "mse")
    before = model.get_weights()
    with pytest.raises(ValueError, match=words):
        act(model)
    assert len(model.layers) == 2
    for mine, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, old)


def test_losses_of_ones_own_may_take_class_numbers(k22):
    model = k22.net(4, 2)
    for loss in ("sparse_categorical_crossentropy", lambda t, y: k22.backend.mean(t * y, axis=-1)):
        model.compile("sgd", loss)
        assert np.isfinite(model.train_on_batch(ROWS, np.zeros(len(ROWS))))


def test_another_process_finds_the_classes_by_their_paths(k22):
    kinds = [k22.optimizers.RMSprop, k22.layers.Dense.__mro__[1]]
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer))"
    run = [sys.executable, "-c", code]
    found = subprocess.run(run, input=pickle.dumps(kinds), capture_output=True, check=True)
    assert found.stdout.decode().strip() == str(kinds)
