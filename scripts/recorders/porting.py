"""Runs the porting scripts on a real old system and keeps their losses, weights and gradients.

python scripts/recorders/porting.py --system k22_tf --scripts tests/porting/scripts --out DIR

A script is run as it is; what it leaves in ``initial``, ``gradient``, ``losses`` and ``final`` is
kept. The system tf_keras is the living peer: there the import lines are changed, and an exception
is a result.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import platform
import re
import sys

import numpy as np

KEPT = 50
# The systems whose words a script speaks. TensorFlow 1.3 may assign a weight before the gradient
# of an earlier layer has read it; there, only scripts whose gradients all enter one norm (clipnorm)
# or whose weights no other gradient needs give the same numbers on every run.
LATER = ["k22_tf", "k23_tf"]
SCRIPTS = {
    "softmax_regression": ["k12_tf", "k12_theano"],
    "mlp_without_layers": ["k12_tf"] + LATER,
    "rbm_contrastive": ["k12_tf"],
    "reinforce": ["k12_tf", "k20_tf", "k22_tf"],
    "a2c_shared_trunk": LATER,
    "dqn_huber": LATER,
    "ddpg_actor": ["k20_tf", "k22_tf"],
    "image_optimisation": ["k12_tf", "k20_tf"],
    "mask_optimisation": ["k20_tf"] + LATER,
    "wgan_clamp": ["k12_tf", "k20_tf", "k22_tf"],
    "wgan_gradient_penalty": LATER,
    "gradient_accumulation": ["k22_tf"],
    "custom_adamw": ["k20_tf"],
    "lr_finder": LATER,
    "keras1_classifier": ["k12_tf"],
    "skip_gram": ["k20_tf", "k22_tf"],
    "training_loop": ["k23_tf"],
}


PEER = "tf_keras"


def peer_text(text):
    """Return a script with the import lines of the living peer and its legacy optimizers."""
    text = re.sub(r"^(from|import) keras\b", r"\1 tf_keras", text, flags=re.M)
    text = text.replace("from tf_keras.optimizers", "from tf_keras.optimizers.legacy")
    text = re.sub(r"^from tf_keras import optimizers$", IMPORT_LEGACY, text, flags=re.M)
    return text.replace("models, optimizers\n", "models\n" + IMPORT_LEGACY + "\n")


IMPORT_LEGACY = "from tf_keras.optimizers import legacy as optimizers"


def single_thread(system):
    """Start a session of one thread, so that decay's race has one outcome."""
    if system == PEER:
        sys.path[:] = [p for p in sys.path if os.path.basename(p) != "recorders"]  # our tf_keras.py
        import tensorflow
        import tf_keras.backend

        tensorflow.compat.v1.disable_eager_execution()
        tf_keras.backend.clear_session()
        return
    import keras.backend as backend

    if system.endswith("theano"):
        import theano.ifelse  # noqa: F401  (Keras 1 uses it without importing it)

        return
    import tensorflow as tf

    backend.clear_session()
    config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    backend.set_session(tf.Session(config=config))


def versions(system):
    """Return the versions that define a system."""
    keras = __import__(PEER if system == PEER else "keras")
    found = {"keras": keras.__version__, "numpy": np.__version__}
    name = "theano" if system.endswith("theano") else "tensorflow"
    found[name] = __import__(name).__version__
    found["python"] = platform.python_version()
    return found


def run(path, system):
    """Run a script and return its names and the digest of its text."""
    with open(path, "rb") as stream:
        text = stream.read()
    digest = hashlib.sha256(text).hexdigest()
    if system == PEER:
        text = peer_text(text.decode("utf-8"))
    names = {"__name__": "__main__", "__file__": path}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(text, path, "exec"), names)
    return names, digest


def kept(names):
    """Return the arrays of a finished script by the names of a record."""
    arrays = {"losses": np.array([float(loss) for loss in names["losses"]])}
    for group in ("initial", "gradient", "final"):
        values = names[group]
        values = values if isinstance(values, (list, tuple)) else [values]
        arrays.update(("%s%d" % (group, i), np.asarray(v)) for i, v in enumerate(values))
    if len(arrays["losses"]) < KEPT:
        raise ValueError("a script needs %d losses" % KEPT)
    arrays["losses"] = arrays["losses"][:KEPT]
    return arrays


def main():
    """Record every script of one system into one npz file and one index."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--system", required=True)
    parser.add_argument("--scripts", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    theano = options.system.endswith("theano")
    os.environ["KERAS_BACKEND"] = "theano" if theano else "tensorflow"
    arrays, index = {}, {"system": options.system, "scripts": {}}
    for name, systems in sorted(SCRIPTS.items()):
        known = options.system in systems + [PEER]
        if not known or (options.only and name not in options.only):
            continue
        single_thread(options.system)
        path = os.path.join(options.scripts, name + ".py")
        try:
            names, digest = run(path, options.system)
        except Exception as error:
            if options.system != PEER:
                raise
            kind, lines = type(error).__name__, str(error).strip().splitlines() or [""]
            message = re.sub(r" \(/[^)]*\)", "", lines[0])[:100]
            index["scripts"][name] = {"raises": [kind, message]}
            sys.stdout.write("%s %s %s %s\n" % (options.system, name, kind, message))
            continue
        found = kept(names)
        arrays.update((name + "." + key, value) for key, value in found.items())
        index["scripts"][name] = {"sha256": digest, "title": names["__doc__"].strip()}
        sys.stdout.write("%s %s %s\n" % (options.system, name, found["losses"][[0, 9, 49]]))
        sys.stdout.flush()
    index["versions"] = versions(options.system)
    base = os.path.join(options.out, options.system)
    np.savez_compressed(base + ".npz", **arrays)
    with open(base + ".json", "w") as stream:
        json.dump(index, stream, indent=1, sort_keys=True)
        stream.write("\n")


if __name__ == "__main__":
    main()
