"""Gradients of rows: each dialect's rule for rows with and without a gradient, and refusals."""

from __future__ import annotations

import pickle
import threading
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import battery
import fastrms
from fastrms import IndexedSlices, reference
from fastrms.plan import Plan

F4 = np.float32
SPARSE = [name for name, row in fastrms.DIALECTS.items() if row.sparse is not None]


def slices(shape: Any, count: int, dtype: Any = F4, seed: int = 0, once: bool = False) -> Any:
    """Return rows in no order, some given twice unless `once`."""
    random = np.random.default_rng([seed, *shape])
    rows = random.permutation(shape[0])[:count] if once else random.integers(0, shape[0], count)
    return IndexedSlices(battery.numbers((count, *shape[1:]), dtype, seed), rows)


def table(rows: int = 6, dialect: str = "keras-3", **options: Any) -> tuple[Any, Any]:
    """Return an optimizer of NumPy's engine, built, and its one table."""
    variable = battery.numbers((rows, 3), F4, 9)
    optimizer = battery.optimizer(dialect, options)
    optimizer.build([variable])
    optimizer._core.stepper._compiled = False
    return optimizer, variable


def slot(optimizer: Any, name: str, index: int = 0) -> Any:
    return optimizer._core.stepper.state.shaped(name, index)


# The two engines -------------------------------------------------------------------------------

MODES: dict[str, tuple[str, dict[str, Any]]] = {
    "keras-3 squares apart": ("keras-3", {}),
    "keras-3 with all": (
        "keras-3",
        {
            "momentum": 0.9,
            "centered": True,
            "epsilon": 0.1,
            "clipnorm": 0.75,
            "weight_decay": 0.125,
            "use_ema": True,
            "ema_momentum": 0.75,
            "ema_overwrite_frequency": 3,
        },
    ),
    "keras-3 as a whole": ("keras-3", {"global_clipnorm": 0.75}),
    "keras-3 accumulated": ("keras-3", {"gradient_accumulation_steps": 2}),
    "tf-keras-2.11 clipped": ("tf-keras-2.11", {"momentum": 0.9, "global_clipnorm": 0.75}),
    "2.10 centered": ("tf-keras-2.10-experimental", {"centered": True}),
    "tf-keras-v2 fused": ("tf-keras-v2", {"momentum": 0.9, "centered": True, "clipvalue": 0.5}),
    "keras-2.3 clipped": ("keras-2.3", {"clipvalue": 0.5}),
    "tf-keras-v1 clipped": ("tf-keras-v1", {"clipnorm": 0.75, "clipvalue": 0.5}),
}
SHAPES = ((400, 3), (5000, 7), (3, 5, 4), (2, 20000), (9,), (4, 0))


def run(mode: str, compiled: bool, dtype: str) -> list[Any]:
    """Make some steps with rows, arrays and nothing; return all that came of it."""
    dialect, options = MODES[mode]
    variables = [battery.odd_numbers(s, dtype, k) for k, s in enumerate(SHAPES)]
    variables.append(battery.laid_out(battery.numbers((40, 6), dtype), "strided"))
    variables.append(battery.odd_numbers((33, 2), dtype, 7))
    optimizer = battery.optimizer(dialect, options)
    optimizer.build(variables)
    optimizer._core.stepper._compiled = compiled
    skips = fastrms.DIALECTS[dialect].none_gradients == "skipped"
    for step in range(4):
        gradients = [slices(v.shape, 2 + 5 * k, dtype, step) for k, v in enumerate(variables)]
        gradients[-1] = battery.numbers(variables[-1].shape, dtype, step)
        if step == 2:
            gradients[0] = gradients[1] if not skips else None
            gradients[0] = gradients[0] and slices(variables[0].shape, 1, dtype)
        if step == 3:
            gradients[3] = battery.numbers(variables[3].shape, dtype, step)
        optimizer.apply(gradients)
    plans = optimizer._core.stepper._plans.values()
    assert all(isinstance(plan, Plan) == compiled for plan in plans)
    return [*variables, *optimizer.get_weights()]


@pytest.mark.parametrize("mode", MODES)
def test_compiled_steps_equal_the_reference(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastrms.plan.PARALLEL_BYTES", 1)
    expected = run(mode, False, "float32")
    found = run(mode, True, "float32")
    for k, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        assert battery.canonical(ours) == battery.canonical(theirs), (k, ours, theirs)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_dtypes_equal_the_reference(dtype: str) -> None:
    expected = run("keras-3 squares apart", False, dtype)
    found = run("keras-3 squares apart", True, dtype)
    assert battery.digest(found) == battery.digest(expected)


# What is done to which row ---------------------------------------------------------------------


CLIPS: list[dict[str, Any]] = [{}, {"clipnorm": 0.5}, {"clipvalue": 0.25}]
FITTING = [(d, o) for d in SPARSE for o in CLIPS if battery.fits(fastrms.DIALECTS[d], o)]


@pytest.mark.parametrize(("dialect", "options"), FITTING)
def test_every_row_once_is_the_dense_step(dialect: str, options: dict[str, Any]) -> None:
    sparse, ours = table(dialect=dialect, **options)
    dense, theirs = table(dialect=dialect, **options)
    for step in range(3):
        gradient = slices(ours.shape, 6, seed=step, once=True)
        whole = np.zeros_like(theirs)
        whole[gradient.indices] = gradient.values
        sparse.apply([gradient])
        dense.apply([whole])
    kept = [ours, *sparse.get_weights()]
    for one, other in zip(kept, [theirs, *dense.get_weights()], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)  # the norm's order of summation differs


TWICE = IndexedSlices(np.array([[1.0, 2, 3], [10, 10, 10], [3, 2, 1]], F4), [4, 1, 4])


@pytest.mark.parametrize(
    ("dialect", "square"),
    [("keras-3", [10, 8, 10]), ("tf-keras-2.11", [16, 16, 16]), ("tf-keras-v2", [16, 16, 16]),
     ("keras-1", [16, 16, 16]), ("tf-contrib", [16, 16, 16])],
)  # fmt: skip
def test_rows_given_twice_are_squared_apart_or_together(dialect: str, square: list[int]) -> None:
    optimizer, _ = table(dialect=dialect, rho=0.5)
    optimizer.apply([TWICE])
    assert slot(optimizer, "velocity")[4].tolist() == [s / 2 for s in square]
    assert slot(optimizer, "velocity")[1].tolist() == [50, 50, 50]
    assert not slot(optimizer, "velocity")[[0, 2, 3, 5]].any()


OWN_STEPS: dict[str, tuple[dict[str, Any], bool]] = {
    "plain, compiled": ({}, True),
    "plain": ({}, False),
    "momentum": ({"momentum": 0.75}, False),
    "centered": ({"centered": True, "epsilon": 32.0}, False),
    "both": ({"momentum": 0.75, "centered": True, "epsilon": 32.0}, False),
}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("mode", OWN_STEPS)
def test_each_value_of_a_row_makes_its_own_step(
    mode: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Keras 3 reads on TensorFlow: shares are summed, steps are subtracted one by one."""
    if mode == "both":  # the others are one piece
        monkeypatch.setattr("fastrms.rows.PIECE", 60)
    options, compiled = OWN_STEPS[mode]
    given = {"momentum": 0.0, "centered": False, "epsilon": 1e-4, **options}
    optimizer = battery.optimizer("keras-3", options)
    ours = battery.numbers((40, 5), dtype)
    optimizer.build([ours])
    optimizer._core.stepper._compiled = compiled
    theirs, number = ours.copy(), ours.dtype.type
    velocity, momentum, average = (np.zeros_like(ours) for _ in range(3))
    rho, share, rate = number(0.9), number(1 - 0.9), number(0.0625)
    for step in range(2):
        rows = slices(ours.shape, 300, dtype, step)
        optimizer.apply([rows])
        squares, samples, steps = (np.zeros_like(ours) for _ in range(3))
        for row, value in zip(rows.indices, rows.values, strict=True):
            squares[row] += share * (value * value)
            samples[row] += share * value
        velocity, average = rho * velocity + squares, rho * average + samples
        spread = velocity - average * average if given["centered"] else velocity
        root = np.sqrt(spread + number(given["epsilon"]))
        for row, value in zip(rows.indices, rows.values, strict=True):
            change = rate * value / root[row]
            if given["momentum"]:
                steps[row] += change
            else:
                theirs[row] -= change
        if given["momentum"]:
            momentum = number(given["momentum"]) * momentum + steps
            theirs -= momentum
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(slot(optimizer, "velocity"), velocity)


FIVE = [4, 1, 4, 0, 4]
REUSED: list[list[int]] = [FIVE, [4, 1], FIVE, [], FIVE, [0, 0], [1, 2, 3, 4, 0], FIVE]


def test_a_plan_forgets_which_rows_were_given_several_times() -> None:
    tables, optimizers = [], []
    for compiled in (False, True):
        optimizer, variables = battery.optimizer("keras-3"), [np.ones((6, 3), F4) for _ in range(2)]
        optimizer.build(variables)
        optimizer._core.stepper._compiled = compiled
        tables.append(variables)
        optimizers.append(optimizer)
    for step, rows in enumerate(REUSED):
        first = IndexedSlices(battery.numbers((len(rows), 3), F4, step), rows)
        second = IndexedSlices(battery.numbers((2, 3), F4, step), [5, step % 3 + 3])
        for optimizer in optimizers:
            optimizer.apply([first, second])
        np.testing.assert_array_equal(*tables, err_msg=str(step))
    assert [len(o._core.stepper._plans) for o in optimizers] == [1, 1]


def test_a_step_interrupted_at_rows_given_twice_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variables = [np.ones((6, 3), F4) for _ in range(3)]
    optimizer = battery.optimizer("keras-3")
    gradients = [np.ones((6, 3), F4), TWICE, TWICE]
    optimizer.apply(gradients, variables)
    before = battery.digest([*variables, *optimizer.get_weights()])
    calls = iter([reference.step])

    def interrupted(*given: Any) -> Any:
        for step in calls:
            return step(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(reference, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            optimizer.apply(gradients[::-1])
        with pytest.raises(KeyboardInterrupt):
            optimizer.apply(gradients)
    assert battery.digest([*variables, *optimizer.get_weights()]) == before
    optimizer.apply(gradients)
    fresh = [np.ones((6, 3), F4) for _ in range(3)]
    other = battery.optimizer("keras-3")
    for _ in range(2):
        other.apply(gradients, fresh)
    np.testing.assert_array_equal(variables, fresh)


def test_a_step_keeps_nothing_of_rows_given_twice() -> None:
    variable = np.ones((400, 100), F4)
    optimizer = battery.optimizer("keras-3")
    optimizer.apply([slices(variable.shape, 20, once=True)], [variable])
    tracemalloc.start()
    try:
        optimizer.apply([slices(variable.shape, 2000)])
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most > 2 * variable.nbytes
    assert kept < variable.nbytes / 4


@pytest.mark.parametrize(
    ("dialect", "options", "decays", "moves"),
    [
        ("keras-3", {}, True, False),
        ("keras-3", {"momentum": 0.5}, True, True),
        ("keras-3", {"weight_decay": 0.5}, True, True),
        ("tf-keras-2.11", {}, True, False),
        ("tf-keras-2.11", {"momentum": 0.5}, True, True),
        ("tf-keras-2.10-experimental", {"momentum": 0.5}, True, True),
        ("tf-keras-v2", {}, True, False),
        ("tf-keras-v2", {"momentum": 0.5}, False, False),
        ("tf-train", {}, False, False),
        ("keras-2.2", {}, True, False),
    ],
)
def test_rows_without_a_gradient(
    dialect: str, options: dict[str, Any], decays: bool, moves: bool
) -> None:
    optimizer, variable = table(dialect=dialect, rho=0.5, **options)
    optimizer.apply([np.full_like(variable, 4)])
    before, velocity = variable.copy(), slot(optimizer, "velocity").copy()
    optimizer.apply([TWICE])
    rest = [0, 2, 3, 5]
    expected = velocity[rest] * (0.5 if decays else 1)
    np.testing.assert_array_equal(slot(optimizer, "velocity")[rest], expected)
    assert np.array_equal(variable[rest], before[rest]) == (not moves)
    assert (variable[[1, 4]] != before[[1, 4]]).all()


@pytest.mark.parametrize("name", ["keras-3", "keras-2.3"])
def test_no_row_at_all_only_decays(name: str) -> None:
    optimizer, variable = table(dialect=name, rho=0.5)
    optimizer.apply([np.ones_like(variable)])
    before = variable.copy()
    velocity = slot(optimizer, "velocity").copy()
    optimizer.apply([IndexedSlices(np.zeros((0, 3), F4), np.zeros(0, np.int64))])
    np.testing.assert_array_equal(slot(optimizer, "velocity"), velocity / 2)
    np.testing.assert_array_equal(variable, before)
    assert optimizer.iterations == 2


def test_keras_2_3_bounds_rows_before_it_adds_them() -> None:
    velocities = []
    for dialect in ("keras-2.3", "keras-2.2"):
        optimizer, _ = table(dialect=dialect, rho=0.5, clipvalue=1.0)
        optimizer.apply([IndexedSlices(np.full((2, 3), 5, F4), [0, 0])])
        velocities.append(slot(optimizer, "velocity")[0, 0])
    assert velocities == [2, 0.5]  # (1 + 1)**2 / 2, and 1**2 / 2
    optimizer, variable = table(dialect="keras-2.3", clipvalue=1.0, clipnorm=1.0)
    optimizer.apply([IndexedSlices(np.full((2, 3), 5, F4), [0, 1])])
    before = battery.snapshot(optimizer, [variable])
    with pytest.raises(fastrms.GradientError, match=r"rows given twice, clipnorm and clipvalue"):
        optimizer.apply([IndexedSlices(np.full((2, 3), 5, F4), [0, 0])])
    assert battery.snapshot(optimizer, [variable]) == before


# Where Keras 3 crashes -------------------------------------------------------------------------


def test_a_zero_denominator_touches_no_other_row() -> None:
    optimizer, variable = table(epsilon=0.0)
    before = variable.copy()
    with np.errstate(all="raise"):
        for _ in range(3):
            optimizer.apply([TWICE])
    assert np.isfinite(variable).all()
    np.testing.assert_array_equal(variable[[0, 2, 3, 5]], before[[0, 2, 3, 5]])


def test_a_negative_variance_stays_in_its_row() -> None:
    # velocity = c (1 + 1), average = c (1 + 1): with c = 0.75 the variance is negative.
    optimizer, variable = table(rho=0.25, centered=True, epsilon=1e-7)
    optimizer.apply([IndexedSlices(np.ones((2, 3), F4), [2, 2])])
    assert np.isnan(variable[2]).all()
    assert np.isfinite(np.delete(variable, 2, axis=0)).all()


def test_a_loss_scale_divides_rows() -> None:
    scaled, ours = table(loss_scale_factor=8.0)
    plain, theirs = table()
    for step in range(3):
        rows = slices(ours.shape, 5, seed=step)
        scaled.apply([IndexedSlices(rows.values * F4(8), rows.indices)])
        plain.apply([rows])
    assert battery.digest([ours]) == battery.digest([theirs])


# What an IndexedSlices may be ------------------------------------------------------------------

ROWS = np.ones((2, 3), F4)
REFUSED: dict[str, tuple[Any, str]] = {
    "too large": (IndexedSlices(ROWS, [0, 6]), r"row 6; valid: rows 0 to 5"),
    "negative": (IndexedSlices(ROWS, [-1, 0]), r"row -1; valid: rows 0 to 5"),
    "least": (IndexedSlices(ROWS, np.array([-(2**63), 0])), r"row -9223372036854775808"),
    "unsigned": (IndexedSlices(ROWS, np.array([2**64 - 1, 0], np.uint64)), r"row 1844674407"),
    "floats": (IndexedSlices(ROWS, [0.0, 1.0]), r"dtype float64; valid: a list of integers"),
    "bools": (IndexedSlices(ROWS, [True, False]), r"dtype bool; valid: a list of integers"),
    "strings": (IndexedSlices(ROWS, ["0", "1"]), r"dtype <U1; valid: a list of integers"),
    "flat": (IndexedSlices(ROWS, np.zeros((2, 1), int)), r"indices of shape \(2, 1\)"),
    "one number": (IndexedSlices(ROWS, 1), r"indices of shape \(\)"),
    "count": (IndexedSlices(ROWS, [0]), r"values of shape \(2, 3\).*valid: .*shape \(1, 3\)"),
    "width": (IndexedSlices(ROWS[:, :2], [0, 1]), r"values of shape \(2, 2\).*shape \(2, 3\)"),
    "integers": (IndexedSlices(ROWS.astype(int), [0, 1]), r"dtype int64; valid: floating-point"),
    "complex": (IndexedSlices(ROWS + 0j, [0, 1]), r"dtype complex64; valid: floating-point"),
    "dense shape": (IndexedSlices(ROWS, [0, 1], (5, 3)), r"dense_shape=\(5, 3\); valid: \(6, 3\)"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("accumulates", [False, True])
def test_wrong_rows_are_refused_before_anything_changes(case: str, accumulates: bool) -> None:
    wrong, message = REFUSED[case]
    variables = [np.ones(4, F4), battery.numbers((6, 3), F4)]
    optimizer = fastrms.RMSprop(gradient_accumulation_steps=2 if accumulates else None)
    optimizer.build(variables)
    optimizer._core.stepper._compiled = False
    optimizer.apply([np.ones(4, F4), slices((6, 3), 4)])
    before = battery.snapshot(optimizer, variables)
    with pytest.raises(fastrms.GradientError, match=message) as caught:
        optimizer.apply([np.ones(4, F4), wrong])
    parts = ["variable 1 ", "IndexedSlices with", "valid: ", "Nothing was changed"]
    battery.says_all(str(caught.value), parts)
    assert battery.snapshot(optimizer, variables) == before


@pytest.mark.parametrize("dialect", ["torch", "optax"])
def test_dialects_without_rows_say_so(dialect: str) -> None:
    optimizer, _ = table(dialect=dialect)
    with pytest.raises(fastrms.GradientError, match=rf"dialect '{dialect}', which has none"):
        optimizer.apply([TWICE])


def test_optimizer_v2_refuses_rows_under_a_constraint() -> None:
    class Constrained(np.ndarray):
        constraint = staticmethod(np.abs)

    variable = np.ones((6, 3), F4).view(Constrained)
    with pytest.raises(fastrms.GradientError, match="a constraint on the variable; valid: one of"):
        fastrms.RMSprop(dialect="tf-keras-v2").apply([TWICE], [variable])
    optimizer = fastrms.RMSprop(dialect="tf-keras-2.11", learning_rate=3.0)
    optimizer.build([variable])
    optimizer._core.stepper._compiled = False
    optimizer.apply([TWICE], [variable])
    assert (variable[[1, 4]] > 1).all()


@pytest.mark.parametrize("variable", [np.array(1.0, F4), np.asfortranarray(np.ones((4, 3), F4))])
def test_a_table_must_have_rows_that_lie_together(variable: Any) -> None:
    with pytest.raises(fastrms.GradientError, match="a table whose rows lie together"):
        fastrms.RMSprop().apply([IndexedSlices(np.ones((1, 3), F4), [0])], [variable])


def test_other_forms_are_read() -> None:
    expected, variable = table()
    expected.apply([TWICE])
    values = TWICE.values
    for rows in (
        IndexedSlices(values.tolist(), tuple(TWICE.indices), [6, 3]),
        IndexedSlices(values.astype(np.float64), np.array(TWICE.indices, np.uint8)),
        IndexedSlices(np.asfortranarray(values), np.array([4, 9, 1, 9, 4, 9])[::2]),
        pickle.loads(pickle.dumps(TWICE)),
    ):
        optimizer, other = table()
        optimizer.apply([rows])
        assert battery.digest([other]) == battery.digest([variable])
    assert repr(TWICE).startswith("IndexedSlices(an array of shape (3, 3) and dtype float32")


def test_values_may_be_a_view_of_the_table_itself() -> None:
    optimizer, variable = table()
    other, copy = table()
    optimizer.apply([IndexedSlices(variable[2:4], [2, 3])])
    other.apply([IndexedSlices(copy[2:4].copy(), [2, 3])])
    assert battery.digest([variable]) == battery.digest([copy])


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, 5), max_size=12),
    st.permutations(range(12)),
    st.sampled_from(["keras-3", "tf-keras-2.11", "tf-keras-v2", "keras-1"]),
)
def test_only_the_sum_of_each_row_matters(rows: list[int], order: list[int], dialect: str) -> None:
    # Small integers: their sums are exact in any order.
    values = np.random.default_rng(3).integers(-4, 5, (12, 3)).astype(F4)[: len(rows)]
    order = [k for k in order if k < len(rows)]
    if dialect == "keras-3":  # each value makes a step of its own: their order in a row stays
        places = {row: iter(np.flatnonzero(np.equal(rows, row)).tolist()) for row in rows}
        order = [next(places[rows[k]]) for k in order]
    found = []
    for chosen in (range(len(rows)), order):
        optimizer, variable = table(dialect=dialect)
        indices = np.array(rows, np.int64)[list(chosen)]
        optimizer.apply([IndexedSlices(values[list(chosen)], indices)])
        found.append(battery.digest([variable, *optimizer.get_weights()]))
    assert found[0] == found[1]


def test_rows_that_another_thread_changes_never_write_outside() -> None:
    store = np.zeros((40, 8), F4)
    variable, indices = store[10:30], np.zeros(50, np.int64)
    rows = IndexedSlices(np.ones((50, 8), F4), indices)
    optimizer, ended, refused = fastrms.RMSprop(), threading.Event(), set()
    optimizer.build([variable])

    def disturb() -> None:
        while not ended.is_set():
            indices[:] = 10**6
            indices[:] = np.arange(50) % 20

    thread = threading.Thread(target=disturb)
    thread.start()
    end = time.monotonic() + 1
    try:
        while time.monotonic() < end:
            try:
                optimizer.apply([rows])
            except fastrms.GradientError as error:
                refused.add("row 1000000" in str(error))
    finally:
        ended.set()
        thread.join()
    assert refused <= {True}
    assert not store[:10].any()
    assert not store[30:].any()
