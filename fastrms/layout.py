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


class Fact(IntEnum):
    """What is recorded of a variable; its lengths and then its strides follow.

    A view does not show that the array that owns its memory was resized, so the owner is recorded
    too (0 where the variable itself or something other than an array owns the memory).
    """

    OBJECT = 0
    TYPE = 1
    DATA = 2
    NDIM = 3
    DESCR = 4
    FLAGS = 5
    ORDER = 6
    OWNER = 7
    OWNER_DATA = 8
    OWNER_SIZE = 9
    FIRST = 10


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


def facts_of(array: NDArray[Any], order: int) -> list[int]:
    """Return what is recorded of a variable, in the order of `Fact`."""
    if not isinstance(array, np.ndarray):
        return array.facts()  # of an array on a device
    flags = array.flags
    watched = C_ORDER * flags.c_contiguous | F_ORDER * flags.f_contiguous
    watched |= ALIGNED * flags.aligned | WRITEABLE * flags.writeable
    head = [id(array), id(type(array)), array.ctypes.data, array.ndim, id(array.dtype)]
    head += [watched, order, *_owner_facts(array)]
    return [*head, *array.shape, *(s % 2**64 for s in array.strides)]


def _owner_facts(array: NDArray[Any]) -> list[int]:
    """Return what is recorded of the array that owns a view's memory."""
    owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    return [0, 0, 0] if owner is array else [id(owner), owner.ctypes.data, owner.size]
