"""Arrays in a GPU's memory, others' by their protocols or our own.

Sources: https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html (version 3) and
https://dmlc.github.io/dlpack/latest/c_api.html; no package is needed to read either.
"""

import ctypes
from collections.abc import Callable
from math import prod
from operator import attrgetter, methodcaller
from typing import Any, NamedTuple

import numpy as np

from fastrms.errors import ArgumentError

_CUDA, _MANAGED = 2, 13  # kDLCUDA and kDLCUDAManaged
_FLOAT, _BRAIN = 2, 4  # kDLFloat and kDLBfloat
_WHOLE = {0: "i", 1: "u"}  # kDLInt and kDLUInt
_INDICES = tuple(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8))


class Tensor(ctypes.Structure):
    """DLTensor."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", ctypes.c_int32),
        ("ordinal", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("offset", ctypes.c_uint64),
    )


class Versioned(ctypes.Structure):
    """DLManagedTensorVersioned."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", Tensor),
    )


class Facts(NamedTuple):
    """What a protocol says of an array: enough to notice any change of its memory."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]
    writeable: bool
    stream: int | None


def brain_dtype() -> np.dtype[Any]:
    """Return bfloat16, which NumPy knows through ml_dtypes."""
    try:
        import ml_dtypes
    except ImportError as error:
        raise TypeError(
            "its dtype is bfloat16, which needs ml_dtypes; install with: "
            "pip install 'fastrms[bfloat16]'"
        ) from error
    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype


def number_of(dtype: np.dtype[Any]) -> int:
    """Return DLPack's number of a dtype's kind."""
    return _BRAIN if dtype.name == "bfloat16" else _FLOAT


def packed(shape: tuple[int, ...], itemsize: int, order: str = "C") -> tuple[int, ...]:
    """Return the strides of a contiguous array."""
    strides = [itemsize]
    for length in shape[:0:-1] if order == "C" else shape[:-1]:
        strides.append(strides[-1] * length)
    found = strides[: len(shape)]
    return tuple(found[::-1] if order == "C" else found)


def _by_interface(found: dict[str, Any], kinds: str) -> Facts:
    """Read a `__cuda_array_interface__`."""
    if found.get("mask") is not None:
        raise TypeError("it is masked, which a step cannot heed")
    kind = found["typestr"]
    if not _is_known(kind, kinds):
        numbers = "native float16, float32 or float64, or bfloat16 by DLPack"
        valid = numbers if kinds == "f" else "whole numbers"
        raise TypeError(f"its dtype is {kind!r}; valid: {valid}")
    dtype, shape = np.dtype(kind), tuple(int(n) for n in found["shape"])
    strides = found.get("strides") or packed(shape, dtype.itemsize)
    address, read_only = found["data"]
    stream = found.get("stream")
    if stream == 0:
        raise TypeError("its stream is 0, which the protocol forbids; valid: 1, 2 or a handle")
    return Facts(int(address or 0), shape, tuple(strides), dtype, not read_only, stream)


def _capsule(value: Any, stream: int | None) -> Any:
    """Ask for a DLPack capsule, versioned if the producer knows that."""
    wanted = {} if stream is None else {"stream": stream}
    try:
        return value.__dlpack__(max_version=(1, 0), **wanted)
    except TypeError:
        return value.__dlpack__(**wanted)


def _by_dlpack(value: Any, stream: int | None, kinds: str = "f") -> Facts:
    """Read a DLPack capsule; the memory stays the producer's, which the caller keeps alive."""
    capsule = _capsule(value, stream)
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = (
        ctypes.c_char_p,
        [ctypes.py_object],
    )
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    name = api.PyCapsule_GetName(capsule)
    address, writeable = api.PyCapsule_GetPointer(capsule, name), True
    if name == b"dltensor_versioned":
        versioned = Versioned.from_address(address)
        tensor, writeable = versioned.tensor, not versioned.flags & 1
    else:
        tensor = Tensor.from_address(address)
    if tensor.device not in (_CUDA, _MANAGED):
        raise TypeError(f"it lies on a device of DLPack's type {tensor.device}; valid: 2, CUDA")
    shape = tuple(tensor.shape[k] for k in range(tensor.ndim))
    dtype = _dtype(tensor.code, tensor.bits, tensor.lanes, kinds)
    strides = packed(shape, dtype.itemsize)
    if tensor.strides:
        strides = tuple(tensor.strides[k] * dtype.itemsize for k in range(tensor.ndim))
    place = (tensor.data or 0) + tensor.offset
    return Facts(place, shape, strides, dtype, writeable, None)


def _dtype(code: int, bits: int, lanes: int, kinds: str) -> np.dtype[Any]:
    """Return the dtype that DLPack's numbers stand for."""
    if kinds != "f" and code in _WHOLE and bits in (8, 16, 32, 64) and lanes == 1:
        return np.dtype(f"{_WHOLE[code]}{bits // 8}")
    if (code, bits, lanes) == (_BRAIN, 16, 1):
        return brain_dtype()
    if code == _FLOAT and bits in (16, 32, 64) and lanes == 1:
        return np.dtype(f"float{bits}")
    raise TypeError(
        f"its dtype is number {code} of DLPack, {bits} bits; valid: float16, bfloat16, float32, "
        "float64"
    )


def lies_on_device(value: Any) -> bool:
    """Tell whether an object says that it lies in a GPU's memory."""
    if isinstance(value, np.ndarray | np.generic | list | tuple | dict | None):
        return False
    ask = getattr(value, "__dlpack_device__", None)
    if callable(ask):
        try:
            return int(ask()[0]) in (_CUDA, _MANAGED)
        except (BufferError, RuntimeError, ValueError):  # no memory of any kind: PyTorch's "meta"
            return False
    return hasattr(type(value), "__cuda_array_interface__")


def _is_known(kind: str, kinds: str) -> bool:
    """Tell whether a type string is one that a step can take: numbers, or indices."""
    valid = ("f2", "f4", "f8") if kinds == "f" else _INDICES
    return kind[:1] in "<|=" and kind[1:] in valid


def _interface(value: Any) -> dict[str, Any] | None:
    """Return the interface where there is one; PyTorch raises for bfloat16, which DLPack has."""
    try:
        found: dict[str, Any] = value.__cuda_array_interface__
    except (AttributeError, TypeError):
        return None
    return found


def facts_of_owner(value: Any, stream: int | None = None, kinds: str = "f") -> Facts:
    """Read where an object lies; a `TypeError` says why that is not possible."""
    detach = getattr(value, "detach", None)  # PyTorch lends no memory of what it differentiates
    bare = detach() if callable(detach) else value
    try:
        found = _interface(bare)
        known = found is not None and _is_known(found["typestr"], kinds)
        if found is not None and (known or not hasattr(bare, "__dlpack__")):
            return _checked(_by_interface(found, kinds))
        return _checked(_by_dlpack(bare, stream, kinds))
    except (AttributeError, KeyError, BufferError, RuntimeError, ValueError) as error:
        raise TypeError(f"its memory cannot be read: {error}") from error


def _checked(facts: Facts) -> Facts:
    """Refuse memory that is gone, or not in one piece."""
    if prod(facts.shape) and not facts.address:
        raise TypeError("its memory has been freed (its address is 0)")
    if prod(facts.shape) and not orders(facts):
        raise TypeError(
            f"its strides {facts.strides} for the shape {facts.shape} are not contiguous; valid: "
            "C or Fortran order; pass a contiguous copy"
        )
    return facts


def orders(facts: Facts) -> str:
    """Return the orders in which an array is contiguous."""
    itemsize, found = facts.dtype.itemsize, ""
    wide = [k for k, n in enumerate(facts.shape) if n != 1]
    for order in "CF":
        wanted = packed(facts.shape, itemsize, order)
        found += order * all(facts.strides[k] == wanted[k] for k in wide)
    return found


def handle_of(stream: Any) -> int:
    """Return a stream's handle, however its library calls it."""
    found = stream
    if hasattr(stream, "__cuda_stream__"):
        found = stream.__cuda_stream__()[1]
    for name in ("ptr", "cuda_stream", "handle"):
        found = getattr(found, name, found)
    found = getattr(found, "value", found) or 1  # 0 and 1 are the legacy default stream
    if isinstance(found, bool) or not hasattr(found, "__int__") or int(found) < 0:
        raise ArgumentError(
            f"stream={stream!r} is not valid; valid: a stream of CuPy, PyTorch, Numba or "
            "cuda.core, or its handle as an integer."
        )
    return int(found)


def _asked(owner: Any) -> int:
    """Ask by the protocol, which takes microseconds."""
    return facts_of_owner(owner).address


# PyTorch's, CuPy's, our own: the same objects every time, so that one call can ask them all.
_ADDRESSES = methodcaller("data_ptr"), attrgetter("data.ptr"), attrgetter("address")


def reader_of(array: Any) -> Callable[[Any], Any]:
    """Return the quickest way to ask an array's owner for its address."""
    for quick in _ADDRESSES:
        try:
            if quick(array.owner) == array.address:
                return quick
        except (AttributeError, TypeError):
            continue
    return _asked
