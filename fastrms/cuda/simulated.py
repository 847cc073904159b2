"""What `writing` emits, in Python for the simulator, whose device memory is the host's."""

import ctypes
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numba import cuda
from numpy.typing import NDArray

from fastrms.cuda.elements import BYTES, SIZES, Memory
from fastrms.cuda.protocols import brain_dtype
from fastrms.rule import Function, Variant, make_rule


def dtype_of(name: str) -> np.dtype[Any]:
    """Return a dtype by name; bfloat16 is NumPy's only with ml_dtypes."""
    if name == "bfloat16":
        return brain_dtype()
    return np.dtype(name)


def view(address: int, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """View host memory at an address."""
    raw: Any = (ctypes.c_uint8 * (count * dtype.itemsize)).from_address(int(address))
    return np.frombuffer(raw, dtype)


def fit(value: Any, variant: Variant) -> Any:
    """Flush a result if subnormal, or round it to a 16-bit dtype, where the variant says so."""
    if variant.half:
        return np.float32(np.float16(value))
    if variant.flush and abs(value) < np.finfo(type(value)).tiny:
        value = np.copysign(type(value)(0), value)
    return np.float32(dtype_of("bfloat16").type(value)) if variant.brain else value


def smaller(value: Any, bound: Any) -> Any:
    """Return the minimum; a NaN in `value` stays."""
    return bound if bound < value else value


def word(address: Any, index: Any) -> Any:
    """Read an unsigned word of a table."""
    return np.uint64(ctypes.c_uint64.from_address(int(address) + 8 * int(index)).value)


@functools.cache
def memory(dtype: str, width: int) -> Memory:
    """Write loads and stores of `width` numbers of a dtype, at an address aligned to them."""
    stored, size = dtype_of(dtype), SIZES[dtype]
    computed = np.float64 if dtype == "float64" else np.float32

    def fetch(base: Any, index: Any) -> Any:
        address = base + index * size
        assert int(address) % min(width * size, BYTES) == 0, "a vector is not aligned"
        return view(address, width, stored).astype(computed)

    def put(base: Any, index: Any, values: Any) -> None:
        view(base + index * size, width, stored)[:] = np.asarray(values).astype(stored)

    return Memory(fetch, put)


def spread(first: Any, end: Any, step: Any) -> Iterator[Any]:
    """Return every `step`-th word from `first` on that is less than `end`."""
    while first < end:
        yield first
        first = first + step


def when(truth: Any) -> range:
    """Do something once if something holds."""
    return range(bool(truth))


def choose(truth: Any, one: Any, other: Any) -> Any:
    """Return one of two numbers or words."""
    return one if truth else other


class Grid:
    """A thread's place among the others, and what it shares with those of its block."""

    def __init__(self) -> None:
        self.thread, self.block = np.uint64(cuda.threadIdx.x), np.uint64(cuda.blockIdx.x)
        self.barrier = cuda.syncthreads

    def shared(self, count: int) -> Any:
        """Return numbers of a block: the simulator knows them by this line."""
        return cuda.shared.array(count, np.float64)

    def cell(self, value: Any) -> list[Any]:
        """Reserve a number that loops change."""
        return [value]


def cast(number: Any, dtype: str) -> Any:
    """Return a number in the dtype in which those of a dtype are computed."""
    return np.float64(number) if dtype == "float64" else np.float32(number)


sqrt = np.sqrt
rule = make_rule(sqrt, fit, smaller, lambda function: function)
clip_pair = rule.clip


def launched(function: Function) -> Any:
    """Return a kernel of the simulator; NumPy warns of infinities and NaNs, a device does not."""

    def kernel(table: Any, rows: Any, hypers: Any) -> None:
        with np.errstate(all="ignore"):
            function(Grid(), table, rows, hypers)

    return cuda.jit(kernel)


class Host:
    """The simulator's device: what `driver.Driver` is, with the host's memory."""

    ordinal, capability = 0, (0, 0)

    def __init__(self, ordinal: int) -> None:
        self._blocks: dict[int, Any] = {}
        self.log: list[str] = []

    def allocate(self, nbytes: int) -> int:
        """Reserve memory."""
        raw = np.full(nbytes + 256, 0xA5, np.uint8)  # not zeros, as on a device
        address = raw.ctypes.data + -raw.ctypes.data % 256
        self._blocks[address] = raw
        return address

    def free(self, address: int) -> None:
        """Give memory back."""
        del self._blocks[address]

    def clear(self, address: int, nbytes: int, stream: int) -> None:
        """Set memory to zero bytes."""
        ctypes.memset(address, 0, nbytes)

    def write(self, address: int, values: NDArray[Any], stream: int) -> None:
        """Copy contiguous memory in."""
        ctypes.memmove(address, values.ctypes.data, values.nbytes)

    def read(self, address: int, values: NDArray[Any], stream: int) -> None:
        """Copy memory out."""
        self.log.append("read")
        ctypes.memmove(values.ctypes.data, address, values.nbytes)

    def copy(self, target: int, source: int, nbytes: int, stream: int) -> None:
        """Copy within the device."""
        ctypes.memmove(target, source, nbytes)

    def staging(self, nbytes: int) -> None:
        """Need nothing."""

    def upload(self, address: int, staging: None, values: Any, stream: int) -> None:
        """Copy a table in."""
        self.log.append(f"upload {stream}")
        self.write(address, values, stream)

    def order(self, first: int, then: int) -> None:
        """Note which stream waits for which."""
        self.log.append(f"order {first} {then}")

    def device_of(self, address: int) -> int:
        """Return the one device's number."""
        return 0

    def load(self, name: str, kernel: Any) -> Any:
        """Take a kernel of the simulator as it is."""
        return kernel

    def launch(self, kernel: Any, shape: tuple[int, int], arguments: Any, stream: int) -> None:
        """Run a kernel."""
        self.log.append(f"launch {stream}")
        kernel[shape](*arguments())
