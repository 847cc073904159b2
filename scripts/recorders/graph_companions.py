"""Records SGD and Adam of the graph-mode systems over the inputs of the RMSprop runs.

python scripts/recorders/graph_companions.py --system k22_tf --class Adam --inputs F.npz --out raw

The folder holds `<system>_<class>`, packed by pack_goldens.py like any other system.
"""

import argparse
import sys

import numpy as np

import graph_keras
from cases import CLIPNORM, CLIPVALUE, DECAY, LR
from cases_graph import RESUME
from inputs import Inputs
from offset import DEFAULT_EPSILON
from store import Store

MIDRUN = "before step 5: K.set_value(opt.lr, 0.02)"


def cases_of(kind, system):
    """Return about twenty cases of a class."""
    key = "learning_rate" if system == "k23_tf" else "lr"
    own = {"SGD": sgd_cases, "Adam": adam_cases}[kind]
    table = {
        "defaults": {},
        "lr": {key: LR},
        "decay": {key: LR, "decay": DECAY},
        "clipnorm": {key: LR, "clipnorm": CLIPNORM},
        "clipvalue": {key: LR, "clipvalue": CLIPVALUE},
        "clip_both": {key: LR, "clipnorm": 2.0, "clipvalue": CLIPVALUE},
        "constraint": {key: LR},
        "lr_midrun": {key: LR},
        "resume": {key: LR},
        "float64": {key: LR},
        "float16": {key: LR},
        "err_none_grad": {key: LR},
        "err_rho_kwarg": {"rho": 0.5},
    }
    table.update((name, dict({key: LR}, **kwargs)) for name, kwargs in own(system).items())
    out = []
    for name, kwargs in table.items():
        floatx = name if name in ("float64", "float16") else "float32"
        entry = {"case": name, "kwargs": kwargs, "floatx": floatx, "dtype": floatx}
        if name in ("constraint", "combo"):
            entry["constraint_on"] = 3
        if name == "lr_midrun":
            entry["hook"] = MIDRUN
        if name.startswith("resume"):
            entry["hook"] = RESUME
        out.append(entry)
    return out


def sgd_cases(system):
    """Return what only SGD has."""
    return {
        "momentum": {"momentum": 0.9},
        "nesterov": {"momentum": 0.9, "nesterov": True},
        "nesterov_alone": {"nesterov": True},
        "momentum_decay": {"momentum": 0.7, "decay": DECAY},
        "nesterov_decay": {"momentum": 0.7, "decay": DECAY, "nesterov": True},
        "resume_momentum": {"momentum": 0.9},
        "combo": {"momentum": 0.5, "decay": DECAY, "clipnorm": CLIPNORM, "clipvalue": CLIPVALUE},
    }


def adam_cases(system):
    """Return what only Adam has."""
    found = {
        "beta_1": {"beta_1": 0.5},
        "beta_1_zero": {"beta_1": 0.0},
        "beta_2": {"beta_2": 0.9},
        "epsilon": {"epsilon": 0.01},
        "epsilon_none": {"epsilon": None},
        "resume_decay": {"decay": DECAY},
        "combo": {"beta_1": 0.5, "epsilon": 0.001, "decay": DECAY, "clipnorm": CLIPNORM},
    }
    if system in ("k22_tf", "k23_tf", "tfk113_v1"):
        found["amsgrad"] = {"amsgrad": True}
    return found


def choose(kind):
    """Let the shared runner load SGD or Adam in the place of RMSprop."""
    load = graph_keras.load

    def other(system):
        backend, rmsprop, constraint = load(system)
        return backend, getattr(sys.modules[rmsprop.__module__], kind), constraint

    graph_keras.load = other


def step_offset(kind, system, case, arrays):
    """Return 0 or 1: whether the count before or after the step entered its first step."""
    kwargs = case["kwargs"]
    counted = kind == "Adam" or kwargs.get("decay")
    if not counted or case.get("hook") or kwargs.get("clipnorm") or kwargs.get("amsgrad"):
        return None
    rate = kwargs.get("lr", kwargs.get("learning_rate", 0.001 if kind == "Adam" else 0.01))
    grad = arrays["g2"][0].astype("float64")
    if kwargs.get("clipvalue"):
        grad = np.clip(grad, -kwargs["clipvalue"], kwargs["clipvalue"])
    true = (arrays["p2"][1].astype("float64") - arrays["p2"][0]).ravel()
    misses = []
    for offset in (0, 1):
        now = rate / (1.0 + kwargs.get("decay", 0.0) * offset)
        if kind == "Adam":
            low, high = kwargs.get("beta_1", 0.9), kwargs.get("beta_2", 0.999)
            time = offset + 1
            now *= np.sqrt(1 - high**time) / (1 - low**time)
            epsilon = kwargs.get("epsilon") or DEFAULT_EPSILON.get(system.split("_")[0], 1e-7)
            step = now * (1 - low) * grad / (np.sqrt((1 - high) * grad**2) + epsilon)
        else:
            step = now * grad * (1 + kwargs.get("momentum", 0.0) * bool(kwargs.get("nesterov")))
        misses.append(float(np.max(np.abs(true + step.ravel()))))
    return int(np.argmin(misses)) if min(misses) < 0.3 * max(misses) else None


def main():
    """Record one class of one system."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--system", required=True, choices=graph_keras.SYSTEMS)
    parser.add_argument("--class", dest="kind", required=True, choices=["SGD", "Adam"])
    parser.add_argument("--inputs", required=True, help="a float64 golden: g{i} and p{i}")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    graph_keras.load(options.system)
    choose(options.kind)
    graph_keras.decay_offset = lambda system, case, arrays: step_offset(
        options.kind, system, case, arrays
    )
    inputs = Inputs(options.inputs)
    name = "%s_%s" % (options.system, options.kind.lower())
    store = Store(options.out, name, graph_keras.versions(options.system))
    for case in cases_of(options.kind, options.system):

        def run(item, trace):
            graph_keras.run(options.system, item, inputs, trace)
            if "decay_iter_offset" not in trace.info and options.kind == "Adam":
                trace.info["decay_iter_offset"] = step_offset(
                    "Adam", options.system, item, trace.arrays()
                )

        entry = store.record(case, run)
        outcome = entry.get("raises", {}).get("type", "ok")
        sys.stdout.write("%s %s %s\n" % (entry["id"], outcome, entry.get("decay_iter_offset")))
        sys.stdout.flush()
    store.close()


if __name__ == "__main__":
    main()
