"""Finds which iteration count entered the decayed learning rate of a recorded run."""

import numpy as np

DEFAULT_EPSILON = {"k12": 1e-8, "k20": 1e-8, "contrib13": 1e-8}


def decay_offset(system, case, arrays):
    """Return 0 or 1: the offset whose float64 re-computation lies nearer to the parameters."""
    misses = [distance(recompute(system, case, arrays, offset), arrays) for offset in (0, 1)]
    if min(misses) > 0.1 * max(misses):
        raise ValueError(f"no offset explains {case['case']}: {misses}")
    return int(np.argmin(misses))


def distance(params, arrays):
    """Return the largest scaled difference over all parameters."""
    out = 0.0
    for index, value in enumerate(params):
        truth = arrays[f"p{index}"].astype("float64")
        out = max(out, np.max(np.abs(truth - value)) / np.max(np.abs(truth)))
    return out


def recompute(system, case, arrays, offset):
    """Replay the run in float64 with the given offset."""
    kwargs = case["kwargs"]
    rate = kwargs.get("lr", kwargs.get("learning_rate"))
    rho = kwargs.get("rho", 0.9)
    epsilon = kwargs.get("epsilon", DEFAULT_EPSILON.get(system.split("_")[0], 1e-7))
    grads = [arrays[f"g{i}"].astype("float64") for i in range(4)]
    paths = [[arrays[f"p{i}"][0].astype("float64")] for i in range(4)]
    seconds = [np.zeros_like(path[0]) for path in paths]
    for time in range(len(grads[0])):
        count = arrays["it"][time] - 1 + offset
        now = rate / (1.0 + kwargs["decay"] * count)
        for index, grad in enumerate(clipped([g[time] for g in grads], kwargs, system)):
            seconds[index] = rho * seconds[index] + (1 - rho) * grad**2
            new = paths[index][-1] - now * grad / (np.sqrt(seconds[index]) + epsilon)
            if case.get("constraint_on") == index:
                new = new * (new >= 0)
            paths[index].append(new)
    return [np.stack(path) for path in paths]


def clipped(grads, kwargs, system):
    """Clip by norm, then by value; only tf.keras of TF 1.13 takes the norm per variable."""
    if kwargs.get("clipnorm"):
        norms = [np.sqrt(np.sum(grad**2)) for grad in grads]
        if system != "tfk113_v1":
            norms = [np.sqrt(sum(norm**2 for norm in norms))] * len(grads)
        limit = kwargs["clipnorm"]
        grads = [g * limit / n if n >= limit else g for g, n in zip(grads, norms)]
    if kwargs.get("clipvalue"):
        grads = [np.clip(grad, -kwargs["clipvalue"], kwargs["clipvalue"]) for grad in grads]
    return grads
