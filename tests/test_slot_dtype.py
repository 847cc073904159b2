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


def test_rows_with_float32_slots_are_refused() -> None:
    variable = np.ones((2, 3), np.float16)
    rows = fastrms.IndexedSlices(np.ones((1, 3), np.float16), np.array([0]), (2, 3))
    opt = fastrms.RMSprop(slot_dtype="float32")
    opt.build([variable])
    with pytest.raises(fastrms.GradientError, match="a step with slot_dtype does not take"):
        opt.apply([rows])
    np.testing.assert_array_equal(variable, 1)
