"""A device's memory, and what NVIDIA's compute-sanitizer looks for in it.

memcheck: an access lies inside one live allocation and is aligned to its width. initcheck: what is
read has been written. racecheck: no two threads touch a byte, one of them writing, without a
barrier between them; threads of different blocks have none.
"""

from __future__ import annotations

import bisect
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from ptx_text import PtxError

Array = NDArray[Any]
# No address of the host's: what the host reads there by mistake ends the process.
BASE = 0x0B00_0000_0000
GAP = 256
ALLOCATED, WRITTEN = 1, 2
UNIT = 2  # the smallest access of a kernel here
# What several threads may write to one place at once, where a launch writes nothing else: bytes,
# bits. It is the flag of `parts.make_guard`, whose docstring says why: the float64 number 1.
AGREED = ({(8, 0x3FF0000000000000)},)


class Memory:
    """Bytes, and of each whether it is allocated and has been written."""

    def __init__(self, size: int) -> None:
        self.size, self.top = size, 0
        data, state = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
        self._data = {width: data.view(f"u{width}") for width in (1, 2, 4, 8)}
        self._state = {width: state.view(f"u{width}") for width in (1, 2, 4, 8)}
        self.live: dict[int, int] = {}

    def allocate(self, nbytes: int) -> int | None:
        """Reserve bytes, which nothing has written; return their offset, or None if all is gone."""
        if not self.live:
            self._state[1][: self.top], self.top = 0, 0
        first = self.top
        if first + nbytes + GAP > self.size:
            return None
        self.top = first + nbytes + GAP + -(nbytes + GAP) % GAP
        self.live[first] = nbytes
        self._state[1][first : first + nbytes] = ALLOCATED
        return first

    def free(self, first: int) -> bool:
        """Give bytes back; their addresses are not given again while others live."""
        nbytes = self.live.pop(first, None)
        if nbytes is not None:
            self._state[1][first : first + nbytes] = 0
        return nbytes is not None

    def require(self, offsets: Array, width: int, write: bool) -> None:
        """Refuse what may not be touched so."""
        problem = np.zeros(offsets.shape, bool)
        bad = (offsets < 0) | (offsets > self.size - width)
        safe = np.where(bad, 0, offsets) if bad.any() else offsets
        misaligned = (safe % width != 0) & ~bad
        unit = min(width, 8)
        wanted = (ALLOCATED if write else ALLOCATED | WRITTEN) * (2 ** (8 * unit) // 255)
        for k in range(0, width, unit):
            found = self._state[unit][(safe + k) // unit]
            problem |= (found & found.dtype.type(wanted)) != wanted
        problem |= bad
        if misaligned.any():
            self._refuse("misaligned", int(offsets[misaligned][0]), width, write)
        if problem.any():
            first = int(offsets[problem][0])
            self._refuse(self._reason(first, width), first, width, write)

    def _reason(self, first: int, width: int) -> str:
        """Say what is wrong with an access."""
        whole = self._state[1][max(first, 0) : max(first + width, 0)]
        if first < 0 or whole.size < width or not (whole & ALLOCATED).all():
            return "out of bounds"
        return "of bytes that nothing has written"

    def _refuse(self, reason: str, first: int, width: int, write: bool) -> None:
        """Raise, and say what lies near."""
        starts = sorted(self.live)
        near = bisect.bisect_right(starts, first) - 1
        where = "below all allocations"
        if near >= 0:
            where = f"{first - starts[near]} bytes into one of {self.live[starts[near]]}"
        kind = "store" if write else "load"
        raise PtxError(f"a {kind} of {width} bytes {reason}: {where}")

    def load(self, offsets: Array, width: int) -> Array:
        """Return numbers as bits."""
        found: Array = self._data[width][offsets // width]
        return found

    def store(self, offsets: Array, values: Array) -> None:
        """Write numbers given as bits."""
        width = values.itemsize
        places = offsets // width
        self._data[width][places] = values
        self._state[width][places] = (ALLOCATED | WRITTEN) * (2 ** (8 * width) // 255)

    def span(self, first: int, nbytes: int, write: bool) -> Array:
        """Return bytes in one piece, for copies."""
        if first < 0 or first + nbytes > self.size:
            self._refuse("out of bounds", first, nbytes, write)
        wanted = ALLOCATED if write else ALLOCATED | WRITTEN
        found = self._state[1][first : first + nbytes]
        if ((found & wanted) != wanted).any():
            self._refuse(self._reason(first, nbytes), first, nbytes, write)
        if write:
            found |= WRITTEN
        return self._data[1][first : first + nbytes]

    def copied(self) -> tuple[Array, Array]:
        """Return all that is there."""
        return self._data[1][: self.top].copy(), self._state[1][: self.top].copy()

    def restore(self, kept: tuple[Array, Array]) -> None:
        """Put everything back."""
        self._data[1][: self.top], self._state[1][: self.top] = kept


class Touch(NamedTuple):
    """An access of some threads: places, width, threads, their blocks, barriers passed, kind."""

    offsets: Array
    width: int
    threads: Array
    blocks: Array
    epochs: Array
    write: bool
    values: Any


class Log:
    """All accesses of a launch to one memory."""

    def __init__(self) -> None:
        self.touches: list[Touch] = []

    def _agreed(self, stores: list[Touch]) -> bool:
        """Tell whether all that is written is one number, at one place, and may be so."""
        first = stores[0].offsets[0]
        if any((t.offsets != first).any() for t in stores):
            return False
        return {(t.width, int(v)) for t in stores for v in np.unique(t.values)} in AGREED

    def check(self) -> None:
        """Refuse races."""
        kept = self.touches
        stores = [t for t in kept if t.write]
        if not stores:
            return
        if self._agreed(stores):
            one: Any = (x[:1] if isinstance(x, np.ndarray) else x for x in stores[0])
            alone = Touch(*one)
            kept = [t for t in kept if not t.write] + [alone]
        unit = min(t.width for t in kept)
        pieces = [(t, k) for t in kept for k in range(0, t.width, unit)]
        place = np.concatenate([(t.offsets + k) // unit for t, k in pieces])
        thread, block, epoch = (
            np.concatenate([getattr(t, name) for t, _ in pieces]).astype(np.int64)
            for name in ("threads", "blocks", "epochs")
        )
        write = np.concatenate([np.full(t.offsets.size, t.write) for t, _ in pieces])
        order = np.lexsort((epoch, block, place))
        place, thread, block, epoch, write = (
            x[order] for x in (place, thread, block, epoch, write)
        )
        new = np.ones(place.size, bool)
        new[1:] = place[1:] != place[:-1]
        _refuse_shared(place, block, write, new, unit, "of different blocks")
        new[1:] |= (block[1:] != block[:-1]) | (epoch[1:] != epoch[:-1])
        _refuse_shared(place, thread, write, new, unit, "of one block, no barrier between them,")


def _refuse_shared(
    place: Array, who: Array, write: Array, new: Array, unit: int, said: str
) -> None:
    """Raise if a group of accesses has a write and more than one author."""
    starts = np.flatnonzero(new)
    several = np.minimum.reduceat(who, starts) != np.maximum.reduceat(who, starts)
    wrong = several & np.logical_or.reduceat(write, starts)
    if wrong.any():
        first = int(starts[np.flatnonzero(wrong)[0]])
        raise PtxError(f"a race: threads {said} touch byte {int(place[first]) * unit}")
