"""Records how tf.keras optimizers answer, and the numbers of SGD and Adam, for compat.

python scripts/recorders/eager.py tf212_new tests/compat/records

The questions and runs are in `tests/compat/eager_surface.py` and `eager_runs.py`: the tests put the
very same code to our classes.
"""

import json
import os
import sys
import zlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "tests", "compat"))

import eager_runs
import eager_surface
import numpy as np
import tensorflow as tf

MODULES = {
    "tf210_v2": lambda: tf.keras.optimizers,
    "tf210_exp": lambda: tf.keras.optimizers.experimental,
    "tf212_new": lambda: tf.keras.optimizers,
}


class Optimizers:
    """The classes of a system beside the functions of its main module."""

    def __init__(self, classes):
        """Take the module that holds the classes."""
        self.RMSprop, self.SGD, self.Adam = classes.RMSprop, classes.SGD, classes.Adam
        main = tf.keras.optimizers
        self.get, self.serialize, self.deserialize = main.get, main.serialize, main.deserialize


class Kit:
    """How TensorFlow makes and reads what the scripts use."""

    def __init__(self, system):
        """Remember the classes of the system."""
        self.old = system.endswith("v2")
        self.optimizers = Optimizers(MODULES[system]())
        self.schedules = tf.keras.optimizers.schedules
        self.backend = tf.keras.backend
        self.scaler = tf.keras.mixed_precision.LossScaleOptimizer

    def variable(self, value, name, constrained):
        """Create a parameter."""
        constraint = tf.keras.constraints.NonNeg() if constrained else None
        return tf.Variable(value, name=name, constraint=constraint)

    def tensor(self, value):
        """Return a constant."""
        return tf.constant(value)

    def value(self, thing):
        """Return a copy of a variable or tensor as an array."""
        return np.array(thing.numpy())

    def counter(self):
        """Return a variable that could be a counter."""
        return tf.Variable(3, dtype=tf.int64)

    def weight_variables(self, optimizer):
        """Return an optimizer's own variables."""
        if self.old:
            return list(optimizer.weights)
        found = optimizer.variables
        return list(found() if callable(found) else found)

    def weights(self, optimizer):
        """Return the values of an optimizer's own variables."""
        return [self.value(v) for v in self.weight_variables(optimizer)]

    def restore(self, optimizer, held):
        """Set an optimizer's own variables."""
        for variable, value in zip(self.weight_variables(optimizer), held):
            variable.assign(value)

    def bare(self, name):
        """Drop what depends on where a variable was created."""
        return name.replace(":0", "")


def numbers(kit, system):
    """Return the runs of SGD and Adam, their arrays as hexadecimal words."""
    found = {}
    for kind, name, given in eager_runs.runs(system):
        tf.keras.backend.clear_session()
        try:
            result = eager_runs.run(kit, kind, given)
        except Exception as error:  # which exception comes is a result
            found["%s-%s" % (kind, name)] = {"raises": type(error).__name__}
            continue
        result["trace"] = [[coded(a) for a in row] for row in result["trace"]]
        result["weights"] = [coded(a) for a in result["weights"]]
        result["config"] = eager_surface.plain(result["config"])
        found["%s-%s" % (kind, name)] = result
    return found


def coded(array):
    """Write an array with all its bits."""
    return [array.dtype.name, list(array.shape), array.tobytes().hex()]


def answers(kit):
    """Return what every class in every variant answers."""
    found = {}
    for kind, variants in eager_surface.VARIANTS.items():
        for variant in variants:
            for question in eager_surface.QUESTIONS:
                tf.keras.backend.clear_session()
                key = "%s-%s-%s" % (kind, variant, question)
                found[key] = eager_surface.attempt(
                    lambda k=kind, v=variant, q=question: eager_surface.ask(kit, k, v, q)
                )
    return found


def write(path, table, versions):
    """Write one entry a line."""
    lines = ["%s: %s" % (json.dumps(k), json.dumps(v, sort_keys=True)) for k, v in table.items()]
    body = '{"versions": %s,\n%s}\n' % (json.dumps(versions), ",\n".join(lines))
    with open(path, "wb") as stream:
        stream.write(body.encode() if path.endswith("json") else zlib.compress(body.encode(), 9))


def main():
    """Record one system."""
    system, folder = sys.argv[1:3]
    tf.config.threading.set_intra_op_parallelism_threads(1)
    versions = {"tensorflow": tf.__version__, "numpy": np.__version__}
    kit = Kit(system)
    os.makedirs(folder, exist_ok=True)
    write(os.path.join(folder, "eager_%s.json" % system), answers(kit), versions)
    write(os.path.join(folder, "runs_%s.json.z" % system), numbers(kit, system), versions)


if __name__ == "__main__":
    main()
