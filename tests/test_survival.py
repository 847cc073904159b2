"""Forks, threads and copies: no crash, deadlock or changed bit."""

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


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    """Let threads take part whatever the machine."""
    before = fastrms.get_num_threads()
    fastrms.set_num_threads(3)
    yield
    fastrms.set_num_threads(before)


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
    expected = battery.references(4)
    optimizer, variables, gradients = battery.scene()

    def work() -> bool:
        for _ in range(3):
            optimizer.apply(gradients)
        return battery.bits(optimizer, variables) == expected[4]

    for _ in range(5):
        assert in_child(work) == 0
    optimizer.apply(gradients)
    assert battery.bits(optimizer, variables) == expected[2]


@needs_fork
@forks
def test_fork_while_another_thread_steps() -> None:
    own, own_variables, own_gradients = battery.scene()
    expected = battery.references(4)
    busy, busy_variables, busy_gradients = battery.scene(7)
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
        return (
            battery.bits(own, own_variables) == expected[4] and np.isfinite(busy_variables[0]).all()
        )

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
    expected = battery.references(20)
    scenes = [battery.scene() for _ in range(4)]

    def steps(optimizer: Any, gradients: Any) -> Any:
        return lambda: [optimizer.apply(gradients) for _ in range(20)]

    def resizes() -> None:
        for k in range(300):
            fastrms.set_num_threads(1 + k % 5)

    run_threads([*(steps(o, g) for o, _, g in scenes), resizes])
    assert [battery.bits(o, v) for o, v, _ in scenes] == [expected[21]] * 4


def test_threads_on_one_optimizer() -> None:
    expected = battery.references(40)
    optimizer, variables, gradients = battery.scene()
    copies = [[g.copy() for g in gradients] for _ in range(4)]
    run_threads([lambda c=c: [optimizer.apply(c) for _ in range(10)] for c in copies])
    assert optimizer.iterations == 41
    assert battery.bits(optimizer, variables) == expected[41]


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
    optimizer, _, gradients = battery.scene()
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
    optimizer, variables, gradients = battery.scene(size=50, use_ema=True)
    other, others, _ = COPIES[way]((optimizer, variables, None))
    other.apply(gradients)
    assert optimizer.iterations == 1
    optimizer.apply(gradients, variables)
    other_bits = battery.bits(other, others)
    assert other_bits == battery.bits(optimizer, variables)
    other.apply(gradients, others)
    assert battery.bits(other, others) != other_bits
    assert other.name == optimizer.name


def test_a_shallow_copy_updates_the_same_arrays_with_slots_of_its_own() -> None:
    optimizer, variables, gradients = battery.scene(size=50)
    other = copy.copy(optimizer)
    weights = optimizer.get_weights()
    other.apply(gradients, variables)
    assert (optimizer.iterations, other.iterations) == (1, 2)
    assert battery.digest(optimizer.get_weights()) == battery.digest(weights)
