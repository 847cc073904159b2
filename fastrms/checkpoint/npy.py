"""NumPy's `.npy` form of one array, with its header checked before memory is taken.

Source: numpy/lib/format.py. The header is a Python literal; it is read by a pattern, not parsed.
"""

import math
import re
import struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastrms.errors import CheckpointError

Array = NDArray[Any]
_HEADER = re.compile(
    r"\s*\{\s*'descr':\s*'([<>|=]?)([a-zA-Z]\d*)',\s*'fortran_order':\s*(True|False),"
    r"\s*'shape':\s*\(((?:\d{1,20},?\s*)*)\),?\s*\}\s*\Z"
)
_LONGEST = 1 << 16


class Header(NamedTuple):
    """What a header says; `dtype` is None for an array of objects."""

    dtype: np.dtype[Any] | None
    fortran: bool
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """The bytes that the array has."""
        return math.prod(self.shape) * (self.dtype.itemsize if self.dtype is not None else 0)


def read_header(data: memoryview, name: str) -> tuple[Header, int]:
    """Read the header at the start of a file.

    Parameters
    ----------
    data : memoryview
        The file's beginning.
    name : str
        For messages.

    Returns
    -------
    (Header, int)
        The header, and where the array begins.

    Raises
    ------
    CheckpointError
        The header is damaged, or the array is not one of plain numbers or objects.
    """
    wide = {1: "<H", 2: "<I", 3: "<I"}.get(data[6] if len(data) > 6 else 0)
    if bytes(data[:6]) != b"\x93NUMPY" or wide is None or len(data) < 12:
        raise CheckpointError(f"{name} does not begin as a .npy file does; it is damaged.")
    start = 8 + struct.calcsize(wide)
    (length,) = struct.unpack(wide, data[8:start])
    text = bytes(data[start : start + length]).decode("latin-1")
    found = _HEADER.match(text) if length == len(text) <= _LONGEST else None
    if found is None:
        raise CheckpointError(
            f"{name}: the header {text[:60]!r} is not that of an array of numbers."
        )
    order, code, fortran, sizes = found.groups()
    shape = tuple(int(size) for size in re.findall(r"\d+", sizes))
    dtype = None
    if code != "O":
        if not re.fullmatch(r"[fiu][1248]|b1", code) or code == "f1":
            raise CheckpointError(f"{name} has dtype {code!r}; readable: f2 f4 f8, i, u, b1.")
        dtype = np.dtype(order + code)
    return Header(dtype, fortran == "True", shape), start + length


def read_plain(data: memoryview, header: Header, name: str) -> Array:
    """Return the array whose bytes follow a header.

    Raises
    ------
    CheckpointError
        There are too few or too many bytes.
    """
    if header.dtype is None or header.nbytes != len(data):
        raise CheckpointError(
            f"{name} of shape {header.shape[:8]} has {header.nbytes} bytes, but {len(data)} follow "
            "its header; it is cut or damaged."
        )
    flat = np.frombuffer(data, header.dtype)
    native = flat.astype(header.dtype.newbyteorder("="), copy=False)
    return native.reshape(header.shape, order="F" if header.fortran else "C")
