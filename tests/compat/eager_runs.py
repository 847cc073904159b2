"""Numbers of SGD and Adam: one table of runs, made by the real systems and by ours."""

import numpy as np

SHAPES = ((), (5,), (3, 4))
STEPS = 6
MIDDLE = 3
EXPONENTIAL = [
    "ExponentialDecay",
    {"initial_learning_rate": 0.05, "decay_steps": 4, "decay_rate": 0.7},
]
PIECES = ["PiecewiseConstantDecay", {"boundaries": [2, 4], "values": [0.05, 0.02, 0.005]}]
SOME_NONE = [[0, 1], [2, 0], [3, 0], [3, 2]]
COMMON = {
    "defaults": {},
    "rate": {"learning_rate": 0.05},
    "clipnorm": {"learning_rate": 0.05, "clipnorm": 0.5},
    "clipvalue": {"learning_rate": 0.05, "clipvalue": 0.3},
    "global_clipnorm": {"learning_rate": 0.05, "global_clipnorm": 0.5},
    "clipnorm0": {"learning_rate": 0.05, "clipnorm": 0.0},
    "clip_both": {"learning_rate": 0.05, "clipnorm": 0.5, "clipvalue": 0.3},
    "rate_midway": {"learning_rate": 0.05, "midway": 0.02},
    "exponential": {"learning_rate": EXPONENTIAL},
    "pieces": {"learning_rate": PIECES},
    "callable": {"learning_rate": "callable"},
    "some_none": {"learning_rate": 0.05, "absent": SOME_NONE},
    "float64": {"learning_rate": 0.05, "dtype": "float64"},
    "float16": {"learning_rate": 0.05, "dtype": "float16"},
    "constraint": {"learning_rate": 0.05, "constrained": 2},
    "resume": {"learning_rate": 0.05, "resume": True},
}
SGD = {
    "momentum": {"learning_rate": 0.05, "momentum": 0.9},
    "nesterov": {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True},
    "nesterov_alone": {"learning_rate": 0.05, "nesterov": True},
    "momentum1": {"learning_rate": 0.05, "momentum": 1.0},
    "momentum_float64": {"learning_rate": 0.05, "momentum": 0.9, "dtype": "float64"},
    "momentum_float16": {"learning_rate": 0.05, "momentum": 0.9, "dtype": "float16"},
    "momentum_resume": {"learning_rate": 0.05, "momentum": 0.9, "resume": True},
}
ADAM = {
    "betas": {"learning_rate": 0.05, "beta_1": 0.5, "beta_2": 0.7},
    "epsilon": {"learning_rate": 0.05, "epsilon": 0.01},
    "epsilon0": {"learning_rate": 0.05, "epsilon": 0},
    "amsgrad": {"learning_rate": 0.05, "amsgrad": True},
    "amsgrad_clipped": {"learning_rate": 0.05, "amsgrad": True, "clipnorm": 0.5},
    "amsgrad_resume": {"learning_rate": 0.05, "amsgrad": True, "resume": True},
}
DECAYING = {
    "decay": {"learning_rate": 0.05, "decay": 0.1},
    "decay_exponential": {"learning_rate": EXPONENTIAL, "decay": 0.1},
    "decay_float64": {"learning_rate": 0.05, "decay": 0.1, "dtype": "float64"},
    "lr": {"lr": 0.05},
}
AVERAGED = {
    "ema": {"learning_rate": 0.05, "use_ema": True, "ema_momentum": 0.9},
    "ema_overwrite": {
        "learning_rate": 0.05,
        "use_ema": True,
        "ema_momentum": 0.9,
        "ema_overwrite_frequency": 3,
    },
}
DECOUPLED = {
    "weight_decay": {"learning_rate": 0.05, "weight_decay": 0.01},
    "weight_decay_clipped": {"learning_rate": 0.05, "weight_decay": 0.01, "clipnorm": 0.5},
    "weight_decay_float64": {"learning_rate": 0.05, "weight_decay": 0.01, "dtype": "float64"},
}
OPTIONS = {"midway", "absent", "dtype", "constrained", "resume"}
SYSTEMS = {
    "tf210_v2": DECAYING,
    "tf210_exp": AVERAGED,
    "tf212_new": {**AVERAGED, **DECOUPLED},
}


def runs(system):
    """Return every run of a system as (class, name, arguments and options)."""
    tables = {"SGD": {**COMMON, **SGD}, "Adam": {**COMMON, **ADAM}}
    return [
        (kind, name, given)
        for kind, own in tables.items()
        for name, given in {**own, **SYSTEMS[system]}.items()
    ]


def inputs(given):
    """Return start values and, step by step, gradients; None where absent."""
    dtype, draw = given.get("dtype", "float32"), np.random.RandomState(11)
    start = [np.asarray(draw.standard_normal(shape) * 0.5).astype(dtype) for shape in SHAPES]
    steps = []
    for time in range(STEPS):
        row = [np.asarray(draw.standard_normal(shape) * 2.0 ** (time - 2)) for shape in SHAPES]
        row[1][time % 5] = 0
        steps.append([g.astype(dtype) for g in row])
    for time, index in given.get("absent", ()):
        steps[time][index] = None
    return start, steps


def run(kit, kind, given):
    """Run one case through a kit; return its trace, weights, names and configuration."""
    start, steps = inputs(given)
    constrained = given.get("constrained")
    names = ("scalar", "vector", "matrix")
    variables = [
        kit.variable(value, name, constrained == i)
        for i, (value, name) in enumerate(zip(start, names, strict=True))
    ]

    def create():
        kwargs = {k: v for k, v in given.items() if k not in OPTIONS}
        rate = kwargs.get("learning_rate")
        if rate == "callable":
            kwargs["learning_rate"] = lambda: 0.05
        elif isinstance(rate, list):
            kwargs["learning_rate"] = getattr(kit.schedules, rate[0])(**rate[1])
        found = getattr(kit.optimizers, kind)(**kwargs)
        if not kit.old:
            found.build(variables)
        return found

    optimizer = create()
    config = optimizer.get_config()
    trace = [[kit.value(v) for v in variables]]
    for time, row in enumerate(steps):
        if time == MIDDLE and "midway" in given:
            optimizer.learning_rate = given["midway"]
        if time == MIDDLE and given.get("resume"):
            held, optimizer = kit.weights(optimizer), create()
            if kit.old:
                optimizer._create_all_weights(variables)
            kit.restore(optimizer, held)
        gradients = [None if g is None else kit.tensor(g) for g in row]
        optimizer.apply_gradients(list(zip(gradients, variables, strict=True)))
        trace.append([kit.value(v) for v in variables])
    return {
        "trace": trace,
        "weights": kit.weights(optimizer),
        "names": [kit.bare(v.name) for v in kit.weight_variables(optimizer)],
        "iterations": int(kit.value(optimizer.iterations)),
        "config": config,
    }
