"""`swapped_ema` shows the averages for a while and always brings the live weights back."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import battery
import fastrms

F4 = np.float32


def scene(steps: int = 3, dialect: str = "keras-3", **options: Any) -> tuple[Any, dict[str, Any]]:
    """Return an optimizer with averages and its variables, some steps made with NumPy's engine."""
    variables = {"a": np.arange(4, dtype=F4), "b": np.asfortranarray(np.ones((2, 3), np.float64))}
    options = {"learning_rate": 0.25, "use_ema": True, "ema_momentum": 0.5, **options}
    optimizer = fastrms.RMSprop(dialect=dialect, **options)
    optimizer.build(variables)
    optimizer._core.stepper._compiled = False
    for step in range(steps):
        optimizer.apply({k: np.full_like(v, step + 1) for k, v in variables.items()})
    return optimizer, variables


def averages(optimizer: Any) -> list[Any]:
    return [optimizer._core.stepper.state.shaped("average", i).copy() for i in range(2)]


@pytest.mark.parametrize("dialect", ["keras-3", "tf-keras-2.11"])
def test_the_block_sees_the_averages(dialect: str) -> None:
    optimizer, variables = scene(dialect=dialect)
    before = battery.snapshot(optimizer, variables.values())
    with optimizer.swapped_ema(variables) as nothing:
        assert nothing is None
        for variable, average in zip(variables.values(), averages(optimizer), strict=True):
            np.testing.assert_array_equal(variable, average)
    assert battery.snapshot(optimizer, variables.values()) == before
    assert not np.array_equal(variables["a"], averages(optimizer)[0])


def test_some_of_the_variables() -> None:
    optimizer, variables = scene()
    live = variables["b"].copy()
    with optimizer.swapped_ema([variables["a"]]):
        np.testing.assert_array_equal(variables["a"], averages(optimizer)[0])
        np.testing.assert_array_equal(variables["b"], live)
    with pytest.raises(fastrms.VariableError, match="array 0 is not a variable"):
        optimizer.swapped_ema([np.ones(4, F4)]).__enter__()
    optimizer.apply({k: np.ones_like(v) for k, v in variables.items()})


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, GeneratorExit])
def test_an_exception_restores_the_weights(error: type[BaseException]) -> None:
    optimizer, variables = scene()
    before = battery.snapshot(optimizer, variables.values())

    def block() -> None:
        with optimizer.swapped_ema():
            variables["a"][...] = 99
            raise error

    with pytest.raises(error):
        block()
    assert battery.snapshot(optimizer, variables.values()) == before
    optimizer.apply({k: np.ones_like(v) for k, v in variables.items()})
    assert optimizer.iterations == 4


REFUSED = {
    "apply": lambda o, v: o.apply({k: np.ones_like(x) for k, x in v.items()}),
    "apply_gradients": lambda o, v: o.apply_gradients([(np.ones_like(x), x) for x in v.values()]),
    "nested": lambda o, v: o.swapped_ema().__enter__(),
    "finalize": lambda o, v: o.finalize_variable_values(),
    "rebind": lambda o, v: o.rebind({k: x.copy() for k, x in v.items()}),
    "pickle": lambda o, v: pickle.dumps(o),
}


@pytest.mark.parametrize("what", REFUSED)
def test_inside_the_block_nothing_may_change(what: str) -> None:
    optimizer, variables = scene()
    before = battery.snapshot(optimizer, variables.values())
    with optimizer.swapped_ema():
        inside = battery.snapshot(optimizer, variables.values())
        with pytest.raises(fastrms.StateError, match=r"moving averages .*leave the `with` block"):
            REFUSED[what](optimizer, variables)
        assert battery.snapshot(optimizer, variables.values()) == inside
    assert battery.snapshot(optimizer, variables.values()) == before


def test_there_must_be_averages() -> None:
    for optimizer in (scene(use_ema=False)[0], scene(steps=0)[0], fastrms.RMSprop(use_ema=True)):
        with pytest.raises(fastrms.StateError) as caught:
            optimizer.swapped_ema().__enter__()
        battery.says_all(str(caught.value), ["no moving averages", "use_ema=", "valid: "])


def test_a_block_after_a_block() -> None:
    optimizer, variables = scene()
    shown = []
    for _ in range(2):
        with optimizer.swapped_ema():
            shown.append(variables["a"].copy())
    np.testing.assert_array_equal(*shown)
    with optimizer.swapped_ema():
        last = variables["a"].copy()
    optimizer.finalize_variable_values()
    np.testing.assert_array_equal(variables["a"], last)


def test_memory_that_changed_inside_is_named() -> None:
    optimizer, variables = scene()

    def block() -> None:
        with optimizer.swapped_ema():
            variables["a"].resize(2, refcheck=False)

    with pytest.raises(fastrms.VariableError, match="has changed since"):
        block()
    np.testing.assert_array_equal(variables["b"].shape, (2, 3))


def test_not_in_the_middle_of_a_step() -> None:
    class Constrained(np.ndarray):
        @staticmethod
        def constraint(w: Any) -> Any:
            with optimizer.swapped_ema():
                return w

    variable = np.ones(2, F4).view(Constrained)
    optimizer = fastrms.RMSprop(use_ema=True)
    with pytest.raises(fastrms.StateError, match="while this optimizer is stepping"):
        optimizer.apply([np.ones(2, F4)], [variable])
    assert variable.tolist() == [1, 1]


def test_under_a_loss_scale() -> None:
    inner, variables = scene(steps=0)
    optimizer = fastrms.LossScaleOptimizer(inner, initial_scale=2.0)
    optimizer.apply([np.ones_like(v) for v in variables.values()])
    live = variables["a"].copy()
    with optimizer.swapped_ema():
        with pytest.raises(fastrms.StateError, match="moving averages"):
            optimizer.apply([np.ones_like(v) for v in variables.values()])
        assert optimizer.dynamic_scale == 2
    np.testing.assert_array_equal(variables["a"], live)
    optimizer.apply([np.ones_like(v) for v in variables.values()])
    assert optimizer.iterations == 2
