"""What `elements` compiles, in Python for the simulator, whose device memory is the host's."""

import ctypes
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.cuda.elements import BYTES, SIZES, Memory
from fastrms.cuda.protocols import brain_dtype
from fastrms.rule import Function, Variant


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


def quiet(function: Function) -> Function:
    """Keep NumPy from warning about infinities and NaNs, which a device does not either."""
    return np.errstate(all="ignore")(function)


def word(address: Any, index: Any) -> Any:
    """Read an unsigned word of a table."""
    return np.uint64(ctypes.c_uint64.from_address(int(address) + 8 * int(index)).value)


def double_at(address: Any, index: Any) -> Any:
    """Read a float64 number."""
    return np.float64(ctypes.c_double.from_address(int(address) + 8 * int(index)).value)


def set_double(address: Any, value: Any) -> None:
    """Write a float64 number."""
    ctypes.c_double.from_address(int(address)).value = value


@functools.cache
def memory(dtype: str, width: int) -> Memory:
    """Write loads and stores of `width` numbers of a dtype, at an address aligned to them."""
    stored = dtype_of(dtype)
    computed = np.float64 if dtype == "float64" else np.float32

    def fetch(address: Any) -> Any:
        assert int(address) % min(width * SIZES[dtype], BYTES) == 0, "a vector is not aligned"
        return view(address, width, stored).astype(computed)

    def put(address: Any, values: Any) -> None:
        view(address, width, stored)[:] = values.astype(stored)

    return Memory(width, fetch, put)


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
