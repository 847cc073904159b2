"""The slots of an optimizer: one aligned arena per dtype, with a named view per variable."""

import mmap
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.cuda import memory
from fastrms.variables import Variables

Array = NDArray[Any]
_ALIGNMENT = 64
# NumPy asks for huge pages from 4 MiB on; on x86 and ARM one has 2 MiB.
_LARGE, _HUGE_PAGE = 1 << 22, 1 << 21


def _huge_pages(size: int) -> mmap.mmap:
    """Return zeroed memory, private to the process, of huge pages where the kernel has them."""
    try:
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"no room for slots of {size:,} bytes ({error})") from error
    with suppress(OSError):  # a kernel without them: the same memory, a few percent slower
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def aligned(size: int, dtype: np.dtype[Any]) -> Array:
    """Return zeros that begin on a cache line, if large on a huge page."""
    length = size * dtype.itemsize
    huge = length >= _LARGE and hasattr(mmap, "MADV_HUGEPAGE")
    step = _HUGE_PAGE if huge else _ALIGNMENT
    # Neither can be resized while it is viewed, unlike an array of NumPy's own.
    raw = np.frombuffer((_huge_pages if huge else bytearray)(length + step), np.uint8)
    first = -raw.ctypes.data % step
    return raw[first : first + length].view(dtype)


def _padded(size: int, itemsize: int) -> int:
    """Return a size that keeps the next view on a cache line."""
    step = _ALIGNMENT // itemsize
    return -(-size // step) * step


@dataclass
class State:
    """Flat slots by (slot name, variable index), in the order of their creation."""

    variables: Variables
    velocity_start: float
    slot_dtype: str | None = None  # of 16-bit variables
    slots: dict[tuple[str, int], Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        arrays = self.variables.arrays
        self.shapes: list[tuple[int, ...]] = [a.shape for a in arrays]
        self._columns = [a.flags.f_contiguous and not a.flags.c_contiguous for a in arrays]

    def computed(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """Return the dtype of the slots of a variable, in which its step is computed."""
        wide = self.slot_dtype is not None and dtype.itemsize == 2
        return np.dtype(self.slot_dtype) if wide else dtype

    def _zeros(self, size: int, dtype: np.dtype[Any]) -> Array:
        """Return zeros where the variables lie."""
        first = self.variables.arrays[0]
        if isinstance(first, np.ndarray):
            return aligned(size, dtype)
        return memory.zeros(size, dtype, first.place)

    def create(self, names: list[str], indices: list[int]) -> None:
        """Add the slots that do not exist yet, in arenas, slot by slot."""
        missing = [(n, i) for n in names for i in indices if (n, i) not in self.slots]
        arrays = self.variables.arrays
        needed: dict[np.dtype[Any], int] = {}
        for _, i in missing:
            dtype = self.computed(arrays[i].dtype)
            needed[dtype] = needed.get(dtype, 0) + _padded(arrays[i].size, dtype.itemsize)
        arenas = {dtype: self._zeros(size, dtype) for dtype, size in needed.items()}
        used = dict.fromkeys(needed, 0)
        for name, i in missing:
            dtype, size = self.computed(arrays[i].dtype), arrays[i].size
            first = used[dtype]
            used[dtype] += _padded(size, dtype.itemsize)
            slot = arenas[dtype][first : first + size]
            if name == "velocity" and self.velocity_start:
                slot[:] = self.velocity_start
            self.slots[name, i] = slot

    def shaped(self, name: str, index: int) -> Array:
        """View a slot in the shape and order that its variable had when it was built."""
        slot, shape = self.slots[name, index], self.shapes[index]
        return slot.reshape(shape, order="F") if self._columns[index] else slot.reshape(shape)

    def extents(self) -> list[tuple[int, int]]:
        """Return the byte ranges of all slots."""
        return [
            (slot.ctypes.data, slot.ctypes.data + slot.nbytes)
            for slot in self.slots.values()
            if slot.size
        ]
