"""How arrays and lists lie in memory, and what the processor does with subnormal numbers.

Addresses, shapes and flags are read where NumPy's C interface puts them (`PyArrayObject_fields`
in numpy/core/include/numpy/ndarraytypes.h, `PyListObject` in CPython's listobject.h).
`layout_is_known` proves on live objects that they are there; elsewhere every array takes the slow
way through Python attributes, with the same result.
"""

import ctypes
import functools
import platform
import sys
from enum import IntEnum
from typing import Any

import numpy as np
from numba import config
from numpy.typing import NDArray

TYPE, SIZE, ITEMS = 8, 16, 24
DATA, NDIM, SHAPE, STRIDES, DESCR, FLAGS = 16, 24, 32, 40, 56, 64
C_ORDER, F_ORDER, ALIGNED, WRITEABLE = 0x1, 0x2, 0x100, 0x400
WATCHED = C_ORDER | F_ORDER | ALIGNED | WRITEABLE
# NumPy reaches the same mode through glibc, hence Linux alone; elsewhere `fit` flushes.
HARDWARE_FLUSH = platform.system() == "Linux" and platform.machine() == "x86_64"
# Intel SDM vol. 1, 10.2.3: flush-to-zero is bit 15 of MXCSR, denormals-are-zero bit 6.
FLUSH_BITS = (1 << 15 | 1 << 6) if HARDWARE_FLUSH else 0


@functools.cache
def halves_in_hardware() -> bool:
    """Tell whether compiled code may convert float16: on x86 that needs the F16C instructions."""
    if config.CPU_NAME is not None or config.CPU_FEATURES is not None:
        return "+f16c" in (config.CPU_FEATURES or "")
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    from llvmlite.binding import get_host_cpu_features

    return bool(get_host_cpu_features().get("f16c"))


class Count(IntEnum):
    """The words of an optimizer's counter, which a program advances and heeds."""

    CALLS = 0
    ADDED = 1
    ENDED = 2
    STOP = 3


def words_of(values: list[int]) -> NDArray[np.uint64]:
    """Store numbers as unsigned words, at least one so that there is an address."""
    return np.array([v % 2**64 for v in values] or [0], np.uint64)


def table_of(rows: list[list[int]], width: int) -> NDArray[np.uint64]:
    """Store rows of numbers as unsigned words, at least one so that there is an address."""
    return np.array(rows or [[0] * width], np.uint64)


def _word(address: int) -> int:
    """Read a word of memory through ctypes."""
    return ctypes.c_uint64.from_address(address).value


@functools.cache
def layout_is_known() -> bool:
    """Prove on live objects that this interpreter and NumPy lay them out as assumed."""
    if config.DISABLE_JIT or sys.implementation.name != "cpython":
        return False
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return False
    array = np.zeros((2, 3), np.float32)[:, :2]
    array.flags.writeable = False
    items: list[Any] = [array, None]
    found = (
        _word(id(array) + TYPE),
        _word(id(array) + DATA),
        _word(id(array) + NDIM) & 0xFFFFFFFF,
        _word(_word(id(array) + SHAPE) + 8),
        _word(_word(id(array) + STRIDES)),
        _word(id(array) + DESCR),
        _word(id(array) + FLAGS) & WATCHED,
        _word(id(items) + TYPE),
        _word(id(items) + SIZE),
        _word(_word(id(items) + ITEMS)),
    )
    known = (id(np.ndarray), array.ctypes.data, 2, 2, 12, id(array.dtype), ALIGNED)
    return found == (*known, id(list), 2, id(array))


def watched_flags(array: NDArray[Any]) -> int:
    """Return those flags of an array that are watched."""
    flags = array.flags
    found = C_ORDER * flags.c_contiguous | F_ORDER * flags.f_contiguous
    return found | ALIGNED * flags.aligned | WRITEABLE * flags.writeable


def owner_of(array: NDArray[Any]) -> NDArray[Any] | None:
    """Return the other array that owns a view's memory, if it is an array that does."""
    owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    return None if owner is array else owner


def facts_of(array: NDArray[Any]) -> list[int]:
    """Return what is recorded of a variable: it is the array that it was while this is the same.

    A view does not show that the array that owns its memory was resized, so the owner is recorded
    too.
    """
    if not isinstance(array, np.ndarray):
        return array.facts()  # of an array on a device
    owner = owner_of(array)
    head = [id(array), id(type(array)), array.ctypes.data, array.ndim, id(array.dtype)]
    head += [watched_flags(array)]
    head += [] if owner is None else [id(owner), owner.ctypes.data, owner.size]
    return [*head, *array.shape, *array.strides]
