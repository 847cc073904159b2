"""`fastrms.jit`: the rule in users' own compiled code gives the bits of `apply`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit

import battery
import fastrms

NAMES = ("velocity", "momentum", "average_gradient")


@njit
def compiled_step(w, gradient, slots, numbers, choices):  # type: ignore[no-untyped-def]
    """Step over a flat array, as a user would write it."""
    velocity, momentum, average_gradient = slots
    for i in range(w.size):
        each = fastrms.jit.Slots(velocity[i], momentum[i], average_gradient[i])
        w[i], each = fastrms.jit.update(w[i], gradient[i], each, numbers, choices)
        velocity[i], momentum[i], average_gradient[i] = each


def both(dialect: str, options: dict[str, Any], dtype: str) -> tuple[list[Any], list[Any]]:
    """Make three steps by `apply` and by compiled code; return variables and slots of each."""
    size = 1200
    w, chosen = (
        battery.odd_numbers(size, dtype),
        {"learning_rate": 0.0625, "epsilon": 1e-4} | options,
    )
    optimizer = fastrms.RMSprop(dialect=dialect, jit_compile=False, **chosen)
    twin, start = w.copy(), fastrms.DIALECTS[dialect].velocity_start
    slots = (np.full(size, start, dtype), np.zeros(size, dtype), np.zeros(size, dtype))
    choices = fastrms.jit.variant(dialect=dialect, **chosen)
    for step in range(3):
        gradient = battery.odd_numbers(size, dtype, 7 + step)
        optimizer.apply([gradient], [w])
        numbers = fastrms.jit.hyper(dtype, dialect=dialect, iterations=step, **chosen)
        compiled_step(twin, gradient, slots, numbers, choices)
    held = optimizer._core.stepper.state.slots  # type: ignore[union-attr]
    kept = [
        (held[name, 0], slot) for name, slot in zip(NAMES, slots, strict=True) if (name, 0) in held
    ]
    return [w, *(a for a, _ in kept)], [twin, *(b for _, b in kept)]


OPTIONS = ("plain", "momentum", "centered", "momentum_centered", "decay", "weight_decay")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("dialect", "options"), list(battery.combinations(*OPTIONS)))
def test_update_gives_the_bits_of_apply(dialect: str, options: str, dtype: str) -> None:
    ours, theirs = both(dialect, battery.OPTIONS[options], dtype)
    assert [battery.canonical(a) for a in ours] == [battery.canonical(a) for a in theirs]


def test_a_whole_loop_in_compiled_code_is_the_loop_of_apply() -> None:
    @njit
    def train(w, slots, steps, numbers, choices):  # type: ignore[no-untyped-def]
        for _ in range(steps):
            compiled_step(w, w - np.float32(3), slots, numbers, choices)

    w, options = battery.numbers(50, "float32"), {"learning_rate": 0.01, "momentum": 0.9}
    twin, optimizer = w.copy(), fastrms.RMSprop(**options)
    slots = (np.zeros_like(w), np.zeros_like(w), np.zeros_like(w))
    train(w, slots, 40, fastrms.jit.hyper("float32", **options), fastrms.jit.variant(**options))
    for _ in range(40):
        optimizer.apply([twin - np.float32(3)], [twin])
    assert w.tobytes() == twin.tobytes()


@pytest.mark.parametrize(
    "option", ["clipnorm", "clipvalue", "global_clipnorm", "use_ema", "loss_scale_factor"]
)
def test_what_update_would_not_do_is_refused(option: str) -> None:
    with pytest.raises(fastrms.ArgumentError, match=f"{option}.*no effect in update.*RMSprop"):
        fastrms.jit.variant(**{option: True if option == "use_ema" else 2.0})


@pytest.mark.parametrize("dtype", ["float16", "int32", "complex64"])
def test_dtypes_that_update_does_not_compute_in(dtype: str) -> None:
    with pytest.raises(fastrms.ArgumentError, match=f"dtype={dtype}.*float32 or float64"):
        fastrms.jit.hyper(dtype)


def test_a_callable_rate_is_refused_with_what_to_do() -> None:
    with pytest.raises(fastrms.ArgumentError, match="callable; pass its value"):
        fastrms.jit.hyper("float32", learning_rate=lambda: 0.1)
