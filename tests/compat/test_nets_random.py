"""Initial weights and random operations draw the very numbers of the old systems."""

import importlib
from pathlib import Path

import numpy as np
import pytest

RECORDS = Path(__file__).resolve().parents[1] / "porting" / "records"
PACKAGES = {"k12_tf": "keras1", "k20_tf": "keras20", "k22_tf": "keras22", "k23_tf": "keras23"}
PACKAGES["k12_theano"] = "keras1"
INSIDE = {"contrib13": "tf_contrib", "tfk113_v1": "tf_keras_v1"}  # the two Keras of TensorFlow 1
PACKAGES |= INSIDE
# The recorder's order of calls after one seed.
OPERATIONS = {
    "dropout": lambda k: k.dropout(k.variable(np.arange(1.0, 41.0).reshape(5, 8)), 0.4),
    "random_binomial": lambda k: k.random_binomial((5, 4), 0.3),
    "random_normal": lambda k: k.random_normal((4, 3), 0.5, 2.0),
    "random_uniform": lambda k: k.random_uniform((4, 3), -1.0, 3.0),
    "truncated_normal": lambda k: k.truncated_normal((4, 3), 0.5, 2.0),
}
MADE = ("random_uniform", "random_normal", "random_binomial", "dropout", "truncated_normal")


def module(system, name):
    return importlib.import_module(f"fastrms.compat.{PACKAGES[system]}.{name}")


@pytest.fixture(params=PACKAGES)
def recorded(request, monkeypatch):
    """A system and its arrays, with the environment that chose its backend."""
    backend = "theano" if request.param.endswith("theano") else "tensorflow"
    monkeypatch.setenv("KERAS_BACKEND", backend)
    with np.load(RECORDS / f"{request.param}_random.npz") as arrays:
        return request.param, dict(arrays)


def test_initial_dense_weights_are_bit_equal(recorded):
    system, arrays = recorded
    layers, models = module(system, "layers"), module(system, "models")
    word = "init" if PACKAGES[system] == "keras1" else "kernel_initializer"
    wrong, seen = [], 0
    for key, expected in arrays.items():
        name, _, rest = key.partition(".")
        if name in ("K", "layer"):
            continue
        seed = int(rest.split(".")[1])
        np.random.seed(seed)
        given = name
        if system in INSIDE:  # without a seed of their own they drew other numbers in every run
            given = getattr(module(system, "initializers"), name)(seed=seed)
        model = models.Sequential()
        model.add(layers.Dense(expected.shape[1], input_dim=expected.shape[0], **{word: given}))
        kernel = model.get_weights()[0]
        if name == "orthogonal":  # signs of singular vectors differ between LAPACK versions
            same = np.allclose(np.abs(kernel), np.abs(expected), atol=1e-6)
        else:
            same = (kernel == expected).all()
        wrong += [] if same and kernel.dtype == expected.dtype else [key]
        seen += 1
    assert seen >= (54 if system in INSIDE else 60)
    assert not wrong


def test_random_operations_draw_the_same_numbers_call_after_call(recorded):
    system, arrays = recorded
    backend = module(system, "backend")
    np.random.seed(3)
    known = {key.split(".")[1] for key in arrays if key.startswith("K.")}
    made = {name: OPERATIONS[name](backend) for name in MADE if name in known}
    for name in sorted(made):
        call = backend.function([], [made[name]])
        for number in range(2):
            expected = arrays[f"K.{name}.{number}"]
            np.testing.assert_array_max_ulp(call([])[0], expected, 1 if name == "dropout" else 0)
    uniform = backend.random_uniform_variable((5, 3), -1.0, 2.0)
    np.testing.assert_array_equal(uniform.get_value(), arrays["K.random_uniform_variable.0"])


@pytest.mark.parametrize("system", [s for s in PACKAGES if s.endswith("tf")])
def test_dropout_layers_draw_the_same_masks(system):
    layers, models, backend = (module(system, n) for n in ("layers", "models", "backend"))
    with np.load(RECORDS / f"{system}_random.npz") as arrays:
        expected = [arrays[f"layer.dropout.{i}"] for i in range(2)]
    np.random.seed(5)
    model = models.Sequential()
    model.add(layers.Dense(6, input_dim=4))
    model.add(layers.Dropout(0.5))
    call = backend.function([model.input, backend.learning_phase()], [model.output])
    rows = np.arange(20.0).reshape(5, 4) / 20
    for value in expected:
        found = call([rows, 1])[0]
        np.testing.assert_array_equal(found == 0, value == 0)
        np.testing.assert_allclose(found, value, rtol=3e-7, atol=1e-7)
    np.testing.assert_array_equal(call([rows, 0])[0], call([rows, 0])[0])


@pytest.mark.parametrize(
    ("system", "second"),
    [("k20_tf", -0.24772531), ("k22_tf", -0.24772531), ("k23_tf", 1.0003204)],
)
def test_an_initialisers_own_seed_advances_where_it_did(system, second):
    """Values seen on Keras 2.0.8, 2.2.4 and 2.3.1."""
    glorot = module(system, "initializers").glorot_uniform(seed=3)
    layers, models = module(system, "layers"), module(system, "models")
    for expected in (-0.24772531, second):
        made = layers.Dense(2, input_dim=3, kernel_initializer=glorot)
        models.Sequential([made])
        assert made.get_weights()[0][0, 0] == np.float32(expected)


# Recorded: the first row that Orthogonal(gain=1.5, seed=7) gives in tf.contrib.keras of TensorFlow
# 1.3 and in tf.keras of 1.13.
TALL = [-0.03577780723571777, -1.4328516721725464, -0.009730556048452854]
FIRST_ROWS = {
    ("tf_contrib", (4, 3)): TALL,
    ("tf_contrib", (2, 2, 3)): TALL,
    ("tf_contrib", (3, 5)): [-0.23322933912277222, -1.0988627672195435, -0.9940343499183655, 0, 0],
    ("tf_keras_v1", (4, 3)): TALL,
    ("tf_keras_v1", (2, 2, 3)): TALL,
    ("tf_keras_v1", (3, 5)): [
        *(-0.034538090229034424, 0.8612333536148071, -1.0478583574295044),
        *(-0.5058335661888123, 0.39141976833343506),
    ],
}


@pytest.mark.parametrize(("package", "shape"), FIRST_ROWS)
def test_orthogonal_matrices_of_tensorflow_are_its_decompositions(package, shape):
    initializers = importlib.import_module(f"fastrms.compat.{package}.initializers")
    found = initializers.Orthogonal(gain=1.5, seed=7)(shape)
    assert (found.shape, found.dtype) == (shape, np.float32)
    first = found.reshape(-1, shape[-1])[0]
    np.testing.assert_allclose(first, FIRST_ROWS[package, shape], rtol=0, atol=2e-6)
