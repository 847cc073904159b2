"""Restore TensorFlow checkpoints in a real TensorFlow, compare slots, take a step of zero gradient.

Runs in the environment of the system (the oldest on Python 3.6):

    python restore_checkpoint.py native|session|contrib|tf.keras-session|objects|torch REQUEST.json

The request lists files, each with the slots that must be there after restoring. A zero gradient
turns each mean square v into rho * v: that shows that the restored slots are those the step uses.
Prints one JSON line per file.
"""

import json
import os
import sys
import traceback

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def native(item):
    """Restore with a `tf.train.Saver` into `tf.train.RMSPropOptimizer`."""
    import tensorflow as tf

    tf.reset_default_graph()
    variables = [
        tf.Variable(np.zeros(shape, "float32"), name=name)
        for name, shape in zip(item["names"], item["shapes"])
    ]
    centered = "average_gradient" in item["slots"]
    optimizer = tf.train.RMSPropOptimizer(0.01, decay=0.9, momentum=0.5, centered=centered)
    step = tf.Variable(0, name="global_step", dtype=tf.int64)
    gradients = [(tf.zeros(v.shape), v) for v in variables]
    train = optimizer.apply_gradients(gradients, global_step=step)
    words = {"velocity": "rms", "momentum": "momentum", "average_gradient": "mg"}
    with tf.Session() as session:
        tf.train.Saver().restore(session, item["file"])

        def read(slot):
            return session.run([optimizer.get_slot(v, words[slot]) for v in variables])

        before = {slot: read(slot) for slot in item["slots"]}
        count = int(session.run(step))
        session.run(train)
        return before, count, read("velocity")


def session(item, kind):
    """Restore with a `tf.train.Saver` into the session of a Keras 1 or 2 model."""
    import tensorflow as tf

    if kind == "contrib":
        from tensorflow.contrib.keras.python.keras import backend, layers, models, optimizers
    elif kind == "tf.keras-session":
        from tensorflow.keras import backend, layers, models, optimizers
    else:
        from keras import backend, layers, models, optimizers
    backend.clear_session()
    model = models.Sequential()
    model.add(layers.Dense(4, input_shape=(3,), name="hidden", activation="tanh"))
    model.add(layers.Dense(2, name="out"))
    optimizer = optimizers.RMSprop()
    model.compile(optimizer, "mse")
    model.train_on_batch(np.zeros((4, 3), "float32"), np.ones((4, 2), "float32"))
    opened = backend.get_session()
    tf.train.Saver().restore(opened, item["file"])
    slots = [w for w in optimizer.weights if len(w.shape) > 0]
    before = {"velocity": opened.run(slots)}
    count = int(opened.run(optimizer.iterations))
    model.train_on_batch(np.zeros((4, 3), "float32"), np.ones((4, 2), "float32"))
    return before, count, opened.run(slots)[:1]


def objects(item):
    """Restore with a `tf.train.Checkpoint` into a Keras optimizer."""
    import tensorflow as tf

    if item["keras"] == "keras":
        import keras
    else:
        keras = tf.keras
    model = keras.Sequential(
        [
            keras.layers.Input((3,)),
            keras.layers.Dense(4, name="hidden", activation="tanh"),
            keras.layers.Dense(2, name="out"),
        ]
    )
    variables = model.trainable_variables
    module = keras.optimizers.legacy if item["keras"] == "legacy" else keras.optimizers
    optimizer = module.RMSprop(**item["arguments"])
    zeros = [tf.zeros(v.shape) for v in variables]
    if item["keras"] != "keras" and hasattr(optimizer, "_create_all_weights"):
        optimizer._create_all_weights(variables)
    else:
        optimizer.build(variables)
    if item["template"]:
        checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
    else:
        checkpoint = tf.train.Checkpoint(optimizer=optimizer, variables=variables)
    restored = checkpoint.restore(item["file"])
    if not item["template"]:
        restored.assert_existing_objects_matched()
    lists = {
        "velocity": ("rms", "_velocities"),
        "momentum": ("momentum", "_momentums"),
        "average_gradient": ("mg", "_average_gradients"),
    }

    def read(slot):
        word, name = lists[slot]
        if hasattr(optimizer, name):
            found = getattr(optimizer, name)
        else:
            found = [optimizer.get_slot(v, word) for v in variables]
        return [np.array(v) for v in found]

    before = {slot: read(slot) for slot in item["slots"]}
    count = int(np.array(optimizer.iterations))
    optimizer.apply_gradients(zip(zeros, variables))
    return before, count, read("velocity")


def torch(item):
    """Load a .safetensors file into `torch.optim.RMSprop` by its state_dict."""
    import safetensors
    import torch as library
    from safetensors.torch import load_file

    with safetensors.safe_open(item["file"], "pt") as file:
        groups = json.loads(file.metadata()["optimizer.param_groups"])
    states = {}
    for name, tensor in load_file(item["file"]).items():
        if name.startswith("optimizer.state."):
            number, word = name[len("optimizer.state.") :].split(".")
            states.setdefault(int(number), {})[word] = tensor
    variables = [library.nn.Parameter(library.ones(*shape)) for shape in item["shapes"]]
    optimizer = library.optim.RMSprop(variables)
    optimizer.load_state_dict({"state": states, "param_groups": groups})
    words = {"velocity": "square_avg", "momentum": "momentum_buffer"}
    words["average_gradient"] = "grad_avg"

    def read(slot):
        return [optimizer.state[v][words[slot]].numpy().copy() for v in variables]

    before = {slot: read(slot) for slot in item["slots"]}
    count = int(optimizer.state[variables[0]]["step"])
    for v in variables:
        v.grad = library.zeros_like(v)
    optimizer.step()
    return before, count, read("velocity")


def tried(kind, item):
    """Restore one file and judge it."""
    if kind in ("session", "contrib", "tf.keras-session"):
        before, count, after = session(item, kind)
    else:
        before, count, after = {"native": native, "objects": objects, "torch": torch}[kind](item)
    expected = np.load(item["arrays"])
    equal = all(
        np.array_equal(value, expected["%s_%d" % (slot, i)])
        for slot, values in before.items()
        for i, value in enumerate(values)
    )
    ratios = [a.astype("f8") / b for a, b in zip(after, before["velocity"])]
    return {
        "slots_equal": bool(equal),
        "iterations": count,
        "ratio": [float(min(r.min() for r in ratios)), float(max(r.max() for r in ratios))],
    }


def main():
    """Answer every file of the request."""
    kind, request = sys.argv[1:]
    with open(request) as file:
        items = json.load(file)
    for item in items:
        try:
            result = tried(kind, item)
        except Exception as error:  # each file is judged by itself
            last = traceback.format_exc().strip().splitlines()[-1]
            result = {"error": "%s: %s" % (type(error).__name__, last[:300])}
        print("RESULT " + json.dumps(dict(result, name=item["name"])), flush=True)


if __name__ == "__main__":
    main()
