"""Steps on the device and on the host, compared bit by bit."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import ptx_needed  # noqa: F401
from devices import assert_same, odd_numbers, on_device
from ptx_installed import installed

import battery
import fastrms

EVERYTHING: dict[str, Any] = {
    "momentum": 0.9,
    "centered": True,
    "epsilon": 1e-3,
    "weight_decay": 0.125,
    "use_ema": True,
    "ema_momentum": 0.75,
    "ema_overwrite_frequency": 2,
    "global_clipnorm": 0.75,
    "loss_scale_factor": 8.0,
    "gradient_accumulation_steps": 2,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "momentum": {"momentum": 0.9},
    "centered": {"centered": True, "epsilon": 1e-3},
    "everything": EVERYTHING,
}


def cases() -> Iterator[tuple[str, str]]:
    """Yield each dialect with the options that it has; none twice."""
    for row in fastrms.DIALECTS.values():
        seen: list[dict[str, Any]] = []
        for name in OPTIONS:
            if taken(row.name, name) not in seen:
                seen.append(taken(row.name, name))
                yield row.name, name


def taken(dialect: str, name: str) -> dict[str, Any]:
    """Return what a dialect takes of some options."""
    arguments = fastrms.DIALECTS[dialect].arguments
    used = {key for key, argument in arguments.items() if argument.effect == "used"}
    return {key: value for key, value in OPTIONS[name].items() if key in used}


def gradient(value: Any, norms: bool, step: int, last: bool, place: int) -> Any:
    """Return a gradient; after an odd number in a norm nothing can be told apart."""
    if norms and not last:
        with np.errstate(all="ignore"):
            return battery.numbers(value.shape, "f4", 100 * step + place).astype(value.dtype)
    return odd_numbers(value.shape, value.dtype, 100 * step + place)


def run(dialect: str, options: Any, values: list[Any], place: Any, steps: int) -> list[Any]:
    """Make some steps, one without the second gradient, where `place` puts the arrays."""
    variables = [place(v) for v in values]
    optimizer = battery.optimizer(dialect, options)
    optimizer.build(variables)
    stepper: Any = optimizer._core.stepper
    stepper._compiled = False  # the host's engine is NumPy's
    row = fastrms.DIALECTS[dialect]
    shifts = row.average is not None and row.average.shifts_past_none
    skips = row.none_gradients == "skipped" and not (shifts and optimizer.settings.use_ema)
    norms = any("clipnorm" in name for name in options)
    for step in range(steps):
        last = step == steps - 1
        gradients: list[Any] = [
            place(gradient(v, norms, step, last, i)) for i, v in enumerate(values)
        ]
        if step == 1 and skips and len(gradients) > 1:
            gradients[1] = None
        optimizer.apply(gradients)
    from fastrms.cuda.plan import DevicePlan

    plans = stepper._plans.values()
    assert all(isinstance(plan, DevicePlan) == (place is on_device) for plan in plans)
    return [*(np.asarray(v) for v in variables), *optimizer.get_weights()]


def compare(
    dialect: str, options: Any, values: list[Any], steps: int = 3, make: Callable[..., Any] = run
) -> None:
    """Compare device and host."""
    with np.errstate(all="ignore"):
        expected = make(dialect, options, values, np.array, steps)
    assert_same(make(dialect, options, values, on_device, steps), expected)


def borrowed(name: str, *without: str) -> dict[str, Any]:
    """Return the tests of a module that the simulator runs, to be run here as well."""
    with installed():  # some have arrays among their parameters
        found = vars(importlib.import_module(name))
    tests = {k: v for k, v in found.items() if k.startswith("test_")}
    assert set(without) <= set(tests), "a test that is left out is not there"
    return {k: v for k, v in tests.items() if k not in without}
