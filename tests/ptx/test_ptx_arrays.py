"""Compiled kernels on arrays of each dtype, size and place, several in one launch: CPU's bits."""

from __future__ import annotations

import ctypes
import gc
from typing import Any

import numpy as np
import pytest
from devices import BRAIN, Cupy, assert_same, odd_numbers, on_device
from ptx_driver import StandIn
from ptx_installed import installed
from ptx_steps import EVERYTHING, OPTIONS, compare
from ptx_text import PtxError

import battery
import fastrms
from fastrms.cuda import memory
from fastrms.reference import CHUNK

pytestmark = [pytest.mark.usefixtures("gpu", "brain_on_the_host")]
MIXTURE = (("f4", (9,)), ("f2", (1301,)), (BRAIN, (35,)), ("f8", (700,)), ("f4", (5,)))


def mixture(*chosen: int) -> list[Any]:
    """Return variables of several dtypes."""
    picked = [MIXTURE[k] for k in chosen or range(len(MIXTURE))]
    return [odd_numbers(shape, np.dtype(kind), k) for k, (kind, shape) in enumerate(picked)]


@pytest.mark.parametrize("name", OPTIONS)
def test_all_dtypes_in_one_launch(gpu: StandIn, name: str) -> None:
    compare("keras-3", OPTIONS[name], mixture())
    if name != "everything":
        assert len(gpu.launches) == 3


@pytest.mark.parametrize("name", ["momentum", "everything"])
def test_float32_slots_of_16_bit_variables(name: str) -> None:
    compare("keras-3", {**OPTIONS[name], "slot_dtype": "float32"}, mixture(0, 1, 2))


def test_each_variable_has_its_own_norm() -> None:
    compare("keras-3", {"clipnorm": 0.75}, mixture())


@pytest.mark.parametrize("capability", [(7, 5), (9, 0)])
def test_code_for_other_devices(
    gpu: StandIn, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]
) -> None:
    monkeypatch.setattr(gpu, "capability", capability)
    with installed():
        compare("keras-3", EVERYTHING, mixture(0, 1))


SIZES = (0, 1, 3, 4, 5, 7, 8, 9, 31, 32, 33, 255, 257, 1023, 1024, 1025, 2048, 2049)
LARGE = (CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5)


def test_sizes_around_a_vector_a_warp_a_block_and_a_chunk() -> None:
    values = [odd_numbers((n,), np.dtype("f4"), k) for k, n in enumerate((*SIZES, *LARGE))]
    compare("keras-3", {"clipnorm": 0.75}, values, 2)


@pytest.mark.parametrize("kind", ["f2", "f8", BRAIN], ids=str)
def test_sizes_of_other_dtypes(kind: Any) -> None:
    values = [odd_numbers((n,), np.dtype(kind), k) for k, n in enumerate((*SIZES, CHUNK + 1))]
    compare("keras-3", {"clipnorm": 0.75}, values, 2)


def test_more_sums_than_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A norm of more chunks than a block has threads goes twice around the barriers."""
    for module in ("reference", "cuda.passes", "cuda.plan"):
        monkeypatch.setattr(f"fastrms.{module}.CHUNK", 64)
    values = [battery.numbers((64 * 600 + 3,), "f4", 0), battery.numbers((70,), "f4", 1)]
    compare("keras-3", {"global_clipnorm": 0.75}, values, 2)


@pytest.mark.parametrize("aside", [(1, 0, 0), (0, 1, 0), (2, 2, 2), (3, 1, 2)])
def test_memory_between_two_vectors(aside: tuple[int, ...]) -> None:
    """What does not begin where a vector does takes the way of single elements."""

    def shifted(values: Any, place: Any, by: int) -> Any:
        store = np.zeros(values.size + by, values.dtype)
        store[by:] = values
        return place(store)[by : by + values.size]

    found = []
    for place in (np.array, on_device):
        variables = [
            shifted(odd_numbers((1301,), np.dtype(kind), k), place, by)
            for k, (kind, by) in enumerate(zip(("f4", "f2", BRAIN), aside, strict=True))
        ]
        optimizer = battery.optimizer("keras-3", {"momentum": 0.9})
        optimizer.build(variables)
        stepper: Any = optimizer._core.stepper
        stepper._compiled = False
        for step in range(2):
            changes = [odd_numbers((1301,), v.dtype, step) for v in variables]
            with np.errstate(all="ignore"):
                optimizer.apply([shifted(c, place, aside[0]) for c in changes])
        found.append([np.asarray(v) for v in variables] + optimizer.get_weights())
    assert_same(found[1], found[0])


def test_sixty_tensors_are_one_launch(gpu: StandIn) -> None:
    values = [battery.numbers((64 + 37 * k,), "f4", k) for k in range(60)]
    compare("keras-3", {"momentum": 0.9}, values, 1)
    assert len(gpu.launches) == 1


def test_a_schedule_changes_the_numbers_of_the_same_kernel(gpu: StandIn) -> None:
    rate = fastrms.schedules.ExponentialDecay(0.5, decay_steps=2, decay_rate=0.5)
    compare("keras-3", {"learning_rate": rate}, mixture(0), 4)
    assert len(set(gpu.launches)) == 1


@pytest.mark.parametrize("streams", [(7, 7, 7), (7, 9, 1)])
def test_steps_are_in_the_order_of_their_streams(gpu: StandIn, streams: tuple[int, ...]) -> None:
    """Gradients are still on their way, on a stream of another library, when a step is asked."""
    weights = battery.numbers(1301, "f4")
    host, live = weights.copy(), on_device(weights)
    kept: list[Any] = []
    gpu.cuCtxSetCurrent(gpu.cuDevicePrimaryCtxRetain(0)[1])  # the other library's calls need one
    ours, theirs = (battery.optimizer("keras-3", {"momentum": 0.9}) for _ in range(2))
    for k, stream in enumerate(streams):
        change = battery.numbers(1301, "f4", k)
        kept.append(Cupy(np.zeros(1301, "f4"), stream=11))
        buffer = gpu.cuMemHostAlloc(change.nbytes, 0)[1]
        ctypes.memmove(buffer, change.ctypes.data, change.nbytes)
        gpu.cuMemcpyHtoDAsync(kept[k].data.ptr, buffer, change.nbytes, 11)
        ours.apply([kept[k]], [live], stream=stream)
        theirs.apply([change], [host])
    assert_same([np.asarray(live), *ours.get_weights()], [host, *theirs.get_weights()])


def test_memory_is_given_back(gpu: StandIn) -> None:
    gc.collect()
    before = dict(gpu.memory.live)
    compare("keras-3", EVERYTHING, mixture(0, 4))
    gc.collect()
    assert gpu.memory.live == before


def test_state_begins_as_zeros_although_memory_does_not(gpu: StandIn) -> None:
    array = memory.zeros(100, np.dtype("f4"), memory.Place(0))
    assert not np.asarray(array).any()
    bare = gpu.cuMemAlloc(64)[1]
    with pytest.raises(PtxError, match="nothing has written"):
        memory.Place(0).machine.read(bare, np.zeros(8), 1)
    gpu.forget()
    gpu.cuMemFree(bare)


@pytest.mark.parametrize("address", [0x10, 0xB0000FF0000], ids=["the host's", "freed"])
def test_memory_that_is_no_devices_is_refused(address: int) -> None:
    good, optimizer = Cupy(np.ones(3, "f4")), fastrms.RMSprop()
    gone = Cupy(np.ones(3, "f4"), data=(address, False))
    with pytest.raises(fastrms.VariableError, match="no device has memory at its address 0x"):
        optimizer.build([gone])
    optimizer.build([good])
    with pytest.raises(fastrms.GradientError, match="no device has memory at its address 0x"):
        optimizer.apply([gone])
