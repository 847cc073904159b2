"""Records what the initialisers and random operations of an old system draw after a seed.

python scripts/recorders/initial_weights.py --system k22_tf --out tests/porting/records

The initialisers of the two Keras inside TensorFlow 1 do not look at NumPy's generator: recorded are
those with a seed of their own.
"""

import argparse
import importlib
import json
import os

import numpy as np

SHAPES = [(7, 5), (1, 1), (30, 13)]
SEEDS = [0, 2147483647]
OLD = [
    "uniform",
    "normal",
    "lecun_uniform",
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
]
OLD += ["zero", "one", "orthogonal"]
NEW = ["random_uniform", "random_normal", "truncated_normal", "lecun_uniform", "lecun_normal"]
NEW += ["glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "zeros", "ones", "orthogonal"]
SEEDED = ["RandomUniform", "RandomNormal", "TruncatedNormal", "VarianceScaling", "lecun_uniform"]
SEEDED += ["glorot_uniform", "glorot_normal", "he_uniform", "he_normal"]
INSIDE = {"contrib13": "tensorflow.contrib.keras", "tfk113_v1": "tensorflow.keras"}


def package(system):
    """Return the Keras of a system."""
    if system not in INSIDE:
        return importlib.import_module("keras")
    import tensorflow

    found = tensorflow
    for part in INSIDE[system].split(".")[1:]:
        found = getattr(found, part)
    return found


def dense(keras, given, shape, old):
    """Return the kernel of a Dense layer with an initialiser."""
    words = {"init": given} if old else {"kernel_initializer": given}
    model = keras.models.Sequential()
    model.add(keras.layers.Dense(shape[1], input_dim=shape[0], **words))
    return model.get_weights()[0]


def operations(K, theano):
    """Return two calls each of the random operations of the backend."""
    found = {}
    if theano:
        variable = K.random_uniform_variable((5, 3), -1.0, 2.0)
        return {"random_uniform_variable": [K.get_value(variable)]}
    draws = {
        "random_uniform": K.random_uniform((4, 3), -1.0, 3.0),
        "random_normal": K.random_normal((4, 3), 0.5, 2.0),
        "random_binomial": K.random_binomial((5, 4), 0.3),
        "dropout": K.dropout(K.variable(np.arange(1.0, 41.0).reshape(5, 8)), 0.4),
    }
    if hasattr(K, "truncated_normal"):
        draws["truncated_normal"] = K.truncated_normal((4, 3), 0.5, 2.0)
    for name in sorted(draws):
        call = K.function([], [draws[name]])
        found[name] = [call([])[0], call([])[0]]
    found["random_uniform_variable"] = [K.get_value(K.random_uniform_variable((5, 3), -1.0, 2.0))]
    found["random_normal_variable"] = [K.get_value(K.random_normal_variable((5, 3), 0.0, 0.5))]
    return found


def masks(keras):
    """Return two training outputs of a net with dropout."""
    K, layers = keras.backend, keras.layers
    model = keras.models.Sequential()
    model.add(layers.Dense(6, input_dim=4))
    model.add(layers.Dropout(0.5))
    call = K.function([model.input, K.learning_phase()], [model.output])
    rows = np.arange(20.0).reshape(5, 4) / 20
    return [call([rows, 1])[0], call([rows, 1])[0]]


def main():
    """Record one system."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--system", required=True)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    theano = options.system.endswith("theano")
    os.environ["KERAS_BACKEND"] = "theano" if theano else "tensorflow"
    keras = package(options.system)
    K, inside = keras.backend, options.system in INSIDE
    version = importlib.import_module("tensorflow" if inside else "keras").__version__
    old = not inside and version.startswith("1.")
    arrays = {}
    for name in SEEDED if inside else OLD if old else NEW:
        for shape in SHAPES:
            for seed in SEEDS:
                np.random.seed(seed)
                given = getattr(keras.initializers, name)(seed=seed) if inside else name
                key = "%s.%dx%d.%d" % ((name,) + shape + (seed,))
                arrays[key] = dense(keras, given, shape, old)
    np.random.seed(3)
    for name, values in operations(K, theano).items():
        for call, value in enumerate(values):
            arrays["K.%s.%d" % (name, call)] = value
    if not theano and not inside:  # the weights below it draw no numbers there
        np.random.seed(5)
        for call, value in enumerate(masks(keras)):
            arrays["layer.dropout.%d" % call] = value
    base = os.path.join(options.out, options.system + "_random")
    np.savez_compressed(base + ".npz", **arrays)
    with open(base + ".json", "w") as stream:
        name = "tensorflow" if inside else "keras"
        index = {"system": options.system, name: version, "numpy": np.__version__}
        json.dump(index, stream, indent=1, sort_keys=True)
        stream.write("\n")


if __name__ == "__main__":
    main()
