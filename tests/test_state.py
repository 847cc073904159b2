"""The optimizer's own state: memory that stays put, whole snapshots, the caller's rounding mode."""

from __future__ import annotations

import mmap
import os
import pickle
import threading
import time

import numpy as np
import pytest

import fastrms
from fastrms import state

FLUSHING = sorted(n for n, row in fastrms.DIALECTS.items() if row.flushes_subnormals)


def built(count: int = 3, dialect: str = "keras-3", **options: object) -> tuple[object, list]:
    """Make an optimizer over some variables, stepped once."""
    variables = [np.ones((4, 5), np.float32) for _ in range(count)]
    optimizer = fastrms.RMSprop(dialect=dialect, **options)  # type: ignore[arg-type]
    optimizer.apply([np.ones_like(v) for v in variables], variables)
    return optimizer, variables


def slot_views(optimizer: fastrms.RMSprop) -> list[np.ndarray]:
    return [v.value for v in optimizer.variables if v.shape == (4, 5)]


def owners(array: np.ndarray) -> list[np.ndarray]:
    """List an array and the arrays below it."""
    found = [array]
    while isinstance(found[-1].base, np.ndarray):
        found.append(found[-1].base)
    return found


def test_no_array_below_a_slot_can_be_resized():
    optimizer, variables = built()
    before = [s.copy() for s in slot_views(optimizer)]
    for slot in slot_views(optimizer):
        for array in owners(slot):
            with pytest.raises(ValueError, match="resize"):
                array.resize((0,), refcheck=False)
    for slot, values in zip(slot_views(optimizer), before, strict=True):
        np.testing.assert_array_equal(slot, values)
    optimizer.apply([np.ones_like(v) for v in variables])
    assert optimizer.iterations == 2


@pytest.mark.parametrize("size", [6, 1 << 20], ids=["small", "huge-pages"])
def test_the_memory_below_the_slots_cannot_be_freed_by_resizing(size):
    optimizer = fastrms.RMSprop()
    optimizer.build([np.ones(size, np.float32)])
    base = owners(optimizer.variables[-1].value)[-1].base
    while isinstance(base, memoryview):
        base = base.obj
    for release in ("clear", "close"):
        if hasattr(base, release):
            with pytest.raises(BufferError):
                getattr(base, release)()
            return
    pytest.fail(f"nothing is known of {type(base)}")


def test_large_slots_begin_on_a_huge_page_and_are_private():
    slots = state.aligned(1 << 20, np.dtype(np.float32))
    assert slots.ctypes.data % (1 << 21) == 0 or not hasattr(mmap, "MADV_HUGEPAGE")
    assert not slots.any()
    if hasattr(os, "fork"):
        child = os.fork()
        if not child:
            slots[:] = 1
            os._exit(0)
        os.waitpid(child, 0)
        assert not slots.any()


def test_no_room_for_slots_is_a_memory_error():
    with pytest.raises(MemoryError):
        state.aligned(1 << 60, np.dtype(np.float32))


def test_weights_read_while_another_thread_steps_are_of_one_step():
    optimizer, variables = built(count=40)
    gradients = [np.ones_like(v) for v in variables]
    velocities = {1: slot_views(optimizer)[0].flat[0]}
    twin, twins = built(count=1)
    for step in range(2, 402):
        twin.apply([np.ones_like(t) for t in twins])
        velocities[step] = slot_views(twin)[0].flat[0]

    def work() -> None:
        for _ in range(400):
            optimizer.apply(gradients)
            time.sleep(0.0005)  # so that a loaded machine lets the other thread read, too

    thread = threading.Thread(target=work)
    thread.start()
    seen = set()
    while thread.is_alive():
        iterations, _, *slots = optimizer.get_weights()
        assert {float(x) for slot in slots for x in slot.flat} == {
            float(velocities[int(iterations)])
        }
        seen.add(int(iterations))
    thread.join()
    assert optimizer.iterations == 401
    assert seen


@pytest.mark.parametrize("dialect", FLUSHING)
@pytest.mark.parametrize("size", [8, 1 << 19], ids=["serial", "threaded"])
def test_the_callers_arithmetic_keeps_subnormal_numbers(dialect, size):
    tiny = np.full(4, 1e-40, np.float32)
    variable = np.ones(size, np.float32)
    optimizer = fastrms.RMSprop(dialect=dialect)
    optimizer.apply([np.full_like(variable, 1e-20)], [variable])
    assert (tiny * np.float32(0.5) != 0).all()


def test_a_refused_step_keeps_the_callers_arithmetic():
    optimizer, variables = built(dialect="tf-keras-2.11")
    with pytest.raises(fastrms.GradientError):
        optimizer.apply([np.ones(3, np.float32) for _ in variables])
    assert np.float32(1e-40) * np.float32(0.5) != 0


def test_a_pickle_whose_buffers_are_read_only_is_refused_before_anything_is_built():
    optimizer, variables = built()
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps((optimizer, variables), 5, buffer_callback=buffers.append)
    frozen = [bytes(b.raw()) for b in buffers]
    assert frozen
    with pytest.raises(fastrms.VariableError, match="writ"):
        pickle.loads(data, buffers=frozen)
    thawed = [bytearray(b) for b in frozen]
    copy, copies = pickle.loads(data, buffers=thawed)
    for one, values in ((optimizer, variables), (copy, copies)):
        one.apply([np.ones_like(v) for v in values])
    for a, b in zip(variables, copies, strict=True):
        np.testing.assert_array_equal(a, b)
