"""A GPU through NVIDIA's driver: memory, streams, loading and launching of compiled kernels.

The driver's own interface (cuda-bindings, which numba-cuda brings) takes the addresses of a
launch's arguments as they are, so that a launch costs microseconds. Everything happens in the
device's primary context, which CuPy, Numba, PyTorch and JAX share.
"""

import ctypes
import functools
import weakref
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from fastrms.errors import DeviceError

Array = NDArray[Any]


def _driver() -> Any:
    """Import the driver's interface."""
    from cuda.bindings import driver

    return driver


def _call(name: str, *arguments: Any) -> Any:
    """Call a function of the driver; raise what it reports."""
    driver = _driver()
    code, *results = getattr(driver, name)(*arguments)
    if code != driver.CUresult.CUDA_SUCCESS:
        raise DriverError(name, driver.CUresult(code).name)
    return results[0] if results else None


class DriverError(DeviceError):
    """The driver refused a call; `code` is its name for the reason."""

    def __init__(self, function: str, code: str) -> None:
        super().__init__(
            f"the CUDA driver answered {code} to {function}. Valid: a working device with enough "
            "free memory; see nvidia-smi."
        )
        self.code = code


def capability_of(ordinal: int) -> tuple[int, int]:
    """Return a device's compute capability, without making a context there."""
    _call("cuInit", 0)
    count = _call("cuDeviceGetCount")
    if not 0 <= ordinal < count:
        raise DeviceError(
            f"there is no CUDA device {ordinal}; valid: 0 to {count - 1} (CUDA_VISIBLE_DEVICES "
            "hides others)."
        )
    device, attributes = _call("cuDeviceGet", ordinal), _driver().CUdevice_attribute
    name = "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_{}"
    keys = [getattr(attributes, name.format(part)) for part in ("MAJOR", "MINOR")]
    major, minor = (int(_call("cuDeviceGetAttribute", key, device)) for key in keys)
    return major, minor


def _within(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let the device's context be current for a method, and then what was: others ask for it."""

    @functools.wraps(method)
    def within(device: "Driver", *arguments: Any) -> Any:
        before = device.enter()
        try:
            return method(device, *arguments)
        finally:
            if before is not None:
                _call("cuCtxSetCurrent", before)

    return within


class Driver:
    """One GPU; every method works on it whatever device is current, which stays so."""

    def __init__(self, ordinal: int) -> None:
        self.capability = capability_of(ordinal)
        self.ordinal, self._device = ordinal, _call("cuDeviceGet", ordinal)
        self._context: Any = None  # takes memory there: made when it is needed
        self._modules: list[Any] = []

    def enter(self) -> Any:
        """Make the device's context current for this thread; return another that was, or None."""
        before = _call("cuCtxGetCurrent")
        if self._context is None:
            self._context = _call("cuDevicePrimaryCtxRetain", self._device)
        if int(before) == int(self._context):
            return None
        _call("cuCtxSetCurrent", self._context)
        return before

    @_within
    def allocate(self, nbytes: int) -> int:
        """Reserve memory."""
        return int(_call("cuMemAlloc", max(nbytes, 1)))

    @_within
    def free(self, address: int) -> None:
        """Give memory back; at exit the context, and its memory with it, may be gone already."""
        _call("cuMemFree", address)

    @_within
    def clear(self, address: int, nbytes: int, stream: int) -> None:
        """Set memory to zero bytes, in the order of a stream."""
        if nbytes:
            _call("cuMemsetD8Async", address, 0, nbytes, stream)

    @_within
    def write(self, address: int, values: Array, stream: int) -> None:
        """Copy contiguous host memory to the device, and wait for it."""
        if values.nbytes:
            _call("cuMemcpyHtoDAsync", address, values.ctypes.data, values.nbytes, stream)
            _call("cuStreamSynchronize", stream)

    @_within
    def read(self, address: int, values: Array, stream: int) -> None:
        """Copy device memory to contiguous host memory after all work of a stream."""
        if values.nbytes:
            _call("cuMemcpyDtoHAsync", values.ctypes.data, address, values.nbytes, stream)
            _call("cuStreamSynchronize", stream)

    @_within
    def copy(self, target: int, source: int, nbytes: int, stream: int) -> None:
        """Copy within the device, in the order of a stream."""
        if nbytes:
            _call("cuMemcpyDtoDAsync", target, source, nbytes, stream)

    @_within
    def staging(self, nbytes: int) -> "Staging":
        """Reserve pinned host memory from which copies do not wait."""
        return Staging(nbytes, self.released)

    @_within
    def upload(self, address: int, staging: "Staging", values: Array, stream: int) -> None:
        """Copy a table to the device through pinned memory, without waiting for the stream."""
        if self._captures(stream):
            raise DeviceError(
                "the addresses of a step's arrays have to be copied to the device, but the stream "
                "is being captured into a graph, and replays would copy what lies there by then. "
                "Nothing was changed. Valid: a step with these very arrays before the capture."
            )
        staging.copy(address, values, stream)

    @_within
    def released(self, buffers: list[Any], events: list[Any]) -> None:
        """Give pinned buffers back when what was copied from them has arrived."""
        for buffer, event in zip(buffers, events, strict=True):
            _call("cuEventSynchronize", event)
            _call("cuMemFreeHost", buffer)
            _call("cuEventDestroy", event)

    @staticmethod
    def _captures(stream: int) -> bool:
        """Tell whether the work of a stream becomes a graph; that of the legacy one never does."""
        return stream != 1 and bool(int(_call("cuStreamIsCapturing", stream)))

    @_within
    def order(self, first: int, then: int) -> None:
        """Let a stream wait on the device for the work that another has got so far.

        A graph cannot wait for work outside of it (CUDA_ERROR_STREAM_CAPTURE_ISOLATION), which who
        captures it has to wait for.
        """
        if self._captures(then) and not self._captures(first):
            return
        event = _call("cuEventCreate", 2)  # CU_EVENT_DISABLE_TIMING
        _call("cuEventRecord", event, first)
        _call("cuStreamWaitEvent", then, event, 0)
        _call("cuEventDestroy", event)

    def device_of(self, address: int) -> int:
        """Return the number of the device on which an address lies; a `TypeError` if on none.

        Any context can tell: one is made here only for a thread that has none.
        """
        if int(_call("cuCtxGetCurrent")):
            return _device_of(address)
        return int(_within(lambda _: _device_of(address))(self))

    @_within
    def load(self, name: str, code: bytes) -> Any:
        """Load a kernel."""
        module = _call("cuModuleLoadData", code)
        self._modules.append(module)
        return _call("cuModuleGetFunction", module, name.encode())

    @_within
    def launch(self, kernel: Any, shape: tuple[int, int], arguments: int, stream: int) -> None:
        """Launch a kernel with so many blocks and threads; `arguments` are addresses of them."""
        blocks, threads = shape
        _call("cuLaunchKernel", kernel, blocks, 1, 1, threads, 1, 1, 0, stream, arguments, 0)


def _device_of(address: int) -> int:
    """Ask on which device an address lies."""
    kind = _driver().CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    try:
        return int(_call("cuPointerGetAttribute", kind, address))
    except DriverError as error:
        text = f"no device has memory at its address {address:#x}, freed or the host's perhaps"
        raise TypeError(f"{text} ({error.code})") from error


class Staging:
    """Two pinned buffers used in turn: the one before last has surely been copied, or is waited."""

    def __init__(self, nbytes: int, release: Callable[..., None]) -> None:
        self._buffers = [_call("cuMemHostAlloc", max(nbytes, 1), 0) for _ in range(2)]
        self._events = [_call("cuEventCreate", 2) for _ in range(2)]
        self._turn = 0
        weakref.finalize(self, release, self._buffers, self._events).atexit = False

    def copy(self, address: int, values: Array, stream: int) -> None:
        """Start a copy."""
        self._turn = 1 - self._turn
        buffer, event = int(self._buffers[self._turn]), self._events[self._turn]
        _call("cuEventSynchronize", event)
        ctypes.memmove(buffer, values.ctypes.data, values.nbytes)
        _call("cuMemcpyHtoDAsync", address, buffer, values.nbytes, stream)
        _call("cuEventRecord", event, stream)


def described() -> list[str]:
    """Describe every device."""
    _call("cuInit", 0)
    known = int(_call("cuDriverGetVersion"))
    driver = f"driver for CUDA {known // 1000}.{known % 1000 // 10}"
    found = []
    for ordinal in range(_call("cuDeviceGetCount")):
        device = _call("cuDeviceGet", ordinal)
        name = _call("cuDeviceGetName", 128, device).split(b"\0")[0].decode()
        memory = int(_call("cuDeviceTotalMem", device)) >> 20
        major, minor = capability_of(ordinal)
        found.append(
            f"{ordinal}: {name}, compute capability {major}.{minor}, {memory} MiB, {driver}"
        )
    return found
