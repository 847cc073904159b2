"""Exceptions, interrupts, forks, threads, exits, copies: no crash, deadlock or changed bit."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import battery
import fastrms

SIZE = 300_000  # several chunks, and enough bytes for threads
OPTIONS: dict[str, Any] = {"momentum": 0.9, "centered": True, "global_clipnorm": 5.0}


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    """Let threads take part whatever the machine."""
    before = fastrms.get_num_threads()
    fastrms.set_num_threads(3)
    yield
    fastrms.set_num_threads(before)


def scene(seed: int = 0, size: int = SIZE, **options: Any) -> tuple[fastrms.RMSprop, Any, Any]:
    """Return an optimizer with its variables and gradients, one step made."""
    variables = [battery.numbers(size, "float32", seed), battery.numbers((3, 5), "float64", seed)]
    gradients = [battery.numbers(v.shape, v.dtype, seed + 1) for v in variables]
    optimizer = fastrms.RMSprop(**{"learning_rate": 0.01, **OPTIONS, **options})
    optimizer.apply(gradients, variables)
    return optimizer, variables, gradients


def bits(optimizer: fastrms.RMSprop, variables: Any) -> str:
    """Hash variables and state."""
    return battery.digest([*variables, *optimizer.get_weights()])


def references(steps: int, size: int = SIZE, **options: Any) -> list[str]:
    """Return the hashes after each number of steps."""
    optimizer, variables, gradients = scene(size=size, **options)
    found = ["", bits(optimizer, variables)]
    for _ in range(steps):
        optimizer.apply(gradients)
        found.append(bits(optimizer, variables))
    return found


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()], ids=repr)
def test_an_exception_in_a_rate_leaves_everything(error: BaseException) -> None:
    answers: list[Any] = [0.01, 0.01]

    def rate() -> Any:
        if not answers:
            raise error
        return answers.pop()

    optimizer, variables, gradients = scene(learning_rate=rate, size=10)
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


def interrupt(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["large", "small", "slow way"])
def test_interrupts_act_between_steps(kind: str) -> None:
    size, rounds = (SIZE, 60) if kind == "large" else (20, 300)
    expected = references(rounds, size)
    optimizer, variables, gradients = scene(size=size)
    tried, raised = 0, 0
    old = signal.signal(signal.SIGALRM, interrupt)
    random = np.random.default_rng(0)
    duration = 2e-3 if kind == "large" else 6e-5
    try:
        while optimizer.iterations < rounds:
            given = gradients if kind != "slow way" else [g.tolist() for g in gradients]
            if tried > 50 * rounds:
                break
            tried += 1
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(2e-6, duration))
                optimizer.apply(given)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                raised += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert bits(optimizer, variables) == expected[optimizer.iterations]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert raised > 10, f"only {raised} of {tried} steps were interrupted"


@pytest.mark.parametrize("dialect", ["keras-3", "keras-1", "tf-keras-v2"])
def test_an_interrupted_first_step_is_made_or_not(dialect: str) -> None:
    old, random = signal.signal(signal.SIGALRM, interrupt), np.random.default_rng(1)
    gradient, done = np.ones(5000), np.ones(5000)
    fastrms.RMSprop(0.01, dialect=dialect).apply([gradient], [done])
    try:
        for _ in range(400):
            optimizer, variable = fastrms.RMSprop(0.01, dialect=dialect), np.ones(5000)
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(2e-6, 1e-3))
                optimizer.apply([gradient], [variable])
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                stepped = (variable != 1).any()
                slots = optimizer._core.stepper.state.slots if optimizer.built else {}
                assert stepped == any(slot.any() for slot in slots.values()), "state was lost"
                assert (variable == (done if stepped else 1)).all()
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def in_child(work: Any) -> int:
    """Run work in a forked child; return its exit status, or fail if it hangs."""
    child = os.fork()
    if not child:
        status = 1
        try:
            status = 0 if work() else 2
        finally:
            os._exit(status)
    for _ in range(500):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -99


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
# Python warns that forking with threads is dangerous; that it works with ours is the test.
forks = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@needs_fork
@forks
def test_fork_after_a_threaded_step() -> None:
    expected = references(4)
    optimizer, variables, gradients = scene()

    def work() -> bool:
        for _ in range(3):
            optimizer.apply(gradients)
        return bits(optimizer, variables) == expected[4]

    for _ in range(5):
        assert in_child(work) == 0
    optimizer.apply(gradients)
    assert bits(optimizer, variables) == expected[2]


@needs_fork
@forks
def test_fork_while_another_thread_steps() -> None:
    own, own_variables, own_gradients = scene()
    expected = references(4)
    busy, busy_variables, busy_gradients = scene(7)
    stop = threading.Event()

    def keep_stepping() -> None:
        while not stop.is_set():
            busy.apply(busy_gradients)

    thread = threading.Thread(target=keep_stepping)
    thread.start()

    def work() -> bool:
        for _ in range(3):
            own.apply(own_gradients)
            busy.apply(busy_gradients)  # the other thread's, caught in the middle of a step
        return bits(own, own_variables) == expected[4] and np.isfinite(busy_variables[0]).all()

    try:
        assert [in_child(work) for _ in range(8)] == [0] * 8
    finally:
        stop.set()
        thread.join()


def run_threads(targets: list[Any]) -> None:
    """Run functions at the same time and pass on their errors."""
    errors: list[BaseException] = []

    def guarded(target: Any) -> None:
        try:
            target()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(t,)) for t in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    assert not errors, errors


def test_threads_on_different_optimizers() -> None:
    expected = references(20)
    scenes = [scene() for _ in range(4)]

    def steps(optimizer: Any, gradients: Any) -> Any:
        return lambda: [optimizer.apply(gradients) for _ in range(20)]

    def resizes() -> None:
        for k in range(300):
            fastrms.set_num_threads(1 + k % 5)

    run_threads([*(steps(o, g) for o, _, g in scenes), resizes])
    assert [bits(o, v) for o, v, _ in scenes] == [expected[21]] * 4


def test_threads_on_one_optimizer() -> None:
    expected = references(40)
    optimizer, variables, gradients = scene()
    copies = [[g.copy() for g in gradients] for _ in range(4)]
    run_threads([lambda c=c: [optimizer.apply(c) for _ in range(10)] for c in copies])
    assert optimizer.iterations == 41
    assert bits(optimizer, variables) == expected[41]


def test_gradients_replaced_by_another_thread_while_they_are_read() -> None:
    size = 12_000_000  # so large that freed memory is unmapped, and a late read would crash
    optimizer, variable = fastrms.RMSprop(0.01), np.ones(size, np.float32)
    gradients = [np.ones(size, np.float32)]
    optimizer.build([variable])
    optimizer.apply(gradients)

    def replaces() -> None:
        while optimizer.iterations < 25:
            gradients[0] = np.ones(size, np.float32)

    run_threads([replaces, lambda: [optimizer.apply(gradients) for _ in range(24)]])
    assert (variable == variable[0]).all()


def test_a_rebind_while_a_thread_waits_for_its_step() -> None:
    optimizer, variable = fastrms.RMSprop(0.05, momentum=0.9), np.ones(3)
    optimizer.build([variable])
    other = variable.copy()
    with optimizer._core.lock:  # a step under way: the thread below waits for its end
        thread = threading.Thread(target=optimizer.apply, args=([np.ones(3)],))
        thread.start()
        time.sleep(0.1)
        optimizer.rebind([other])
    thread.join()
    assert optimizer.iterations == 1
    assert (variable == 1).all()
    assert (other < 1).all()


def test_worker_threads_do_not_pile_up() -> None:
    optimizer, _, gradients = scene()
    for count in (4, 1, 3, 2, 2):
        fastrms.set_num_threads(count)
        optimizer.apply(gradients)
    for _ in range(100):
        alive = [t for t in threading.enumerate() if t.name == "fastrms"]
        if len(alive) <= 1:
            break
        time.sleep(0.02)
    assert len(alive) == 1


COPIES = {
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "deepcopy": copy.deepcopy,
    **{f"protocol_{k}": lambda x, k=k: pickle.loads(pickle.dumps(x, k)) for k in range(5)},
}


@pytest.mark.parametrize("way", COPIES)
def test_copies_share_their_arrays_among_themselves(way: str) -> None:
    optimizer, variables, gradients = scene(size=50, use_ema=True)
    other, others, _ = COPIES[way]((optimizer, variables, None))
    other.apply(gradients)
    assert optimizer.iterations == 1
    optimizer.apply(gradients, variables)
    other_bits = bits(other, others)
    assert other_bits == bits(optimizer, variables)
    other.apply(gradients, others)
    assert bits(other, others) != other_bits
    assert other.name == optimizer.name


def test_a_shallow_copy_updates_the_same_arrays_with_slots_of_its_own() -> None:
    optimizer, variables, gradients = scene(size=50)
    other = copy.copy(optimizer)
    weights = optimizer.get_weights()
    other.apply(gradients, variables)
    assert (optimizer.iterations, other.iterations) == (1, 2)
    assert battery.digest(optimizer.get_weights()) == battery.digest(weights)
