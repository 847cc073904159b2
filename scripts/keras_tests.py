"""Run Keras 3's own tests of RMSprop, of optimizers and of schedules against this package.

    python scripts/keras_tests.py [FOLDER]

The test files are read where Keras 3 is installed (or in FOLDER, which holds ``keras/src``), never
copied. A thin shim takes the place of ``keras.src``: its RMSprop is ours, its SGD is a subclass of
ours written as Keras 3 documents it. Needs absl-py, which Keras depends on; not Keras' backends.
"""

import importlib.util
import json
import sys
import types
import unittest
from pathlib import Path

import numpy as np
from absl.testing import parameterized

import fastrms
from fastrms import Variable, optimizer, schedules

FILES = ("rmsprop_test", "schedules/learning_rate_schedule_test", "optimizer_test")
# What is left out, and why.
LEFT_OUT = {
    "test_fit_lr_correctness": "trains a Keras model with Adam",
    "test_ema_with_model_fit": "trains a Keras model",
    "test_tf_checkpointing": "TensorFlow's checkpoints of a Keras model",
    "test_mixed_with_tf_variables": "TensorFlow's variables",
    "test_empty_gradients": "its second half wants a warning from apply; here minimize warns",
}


class RMSprop(fastrms.RMSprop):
    """Ours, with the private names that Keras' tests look at."""

    @property
    def _iterations(self):
        return self.variables[0]

    @property
    def _accumulated_gradients(self):
        return [v for v in self.variables if v.path.endswith("_gradient_accumulator")]

    @property
    def _model_variables_moving_average(self):
        return [v for v in self.variables if v.path.endswith("_average")]


class SGD(RMSprop):
    """As Keras 3's documentation writes an optimizer, without momentum."""

    def __init__(self, learning_rate=0.01, **kwargs):
        super().__init__(learning_rate, **kwargs)

    def update_step(self, gradient, variable, learning_rate):
        self.assign_sub(variable, gradient * learning_rate)


class Adam(RMSprop):
    """A name; the tests that use it look at counters, names and weights, not at numbers."""


class AdamW(RMSprop):
    """Another name."""


OURS = {
    "rmsprop": RMSprop,
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
}


def deserialize(config):
    """Build one of the optimizers above."""
    name = config["class_name"].lower()
    others = ("adagrad", "adadelta", "adamax", "lion", "nadam", "ftrl", "adafactor")
    if name in others:
        raise unittest.SkipTest(f"{name} is no optimizer of this package")
    return fastrms.deserialize({**config, "class_name": name, "registered_name": name}, OURS)


def get(identifier):
    """Build one of the optimizers above, from its name too."""
    if isinstance(identifier, str):
        identifier = {"class_name": identifier, "config": {}}
    return identifier if identifier is None else deserialize(identifier)


def tensor(values):
    """Numbers as float32, arrays as they are."""
    return values if isinstance(values, np.ndarray) else np.asarray(values, np.float32)


class Case(parameterized.TestCase):
    """What the tests use of Keras' own test case."""

    def setUp(self):
        optimizer._names.clear()

    def assertAllClose(self, x1, x2, atol=1e-6, rtol=1e-6, **_):
        np.testing.assert_allclose(np.asarray(x1), np.asarray(x2), atol=atol, rtol=rtol)

    def assertAlmostEqual(self, x1, x2, decimal=3, **_):
        np.testing.assert_almost_equal(np.asarray(x1), np.asarray(x2), decimal=decimal)

    def run_class_serialization_test(self, instance):
        config = instance.get_config()
        self.assertEqual(type(instance).from_config(dict(config)).get_config(), config)
        library = schedules if isinstance(instance, schedules.LearningRateSchedule) else fastrms
        own = {type(instance).__name__: type(instance)}
        written = json.loads(json.dumps(library.serialize(instance)))
        revived = library.deserialize(written, own)
        self.assertEqual(
            json.dumps(revived.get_config(), sort_keys=True), json.dumps(config, sort_keys=True)
        )


class NonNeg:
    """keras.constraints.NonNeg."""

    def __call__(self, w):
        return np.maximum(w, 0)


def module(name, **content):
    """Put a module of the shim in place."""
    made = types.ModuleType(name)
    made.__path__ = []
    vars(made).update(content)
    sys.modules[name] = made
    parent, _, last = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], last, made)


def shim():
    """Put the shim in the place of Keras."""

    def absent(*arguments, **options):
        raise unittest.SkipTest("no Keras model here")

    kinds = {kind.__name__: kind for kind in OURS.values()}
    parts = {
        "keras": {},
        "keras.src": {},
        "keras.src.backend": {
            "Variable": Variable,
            "convert_to_tensor": tensor,
            "backend": lambda: "numpy",
            "numpy": np,
        },
        "keras.src.ops": {
            "array": tensor,
            "zeros": np.zeros,
            "arange": np.arange,
            "full": np.full,
        },
        "keras.src.testing": {"TestCase": Case},
        "keras.src.constraints": {"NonNeg": NonNeg},
        "keras.src.layers": {"Dense": absent},
        "keras.src.models": {"Sequential": absent},
        "keras.src.optimizers": {
            **kinds,
            "get": get,
            "serialize": fastrms.serialize,
            "deserialize": deserialize,
        },
        "keras.src.optimizers.schedules": vars(schedules),
        "keras.src.optimizers.rmsprop": {"RMSprop": OURS["rmsprop"]},
    }
    for name, content in parts.items():
        module(name, **{k: v for k, v in content.items() if not k.startswith("__")})
    if importlib.util.find_spec("pytest") is None:
        marks = types.SimpleNamespace(
            requires_trainable_backend=lambda test: test,
            skipif=lambda *arguments, **options: lambda test: test,
        )
        module("pytest", mark=marks)


def cases(suite):
    """Every test of a suite that is not left out."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from cases(test)
        elif test.id().rpartition(".")[2].rstrip("0123456789") not in LEFT_OUT:
            yield test


def main(arguments):
    found = importlib.util.find_spec("keras")
    if not arguments and found is None:
        print("Keras 3 is not installed here; name the folder that holds keras/src.")
        return 2
    folder = Path(arguments[0]) if arguments else Path(found.origin).parents[1]
    shim()
    suite = unittest.TestSuite()
    for name in FILES:
        path = folder / "keras" / "src" / "optimizers" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(path.stem, path)
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = loaded
        spec.loader.exec_module(loaded)
        suite.addTests(cases(unittest.defaultTestLoader.loadTestsFromModule(loaded)))
    for name, why in LEFT_OUT.items():
        print(f"left out: {name}: {why}")
    return not unittest.TextTestRunner(verbosity=1).run(suite).wasSuccessful()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
