"""Load checkpoints in a real Keras, compare its slots with ours, and take a step of zero gradient.

Runs in the environment of the system (the oldest on Python 3.6):

    python resume_checkpoint.py keras|tf.keras|contrib|tf_keras REQUEST.json

The request lists files, each with an .npz of the arrays that the optimizer must hold after loading.
A batch of zeros gives the first kernel a gradient of zero, so that one step turns its mean square v
into rho * v: that shows that the loaded slots are those the step uses. Prints a JSON line per file.
"""

import json
import os
import sys
import traceback

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path[:] = sys.path[1:]  # the recorders beside this file have the names of packages


def models_of(kind):
    """Import the module that loads models."""
    if kind == "tf.keras":
        from tensorflow.keras import models
    elif kind == "contrib":
        from tensorflow.contrib.keras.python.keras import models
    elif kind == "tf_keras":
        from tf_keras import models
    else:
        from keras import models
    return models


def slots_of(optimizer):
    """Return the optimizer's arrays that are no scalars, in its order, and its counter."""
    variables = getattr(optimizer, "variables", None)
    if isinstance(variables, (list, tuple)) or (variables is not None and not callable(variables)):
        arrays = [np.array(v) for v in map(plain, variables)]
    else:
        arrays = [np.array(a) for a in optimizer.get_weights()]
    return [a for a in arrays if a.ndim > 0]


def plain(variable):
    """Return a variable's value."""
    if hasattr(variable, "get_value"):  # Theano's shared variables
        return variable.get_value()
    value = getattr(variable, "value", variable)
    value = value() if callable(value) else value
    if hasattr(value, "detach"):
        value = value.detach()
    return value.numpy() if hasattr(value, "numpy") else value


def counted(optimizer, kind):
    """Return the optimizer's counter of iterations, if it can be read."""
    try:
        return int(plain(optimizer.iterations))
    except (TypeError, ValueError):
        from_backend = __import__(
            "keras.backend" if kind == "keras" else "tensorflow", fromlist=["x"]
        )
        if kind != "keras":
            from_backend = models_of(kind).K if hasattr(models_of(kind), "K") else None
        try:
            return int(from_backend.get_value(optimizer.iterations))
        except (AttributeError, ImportError, TypeError, ValueError):
            return None


def tried(models, kind, item):
    """Load one file and take a step."""
    model = models.load_model(item["file"])
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    before = slots_of(optimizer)
    count = counted(optimizer, kind)
    expected = np.load(item["arrays"])
    wanted = [expected["arr_%d" % i] for i in range(len(expected.files))]
    equal = len(before) == len(wanted) and all(
        a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in zip(before, wanted)
    )
    outputs = model.output_shape[-1]
    model.train_on_batch(np.zeros((4, 3), "float32"), np.ones((4, outputs), "float32"))
    after = slots_of(optimizer)
    first = item["first_velocity"]
    ratio = after[first].astype("float64") / before[first].astype("float64")
    return {
        "slots_equal": bool(equal),
        "iterations": count,
        "ratio": [float(ratio.min()), float(ratio.max())],
    }


def main():
    """Answer every file of the request."""
    kind, request = sys.argv[1:]
    models = models_of(kind)
    with open(request) as file:
        items = json.load(file)
    for item in items:
        try:
            result = tried(models, kind, item)
        except Exception as error:  # each file is judged by itself
            last = traceback.format_exc().strip().splitlines()[-1]
            result = {"error": "%s: %s" % (type(error).__name__, last[:300])}
        print("RESULT " + json.dumps(dict(result, name=item["name"])), flush=True)


if __name__ == "__main__":
    main()
