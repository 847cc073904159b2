"""An exception or interrupt takes effect wholly before or wholly after a step."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import battery
import fastrms


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    """Let threads take part whatever the machine."""
    before = fastrms.get_num_threads()
    fastrms.set_num_threads(3)
    yield
    fastrms.set_num_threads(before)


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()], ids=repr)
def test_an_exception_in_a_rate_leaves_everything(error: BaseException) -> None:
    answers: list[Any] = [0.01, 0.01]

    def rate() -> Any:
        if not answers:
            raise error
        return answers.pop()

    optimizer, variables, gradients = battery.scene(learning_rate=rate, size=10)
    optimizer.apply(gradients)
    before = battery.snapshot(optimizer, variables)
    with pytest.raises(type(error)):
        optimizer.apply(gradients)
    assert battery.snapshot(optimizer, variables) == before
    for odd in (float("nan"), "fast", None, np.inf, [1, 2]):
        answers.append(odd)
        with pytest.raises(fastrms.ArgumentError, match="callable returned"):
            optimizer.apply(gradients)
        assert battery.snapshot(optimizer, variables) == before
    answers.append(0.01)
    optimizer.apply(gradients)
    assert optimizer.iterations == 3


class Interrupts:
    """Raises KeyboardInterrupt at a random moment of an action, as Ctrl-C does."""

    def __init__(self, longest: float) -> None:
        self.longest, self.armed, self.count = longest, False, 0
        self.random = np.random.default_rng(0)

    def __enter__(self) -> Interrupts:
        self.old = signal.signal(signal.SIGALRM, self._raise)
        return self

    def __exit__(self, *error: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.old)

    def _raise(self, signum: int, frame: Any) -> None:
        if self.armed:
            self.armed = False
            raise KeyboardInterrupt

    def during(self, action: Any, *arguments: Any) -> None:
        """Call an action that may be interrupted."""
        try:
            self.armed = True
            signal.setitimer(signal.ITIMER_REAL, self.random.uniform(2e-6, self.longest))
            action(*arguments)
            self.armed = False
        except KeyboardInterrupt:
            self.count += 1
        signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.mark.parametrize("kind", ["large", "small", "slow way"])
def test_interrupts_act_between_steps(kind: str) -> None:
    size, rounds = (battery.LARGE, 60) if kind == "large" else (20, 300)
    expected = battery.references(rounds, size)
    optimizer, variables, gradients = battery.scene(size=size)
    with Interrupts(2e-3 if kind == "large" else 6e-5) as interrupts:
        for _ in range(50 * rounds):
            given = gradients if kind != "slow way" else [g.tolist() for g in gradients]
            interrupts.during(optimizer.apply, given)
            assert battery.bits(optimizer, variables) == expected[optimizer.iterations]
            if optimizer.iterations == rounds:
                break
    assert interrupts.count > 10


@pytest.mark.parametrize("dialect", ["keras-3", "keras-1", "tf-keras-v2"])
def test_an_interrupted_first_step_is_made_or_not(dialect: str) -> None:
    gradient, done = np.ones(5000), np.ones(5000)
    fastrms.RMSprop(0.01, dialect=dialect).apply([gradient], [done])
    with Interrupts(1e-3) as interrupts:
        for _ in range(250):
            optimizer, variable = fastrms.RMSprop(0.01, dialect=dialect), np.ones(5000)
            interrupts.during(optimizer.apply, [gradient], [variable])
            stepped = bool((variable != 1).any())
            slots = optimizer._core.stepper.state.slots if optimizer.built else {}
            assert stepped == any(slot.any() for slot in slots.values()), "state was lost"
            assert (variable == (done if stepped else 1)).all()
    assert interrupts.count > 10
