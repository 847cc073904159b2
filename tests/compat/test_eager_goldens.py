"""The recorded trajectories of tf.keras, replayed through its classes."""

import builtins
import warnings
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from eager_kit import Parameter, not_negative

import fastrms
from fastrms.compat import tf_keras, tf_keras_v2
from replay import Trace, arguments, cases, distances, gradients_at, names_of

CLASSES = {
    "tf210_v2": tf_keras_v2.optimizers.RMSprop,
    "tf210_exp": tf_keras_v2.optimizers.experimental.RMSprop,
    "tf212_new": tf_keras.optimizers.RMSprop,
    "tf212_v2": tf_keras.optimizers.legacy.RMSprop,
}
TOLERANCES = {"float32": 1e-6, "float64": 1e-14, "float16": 2e-3, "counters": 0.0}
ALL = [case for system in CLASSES for case in cases(system) if case.name != "schedules"]
RAISING = [case for case in ALL if case.about.get("raises")]
RUNS = [case for case in ALL if case.arrays and not case.about.get("raises")]


# The recorder scaled gradients, not losses.
pytestmark = pytest.mark.filterwarnings("ignore:apply_gradients was called without")


@pytest.fixture(autouse=True)
def reference_engine(monkeypatch):
    """Let NumPy carry out the steps; test_goldens.py replays them on the kernels."""
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)


def made(case):
    """Build the optimizer of a case, wrapped for loss scaling where it was."""
    given = arguments(case, case.dialect)
    given.pop("decay_offset", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastrms.PortingWarning)
        optimizer = CLASSES[case.system](**given)
    scaling = case.about.get("lso_kwargs")
    if scaling is None:
        return optimizer
    return tf_keras.mixed_precision.LossScaleOptimizer(optimizer, **scaling)


def prepared(case, variables):
    """Build it, spare variables and create its weights as the recorder did."""
    optimizer = made(case)
    excluded = case.about.get("exclude_from_weight_decay")
    if excluded:
        chosen = [variables[k] for k in excluded["var_list"] or []]
        optimizer.exclude_from_weight_decay(var_list=chosen, var_names=excluded["var_names"])
    if not case.system.endswith("v2") and "winit0" in case.arrays:
        optimizer.build(variables)
    return optimizer


def resumed(case, old, variables):
    """Hand the weights over to a new optimizer, as the recorder did."""
    optimizer = prepared(case, variables)
    if case.system.endswith("v2"):
        optimizer._create_all_weights(variables)
    held = old.get_weights()
    optimizer.set_weights(held[1:] if "[1:]" in case.about["hook"] else held)
    return optimizer


def replayed(case):
    """Run a case through the class of its system; return its trace and the scales."""
    constrained = case.about.get("constraint_on")
    names = names_of(case)
    variables = [
        Parameter(case.arrays[f"p{i}"][0], names[i], not_negative if i == constrained else None)
        for i in range(case.count)
    ]
    optimizer, hook = prepared(case, variables), case.about.get("hook") or ""
    when = int(hook.split("before step ")[1].split()[0].rstrip(":")) if hook else None
    trace = Trace([[v.array.copy() for v in variables]], [], [], [], None, None)
    scales = []
    for step in range(len(case.arrays["p0"]) - 1):
        if step == when and "new optimizer" in hook:
            optimizer = resumed(case, optimizer, variables)
        elif step == when:
            optimizer.learning_rate = 0.02
        gradients = gradients_at(case, step)
        if "loss_scale" in case.arrays:
            gradients = optimizer.get_unscaled_gradients(gradients)
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
            scales.append((float(optimizer.loss_scale), int(optimizer.dynamic_counter or 0)))
        else:
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
        trace.variables.append([v.array.copy() for v in variables])
        trace.weights.append(optimizer.get_weights())
        trace.iterations.append(int(optimizer.iterations))
    if "pfinal0" in case.arrays:
        optimizer.finalize_variable_values(variables)
        trace.final = [v.array for v in variables]
    trace.optimizer = SimpleNamespace(dialect=case.dialect)
    return trace, scales


@pytest.mark.filterwarnings("ignore:the constraint of variable.*never applies")
@pytest.mark.parametrize("case", RUNS, ids=str)
def test_the_class_replays_the_recording(case):
    trace, scales = replayed(case)
    for kind, distance in distances(case, trace).items():
        assert not distance.wrong
        assert distance.scaled <= TOLERANCES[kind]
    if scales:
        assert [scale for scale, _ in scales] == case.arrays["loss_scale"].tolist()
        assert [count for _, count in scales] == case.arrays["good_steps"].tolist()


def step(optimizer, variables, absent=()):
    """Make one step, some gradients None."""
    gradients = [np.ones_like(v.array) for v in variables]
    gradients = [None if i in absent else g for i, g in enumerate(gradients)]
    optimizer.apply_gradients(zip(gradients, variables, strict=True))


def partly(optimizer, variables):
    """Leave a gradient out at first, then give it."""
    step(optimizer, variables, absent=[1])
    step(optimizer, variables)


def sparse(optimizer, variables):
    """Give a variable with a constraint a gradient of rows."""
    variables[1].constraint = not_negative
    rows = fastrms.IndexedSlices(np.ones((1, 4), np.float32), [0])
    optimizer.apply_gradients([(rows, variables[1])])


def later_none(optimizer, variables):
    """Leave a gradient out after a full step."""
    step(optimizer, variables)
    step(optimizer, variables, absent=[0])


# What each recorded run did when it raised; the others raised when made or at the first step.
ACTS = {
    "sched_set_lr": lambda optimizer, variables: setattr(optimizer, "learning_rate", 0.02),
    "sparse_constraint": sparse,
    "none_first": partly,
    "none_first_momentum": partly,
    "none_all_at_2": lambda optimizer, variables: step(optimizer, variables, absent=[0, 1]),
    "ema_none_grad": later_none,
    "ema_none_grad_overwrite": later_none,
}


@pytest.mark.parametrize("case", RAISING, ids=str)
def test_what_raised_there_raises_here_of_the_same_kind(case):
    recorded = case.about["raises"]["type"]
    kind = {"InvalidArgumentError": fastrms.GradientError}.get(recorded)
    kind = kind or getattr(builtins, recorded)
    variables = [Parameter(np.zeros(shape, "float32"), f"v{shape[0]}") for shape in ((5,), (3, 4))]
    with pytest.raises(kind):
        ACTS.get(case.name, step)(made(case), variables)
    if case.name not in ("none_first", "none_first_momentum", "ema_none_grad"):
        return
    kept = [v.array.copy() for v in variables]
    optimizer = made(case)
    with pytest.raises(kind):
        ACTS[case.name](optimizer, variables)
    assert int(optimizer.iterations) == 1
    assert any((v.array != k).any() for v, k in zip(variables, kept, strict=True))


CONFIGS = [case for case in RUNS if case.about.get("get_config")]


@pytest.mark.parametrize("case", CONFIGS, ids=str)
def test_config_is_the_recorded_one(case):
    config, recorded = made(case).get_config(), dict(case.about["get_config"])
    if case.about.get("lso_kwargs") is not None:
        inner = config["inner_optimizer"]["config"]
        recorded["inner_optimizer"] = dict(recorded["inner_optimizer"])
        theirs = recorded["inner_optimizer"]["config"]
        assert inner["rho"] == theirs["rho"]
        assert {**config, "inner_optimizer": 0} == {**recorded, "inner_optimizer": 0}
        return
    if isinstance(case.about["kwargs"].get("learning_rate"), list):  # not recorded here
        assert config.pop("learning_rate")["class_name"]
    elif case.name == "lr_callable" and "learning_rate" not in recorded:
        config.pop("learning_rate")
    assert config == recorded
    assert list(config) == list(recorded) or sorted(config) == sorted(recorded)
