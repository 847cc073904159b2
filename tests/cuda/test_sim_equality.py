"""The kernels, run by the simulator, give the bits of the CPU: dialects, options, dtypes, sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from devices import BRAIN, assert_same, odd_numbers, on_device

import battery
import fastrms
from fastrms.cuda.plan import DevicePlan

SHAPES = ((3, 3), (1,), (13,))
STEPS = 3


def run(dialect: str, options: Any, values: list[Any], place: Any, steps: int = STEPS) -> list[Any]:
    """Make some steps, one without the second gradient, where `place` puts the arrays."""
    variables = [place(v) for v in values]
    opt = battery.optimizer(dialect, options)
    opt.build(variables)
    opt._core.stepper._compiled = False
    row = fastrms.DIALECTS[dialect]
    shifts = row.average is not None and row.average.shifts_past_none
    skips = row.none_gradients == "skipped" and not (shifts and opt.settings.use_ema)
    for step in range(steps):
        gradients: list[Any] = [
            place(odd_numbers(v.shape, v.dtype, 100 * step + i)) for i, v in enumerate(values)
        ]
        if step == 1 and skips and len(gradients) > 1:
            gradients[1] = None
        opt.apply(gradients)
    plans = opt._core.stepper._plans.values()
    assert all(isinstance(plan, DevicePlan) == (place is on_device) for plan in plans)
    return [*(np.asarray(v) for v in variables), *opt.get_weights()]


def on_the_host(variable: Any) -> fastrms.RMSprop:
    """Return an optimizer of one array that the NumPy engine steps: nothing is compiled here."""
    opt = battery.optimizer("keras-3")
    opt.build([variable])
    opt._core.stepper._compiled = False
    return opt


def compare(dialect: str, options: Any, values: list[Any], steps: int = STEPS) -> None:
    """Compare device and host."""
    expected = run(dialect, options, values, np.array, steps)
    assert_same(run(dialect, options, values, on_device, steps), expected)


@pytest.mark.parametrize(("dialect", "options"), list(battery.combinations()))
def test_every_dialect_and_option(dialect: str, options: str) -> None:
    compare(dialect, options, [odd_numbers(s, np.float32, k) for k, s in enumerate(SHAPES)])


DTYPES = [np.dtype("float16"), np.dtype("float64"), BRAIN]
WIDTHS = [
    ("keras-3", "ema_accumulated_clipped"),
    ("keras-3", "momentum_centered"),
    ("keras-2.2", "both_clips"),
    ("tf-train", "momentum_centered"),
    ("torch", "weight_decay"),
    ("tf-keras-v2", "plain"),
]


@pytest.mark.usefixtures("brain_on_the_host")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("dialect", "options"), WIDTHS)
def test_other_dtypes(dialect: str, options: str, dtype: Any) -> None:
    if not battery.fits(fastrms.DIALECTS[dialect], battery.OPTIONS[options]):
        pytest.fail(f"{dialect} has no {options}: choose another for this table")
    compare(dialect, options, [odd_numbers(s, dtype, k) for k, s in enumerate(SHAPES)])


@pytest.mark.usefixtures("brain_on_the_host")
@pytest.mark.parametrize("options", ["momentum", "global_clipnorm", "clipnorm"])
def test_mixed_dtypes_in_one_step(options: str) -> None:
    dtypes = [np.dtype("float32"), *DTYPES, np.dtype("float32")]
    compare("keras-3", options, [odd_numbers((9,), d, k) for k, d in enumerate(dtypes)], steps=2)


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 31, 32, 33])
def test_sizes_around_a_vector_and_a_warp(size: int) -> None:
    compare("keras-3", "clipnorm", [odd_numbers((size,), np.float32, 1)], steps=1)


@pytest.mark.parametrize("size", [64, 69, 197])
def test_a_chunk_and_a_bit(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("reference", "cuda.passes", "cuda.plan"):
        monkeypatch.setattr(f"fastrms.{module}.CHUNK", 64)
    options = {"global_clipnorm": 0.5, "momentum": 0.9}
    compare("keras-3", options, [odd_numbers((size,), np.float32, 1)], steps=1)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_misaligned_memory(dtype: str) -> None:
    """A view that starts between two vectors takes the way of single elements."""
    whole, change = battery.numbers(20, dtype), battery.numbers(19, dtype, 1)
    store, host = on_device(whole), whole.copy()
    ours, theirs = battery.optimizer("keras-3"), on_the_host(host[1:])
    ours.apply([on_device(change)], [store[1:20]])
    theirs.apply([change])
    assert_same([np.asarray(store)], [host])


def test_a_long_run_keeps_the_bits() -> None:
    compare("keras-3", {"momentum": 0.9, "weight_decay": 0.01}, [battery.numbers(7, "float32")], 30)


def test_columns_of_fortran_order() -> None:
    host = np.asfortranarray(battery.numbers((3, 5), "float32"))
    change = np.asfortranarray(battery.numbers((3, 5), "float32", 1))
    device = on_device(host)
    ours, theirs = battery.optimizer("keras-3"), on_the_host(host)
    ours.apply([on_device(change)], [device])
    theirs.apply([change])
    assert_same([np.asarray(device), *ours.get_weights()], [host, *theirs.get_weights()])


WIDE = [("keras-3", o) for o in ("momentum_centered", "ema_accumulated_clipped", "clipnorm")]


@pytest.mark.usefixtures("brain_on_the_host")
@pytest.mark.parametrize("dtype", [np.dtype("float16"), BRAIN], ids=str)
@pytest.mark.parametrize(("dialect", "options"), [*WIDE, ("torch", "weight_decay")])
def test_float32_slots_of_16_bit_variables(dialect: str, options: str, dtype: Any) -> None:
    wide = {**battery.OPTIONS[options], "slot_dtype": "float32"}
    values = [odd_numbers(s, dtype, k) for k, s in enumerate(SHAPES)]
    found = run(dialect, wide, values, on_device)
    assert {a.dtype.name for a in found[len(SHAPES) :]} <= {"float32", "int64"}
    assert_same(found, run(dialect, wide, values, np.array))


@pytest.mark.usefixtures("_brain_on_the_host")
def test_roots_of_zero_below_zero() -> None:
    values = [battery.numbers((13,), d, k) for k, d in enumerate(("f4", "f8", "f2"))]
    compare("keras-2.2", {"rho": 1.5}, [*values, values[0].astype(BRAIN)])
