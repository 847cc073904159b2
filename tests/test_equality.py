"""Compiled kernels give the bits of the NumPy reference: any dialect, option, dtype, layout."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import battery
import fastrms
from fastrms.plan import Plan

SIZES = (0, 1, 31, 32, 33, 1023, 1024, 1025, 16383, 16384, 16385, 40000)
SHAPES = ((), (0, 3), (1, 1), (5, 7), (33, 31), (3, 4, 5), (129, 130))
STEPS = 4
DTYPES = ("float16", "float32", "float64")


@pytest.fixture(autouse=True)
def _threads_for_all(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let even small steps use threads; restore the number of threads."""
    monkeypatch.setattr("fastrms.plan.PARALLEL_BYTES", 1)
    before = fastrms.get_num_threads()
    yield
    fastrms.set_num_threads(before)


def run(
    dialect: str, options: Any, values: list[Any], layout: str = "C", compiled: bool = True
) -> list[Any]:
    """Make some steps, one without the second gradient; return all that came of it."""
    variables = [battery.laid_out(v, layout) for v in values]
    opt = battery.optimizer(dialect, options)
    opt.build(variables)
    opt._core.stepper._compiled = compiled
    row = fastrms.DIALECTS[dialect]
    shifts = row.average is not None and row.average.shifts_past_none
    skips = row.none_gradients == "skipped" and not (shifts and opt.settings.use_ema)
    for step in range(STEPS):
        gradients: list[Any] = [
            battery.odd_numbers(v.shape, v.dtype, 100 * step + i) for i, v in enumerate(values)
        ]
        if step == 2 and skips:
            gradients[1] = None
        opt.apply(gradients)
    plans = opt._core.stepper._plans.values()
    assert all(isinstance(plan, Plan) == compiled for plan in plans)
    return [*variables, *opt.get_weights()]


def assert_same(found: list[Any], expected: list[Any], what: str) -> None:
    """Compare bit for bit and name the first element that differs."""
    assert len(found) == len(expected)
    for k, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        if battery.canonical(ours) != battery.canonical(theirs):
            apart = [i for i in range(ours.size) if _differ(ours.flat[i], theirs.flat[i])]
            i = apart[0]
            pytest.fail(
                f"{what}: array {k} of shape {ours.shape} differs in {len(apart)} places, "
                f"first [{i}]: {ours.flat[i]!r}, reference {theirs.flat[i]!r}"
            )


def _differ(ours: Any, theirs: Any) -> bool:
    """Tell two numbers apart by their bits, NaN being NaN."""
    return battery.canonical(ours) != battery.canonical(theirs)


def inputs(dtype: str, shapes: Any = SIZES) -> list[Any]:
    """Return the variables' values."""
    return [battery.odd_numbers(shape, dtype, k) for k, shape in enumerate(shapes)]


# What "momentum_centered" covers is left out: each variant compiles for a while.
FLOAT32 = list(battery.combinations(*(name for name in battery.OPTIONS if name != "centered")))


@pytest.mark.parametrize(("dialect", "options"), FLOAT32)
def test_compiled_steps_equal_the_reference(dialect: str, options: str) -> None:
    expected = run(dialect, options, inputs("float32"), compiled=False)
    assert_same(run(dialect, options, inputs("float32")), expected, "float32")


WIDTHS = list(battery.combinations("momentum_centered", "both_clips", "ema_accumulated_clipped"))


@pytest.mark.parametrize(("dialect", "options"), WIDTHS)
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_dtypes_equal_the_reference(dialect: str, options: str, dtype: str) -> None:
    expected = run(dialect, options, inputs(dtype), compiled=False)
    assert_same(run(dialect, options, inputs(dtype)), expected, dtype)


@pytest.mark.parametrize("options", ["momentum_centered", "ema_accumulated_clipped", "clipnorm"])
@pytest.mark.parametrize("layout", battery.LAYOUTS)
def test_layouts_equal_the_reference(layout: str, options: str) -> None:
    for dtype in ("float16", "float32", "float64"):
        values = inputs(dtype, SHAPES)
        expected = run("keras-3", options, values, compiled=False)
        assert_same(run("keras-3", options, values, layout), expected, f"{dtype} compiled")
        again = run("keras-3", options, values, layout, compiled=False)
        assert_same(again, expected, f"{dtype} reference")


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize(
    ("dialect", "options"),
    [
        ("keras-3", "plain"),
        ("keras-3", "ema_accumulated_clipped"),
        ("keras-2.2", "both_clips"),
        ("tf-keras-v2", "global_clipnorm"),
    ],
)
def test_thread_counts_give_the_same_bits(dialect: str, options: str, threads: int) -> None:
    expected = run(dialect, options, inputs("float32"), compiled=False)
    fastrms.set_num_threads(threads)
    for _ in range(5):
        assert_same(run(dialect, options, inputs("float32")), expected, f"{threads} threads")


@pytest.mark.parametrize("options", ["plain", "clipnorm", "global_clipnorm"])
def test_mixed_dtypes_equal_the_reference(options: str) -> None:
    values = [battery.odd_numbers(n, d, n) for n, d in product((1, 33, 20000), DTYPES)]
    expected = run("keras-3", options, values, compiled=False)
    fastrms.set_num_threads(2)
    assert_same(run("keras-3", options, values), expected, "mixed")


@pytest.mark.parametrize("offset", range(0, 16, 3))
def test_alignment_does_not_matter(offset: int) -> None:
    values = battery.odd_numbers(1000, "float32")
    expected = run("keras-3", "clipnorm", [values, values], compiled=False)
    store = np.zeros((2, 1016), np.float32)
    variables = list(store[:, offset : offset + 1000])
    gradients = np.zeros((2, 1016), np.float32)[:, 15 - offset : 1015 - offset]
    opt = battery.optimizer("keras-3", "clipnorm")
    for variable in variables:
        variable[:] = values
    for step in range(STEPS):
        for i, gradient in enumerate(gradients):
            gradient[:] = battery.odd_numbers(1000, "float32", 100 * step + i)
        opt.apply([gradients[0], None if step == 2 else gradients[1]], variables)
    assert_same([*variables, *opt.get_weights()], expected, f"offset {offset}")
    store[:, offset : offset + 1000] = 0
    assert not store.any(), "a step wrote outside its variables"


JIT_CODE = """
import sys
sys.path.insert(0, {tests!r})
import battery
from fastrms.plan import Plan
hashes = []
for dialect, options in list(battery.combinations("momentum_centered", "both_clips", "ema")):
    opt = battery.optimizer(dialect, options)
    variables = [battery.odd_numbers(shape, "float32", k) for k, shape in enumerate([(7, 9), 500])]
    for step in range(3):
        opt.apply([battery.odd_numbers(v.shape, "float32", step) for v in variables], variables)
    compiled = isinstance(next(iter(opt._core.stepper._plans.values())), Plan)
    hashes.append((dialect, options, battery.digest([*variables, *opt.get_weights()])))
print(compiled, hashes)
"""


def test_a_process_without_jit_runs_the_reference_and_gives_the_same_bits() -> None:
    code = JIT_CODE.format(tests=str(Path(__file__).parent))
    with_jit = battery.run_python(code)
    without = battery.run_python(code, NUMBA_DISABLE_JIT="1")
    assert with_jit.returncode == 0, with_jit.stderr
    assert without.returncode == 0, without.stderr
    assert with_jit.stdout.startswith("True ")
    assert without.stdout.startswith("False ")
    assert with_jit.stdout.removeprefix("True ") == without.stdout.removeprefix("False ")


def long_run(threads: int, pieces: int, compiled: bool = True) -> str:
    """Make 200 steps on 100,000 numbers, as one variable or in pieces; return the hash."""
    fastrms.set_num_threads(threads)
    weights = battery.numbers(100_000, "float32")
    variables = np.split(weights, [k * 100_000 // pieces for k in range(1, pieces)])
    opt = battery.optimizer("keras-3", {"momentum": 0.9, "centered": True, "weight_decay": 0.01})
    opt.build(variables)
    opt._core.stepper._compiled = compiled
    gradient = np.empty_like(weights)
    parts = np.split(gradient, [k * 100_000 // pieces for k in range(1, pieces)])
    for step in range(200):
        np.multiply(weights, 1 + step % 3, out=gradient)
        opt.apply(parts)
    assert opt.iterations == 200
    return battery.digest([weights])


def test_a_long_run_has_one_hash() -> None:
    expected = long_run(1, 1, compiled=False)
    assert long_run(1, 1) == expected
    assert long_run(2, 1) == expected
    assert long_run(3, 7) == expected
