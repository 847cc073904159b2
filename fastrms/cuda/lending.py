"""Our memory on a GPU lent to CuPy, PyTorch and others by DLPack, without a copy.

Source: https://dmlc.github.io/dlpack/latest/python_spec.html; what is lent stays ours, and is kept
until the borrower gives it back.
"""

import ctypes
from typing import Any

from fastrms.cuda.protocols import Facts, Tensor, Versioned, number_of

CUDA = 2  # kDLCUDA
_NAMES = {False: b"dltensor", True: b"dltensor_versioned"}
_lent: dict[int, Any] = {}  # by the address of the description that the borrower has


class _Managed(ctypes.Structure):
    """DLManagedTensor."""

    _fields_ = (
        ("tensor", Tensor),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _given_back(address: int) -> None:
    """Forget what a borrower no longer needs."""
    _lent.pop(address, None)


# Functions of our own: those of `protocols` take objects where these take addresses.
_is_valid = ctypes.pythonapi["PyCapsule_IsValid"]
_is_valid.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
_pointer = ctypes.pythonapi["PyCapsule_GetPointer"]
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]
_new = ctypes.pythonapi["PyCapsule_New"]
_new.restype = ctypes.py_object
_new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


@ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
def _unused(capsule: int) -> None:
    """Forget what nobody has taken: who takes a capsule renames it."""
    for name in _NAMES.values():
        if _is_valid(capsule, name):
            _lent.pop(_pointer(capsule, name), None)


def capsule(facts: Facts, ordinal: int, owner: Any, versioned: bool) -> Any:
    """Describe memory in a DLPack capsule, which keeps its owner alive."""
    if not (facts.writeable or versioned):
        raise BufferError("it is read-only, which only DLPack 1.0 can say: ask for max_version")
    lengths = ctypes.c_int64 * max(len(facts.shape), 1)
    size, code = facts.dtype.itemsize, number_of(facts.dtype)
    shape, strides = lengths(*facts.shape), lengths(*(s // size for s in facts.strides))
    count = len(facts.shape)
    tensor = Tensor(facts.address, CUDA, ordinal, count, code, 8 * size, 1, shape, strides, 0)
    back = ctypes.cast(_given_back, ctypes.c_void_p).value
    made: Any = _Managed(tensor, None, back)
    if versioned:
        made = Versioned(1, 0, None, back, int(not facts.writeable), tensor)
    _lent[ctypes.addressof(made)] = (made, owner, shape, strides)
    return _new(ctypes.addressof(made), _NAMES[versioned], ctypes.cast(_unused, ctypes.c_void_p))
