"""A step's gradients of rows on a device: what is launched for them, made anew for each step.

The rows are taken out of their table, updated where they lie together, and put back when the rest
of the table has been updated; with accumulated gradients they are scattered into an array.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms import rows
from fastrms.cuda.kernels import COLUMNS
from fastrms.cuda.memory import DeviceArray, Place, zeros
from fastrms.cuda.parts import Part
from fastrms.cuda.passes import Launch, Pass, chunks
from fastrms.cuda.slices import Scattered
from fastrms.cuda.tables import Move, Slate, Sums, Total, Turns
from fastrms.program import Column
from fastrms.reference import CHUNK
from fastrms.rule import Variant
from fastrms.work import Item, Workshop

Words = NDArray[np.uint64]
# What is launched, and the kind of kernel that does it.
_KINDS = {
    "guard": "guard",
    "gather": "table",
    "squares": "squares",
    "totals": "totals",
    "touched": "update",
    "turns": "table",
    "scatter": "table",
}
_MOVED = {
    Column.VARIABLE: "variable",
    Column.VELOCITY: "velocity",
    Column.MOMENTUM: "momentum",
    Column.AVERAGE_GRADIENT: "average_gradient",
    Column.AVERAGE: "average",
}


def _row(size: int, first: int, **words: int) -> list[int]:
    """Write a row for a piece of so many elements."""
    row = [0] * COLUMNS
    row[Column.LENGTH] = min(CHUNK, size - first)
    for name, value in words.items():
        row[Column[name]] = value
    return row


def _moved(variant: Variant) -> dict[Column, str]:
    """Return what an update of rows reads and writes."""
    used = {
        "variable": True,
        "velocity": variant.update,
        "momentum": variant.momentum,
        "average_gradient": variant.centered,
        "average": variant.ema,
    }
    return {column: name for column, name in _MOVED.items() if used[name]}


class Tables:
    """What steps with gradients of rows launch besides the rest."""

    def __init__(self, shop: Workshop, place: Place) -> None:
        self.shop, self.place = shop, place
        self.items: dict[int, Item] = {}
        self.pairs: dict[int, int] = {}  # the address of a variable's factor and divisor
        self.sums: dict[int, int] = {}  # where the sum of a gradient's squares goes
        self.flag = 0
        self.given: dict[int, Scattered] = {}
        self._whole: dict[int, DeviceArray] = {}
        self._room: dict[Any, DeviceArray] = {}
        self._launches: dict[str, Launch] = {}
        self._kept: list[dict[int, Scattered]] = [{}, {}]

    def put(self, index: int, given: Scattered) -> DeviceArray | None:
        """Take the gradient of a step; return the array it is scattered into, if it is."""
        variable = self.shop.variables.arrays[index]
        self.given[index] = given
        if index in self.items:
            return None
        if index not in self._whole:
            flat = zeros(variable.size, variable.dtype, self.place)
            self._whole[index] = flat.reshape(variable.shape)
        return self._whole[index]

    def _space(self, name: str, index: int, size: int, dtype: Any) -> int:
        """Return the address of memory for so many numbers, which stays from step to step."""
        known = self._room.get((name, index))
        if known is None or known.size < size:
            known = zeros(
                max(size, 0 if known is None else 2 * known.size), np.dtype(dtype), self.place
            )
            self._room[name, index] = known
        return known.address

    def begin(self) -> None:
        """Write the tables of a step and copy them to the device."""
        # The step before is perhaps still under way with the arrays it was given.
        self._kept = [self._kept[1], self.given]
        passes = {name: Pass(kind) for name, kind in _KINDS.items()}
        words = [self._words(index, given) for index, given in self.given.items()]
        starts = np.cumsum([0, *map(len, words)])
        most = sum(self._most_rows(*pair) for pair in self.given.items())
        needed = int(starts[-1]) + COLUMNS * most
        base = self._space("table", -1, needed, np.float64)
        for place, own, (index, given) in zip(starts, words, self.given.items(), strict=False):
            slate = base + 8 * int(place)
            count = given.indices.size
            own[Slate.INDICES] = slate + 8 * len(Slate)
            own[Slate.STARTS] = int(own[Slate.INDICES]) + 8 * count
            own[Slate.ORDER] = int(own[Slate.STARTS]) + 8 * (count + 1)
            self._add(passes, index, given, slate, own)
        self.given = {}
        address, self._launches, tables = base + 8 * int(starts[-1]), {}, []
        for name, one in passes.items():
            if one.rows:
                self._launches[name] = Launch(one, address, self.place, self.shop.numbers)
                tables.append(np.array(one.rows, np.uint64).ravel())
                address += tables[-1].nbytes
        self._upload(base, np.concatenate([*words, *tables]))

    def _upload(self, base: int, values: Words) -> None:
        """Copy a step's table to the device."""
        machine, room = self.place.machine, self._room["table", -1].nbytes
        known = getattr(self, "_staging", None)
        if known is None or known[0] < room:
            known = self._staging = (room, machine.staging(room))
        machine.upload(base, known[1], values, self.place.stream)

    def start(self, name: str) -> None:
        """Queue one of the launches, if there is anything to do."""
        if name == "clear":
            for array in self._whole.values():
                self.place.machine.clear(array.address, array.nbytes, self.place.stream)
        elif name in self._launches:
            self._launches[name].start(self.place)

    def _words(self, index: int, given: Scattered) -> Words:
        """Write the slate of a gradient, and what it points at."""
        slate = np.zeros(len(Slate), np.uint64)
        variable = self.shop.variables.arrays[index]
        slate[Slate.WIDTH] = variable.size // max(len(variable), 1)
        slate[Slate.VALUES] = given.values.address
        return np.concatenate([slate, given.indices, given.starts, given.order])

    def _most_rows(self, index: int, given: Scattered) -> int:
        """Return how many rows a gradient can need in all launches together."""
        return (2 * len(_MOVED) + 4) * (chunks(given.values.size) + 1)

    def _add(
        self, passes: dict[str, Pass], index: int, given: Scattered, slate: int, own: Words
    ) -> None:
        """Append the rows of a gradient."""
        shop, variable = self.shop, self.shop.variables.arrays[index]
        dtype, item = variable.dtype, self.items.get(index)
        wide = shop.state.computed(dtype)
        size = given.indices.size * int(own[Slate.WIDTH])
        in_turn = item is not None and rows.taken_apart(shop)
        summed = given.values.size if in_turn else size
        own[Slate.SUMS] = sums = self._space("sums", index, summed, wide)
        pair, plain = self.pairs.get(index, 0), shop.target(index)
        part = Sums(plain, plain, False, dtype.name, wide.name)
        if item is not None:
            before, again = rows.before_norm(shop, index), rows.before_sums(shop, index) or plain
            part = Sums(before, again, in_turn, dtype.name, wide.name)
        for first in range(0, summed, CHUNK):
            row = _row(summed, first, FIRST=first, TABLE=slate, CLIP=pair)
            passes["gather"].add(part, dtype, row)
        if item is None:
            self._add_move(passes, index, (size, slate), (self._whole[index], sums), True)
            return
        self._add_norm(passes, index, given, sums if rows.norm_is_of_sums(shop) else 0, size)
        members: dict[str, int] = {}
        for column, name in _moved(item.variant).items():
            members[column.name] = apart = self._space(name, index, size, wide)
            for back in (False, True):
                self._add_move(passes, index, (size, slate), (item.arrays[name], apart), back)
        for first, step in self._pieces(size, wide):
            if in_turn:
                row = _row(size, first, FIRST=first, TABLE=slate, **members)
                passes["turns"].add(Turns(item.variant, wide.name), dtype, row)
                continue
            moved = {name: place + step for name, place in members.items()}
            row = _row(size, first, CLIP=pair, GRADIENT=sums + step, **moved)
            passes["touched"].add(Part(item.variant, wide.name, wide.name), dtype, row)

    def _add_move(
        self, passes: dict[str, Pass], index: int, span: tuple[int, int],
        pair: tuple[Any, int], back: bool,
    ) -> None:  # fmt: skip
        """Append the rows that move a gradient's rows out of their table, or back into it."""
        dtype, (size, slate), (table, apart) = self.shop.variables.arrays[index].dtype, span, pair
        move = Move(back, table.dtype.name, self.shop.state.computed(dtype).name)
        for first in range(0, size, CHUNK):
            row = _row(size, first, FIRST=first, TABLE=slate, VELOCITY=apart)
            row[Column.VARIABLE] = table.ctypes.data
            passes["scatter" if back else "gather"].add(move, dtype, row)

    def _add_norm(
        self, passes: dict[str, Pass], index: int, given: Scattered, sums: int, size: int
    ) -> None:
        """Append the rows that take the norm of a gradient, and look for odd numbers in it."""
        shop, values = self.shop, given.values
        dtype, source, length = values.dtype, values.address, values.size
        wide = shop.state.computed(dtype)
        if self.flag:
            look = Part(shop.target(index), dtype.name, wide.name)
            for first, step in self._pieces(length, dtype):
                row = _row(length, first, GRADIENT=source + step, VARIABLE=self.flag)
                passes["guard"].add(look, dtype, row)
        if index not in self.sums:
            return
        variant, kind = rows.before_norm(shop, index), dtype
        if sums:
            source, length, kind = sums, size, wide
            variant = shop.before_norm(index)._replace(scaled=False, rescaled=False)
        parts = self._space("parts", index, chunks(length), np.float64)
        for first, step in self._pieces(length, kind):
            row = _row(length, first, GRADIENT=source + step, VARIABLE=parts + 8 * (first // CHUNK))
            passes["squares"].add(Part(variant, kind.name, wide.name), dtype, row)
        row = _row(0, 0, GRADIENT=parts, VARIABLE=self.sums[index])
        row[Column.LENGTH] = chunks(length)
        passes["totals"].add(Total(kind.name), dtype, row)

    @staticmethod
    def _pieces(size: int, dtype: Any) -> Iterator[tuple[int, int]]:
        """Return where the pieces of an array begin, in elements and in bytes."""
        return ((first, first * dtype.itemsize) for first in range(0, size, CHUNK))
