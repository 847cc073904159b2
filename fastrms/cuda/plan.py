"""A step on a device: its items as tables in the device's memory, and the launches over them."""

from collections.abc import Callable
from operator import is_
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastrms.cuda import kernels, target
from fastrms.cuda.memory import DeviceArray, zeros
from fastrms.cuda.kernels import COLUMNS, Shape
from fastrms.cuda.parts import Part
from fastrms.cuda.protocols import reader_of
from fastrms.layout import Count
from fastrms.program import Column
from fastrms.reference import CHUNK
from fastrms.rule import EACH
from fastrms.work import Item, Workshop

Words = NDArray[np.uint64]
_MEMBERS = {
    Column.VARIABLE: "variable",
    Column.VELOCITY: "velocity",
    Column.MOMENTUM: "momentum",
    Column.AVERAGE_GRADIENT: "average_gradient",
    Column.AVERAGE: "average",
    Column.ACCUMULATOR: "gradient_accumulator",
}


def _chunks(size: int) -> int:
    """Return how many rows a variable has."""
    return -(-size // CHUNK)


_Watch: TypeAlias = tuple[Callable[[Any], Any], list[Any], list[int]]


class _Pass:
    """One launch: rows of the table, and the parts that they need."""

    def __init__(self, kind: str, norm: int = 0) -> None:
        self.kind, self.norm = kind, norm
        self.rows: list[list[int]] = []
        self.parts: dict[tuple[Part, np.dtype[Any]], list[int]] = {}

    def add(self, part: Part, dtype: np.dtype[Any], row: list[int]) -> int:
        """Append a row; return its place."""
        self.parts.setdefault((part, dtype), []).append(len(self.rows))
        self.rows.append(row)
        return len(self.rows) - 1

    def sealed(self) -> tuple[Shape, list[np.dtype[Any]]]:
        """Number the parts in the rows; return the kernel's shape and its dtypes in order."""
        dtypes = list(dict.fromkeys(dtype for _, dtype in self.parts))
        for k, places in enumerate(self.parts.values()):
            for place in places:
                self.rows[place][Column.FUNCTION] = kernels.number_of(k, len(self.parts))
        parts = tuple(part for part, _ in self.parts)
        numbers = tuple(dtypes.index(dtype) for _, dtype in self.parts)
        return Shape(self.kind, parts, numbers, self.norm), dtypes


class DevicePlan:
    """One kind of step on a device; the host's counterpart is `plan.Plan`."""

    def __init__(
        self, shop: Workshop, phases: list[list[Item]], present: tuple[Any, ...], counter: Words
    ) -> None:
        self.shop, self.present, self.counter = shop, present, counter
        variables: list[Any] = shop.variables.arrays
        self.place = variables[0].place
        self.attention = np.zeros(0, np.uint64)
        self._patches: list[list[tuple[_Pass, int, int]]] = [[] for _ in present]
        self._kept: list[Any] = []
        self._pairs: dict[int, int] = {}
        passes = self._norms([item for item in phases[0] if item.variant.factor])
        for items in phases:
            passes.append(_Pass("update"))
            for item in items:
                self._add_update(passes[-1], item)
        self._owners = [array.owner for array in variables]
        self._seen: list[Any] = [None] * len(present)
        self._variables = variables
        self._gradients: list[Any] = [None] * len(present)
        self._watched: list[_Watch] | None = None
        guard, flag = self._guards(phases[0]) if shop.guarded else (_Pass("guard"), None)
        self._seal([one for one in [guard, *passes] if one.rows])
        self._guard = (self._launches.pop(0), flag) if flag is not None and guard.rows else None

    def _part(self, item: Item, variant: Any) -> tuple[Part, np.dtype[Any]]:
        """Return what an item's rows ask of a kernel, and the dtype of its numbers."""
        arrays = item.arrays
        slots = arrays.get("velocity", arrays.get("average", arrays["variable"]))
        dtype = arrays["variable"].dtype
        return Part(variant, dtype.name, slots.dtype.name), dtype

    def _add_rows(self, step: _Pass, item: Item, variant: Any, sums: int = 0) -> None:
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

    def _add_update(self, step: _Pass, item: Item) -> None:
        """Append the rows that update a variable."""
        self._add_rows(step, item, item.variant)

    def _guards(self, items: list[Item]) -> tuple[_Pass, DeviceArray]:
        """Return the launch that looks for a gradient that is not finite, and where it says so."""
        guard, flag = _Pass("guard"), zeros(1, np.dtype(np.float64), self.place)
        for item in items:
            if item.variant.update or item.variant.accumulate:
                first = len(guard.rows)
                self._add_rows(guard, item, self.shop.target(item.index))
                for row in guard.rows[first:]:
                    row[Column.VARIABLE] = flag.address
        return guard, flag

    def _norms(self, items: list[Item]) -> list[_Pass]:
        """Return the launches that take norms and turn them into factors."""
        kind = self.shop.norm_kind
        if kind is None or not items:
            return []
        groups: dict[np.dtype[Any], list[Item]] = {}
        for item in items:
            groups.setdefault(item.arrays["variable"].dtype, []).append(item)
        if kind == EACH:
            items = [item for members in groups.values() for item in members]
        counts = [_chunks(item.arrays["variable"].size) for item in items]
        starts = np.cumsum([0, *counts]).astype(np.uint64)
        sums = zeros(max(int(starts[-1]), 1), np.dtype(np.float64), self.place)
        self._kept.append(sums)
        squares, clips = _Pass("squares"), _Pass("clips", kind)
        for item, start in zip(items, starts.tolist(), strict=False):
            before = self.shop.before_norm(item.index)
            self._add_rows(squares, item, before, sums.address + 8 * start)
        place = 0
        for members in groups.values():
            span = starts[place : place + len(members) + 1] if kind == EACH else starts[-1:]
            self._add_clips(clips, members, span, sums)
            place += len(members)
        return [squares, clips]

    def _add_clips(self, clips: _Pass, members: list[Item], span: Words, sums: DeviceArray) -> None:
        """Append the row that turns sums into the factors of one dtype's variables."""
        shop, each = self.shop, self.shop.norm_kind == EACH
        part, dtype = self._part(members[0], shop.target(members[0].index))
        wide = np.dtype(part.computed)
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

    def _seal(self, passes: list[_Pass]) -> None:
        """Write the table, load the kernels, prepare the launches."""
        shapes = [one.sealed() for one in passes]
        self.rows = np.array([r for p in passes for r in p.rows] or [[0] * COLUMNS], np.uint64)
        machine, ordinal = self.place.machine, self.place.ordinal
        table = zeros(self.rows.size, np.dtype(np.float64), self.place)
        self._table, self._staging = table, machine.staging(self.rows.nbytes)
        first = dict(zip(passes, np.cumsum([0] + [len(p.rows) for p in passes]), strict=False))
        self._places = [
            (np.array([first[p] + k for p, k, _ in patches], np.int64),
             np.array([offset for _, _, offset in patches], np.uint64))
            for patches in self._patches
        ]  # fmt: skip
        self._launches = []
        for one, (shape, dtypes) in zip(passes, shapes, strict=True):
            kernel = target.loaded(ordinal, kernels.kernel(shape), shape.dtypes)
            numbers = [self.shop.numbers[dtype].array for dtype in dtypes]
            address = table.address + int(first[one]) * self.rows.strides[0]
            arguments = target.Arguments(address, len(one.rows), numbers)
            grid = kernels.blocks(one.kind, len(one.rows))
            self._launches.append((kernel, grid, arguments))
        self._stale = True

    def _finite(self, launch: Any, flag: DeviceArray) -> bool:
        """Tell whether all gradients are finite: looked at on the device, waited for here."""
        machine, stream = self.place.machine, self.place.stream
        kernel, grid, arguments = launch
        flag.place = self.place
        machine.clear(flag.address, flag.nbytes, stream)
        machine.launch(kernel, grid, arguments.pointers, stream)
        return not np.asarray(flag).any()

    def put(self, index: int, gradient: Any) -> None:
        """Set the gradient of a variable."""
        self._seen[index] = None  # first: an interrupt below must not leave a row half changed
        places, offsets = self._places[index]
        self.rows[places, Column.GRADIENT] = np.uint64(gradient.address) + offsets
        self._gradients[index], self._watched, self._stale = gradient, None, True
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
        machine, stream = self.place.machine, self.place.stream
        if self._stale:
            machine.upload(self._table.address, self._staging, self.rows, stream)
            self._stale = False
        self.counter[Count.ENDED] += np.uint64(1)
        if self._guard is not None and not self._finite(*self._guard):
            self.counter[Count.STOP] = 1
            return
        for kernel, grid, arguments in self._launches:
            machine.launch(kernel, grid, arguments.pointers, stream)
        self.counter[Count.CALLS] += self.counter[Count.ADDED]


def _watches(arrays: list[Any]) -> list["_Watch"]:
    """Group others' arrays by how their address is asked; memory of our own does not move."""
    groups: dict[Any, tuple[list[Any], list[int]]] = {}
    for array in arrays:
        if array is not None and array.owner is not array:
            owners, known = groups.setdefault(reader_of(array), ([], []))
            owners.append(array.owner)
            known.append(array.address)
    return [(read, *lists) for read, lists in groups.items()]
