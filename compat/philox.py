"""TensorFlow's random numbers: Philox4x32-10 and its uniform and normal distributions.

Source: tensorflow/core/lib/random/philox_random.h, random_distributions.h and
core/kernels/random_op.cc of TensorFlow 1.3 to 1.15. Numbers are float32, as TensorFlow drew them.
"""

import ctypes
import ctypes.util
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]
Floats = NDArray[np.float32]
# The graph seed of TensorFlow where none was set.
GRAPH_SEED = 87654321
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_INCREMENTS = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_RESERVED = 256  # outputs that a kernel sets aside for each number it returns


def words(seed: int, blocks: "NDArray[np.uint64]") -> Words:
    """Return four words for each block number of the stream of an operation's seed."""
    counter = [blocks & _LOW, blocks >> np.uint64(32)]
    counter += [np.full_like(blocks, seed & 0xFFFFFFFF), np.full_like(blocks, seed >> 32)]
    key = [GRAPH_SEED & 0xFFFFFFFF, GRAPH_SEED >> 32]
    for _ in range(10):
        first, second = counter[0] * _MULTIPLIERS[0], counter[2] * _MULTIPLIERS[1]
        counter = [
            (second >> np.uint64(32)) ^ counter[1] ^ np.uint64(key[0]),
            second & _LOW,
            (first >> np.uint64(32)) ^ counter[3] ^ np.uint64(key[1]),
            first & _LOW,
        ]
        key = [(k + step) & 0xFFFFFFFF for k, step in zip(key, _INCREMENTS, strict=True)]
    return np.stack(counter, axis=-1).astype(np.uint32)


def unit(bits: Words) -> Floats:
    """Return float32 numbers in [0, 1) from the lower 23 bits."""
    return ((bits & np.uint32(0x7FFFFF)) | np.uint32(127 << 23)).view(np.float32) - np.float32(1)


def box_muller(bits: Words) -> Floats:
    """Return a pair of normal numbers for each pair of words, in their order."""
    pairs = bits.reshape(-1, 2)
    radius = np.maximum(unit(pairs[:, 0]), np.float32(1e-7))
    angle = (np.float64(2 * np.pi) * unit(pairs[:, 1])).astype(np.float32)
    scale = np.sqrt(np.float32(-2) * _single("logf")(radius))
    sides = [_single("sinf")(angle) * scale, _single("cosf")(angle) * scale]
    return np.stack(sides, axis=1).reshape(-1)


@functools.cache
def _single(name: str) -> Callable[[Floats], Floats]:
    """Return a single-precision function of the C library: NumPy's own differ in the last bit."""
    function = getattr(ctypes.CDLL(ctypes.util.find_library("m")), name)
    function.restype, function.argtypes = ctypes.c_float, [ctypes.c_float]
    table: Any = np.frompyfunc(function, 1, 1)

    def mapped(values: Floats) -> Floats:
        return np.asarray(table(values.astype(np.float64)), np.float32)

    return mapped


class Stream:
    """The numbers of one random operation: each call goes on where TensorFlow's would."""

    def __init__(self, seed: int) -> None:
        # tensorflow python/framework/random_seed.py, _truncate_seed
        self.seed, self.position = int(seed) % (2**31 - 1), 0

    def uniform(self, size: int) -> Floats:
        """Return the next `size` numbers in [0, 1)."""
        return unit(self._words(size))[:size]

    def normal(self, size: int) -> Floats:
        """Return the next `size` standard normal numbers."""
        return box_muller(self._words(size))[:size]

    def truncated_normal(self, size: int) -> Floats:
        """Return the next `size` standard normal numbers, redrawn where beyond two."""
        groups = np.arange(-(-size // 4), dtype=np.uint64) * np.uint64(_RESERVED)
        start = np.uint64(self._reserve(size))
        out = np.empty((groups.size, 4), np.float32)
        left = np.arange(groups.size)
        tried = 8  # blocks looked at in each round; four numbers within two rarely need more
        while left.size:
            rows: NDArray[np.uint64] = (start + groups[left])[:, None] + np.arange(
                tried, dtype="u8"
            )
            drawn = box_muller(words(self.seed, rows)).reshape(left.size, -1)
            inside = np.abs(drawn) < np.float32(2)
            place = np.cumsum(inside, axis=1)
            full = place[:, -1] >= 4
            chosen = (inside & (place <= 4))[full]
            out[left[full]] = drawn[full][chosen].reshape(-1, 4)
            left, tried = left[~full], tried * 2
        return out.reshape(-1)[:size]

    def _reserve(self, size: int) -> int:
        """Return the first block of a call and move on by what a kernel sets aside."""
        start = self.position
        self.position += size * _RESERVED
        return start

    def _words(self, size: int) -> Words:
        """Return the words of the next `size` numbers."""
        blocks = np.arange(-(-size // 4), dtype=np.uint64) + np.uint64(self._reserve(size))
        return words(self.seed, blocks).reshape(-1)
