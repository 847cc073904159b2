"""What the machine of PTX finds wrong: memory, races; and the stand-in for the driver: order."""

from __future__ import annotations

import ctypes
import inspect
from typing import Any

import numpy as np
import ptx_needed  # noqa: F401
import pytest
from ptx_driver import Code, StandIn
from ptx_memory import BASE, Memory
from ptx_samples import kernel, run
from ptx_text import PtxError

from fastrms.cuda import driver

OWN = "mul.wide.u32 %d9, %r0, 4;\nadd.s64 %d10, %d0, %d9;\n"  # where a thread's word lies
FLAG = "mov.f64 %g1, 0d3FF0000000000000;\n"  # the number 1


def words(body: str, count: int = 32, grid: tuple[int, int] = (1, 32), shared: int = 0) -> Any:
    """Run a program on so many words."""
    return run(kernel(body, shared=shared), [np.arange(count, dtype=np.uint32)], grid)[0]


MEMORY = {
    "a word too far": (f"{OWN}ld.global.u32 %r2, [%d10+4];", "out of bounds: 128 bytes into one"),
    "a word before": (f"{OWN}ld.global.u32 %r2, [%d10+-4];", "out of bounds"),
    "a vector over the end": (f"{OWN}ld.global.v2.u32 {{%r2, %r3}}, [%d0+124];", "misaligned"),
    "address zero": ("mov.u64 %d2, 0;\nst.global.u32 [%d2], %r0;", "out of bounds"),
    "a host's address": ("mov.u64 %d2, -64;\nld.global.u32 %r2, [%d2];", "out of bounds"),
    "half a word aside": (f"{OWN}ld.global.u32 %r2, [%d10+2];", "misaligned"),
    "shared, too far": ("mov.u64 %d2, room;\nst.shared.u32 [%d2+64], %r0;", "out of bounds"),
    "shared, unwritten": ("ld.shared.u32 %r2, [room];", "nothing has written"),
    "global for shared": ("st.shared.u32 [%d0], %r0;", "out of bounds"),
    "shared for global": ("mov.u64 %d2, room;\nst.global.u32 [%d2], %r0;", "out of bounds"),
}


@pytest.mark.parametrize(("body", "reason"), MEMORY.values(), ids=MEMORY)
def test_memory_is_checked(body: str, reason: str) -> None:
    with pytest.raises(PtxError, match=rf"line \d+, .*{reason}"):
        words(body, shared=64)


def test_what_is_allocated_has_to_be_written_before_it_is_read() -> None:
    memory = Memory(4096)
    first = memory.allocate(16)
    offsets = np.array([first])
    memory.store(offsets, np.array([7], np.uint32))
    memory.require(offsets, 4, False)
    with pytest.raises(PtxError, match="nothing has written"):
        memory.require(offsets, 8, False)
    with pytest.raises(PtxError, match="nothing has written"):
        memory.span(0, 16, False)


def test_what_is_freed_is_gone() -> None:
    memory = Memory(4096)
    first, second = memory.allocate(16), memory.allocate(16)
    assert first is not None
    assert memory.free(first)
    assert not memory.free(first)
    assert memory.allocate(16) not in (first, second)
    with pytest.raises(PtxError, match="out of bounds"):
        memory.require(np.array([first]), 4, True)


RACES = {
    "all write one word": "st.global.u32 [%d0], %r0;",
    "one reads what another writes": f"{OWN}ld.global.u32 %r2, [%d0];\nst.global.u32 [%d10], %r2;",
    "half of another's word": f"{OWN}st.global.u32 [%d10], %r0;\nshl.b32 %r2, %r0, 1;\n"
    "mul.wide.u32 %d3, %r2, 1;\nadd.s64 %d3, %d3, %d0;\nst.global.u16 [%d3], %r2;",
    "shared": "st.shared.u32 [room], %r0;",
    "the number 1, beside others": f"{FLAG}{OWN}st.global.f64 [%d0], %g1;\n"
    "setp.lt.u32 %p1, %r0, 2;\n@%p1 bra $end;\nst.global.u32 [%d10], %r0;\n$end:",
    "the number 1, read": f"{FLAG}st.global.f64 [%d0], %g1;\nld.global.f64 %g2, [%d0];",
    "another number": "mov.f64 %g1, 0d4000000000000000;\nst.global.f64 [%d0], %g1;",
}


@pytest.mark.parametrize("body", RACES.values(), ids=RACES)
def test_races_in_a_block_are_seen(body: str) -> None:
    with pytest.raises(PtxError, match="a race: threads of one block, no barrier between them"):
        words(body, shared=64)


@pytest.mark.parametrize("barrier", ["", "bar.sync 0;\n"])
def test_no_barrier_is_between_blocks(barrier: str) -> None:
    body = f"{OWN}st.global.u32 [%d10], %r0;\n{barrier}"
    words(body)
    with pytest.raises(PtxError, match="a race: threads of different blocks"):
        words(body, grid=(2, 32))


def test_what_is_no_race() -> None:
    """A barrier between; everybody reading; a flag that all set to 1."""
    words("ld.global.u32 %r2, [%d0];", grid=(3, 32))
    words(f"{OWN}ld.global.u32 %r2, [%d0];\nbar.sync 0;\nst.global.u32 [%d10], %r2;")
    assert words(f"{FLAG}st.global.f64 [%d0], %g1;", grid=(3, 32))[1] == 0x3FF00000


ADD = f"{OWN}ld.global.u32 %r2, [%d10];\nadd.s32 %r2, %r2, 1;\nst.global.u32 [%d10], %r2;"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> tuple[driver.Driver, StandIn]:
    """A driver of ours on a stand-in of its own."""
    found = StandIn(1 << 20)
    monkeypatch.setattr(driver, "_driver", lambda: found)
    return driver.Driver(0), found


def launched(ours: driver.Driver, address: int, stream: int, body: str = ADD) -> None:
    """Launch a program of one argument."""
    given = np.array([address], np.uint64)
    places = np.array([given.ctypes.data], np.uint64)
    loaded = ours.load("k", kernel(body).encode() + b"\0")
    ours.launch(loaded, (1, 32), places.ctypes.data, stream)
    given[:] = 0  # the driver has copied it


def test_a_launch_and_copies_in_one_stream_are_in_order(machine: Any) -> None:
    ours, theirs = machine
    address, values, found = ours.allocate(128), np.zeros(32, np.uint32), np.zeros(32, np.uint32)
    ours.write(address, values, 7)
    launched(ours, address, 7)
    launched(ours, address, 7)
    ours.read(address, found, 7)
    assert (found == 2).all()
    other = ours.allocate(128)
    ours.copy(other, address, 128, 7)
    ours.clear(address, 64, 7)
    ours.read(address, found, 7)
    assert found.tolist() == [0] * 16 + [2] * 16
    assert ours.device_of(other + 127) == 0
    ours.free(address)
    ours.free(other)
    assert not theirs.memory.live


@pytest.mark.parametrize("ordered", [True, False])
def test_streams_are_in_no_order_but_what_is_asked(machine: Any, ordered: bool) -> None:
    ours, _ = machine
    address, found = ours.allocate(128), np.zeros(32, np.uint32)
    ours.clear(address, 128, 7)
    if ordered:
        ours.order(7, 9)
    launched(ours, address, 9)
    if ordered:
        ours.read(address, found, 9)
        assert (found == 1).all()
        return
    with pytest.raises(PtxError, match="nothing has written"):
        ours.read(address, found, 9)
    with pytest.raises(PtxError):  # nothing works after an error
        ours.read(address, found, 7)
    ours.free(address)


def test_a_table_is_not_changed_before_it_is_copied(machine: Any) -> None:
    """Two pinned buffers in turn: the third upload waits for the first."""
    ours, _ = machine
    staging, found = ours.staging(128), np.zeros(32, np.uint32)
    places = [ours.allocate(128) for _ in range(5)]
    for k, place in enumerate(places):
        ours.upload(place, staging, np.full(32, k, np.uint32), 7)
    for k, place in enumerate(places):
        ours.read(place, found, 7)
        assert (found == k).all()


def test_buffers_outlive_their_copies(machine: Any) -> None:
    ours, _ = machine
    place, found = ours.allocate(128), np.zeros(32, np.uint32)
    staging = ours.staging(128)
    ours.upload(place, staging, np.full(32, 5, np.uint32), 7)
    del staging
    ours.read(place, found, 7)
    assert (found == 5).all()


def test_a_buffer_that_is_changed_too_early_is_seen(machine: Any) -> None:
    """The stand-in copies when somebody waits, not before."""
    ours, theirs = machine
    place, found = ours.allocate(128), np.zeros(32, np.uint32)
    (_, buffer), _ = theirs.cuMemHostAlloc(128, 0), ours.enter()
    ctypes.memset(buffer, 1, 128)
    theirs.cuMemcpyHtoDAsync(place, buffer, 128, 7)
    theirs.cuMemFreeHost(buffer)
    ours.read(place, found, 7)
    assert (found == 0xCCCCCCCC).all()


def test_the_drivers_answers(machine: Any) -> None:
    ours, theirs = machine
    with pytest.raises(driver.DriverError, match="OUT_OF_MEMORY to cuMemAlloc"):
        ours.allocate(1 << 30)
    with pytest.raises(driver.DriverError, match="INVALID_VALUE to cuMemFree"):
        ours.free(BASE)
    with pytest.raises(TypeError, match="no device has memory at its address 0xb0000000000, freed"):
        ours.device_of(BASE)
    with pytest.raises(driver.DriverError, match="NO_BINARY_FOR_GPU to cuModuleLoadData"):
        ours.load("k", kernel("").replace("sm_80", "sm_90").encode() + b"\0")
    with pytest.raises(driver.DriverError, match="NOT_FOUND to cuModuleGetFunction"):
        ours.load("q", kernel("").encode() + b"\0")
    with pytest.raises(PtxError, match="zero byte"):
        ours.load("k", kernel("").encode())
    theirs.cuCtxSetCurrent(0)
    assert theirs.cuMemAlloc(8) == (Code.CUDA_ERROR_INVALID_CONTEXT,)
    assert theirs.cuMemsetD8Async(BASE, 0, 8, 1) == (Code.CUDA_ERROR_INVALID_CONTEXT,)


def test_the_stand_in_is_called_as_the_real_driver_is() -> None:
    from cuda.bindings import driver as real

    names = [name for name in vars(StandIn) if name.startswith("cu")]
    assert len(names) > 20
    for name in names:
        ours = list(inspect.signature(getattr(StandIn, name)).parameters)[1:]
        theirs = list(inspect.signature(getattr(real, name)).parameters)
        assert [x.lower() for x in ours] == [x.lower() for x in theirs], name
    for code in Code:
        assert getattr(real.CUresult, code.name) == code
