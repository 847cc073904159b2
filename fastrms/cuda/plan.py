"""A step on a device: its items as tables in the device's memory, and the launches over them."""

from collections.abc import Callable
from operator import is_
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastrms import rows
from fastrms.cuda.elements import computed
from fastrms.cuda.kernels import COLUMNS
from fastrms.cuda.memory import DeviceArray, zeros
from fastrms.cuda.parts import Part
from fastrms.cuda.passes import Launch, Pass, chunks
from fastrms.cuda.protocols import reader_of
from fastrms.cuda.rows import Tables
from fastrms.cuda.slices import Scattered
from fastrms.layout import Count
from fastrms.program import Column
from fastrms.reference import CHUNK
from fastrms.rule import EACH
from fastrms.work import Item, Workshop

Words = NDArray[np.uint64]
_UNSEEN = object()  # no gradient is this
_MEMBERS = {
    Column.VARIABLE: "variable",
    Column.VELOCITY: "velocity",
    Column.MOMENTUM: "momentum",
    Column.AVERAGE_GRADIENT: "average_gradient",
    Column.AVERAGE: "average",
    Column.ACCUMULATOR: "gradient_accumulator",
}


_Watch: TypeAlias = tuple[Callable[[Any], Any], list[Any], list[int]]


class DevicePlan:
    """One kind of step on a device; the host's counterpart is `plan.Plan`."""

    def __init__(
        self, shop: Workshop, phases: list[list[Item]], present: tuple[Any, ...], counter: Words
    ) -> None:
        self.shop, self.present, self.counter = shop, present, counter
        variables: list[Any] = shop.variables.arrays
        self.place = variables[0].place
        self.attention = np.zeros(0, np.uint64)
        self._patches: list[list[tuple[Pass, int, int]]] = [[] for _ in present]
        self._kept: list[Any] = []
        self._pairs: dict[int, int] = {}
        self._tables = tables = Tables(shop, self.place)
        tables.items = {item.index: item for item in phases[0] if item.row_size}
        passes = self._norms([k for k in phases[0] if k.variant.factor or k.row_size])
        norms = len(passes)
        for items in phases:
            passes.append(Pass("update"))
            for item in items:
                self._add_update(passes[-1], item)
        self._owners = shop.variables.given
        self._seen: list[Any] = [_UNSEEN if kind else None for kind in present]
        self._variables = variables
        self._gradients: list[Any] = [None] * len(present)
        self._watched: list[_Watch] | None = None
        self._flag: DeviceArray | None = None
        guard = self._guards(phases[0]) if shop.guarded else Pass("guard")
        tables.pairs, tables.flag = self._pairs, 0 if self._flag is None else self._flag.address
        self._guard, *launches = self._seal([guard, *passes])
        self._order = _ordered(
            launches, norms, rows.norm_is_of_sums(shop) if tables.items else None
        )

    def _part(self, item: Item, variant: Any) -> tuple[Part, np.dtype[Any]]:
        """Return what an item's rows ask of a kernel, and the dtype of its numbers."""
        arrays = item.arrays
        slots = arrays.get("velocity", arrays.get("average", arrays["variable"]))
        dtype = arrays["variable"].dtype
        return Part(variant, dtype.name, slots.dtype.name), dtype

    def _add_rows(self, step: Pass, item: Item, variant: Any, sums: int = 0) -> None:
        """Append the rows of an item, a chunk each."""
        (part, dtype), size = self._part(item, variant), item.arrays["variable"].size
        for first in range(0, size, CHUNK):
            row = [0] * COLUMNS
            row[Column.LENGTH] = min(CHUNK, size - first)
            for column, name in _MEMBERS.items():
                if name in item.arrays:
                    array = item.arrays[name]
                    row[column] = array.ctypes.data + first * array.itemsize
            if sums:
                row[Column.VARIABLE] = sums + 8 * (first // CHUNK)
            row[Column.CLIP] = self._pairs.get(item.index, 0)
            place = step.add(part, dtype, row)
            self._patches[item.index].append((step, place, first * dtype.itemsize))

    def _add_update(self, step: Pass, item: Item) -> None:
        """Append the rows that update a variable, or what is left of a table."""
        if not item.row_size:
            self._add_rows(step, item, item.variant)
        elif item.rest is not None:
            self._add_rows(step, item, item.rest)

    def _guards(self, items: list[Item]) -> Pass:
        """Return the launch that looks for a gradient that is not finite, and says so in a flag."""
        guard, flag = Pass("guard"), zeros(1, np.dtype(np.float64), self.place)
        self._flag = flag
        for item in items:
            if (item.variant.update or item.variant.accumulate) and not item.row_size:
                first = len(guard.rows)
                self._add_rows(guard, item, self.shop.target(item.index))
                for row in guard.rows[first:]:
                    row[Column.VARIABLE] = flag.address
        return guard

    def _norms(self, items: list[Item]) -> list[Pass]:
        """Return the launches that take norms and turn them into factors."""
        kind = self.shop.norm_kind
        if kind is None or not items:
            return []
        groups: dict[np.dtype[Any], list[Item]] = {}
        for item in items:
            groups.setdefault(item.arrays["variable"].dtype, []).append(item)
        if kind == EACH:
            items = [item for members in groups.values() for item in members]
        counts = [1 if k.row_size else chunks(k.arrays["variable"].size) for k in items]
        starts = np.cumsum([0, *counts]).astype(np.uint64)
        sums = zeros(max(int(starts[-1]), 1), np.dtype(np.float64), self.place)
        self._kept.append(sums)
        squares, clips = Pass("squares"), Pass("clips", kind)
        for item, start in zip(items, starts.tolist(), strict=False):
            if item.row_size:
                self._tables.sums[item.index] = sums.address + 8 * start
                continue
            before = self.shop.before_norm(item.index)
            self._add_rows(squares, item, before, sums.address + 8 * start)
        place = 0
        for members in groups.values():
            span = starts[place : place + len(members) + 1] if kind == EACH else starts[-1:]
            self._add_clips(clips, members, span, sums)
            place += len(members)
        return [squares, clips]

    def _add_clips(self, clips: Pass, members: list[Item], span: Words, sums: DeviceArray) -> None:
        """Append the row that turns sums into the factors of one dtype's variables."""
        shop, each = self.shop, self.shop.norm_kind == EACH
        part, dtype = self._part(members[0], shop.target(members[0].index))
        wide = np.dtype(computed(part))
        pairs = zeros(2 * len(members), wide, self.place)
        table = zeros(span.size, np.dtype(np.float64), self.place)
        self.place.machine.write(table.address, np.ascontiguousarray(span), self.place.stream)
        self._kept += [pairs, table]
        for k, member in enumerate(members):
            self._pairs[member.index] = pairs.address + 2 * wide.itemsize * (k if each else 0)
        row = [0] * COLUMNS
        row[Column.LENGTH] = len(members) if each else 0
        row[Column.VARIABLE], row[Column.GRADIENT] = sums.address, table.address
        row[Column.VELOCITY] = pairs.address
        clips.add(part, dtype, row)

    def _seal(self, passes: list[Pass]) -> list[Launch | None]:
        """Write the table, load the kernels, prepare the launches: None for one without rows."""
        table = [row for one in passes for row in one.rows] or [[0] * COLUMNS]
        machine, width = self.place.machine, 8 * COLUMNS
        self._table = zeros(len(table) * COLUMNS, np.dtype(np.float64), self.place)
        self._staging = machine.staging(len(table) * width)
        first = dict(zip(passes, np.cumsum([0] + [len(p.rows) for p in passes]), strict=False))
        self._places = [
            (np.array([first[p] + k for p, k, _ in patches], np.int64),
             np.array([offset for _, _, offset in patches], np.uint64))
            for patches in self._patches
        ]  # fmt: skip
        address, numbers = self._table.address, self.shop.numbers
        launches = [
            Launch(one, address + int(first[one]) * width, self.place, numbers)
            if one.rows
            else None
            for one in passes
        ]
        self.rows, self._stale = np.array(table, np.uint64), True
        return launches

    def _finite(self, flag: DeviceArray) -> bool:
        """Tell whether all gradients are finite: looked at on the device, waited for here."""
        flag.place = self.place
        self.place.machine.clear(flag.address, flag.nbytes, self.place.stream)
        if self._guard is not None:
            self._guard.start(self.place)
        self._tables.start("guard")
        return not np.asarray(flag).any()

    def put(self, index: int, gradient: Any) -> None:
        """Set the gradient of a variable."""
        self._seen[index] = _UNSEEN  # first: an interrupt below must not leave a row half changed
        if isinstance(gradient, Scattered):
            gradient = self._tables.put(index, gradient)
            if gradient is None or gradient is self._gradients[index]:
                return
        places, offsets = self._places[index]
        words = np.uint64(gradient.address) + offsets
        if (self.rows[places, Column.GRADIENT] != words).any():  # allocators give the same again
            self.rows[places, Column.GRADIENT], self._stale = words, True
        self._gradients[index], self._watched = gradient, None
        self._seen[index] = gradient.owner

    def look(self, gradients: list[Any], given: list[Any] | None) -> int:
        """Return 0 if all arrays are those of the last step, where they were; else -1."""
        if not all(map(is_, gradients, self._seen)):
            return -1
        if given is not None and not all(map(is_, given, self._owners)):
            return -1
        if self._watched is None:
            self._watched = _watches([*self._variables, *self._gradients])
        still = (list(map(read, owners)) == known for read, owners, known in self._watched)
        return 0 if all(still) else -1

    def run(self) -> None:
        """Carry out the step, in the order of the place's stream, without waiting for it."""
        machine, tables = self.place.machine, self._tables
        some = bool(tables.given)
        if some:
            tables.begin()
        if self._stale:
            machine.upload(self._table.address, self._staging, self.rows, self.place.stream)
            self._stale = False
        self.counter[Count.ENDED] += np.uint64(1)
        if some and not tables.items:
            for name in ("clear", "gather", "scatter"):
                tables.start(name)
        if self._flag is not None and not self._finite(self._flag):
            self.counter[Count.STOP] = 1
            return
        for launch in self._order:
            if isinstance(launch, str):
                tables.start(launch)
            else:
                launch.start(self.place)
        self.counter[Count.CALLS] += self.counter[Count.ADDED]


def _ordered(launches: list[Launch | None], norms: int, of_sums: bool | None) -> list[Launch | str]:
    """Return what a step launches in order; names stand for what gradients of rows need."""
    found: list[Launch | str | None] = [*launches[: norms + 1]]
    if of_sums is not None:
        found[norms:norms] = [] if of_sums else ["gather"]
        if norms:
            found[1:1] = ["squares", "totals"]
        found = ["gather"] * of_sums + found + ["touched", "turns", "scatter"]
    return [one for one in [*found, *launches[norms + 1 :]] if one is not None]


def _watches(arrays: list[Any]) -> list["_Watch"]:
    """Group others' arrays by how their address is asked; memory of our own does not move."""
    groups: dict[Any, tuple[list[Any], list[int]]] = {}
    for array in arrays:
        if array is not None and array.owner is not array:
            owners, known = groups.setdefault(reader_of(array), ([], []))
            owners.append(array.owner)
            known.append(array.address)
    return [(read, *lists) for read, lists in groups.items()]
