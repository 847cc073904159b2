"""Other libraries' CPU tensors as NumPy arrays over the same memory."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastrms.errors import VariableError

Array = NDArray[Any]


def is_source(value: Any) -> bool:
    """Tell whether an object, not an array itself, may lend its memory."""
    kind = type(value)
    lends = hasattr(kind, "__array__") or hasattr(kind, "__dlpack__")
    return lends and not isinstance(value, np.ndarray | np.generic)


def view_of(value: Any) -> Array:
    """Return a tensor's memory as an array; a `TypeError` says why that is not possible."""
    if "bfloat16" in str(getattr(value, "dtype", "")):
        raise TypeError(
            "its dtype is bfloat16, which NumPy has no type for; convert it, for example with "
            ".float()"
        )
    detach = getattr(value, "detach", None)  # PyTorch lends no memory of what it differentiates
    bare = detach() if callable(detach) else value
    try:
        if hasattr(type(bare), "__array__"):
            return np.asarray(bare)
        return np.from_dlpack(bare)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise TypeError(f"NumPy cannot view its memory: {error}") from error


def dlpack_writes() -> bool:
    """Tell whether this NumPy lets memory taken by DLPack be written: 2.2.0 to 2.2.2 do not."""
    return bool(np.from_dlpack(np.zeros(1)).flags.writeable)


def lent(value: Any) -> Array:
    """Return a tensor's memory to be updated in place: twice the same, so not a copy."""
    array, again = view_of(value), view_of(value)
    if not array.flags.writeable and not hasattr(type(value), "__array__") and not dlpack_writes():
        raise TypeError(
            f"NumPy {np.__version__} makes all that it takes by DLPack read-only; install 2.2.6 or "
            "newer"
        )
    same = array.ctypes.data == again.ctypes.data and array.strides == again.strides
    if array is not again and not (same and array.shape == again.shape):
        raise TypeError("it gives NumPy copies of its memory, which cannot be updated in place")
    return array


def overflows(given: Array, array: Array) -> bool:
    """Tell whether a finite number became infinite in another dtype, as 1e300 in float32."""
    return array.dtype != given.dtype and bool((np.isfinite(given) & ~np.isfinite(array)).any())


def copied(value: Any, dtype: DTypeLike | None) -> Array:
    """Return a copy of a value: an array keeps its dtype, numbers and lists become float32."""
    try:
        found = view_of(value) if is_source(value) else np.asarray(value)
        kept = dtype is not None or is_source(value) or isinstance(value, np.ndarray | np.generic)
        if found.dtype.kind not in "biuf" or isinstance(value, np.ma.MaskedArray):
            raise TypeError(f"{type(value).__name__} of dtype {found.dtype}")
        with np.errstate(over="ignore", under="ignore"):
            array: Array = np.array(found, dtype=dtype if kept else np.float32, subok=False)
        if array.dtype.kind not in "biuf" or not array.dtype.isnative:
            raise TypeError(f"dtype {array.dtype.str}")
        if overflows(found, array):
            raise TypeError(f"a number in it is too large for {array.dtype}: pass dtype='float64'")
    except (TypeError, ValueError) as error:
        raise VariableError(
            f"{value!r:.60} cannot be the value of a Variable ({error}); valid: a number, a list "
            "of numbers, or an array of real numbers in native byte order, without a mask."
        ) from error
    return array


def fitting(value: Any, what: str, shape: tuple[int, ...], dtype: "np.dtype[Any]") -> Array:
    """Return a value that is to be assigned, converted; raise if it is not what is expected."""
    try:
        given = np.asarray(view_of(value) if is_source(value) else value)
        kinds = given.dtype.kind in "biuf" and np.can_cast(given.dtype, dtype, "same_kind")
        kinds = kinds or given.dtype == dtype
        with np.errstate(all="ignore"):
            fresh = given.astype(dtype) if kinds else given
        if fresh.shape != shape or not kinds or overflows(given, fresh):
            raise TypeError(f"{given.dtype} of shape {given.shape}")
    except (TypeError, ValueError) as error:
        raise VariableError(
            f"{what} got {value!r:.60} ({error}); expected {dtype} of shape {shape}, no number "
            "too large. Nothing was changed."
        ) from error
    return fresh
