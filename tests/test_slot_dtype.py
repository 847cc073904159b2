"""float32 state for 16-bit variables: the arithmetic of float32, rounded once a step."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import battery
import fastrms


@pytest.mark.parametrize(("dialect", "options"), list(battery.combinations("momentum_centered")))
def test_a_step_is_float32s_rounded_once(dialect: str, options: str) -> None:
    """One step from the same start: a float32 optimizer's, then rounded to float16."""
    narrow, change = battery.numbers(40, "float16"), battery.numbers(40, "float16", 1)
    wide, given = narrow.astype(np.float32), change.astype(np.float32)
    chosen: dict[str, Any] = battery.OPTIONS[options]
    ours = battery.optimizer(dialect, {**chosen, "slot_dtype": "float32"})
    theirs = battery.optimizer(dialect, chosen)
    theirs.build([wide])
    theirs._core.stepper._compiled = False
    ours.apply([change], [narrow])
    theirs.apply([given], [wide])
    np.testing.assert_array_equal(narrow, wide.astype(np.float16))
    assert battery.digest(ours.get_weights()) == battery.digest(theirs.get_weights())


def test_slots_are_float32_and_outlive_a_pickle_and_a_config() -> None:
    variable = np.ones(3, np.float16)
    opt = fastrms.RMSprop(0.1, slot_dtype="float32")
    opt.apply([np.ones(3, np.float16)], [variable])
    assert opt.variables[2].dtype == np.float32
    assert opt.get_config()["slot_dtype"] == "float32"
    assert fastrms.RMSprop.from_config(opt.get_config()).settings.slot_dtype == "float32"
    assert "slot_dtype" not in fastrms.RMSprop().get_config()
    copy = pickle.loads(pickle.dumps(opt))
    opt.apply([np.ones(3, np.float16)])
    copy.apply([np.ones(3, np.float16)])
    assert battery.digest(copy.get_weights()) == battery.digest(opt.get_weights())


def test_a_velocity_that_float16_loses_is_kept() -> None:
    gradient = np.full(3, 1e-4, np.float16)  # its square is zero in float16
    plain, kept = (np.ones(3, np.float16) for _ in range(2))
    fastrms.RMSprop(0.5, epsilon=1e-7).apply([gradient], [plain])
    opt = fastrms.RMSprop(0.5, epsilon=1e-7, slot_dtype="float32")
    opt.apply([gradient], [kept])
    assert (opt.variables[2] > 0).all()
    assert (plain != kept).any()


def test_wider_variables_are_not_touched_by_it() -> None:
    first, second = np.ones(3, np.float64), np.ones(3, np.float64)
    fastrms.RMSprop(0.1).apply([first * 2], [first])
    opt = fastrms.RMSprop(0.1, slot_dtype="float32")
    opt.apply([second * 2], [second])
    np.testing.assert_array_equal(first, second)
    assert opt.variables[2].dtype == np.float64


@pytest.mark.parametrize("value", ["float16", "float64", np.float32, 32])
def test_other_dtypes_are_refused(value: Any) -> None:
    with pytest.raises(
        fastrms.ArgumentError, match=r"slot_dtype=.* is not valid; valid: 'float32'"
    ):
        fastrms.RMSprop(slot_dtype=value)


WITH_ROWS = [
    (dialect, options)
    for dialect, options in battery.combinations(
        "plain", "momentum_centered", "both_clips", "clipnorm", "global_clipnorm"
    )
    if fastrms.DIALECTS[dialect].sparse is not None
]


@pytest.mark.parametrize(("dialect", "options"), [*WITH_ROWS, ("keras-3", "ema")])
def test_a_step_with_rows_is_float32s_rounded_once(dialect: str, options: str) -> None:
    """Rows given twice are summed, and perhaps squared, as float32 numbers."""
    narrow, change = battery.numbers((6, 3), "float16"), battery.numbers((4, 3), "float16", 1)
    wide, indices = narrow.astype(np.float32), [4, 1, 0, 2] if "both" in options else [4, 1, 4, 4]
    chosen: dict[str, Any] = battery.OPTIONS[options]
    ours = battery.optimizer(dialect, {**chosen, "slot_dtype": "float32"})
    theirs = battery.optimizer(dialect, chosen)
    theirs.build([wide])
    theirs._core.stepper._compiled = False
    ours.apply([fastrms.IndexedSlices(change, indices)], [narrow])
    theirs.apply([fastrms.IndexedSlices(change.astype(np.float32), indices)])
    np.testing.assert_array_equal(narrow, wide.astype(np.float16))
    assert battery.digest(ours.get_weights()) == battery.digest(theirs.get_weights())


@pytest.mark.parametrize("loss_scale", [None, 4.0])
def test_rows_that_are_accumulated_become_an_array_of_the_variables_dtype(
    loss_scale: float | None,
) -> None:
    options = {"gradient_accumulation_steps": 2, "loss_scale_factor": loss_scale}
    change, results = battery.numbers((3, 3), "float16", 1), []
    whole = np.zeros((6, 3), np.float32)
    np.add.at(whole, [4, 1, 4], change.astype(np.float32))
    for gradient in (fastrms.IndexedSlices(change, [4, 1, 4]), whole.astype(np.float16)):
        variable = battery.numbers((6, 3), "float16")
        opt = battery.optimizer("keras-3", {**options, "slot_dtype": "float32"})
        for _ in range(2):
            opt.apply([gradient], [variable])
        results.append(battery.digest([variable, *opt.get_weights()]))
    assert results[0] == results[1]


def test_rows_whose_sum_float16_has_not_are_kept() -> None:
    variable = np.zeros((2, 1), np.float16)
    given = fastrms.IndexedSlices(np.full((2, 1), 6e4, np.float16), [1, 1])
    opt = fastrms.RMSprop(0.5, rho=0.0, dialect="tf-keras-2.11", slot_dtype="float32")
    opt.apply([given], [variable])
    np.testing.assert_array_equal(variable, [[0], [-0.5]])
