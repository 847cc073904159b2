"""Constraints act after the step, and a step whose constraint fails changes nothing."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import numpy as np
import pytest

import battery
import fastrms
from replay import Constrained, not_negative

F4 = np.float32


def constrained(values: Any, constraint: Any) -> Any:
    """Return an array that carries a constraint."""
    array = np.asarray(values).view(Constrained)
    array.constraint = constraint
    return array


def scene(constraint: Any, dialect: str = "keras-3", **options: Any) -> tuple[Any, list[Any]]:
    """Return an optimizer of NumPy's engine and two variables, the second one constrained."""
    variables = [np.array([1.0, -1.0], F4), constrained(np.array([0.03, 2.0], F4), constraint)]
    optimizer = fastrms.RMSprop(learning_rate=0.125, dialect=dialect, **options)
    optimizer.build(variables)
    optimizer._core.stepper._compiled = False
    return optimizer, variables


GRADIENTS = [np.array([1.0, -2.0], F4), np.array([3.0, 1.0], F4)]


def test_the_dialects_that_apply_constraints() -> None:
    kinds = {name: row.constraints for name, row in fastrms.DIALECTS.items()}
    assert {name for name, kind in kinds.items() if kind == "none"} == {
        "tf-train",
        "torch",
        "optax",
    }
    assert [n for n, kind in kinds.items() if kind == "never"] == ["tf-keras-2.10-experimental"]


@pytest.mark.parametrize("dialect", ["keras-3", "tf-keras-2.11", "tf-keras-v2", "keras-1"])
def test_the_value_after_the_step_is_the_constraint_of_a_free_step(dialect: str) -> None:
    held, variables = scene(not_negative, dialect)
    free, others = scene(None, dialect)
    held.apply(GRADIENTS)
    free.apply(GRADIENTS)
    assert others[1][0] < 0
    np.testing.assert_array_equal(variables[1], not_negative(others[1]))
    np.testing.assert_array_equal(variables[0], others[0])
    for ours, theirs in zip(held.get_weights(), free.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_average_is_that_of_the_free_value() -> None:
    optimizer, variables = scene(not_negative, use_ema=True, ema_momentum=0.5)
    optimizer.apply(GRADIENTS)
    average = optimizer._core.stepper.state.shaped("average", 1)
    assert average[0] < 0 == variables[1][0]


def test_without_a_gradient_there_is_no_constraint() -> None:
    called: list[Any] = []
    optimizer, _ = scene(lambda w: called.append(1) or w)
    optimizer.apply([GRADIENTS[0], None])
    assert not called
    optimizer.apply(GRADIENTS)
    assert called == [1]


def test_a_constraint_acts_on_calls_that_only_accumulate() -> None:
    optimizer, variables = scene(not_negative, gradient_accumulation_steps=2)
    variables[1][0] = -5
    optimizer.apply(GRADIENTS)
    assert variables[1].tolist() == [0, 2]
    assert optimizer.iterations == 0


def boom(w: Any) -> Any:
    """Fail after writing into the variable."""
    w[...] = 7
    raise ZeroDivisionError("constraint")


WRONG = {
    "none": lambda w: None,
    "number": lambda w: 1.0,
    "list": lambda w: [0.0, 0.0],
    "shape": lambda w: w[:1],
    "broadcast": lambda w: w[None],
    "dtype": lambda w: w.astype(np.float64),
    "integers": lambda w: w.astype(np.int32),
    "masked": lambda w: np.ma.masked_array(w, [True, False]),
    "raises": boom,
    "interrupt": lambda w: (_ for _ in ()).throw(KeyboardInterrupt),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "full": {"momentum": 0.9, "centered": True, "use_ema": True, "ema_overwrite_frequency": 1},
    "accumulating": {"gradient_accumulation_steps": 2},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("steps", [0, 1])
def test_a_wrong_constraint_leaves_everything_as_it_was(
    wrong: str, options: str, steps: int
) -> None:
    live: list[Any] = [not_negative]
    optimizer, variables = scene(lambda w: live[0](w), **OPTIONS[options])
    for _ in range(steps):
        optimizer.apply(GRADIENTS)
    before = battery.snapshot(optimizer, variables)
    live[0] = WRONG[wrong]
    with pytest.raises((fastrms.VariableError, ZeroDivisionError, KeyboardInterrupt)) as caught:
        optimizer.apply(GRADIENTS)
    if isinstance(caught.value, fastrms.VariableError):
        parts = ["variable 1", "returned", "shape \\(2,\\) and dtype float32", "astype"]
        battery.says_all(str(caught.value), [*parts, "Nothing was changed"])
    assert battery.snapshot(optimizer, variables) == before
    live[0] = not_negative
    optimizer.apply(GRADIENTS)
    fresh, others = scene(not_negative, **OPTIONS[options])
    for _ in range(steps + 1):
        fresh.apply(GRADIENTS)
    assert battery.snapshot(fresh, others) == battery.snapshot(optimizer, variables)


@pytest.mark.parametrize("dialect", ["keras-3", "tf-keras-v2"])
def test_a_first_step_that_fails_builds_nothing(dialect: str) -> None:
    variables = [constrained(np.ones(2, F4), boom)]
    optimizer = fastrms.RMSprop(dialect=dialect)
    with pytest.raises(ZeroDivisionError):
        optimizer.apply([np.ones(2, F4)], variables)
    assert not optimizer.built
    assert variables[0].tolist() == [1, 1]


def test_slots_that_a_failed_step_made_are_gone() -> None:
    live: list[Any] = [boom]
    variables = [np.ones(2, F4), constrained(np.ones(2, F4), lambda w: live[0](w))]
    optimizer = fastrms.RMSprop(dialect="tf-keras-v2")
    optimizer.apply([np.ones(2, F4), None], variables)
    count = len(optimizer.get_weights())
    with pytest.raises(ZeroDivisionError):
        optimizer.apply(GRADIENTS, variables)
    assert len(optimizer.get_weights()) == count
    live[0] = not_negative
    optimizer.apply(GRADIENTS, variables)
    assert len(optimizer.get_weights()) == count + 1


def test_a_constraint_may_not_step() -> None:
    live: list[Any] = []
    optimizer, _ = scene(lambda w: live[0].apply(GRADIENTS) or w)
    live.append(optimizer)
    with pytest.raises(fastrms.StateError, match="while this optimizer is stepping"):
        optimizer.apply(GRADIENTS)
    assert optimizer.iterations == 0


def test_a_compiled_step_is_undone_too() -> None:
    variables = [constrained(battery.numbers(20000, "float32"), boom)]
    optimizer = fastrms.RMSprop()
    optimizer.build(variables)
    before = battery.snapshot(optimizer, variables)
    with pytest.raises(ZeroDivisionError):
        optimizer.apply([battery.numbers(20000, "float32", 1)])
    assert battery.snapshot(optimizer, variables) == before


def test_strided_and_foreign_results_are_taken() -> None:
    class Foreign:
        """Another library's array."""

        def __init__(self, values: Any) -> None:
            self.values = values

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return self.values

    for result in (lambda w: Foreign(w * 0), lambda w: (w * 0)[::-1]):
        optimizer, variables = scene(result)
        optimizer.apply(GRADIENTS)
        assert variables[1].tolist() == [0, 0]


def test_a_scalar_may_come_back_as_a_numpy_number() -> None:
    variable = constrained(np.array(1.0, F4), lambda w: np.float32(0.5))
    fastrms.RMSprop().apply([np.array(1.0, F4)], [variable])
    assert variable == 0.5


def test_what_has_no_constraints_says_so() -> None:
    for dialect in ("torch", "optax", "tf-train"):
        with pytest.raises(fastrms.VariableError) as caught:
            scene(not_negative, dialect)
        battery.says_all(str(caught.value), ["variable 1", dialect, "valid: constraint=None"])
    with pytest.warns(fastrms.PortingWarning, match=r"variable 1 .* has no effect in the dialect"):
        optimizer, variables = scene(not_negative, "tf-keras-2.10-experimental")
    optimizer.apply(GRADIENTS)
    assert variables[1][0] < 0
    with pytest.raises(fastrms.VariableError, match=r"constraint of variable 1.*valid: a callable"):
        scene("non_neg")


def test_copies_and_moved_state_keep_constraints() -> None:
    optimizer, variables = scene(not_negative)
    optimizer.apply(GRADIENTS)
    copies = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    moved, _ = scene(not_negative)
    moved.apply(GRADIENTS)
    moved.rebind([np.array(v) for v in variables])
    for other in (*copies, moved):
        for _ in range(3):
            other.apply(GRADIENTS)
        assert other._core.stepper.variables.arrays[1][0] == 0


def test_no_warning_where_nothing_is_lost() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for dialect in fastrms.DIALECTS:
            scene(None, dialect)


def test_a_constraint_refused_once_is_refused_again() -> None:
    variable = fastrms.Variable([0.01, 1.0])
    optimizer = fastrms.RMSprop(dialect="torch")
    optimizer.apply([np.ones(2, F4)], [variable])
    variable.constraint, before = not_negative, variable.numpy()
    for _ in range(3):
        with pytest.raises(fastrms.VariableError, match="has a constraint, and the dialect"):
            optimizer.apply([np.ones(2, F4)])
        np.testing.assert_array_equal(variable, before)
    variable.constraint = None
    optimizer.apply([np.ones(2, F4)])
    assert optimizer.iterations == 2
