"""CRC-32C, the checksum of TensorFlow's files, as fast as memory for large arrays.

Source: RFC 3720 appendix B.4 (the polynomial), LevelDB's `util/crc32c.h` (the mask).
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = np.uint32(0x82F63B78)
# Below this length the plain loop ends sooner than the compiled one is loaded.
_SMALL = 1 << 15


@functools.cache
def _tables() -> NDArray[np.uint32]:
    """Return the remainders of each byte value at 16 distances, one table after another."""
    rows = np.empty((16, 256), np.uint32)
    rest = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        rest = np.where(rest & 1, (rest >> 1) ^ _POLYNOMIAL, rest >> 1).astype(np.uint32)
    rows[0] = rest
    for i in range(1, 16):
        rows[i] = (rows[i - 1] >> 8) ^ rows[0][rows[i - 1] & 255]
    return rows.reshape(-1)


@functools.cache
def _first_table() -> list[int]:
    """Return the table of one byte as Python integers."""
    return [int(value) for value in _tables()[:256]]


def _write(_stamp: str) -> Callable[..., Any]:
    """Write the loop over 16 bytes at a time; it calls nothing, so its own file is its stamp."""

    def rest_of(words: Any, table: Any, start: Any) -> Any:
        low, one = np.uint64(255), np.uint64(8)
        rest = np.uint64(start)
        for i in range(0, words.size, 2):
            first, second = words[i] ^ rest, words[i + 1]
            found = np.uint32(0)
            for k in range(8):
                found ^= table[np.uint64((15 - k) * 256) + (first & low)]
                found ^= table[np.uint64((7 - k) * 256) + (second & low)]
                first >>= one
                second >>= one
            rest = np.uint64(found)
        return rest

    return rest_of


@functools.cache
def _compiled() -> Callable[..., Any]:
    """Compile the loop, or load it from Numba's disk cache."""
    from numba import types

    from fastrms.compiling import function

    words = types.Array(types.uint64, 1, "C", readonly=True)
    table = types.Array(types.uint32, 1, "C")
    return function(_write, types.uint64(words, table, types.uint64))


def crc32c(data: Any, start: int = 0) -> int:
    """Return the CRC-32C of bytes, going on from that of the bytes before.

    Parameters
    ----------
    data : bytes, memoryview or contiguous numpy.ndarray
        Read as bytes; not copied, not changed.
    start : int
        The checksum of what came before.

    Examples
    --------
    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    octets: NDArray[np.uint8] = np.frombuffer(data, np.uint8)
    rest = start ^ 0xFFFFFFFF
    if octets.size >= _SMALL:
        whole = octets.size // 16 * 16
        rest = int(_compiled()(octets[:whole].view(np.uint64), _tables(), rest))
        octets = octets[whole:]
    table = _first_table()
    for octet in octets.tobytes():
        rest = table[(rest ^ octet) & 255] ^ (rest >> 8)
    return rest ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    """Return a checksum as TensorFlow stores it.

    Examples
    --------
    >>> hex(masked(0))
    '0xa282ead8'
    """
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
