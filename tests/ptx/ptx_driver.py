"""What `cuda.bindings.driver` is, for one device that runs PTX on the host.

Nothing that is queued on a stream happens before somebody waits for it: what is not put in order,
or changes host memory that a copy has yet to read, gives wrong numbers every time.
"""

from __future__ import annotations

import ctypes
import enum
import itertools
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from ptx_arithmetic import dtype_of
from ptx_machine import Run
from ptx_memory import BASE, Memory
from ptx_program import Program
from ptx_streams import Stream
from ptx_text import SIZES, PtxError, parsed


class Code(enum.IntEnum):
    """The driver's answers that the stand-in can give."""

    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_INVALID_DEVICE = 101
    CUDA_ERROR_INVALID_CONTEXT = 201
    CUDA_ERROR_NO_BINARY_FOR_GPU = 209
    CUDA_ERROR_INVALID_HANDLE = 400
    CUDA_ERROR_NOT_FOUND = 500


class Attribute(enum.IntEnum):
    """What is asked of a device."""

    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76


DEVICE, CONTEXT = 5, 70
Answer = tuple[Any, ...]
OK = (Code.CUDA_SUCCESS,)


class StandIn:
    """One device; `error` is what stopped it, as an illegal address stops a real one."""

    CUresult, CUdevice_attribute = Code, Attribute
    CUpointer_attribute = SimpleNamespace(CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL=9)

    def __init__(self, size: int = 1 << 28, capability: tuple[int, int] = (8, 0)) -> None:
        self.memory, self.capability = Memory(size), capability
        self.error: PtxError | None = None
        self.launches: list[str] = []
        self.streams: dict[int, Stream] = {}
        self._thread = threading.local()
        self._numbers = itertools.count(1000)
        self._modules: dict[int, Any] = {}
        self._kernels: dict[int, Program] = {}
        self._events: dict[int, tuple[int, int]] = {}
        self.pinned: dict[int, Any] = {}
        self._given_back: list[Any] = []
        self._busy, self._freed_meanwhile = False, list[int]()

    def _queue(self, stream: int, work: Callable[[], None]) -> Answer:
        """Put work at the end of a stream."""
        if getattr(self._thread, "context", 0) != CONTEXT:
            return (Code.CUDA_ERROR_INVALID_CONTEXT,)
        self.require()
        self.streams.setdefault(stream or 1, Stream()).queue.append(work)
        return OK

    def _wait(self, stream: int, until: int | None = None) -> Answer:
        """Let the work of a stream happen."""
        self.require()
        found = self.streams.setdefault(stream or 1, Stream())
        self._busy = True
        try:
            found.drain(len(found.queue) if until is None else until)
        except PtxError as error:
            self.error = error
            raise
        finally:
            self._busy = False
        while self._freed_meanwhile:
            self.memory.free(self._freed_meanwhile.pop())
        return OK

    def require(self) -> None:
        """Raise what stopped the device."""
        if self.error is not None:
            raise self.error

    def finish(self) -> None:
        """Let all that is queued happen."""
        for stream in list(self.streams):
            self._wait(stream)

    def forget(self) -> None:
        """Drop what is queued, and what stopped the device."""
        self.error = None
        self.streams.clear()
        self._events.clear()
        self.launches.clear()

    # The driver's functions, named and called as in cuda-bindings.

    def cuInit(self, Flags: int) -> Answer:
        return OK

    def cuDriverGetVersion(self) -> Answer:
        return Code.CUDA_SUCCESS, 13050

    def cuDeviceGetCount(self) -> Answer:
        return Code.CUDA_SUCCESS, 1

    def cuDeviceGet(self, ordinal: int) -> Answer:
        return (Code.CUDA_SUCCESS, DEVICE) if ordinal == 0 else (Code.CUDA_ERROR_INVALID_DEVICE,)

    def cuDeviceGetAttribute(self, attrib: Attribute, dev: int) -> Answer:
        major = attrib == Attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
        return Code.CUDA_SUCCESS, self.capability[0 if major else 1]

    def cuDeviceGetName(self, length: int, dev: int) -> Answer:
        return Code.CUDA_SUCCESS, b"a machine of PTX\0\0"

    def cuDeviceTotalMem(self, dev: int) -> Answer:
        return Code.CUDA_SUCCESS, self.memory.size

    def cuDevicePrimaryCtxRetain(self, dev: int) -> Answer:
        return Code.CUDA_SUCCESS, CONTEXT

    def cuCtxGetCurrent(self) -> Answer:
        return Code.CUDA_SUCCESS, getattr(self._thread, "context", 0)

    def cuCtxSetCurrent(self, ctx: int) -> Answer:
        self._thread.context = ctx
        return OK

    def cuMemAlloc(self, bytesize: int) -> Answer:
        first = self.memory.allocate(bytesize) if bytesize > 0 else None
        if getattr(self._thread, "context", 0) != CONTEXT:
            return (Code.CUDA_ERROR_INVALID_CONTEXT,)
        if first is None:
            return (Code.CUDA_ERROR_OUT_OF_MEMORY,)
        return Code.CUDA_SUCCESS, BASE + first

    def cuMemFree(self, dptr: int) -> Answer:
        """Wait for the device, then free; its errors are told to the next who can hear them."""
        if self._busy:  # Python collects garbage whenever it likes, amid a launch too
            self._freed_meanwhile.append(dptr - BASE)
            return OK
        if self.error is None:
            try:
                self.finish()
            except PtxError as error:
                self.error = error
        found = self.memory.free(dptr - BASE)
        return OK if found else (Code.CUDA_ERROR_INVALID_VALUE,)

    def cuMemsetD8Async(self, dstDevice: int, uc: int, N: int, hStream: int) -> Answer:
        def work() -> None:
            self.memory.span(dstDevice - BASE, N, True)[:] = uc

        return self._queue(hStream, work)

    def cuMemcpyHtoDAsync(
        self,
        dstDevice: int,
        srcHost: int,
        ByteCount: int,
        hStream: int,
    ) -> Answer:
        def work() -> None:
            self.memory.span(dstDevice - BASE, ByteCount, True)[:] = _host(srcHost, ByteCount)

        return self._queue(hStream, work)

    def cuMemcpyDtoHAsync(
        self,
        dstHost: int,
        srcDevice: int,
        ByteCount: int,
        hStream: int,
    ) -> Answer:
        def work() -> None:
            _host(dstHost, ByteCount)[:] = self.memory.span(srcDevice - BASE, ByteCount, False)

        return self._queue(hStream, work)

    def cuMemcpyDtoDAsync(
        self,
        dstDevice: int,
        srcDevice: int,
        ByteCount: int,
        hStream: int,
    ) -> Answer:
        def work() -> None:
            source = self.memory.span(srcDevice - BASE, ByteCount, False).copy()
            self.memory.span(dstDevice - BASE, ByteCount, True)[:] = source

        return self._queue(hStream, work)

    def cuMemHostAlloc(self, bytesize: int, Flags: int) -> Answer:
        buffer = ctypes.create_string_buffer(bytesize)
        self.pinned[ctypes.addressof(buffer)] = buffer
        return Code.CUDA_SUCCESS, ctypes.addressof(buffer)

    def cuMemFreeHost(self, p: int) -> Answer:
        buffer = self.pinned.pop(p)
        ctypes.memset(buffer, 0xCC, len(buffer))  # what a late copy would find there
        self._given_back.append(buffer)
        return OK

    def cuPointerGetAttribute(self, attribute: int, ptr: int) -> Answer:
        inside = any(f <= ptr - BASE < f + max(n, 1) for f, n in self.memory.live.items())
        return (Code.CUDA_SUCCESS, 0) if inside else (Code.CUDA_ERROR_INVALID_VALUE,)

    def cuStreamSynchronize(self, hStream: int) -> Answer:
        return self._wait(hStream)

    def cuStreamIsCapturing(self, hStream: int) -> Answer:
        return Code.CUDA_SUCCESS, 0

    def cuStreamWaitEvent(self, hStream: int, hEvent: int, Flags: int) -> Answer:
        if hEvent not in self._events:
            return (Code.CUDA_ERROR_INVALID_HANDLE,)
        first, until = self._events[hEvent]
        return self._queue(hStream, lambda: self.streams[first].drain(until) if first else None)

    def cuEventCreate(self, Flags: int) -> Answer:
        number = next(self._numbers)
        self._events[number] = (0, 0)
        return Code.CUDA_SUCCESS, number

    def cuEventRecord(self, hEvent: int, hStream: int) -> Answer:
        stream = self.streams.setdefault(hStream or 1, Stream())
        self._events[hEvent] = (hStream or 1, len(stream.queue))
        return OK

    def cuEventSynchronize(self, hEvent: int) -> Answer:
        first, until = self._events.get(hEvent, (0, 0))
        return self._wait(first, until) if first else OK

    def cuEventDestroy(self, hEvent: int) -> Answer:
        self._events.pop(hEvent, None)
        return OK

    def cuModuleLoadData(self, image: bytes) -> Answer:
        if not image.endswith(b"\0"):
            raise PtxError("the text does not end with a zero byte")
        module, number = parsed(image[:-1].decode()), next(self._numbers)
        if module.capability > 10 * self.capability[0] + self.capability[1]:
            return (Code.CUDA_ERROR_NO_BINARY_FOR_GPU,)
        self._modules[number] = module
        return Code.CUDA_SUCCESS, number

    def cuModuleGetFunction(self, hmod: int, name: bytes) -> Answer:
        module, number = self._modules[hmod], next(self._numbers)
        if name.decode() not in module.entries:
            return (Code.CUDA_ERROR_NOT_FOUND,)
        self._kernels[number] = Program(module, module.entries[name.decode()])
        return Code.CUDA_SUCCESS, number

    def cuLaunchKernel(
        self, f: int, gridDimX: int, gridDimY: int, gridDimZ: int,
        blockDimX: int, blockDimY: int, blockDimZ: int, sharedMemBytes: int,
        hStream: int, kernelParams: int, extra: int,
    ) -> Answer:  # fmt: skip
        """Queue a launch; its arguments are read now, as the driver does."""
        if (gridDimY, gridDimZ, blockDimY, blockDimZ, sharedMemBytes, extra) != (1, 1, 1, 1, 0, 0):
            raise PtxError("only grids and blocks of one dimension are known here")
        program = self._kernels[f]
        kinds = [one.kind for one in program.entry.parameters]
        places = (ctypes.c_uint64 * len(kinds)).from_address(kernelParams)
        given = [
            _host(place, SIZES[kind]).view(dtype_of(f"b{8 * SIZES[kind]}"))[0]
            for place, kind in zip(places, kinds, strict=True)
        ]
        self.launches.append(program.entry.name)
        run = Run(program, (gridDimX, blockDimX), given, self.memory)
        return self._queue(hStream, run.carry_out)


def _host(address: int, nbytes: int) -> Any:
    """View host memory."""
    raw: Any = (ctypes.c_uint8 * nbytes).from_address(address)
    return np.frombuffer(raw, np.uint8)
