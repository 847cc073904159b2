"""The rule as NumPy evaluates it: the reference that every kernel equals bit for bit."""

import contextlib
import ctypes
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.layout import FLUSH_BITS, HARDWARE_FLUSH
from fastrms.rule import Variant, make_rule

LANES, CHUNK = 32, 16384
_MXCSR = 7  # the last word of glibc's fenv_t on x86-64


def fit(value: Any, variant: Variant) -> Any:
    """Round to float16, or flush subnormal results, where the variant says so."""
    if variant.half and value.dtype != np.float16:
        return value.astype(np.float16)
    if not variant.flush:
        return value
    tiny = np.finfo(value.dtype).tiny
    return np.where(np.abs(value) < tiny, np.copysign(value.dtype.type(0), value), value)


def smaller(value: Any, bound: Any) -> Any:
    """Return the minimum; a NaN in `value` stays."""
    return np.where(bound < value, bound, value)[()]


condition, shares, settle, step, move, advance, average, clip_pair = make_rule(
    np.sqrt, fit, smaller, lambda function: function
)


@functools.cache
def _libm() -> Any:
    """Return the C library that holds the floating-point environment."""
    from ctypes.util import find_library  # imports the module that starts processes

    return ctypes.CDLL(find_library("m") or "libm.so.6")


@contextlib.contextmanager
def flushing(active: bool) -> Iterator[None]:
    """Let this thread's processor flush subnormal numbers, as TensorFlow does, or keep them."""
    if not HARDWARE_FLUSH:
        yield
        return
    library, state = _libm(), (ctypes.c_uint32 * 8)()
    library.fegetenv(state)
    kept = state[_MXCSR]
    state[_MXCSR] = kept | FLUSH_BITS if active else kept & ~FLUSH_BITS
    library.fesetenv(state)
    state[_MXCSR] = kept
    try:
        yield
    finally:
        library.fesetenv(state)


def sum_of_squares(values: NDArray[Any]) -> float:
    """Sum squares in float64, in the order of the kernels: 32 lanes, then a tree."""
    padded = np.zeros(-(-values.size // LANES) * LANES)
    padded[: values.size] = np.square(values.astype(np.float64))
    lanes = np.add.reduce(padded.reshape(-1, LANES), axis=0)  # row after row
    while lanes.size > 1:
        lanes = np.add(*np.split(lanes, 2))
    return float(lanes[0])


def chunk_sums(values: NDArray[Any]) -> list[float]:
    """Return the sums of squares of a flat array's chunks."""
    return [sum_of_squares(values[k : k + CHUNK]) for k in range(0, values.size, CHUNK)]
