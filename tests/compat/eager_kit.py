"""How our classes are put the questions that the real systems were put."""

import importlib
import json
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np

RECORDS = Path(__file__).parent / "records"
SYSTEMS = {
    "tf210_v2": ("tf_keras_v2", "optimizers"),
    "tf210_exp": ("tf_keras_v2", "optimizers.experimental"),
    "tf212_new": ("tf_keras", "optimizers"),
}


class Parameter:
    """A variable of another library: an array, a name, a constraint."""

    def __init__(self, value, name, constraint=None):
        self.array, self.name, self.constraint = np.array(value), f"{name}:0", constraint

    def value(self):
        return self.array


def not_negative(variable):
    """Keras' NonNeg."""
    return variable.array * (variable.array >= 0)


class Kit:
    """How scripts make and read what they use, here."""

    def __init__(self, system):
        package, place = SYSTEMS[system]
        self.old = system.endswith("v2")
        main = importlib.import_module(f"fastrms.compat.{package}.optimizers")
        classes = importlib.import_module(f"fastrms.compat.{package}.{place}")
        names = ("get", "serialize", "deserialize")
        self.optimizers = SimpleNamespace(
            **{name: getattr(main, name) for name in names},
            **{name: getattr(classes, name) for name in ("RMSprop", "SGD", "Adam")},
        )
        self.schedules = main.schedules
        self.backend = importlib.import_module(f"fastrms.compat.{package}.backend")
        mixed = importlib.import_module(f"fastrms.compat.{package}.mixed_precision")
        self.scaler = mixed.LossScaleOptimizer

    def variable(self, value, name, constrained):
        return Parameter(value, name, not_negative if constrained else None)

    def tensor(self, value):
        return np.asarray(value)

    def value(self, thing):
        return np.array(thing.array if isinstance(thing, Parameter) else thing)

    def counter(self):
        return Parameter(np.array(3, np.int64), "counter")

    def weight_variables(self, optimizer):
        return list(optimizer.weights if self.old else optimizer.variables)

    def weights(self, optimizer):
        return [self.value(v) for v in self.weight_variables(optimizer)]

    def restore(self, optimizer, held):
        optimizer.set_weights(held)

    def bare(self, name):
        return name.replace(":0", "")


def answers(system):
    """Return what a real system answered, by class, variant and question."""
    found = json.loads((RECORDS / f"eager_{system}.json").read_text())
    found.pop("versions")
    return found


def numbers(system):
    """Return what SGD and Adam of a real system computed."""
    found = json.loads(zlib.decompress((RECORDS / f"runs_{system}.json.z").read_bytes()))
    found.pop("versions")
    return found


def decoded(coded):
    """Read an array that was written with all its bits."""
    dtype, shape, bits = coded
    return np.frombuffer(bytes.fromhex(bits), dtype).reshape(shape)
