"""Arrays of other libraries as the simulator can have them: their protocols over host memory."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np

import battery
from fastrms.cuda import memory
from fastrms.cuda.protocols import Tensor, Versioned

BRAIN = np.dtype(ml_dtypes.bfloat16)


def odd_numbers(shape: Any, dtype: Any, seed: int) -> Any:
    """Return numbers, strange ones among them; ml_dtypes has limits of its own."""
    with np.errstate(all="ignore"):
        if dtype == BRAIN:
            return battery.odd_numbers(shape, np.float32, seed).astype(BRAIN)
        return battery.odd_numbers(shape, dtype, seed)


def canonical(array: Any) -> bytes:
    """Return bits, every NaN written alike."""
    array = np.array(array)
    if array.dtype == BRAIN:
        array[np.isnan(array)] = np.nan
    return battery.canonical(array)


def assert_same(found: list[Any], expected: list[Any]) -> None:
    """Compare bit for bit."""
    assert [a.dtype for a in found] == [a.dtype for a in expected]
    for k, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        assert canonical(ours) == canonical(theirs), (k, ours, theirs)


def counted(log: list[str]) -> dict[str, int]:
    """Count launches, uploads and reads."""
    kinds = [line.split()[0] for line in log]
    return {kind: kinds.count(kind) for kind in ("launch", "upload", "read") if kind in kinds}


def on_device(values: Any) -> memory.DeviceArray:
    """Copy an array to the device."""
    place = memory.Place(0)
    array = memory.zeros(values.size, values.dtype, place)
    fortran = values.flags.f_contiguous and not values.flags.c_contiguous
    result = array.reshape(values.shape, order="F" if fortran else "C")
    result[...] = values
    return result


class Cupy:
    """What CuPy shows of an array."""

    def __init__(self, values: Any, **changes: Any) -> None:
        self.kept = on_device(np.asarray(values))
        self.data = SimpleNamespace(ptr=self.kept.address)
        self.changes = changes

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.kept.shape,
            "typestr": self.kept.dtype.str,
            "data": (self.data.ptr, False),
            "strides": None,
            "stream": 1,
            "version": 3,
            **self.changes,
        }

    def get(self) -> Any:
        return np.asarray(self.kept)


class Lender:
    """An object that speaks DLPack alone, versioned or not, as JAX and PyTorch's bfloat16 do."""

    def __init__(self, values: Any, **changes: Any) -> None:
        self.kept = on_device(np.asarray(values))
        self.changes = changes
        self.asked: list[Any] = []

    def data_ptr(self) -> int:
        return self.kept.address

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.changes.get("device", 2), 0

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None) -> Any:
        if max_version is not None and not self.changes.get("versioned"):
            raise TypeError("an older producer does not know max_version")
        self.asked.append(stream)
        kept, count = self.kept, self.kept.ndim
        lengths = ctypes.c_int64 * max(count, 1)
        steps = [s // kept.itemsize for s in self.changes.get("strides", kept.strides)]
        code = {"bfloat16": 4}.get(kept.dtype.name, 2)
        self.shape, self.steps = lengths(*kept.shape), lengths(*steps)
        tensor = Tensor(
            self.changes.get("address", kept.address),
            self.changes.get("device", 2),
            0,
            count,
            self.changes.get("code", code),
            8 * kept.itemsize,
            1,
            self.shape,
            self.steps if self.changes.get("packed") else None,
            0,
        )
        api = ctypes.pythonapi
        api.PyCapsule_New.restype = ctypes.py_object
        api.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        if max_version is None:
            self.tensor: Any = tensor
            return api.PyCapsule_New(ctypes.addressof(tensor), b"dltensor", None)
        flags = int(self.changes.get("read_only", False))
        self.tensor = Versioned(1, 0, None, None, flags, tensor)
        return api.PyCapsule_New(ctypes.addressof(self.tensor), b"dltensor_versioned", None)
