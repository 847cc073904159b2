"""The compiled engine: turns the items of a step into a program and runs it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms import inspection, kernels, program, tables
from fastrms.inspection import Desk, Place, place_of
from fastrms.layout import HARDWARE_FLUSH, Count, table_of, words_of
from fastrms.program import ALONE, FLUSH, STATE_WORDS, Column, Order
from fastrms.reference import CHUNK
from fastrms.results import prepare
from fastrms.rule import EACH
from fastrms.sparse import Rows
from fastrms.tables import Slate
from fastrms.threads import pool
from fastrms.variables import order_of
from fastrms.work import Item, Workshop

Array = NDArray[Any]
Words = NDArray[np.uint64]
# Below this many bytes of state and gradients a second thread costs more than it gains.
PARALLEL_BYTES = 1 << 21


_SLOTS = {
    Column.VARIABLE: "variable",
    Column.VELOCITY: "velocity",
    Column.MOMENTUM: "momentum",
    Column.AVERAGE_GRADIENT: "average_gradient",
    Column.AVERAGE: "average",
}


def _parts(item: Item) -> int:
    """Return how many sums of squares a gradient has: one for each chunk, or one for rows."""
    return 1 if item.row_size else -(-item.arrays["variable"].size // CHUNK)


class Plan:
    """One kind of step (which variables have gradients, what is done with them) as a program."""

    def __init__(
        self, shop: Workshop, phases: list[list[Item]], present: tuple[int, ...], counter: Words
    ) -> None:
        self.shop, self.phases, self.present = shop, phases, present
        self._rows: list[list[int]] = []
        self._ends: list[int] = []
        self._patches: list[list[tuple[int, int]]] = [[] for _ in present]
        self._kept: list[Any] = [counter]
        self._loose: dict[int, Any] = {}
        self._stop = counter.ctypes.data + 8 * int(Count.STOP)
        self._slates: dict[int, Words] = {}
        self._tables: list[tuple[Item, Words]] = []
        self._norms: dict[int, Array] = {}
        self._pairs: dict[int, int] = {}
        self._add_norms()
        for items in phases:
            for item in items:
                self._add_table(item) if item.row_size else self._add_update(item)
            self._ends.append(len(self._rows))
        self._add_scatters()
        self._seal(counter)

    def _place(self, item: Item, function: int, columns: dict[Column, str]) -> list[int]:
        """Append the rows of an item, a chunk each; return their places."""
        arrays, places = item.arrays, []
        dtype = arrays["variable"].dtype
        numbers = self.shop.numbers[dtype].array.ctypes.data
        size, chunk = arrays["variable"].size, CHUNK
        if item.row_size:
            chunk = max(1, CHUNK // item.row_size) * item.row_size
        for first in range(0, size, chunk):
            row = [0] * len(Column)
            row[Column.FUNCTION], row[Column.NUMBERS] = function, numbers
            row[Column.LENGTH] = min(chunk, size - first)
            row[Column.CLIP] = self._pairs.get(item.index, 0)
            for column, name in columns.items():
                if name in arrays:
                    row[column] = arrays[name].ctypes.data + first * dtype.itemsize
            places.append(len(self._rows))
            if item.row_size:
                row[Column.FIRST] = first // item.row_size
            else:
                self._patches[item.index].append((len(self._rows), first * dtype.itemsize))
            self._rows.append(row)
        return places

    def _add_update(self, item: Item) -> None:
        """Append the rows that update a variable."""
        function = kernels.loop_address(item.variant, self._dtype_name(item))
        self._place(item, function, {**_SLOTS, Column.ACCUMULATOR: "gradient_accumulator"})

    def _add_table(self, item: Item) -> None:
        """Append the rows that update a table of which some rows have gradients."""
        name, rest = self._dtype_name(item), item.rest
        slate = np.zeros(len(Slate), np.uint64)
        slate[Slate.ROW], slate[Slate.SIZE] = item.row_size, item.arrays["variable"].itemsize
        slate[Slate.TOUCHED] = kernels.loop_address(item.variant, name)
        slate[Slate.REST] = 0 if rest is None else kernels.loop_address(rest, name)
        slate[Slate.AXES], slate[Slate.COPY] = 1, kernels.scatter_address(name)
        self._slates[item.index] = slate
        self._tables.append((item, slate))
        for place in self._place(item, tables.address(), _SLOTS):
            self._rows[place][Column.TABLE] = slate.ctypes.data

    def _add_guards(self, items: list[Item]) -> None:
        """Append the phase that stops the program if a gradient is not finite."""
        for item in items:
            if (item.variant.update or item.variant.accumulate) and not item.row_size:
                function = kernels.guard_address(self._dtype_name(item))
                for place in self._place(item, function, {}):
                    self._rows[place][Column.GUARD] = self._stop
        self._ends.append(len(self._rows))

    def _add_norms(self) -> None:
        """Append the phases that take norms and turn them into factors."""
        kind, items = self.shop.norm_kind, [i for i in self.phases[0] if i.variant.factor]
        apart = [i for i in self.phases[0] if not i.variant.factor]
        if self.shop.guarded and apart:
            self._add_guards(apart)
        if kind is None or not items:
            return
        groups: dict[str, list[Item]] = {}
        for item in items if kind != EACH else sorted(items, key=self._dtype_name):
            groups.setdefault(self._dtype_name(item), []).append(item)
        ordered = items if kind != EACH else [i for g in groups.values() for i in g]
        sums = np.zeros(max(sum(map(_parts, ordered)), 1))
        self._kept.append(sums)
        place = 0
        for item in ordered:
            place = self._add_squares(item, sums, place)
        self._ends.append(len(self._rows))
        first = 0
        for name, members in groups.items():
            covered = members if kind == EACH else ordered
            self._add_clips(kind, name, members, (covered, sums, first))
            first += sum(map(_parts, members))
        self._ends.append(len(self._rows))

    @staticmethod
    def _dtype_name(item: Item) -> str:
        """Return the dtype by which items are grouped."""
        return str(item.arrays["variable"].dtype.name)

    def _add_squares(self, item: Item, sums: Array, place: int) -> int:
        """Append the rows that sum a gradient's squares; return the next place for a sum."""
        if item.row_size:
            self._norms[item.index] = sums[place : place + 1]
            return place + 1
        guarded, seen = self.shop.guarded, self.shop.before_norm(item.index)
        function = kernels.squares_address(seen, guarded, self._dtype_name(item))
        for row in self._place(item, function, {Column.ACCUMULATOR: "gradient_accumulator"}):
            self._rows[row][Column.VARIABLE] = sums.ctypes.data + 8 * place
            self._rows[row][Column.GUARD] = self._stop if guarded else 0
            place += 1
        return place

    def _add_clips(
        self, kind: int, name: str, members: list[Item], span: tuple[list[Item], Array, int]
    ) -> None:
        """Append the row that turns sums into the factors of one dtype's variables."""
        covered, sums, first = span
        numbers = self.shop.numbers[np.dtype(name)].array
        counts = words_of(list(map(_parts, covered)))
        pairs = np.ones((len(members), 2), numbers.dtype)
        self._kept += [counts, pairs]
        for k, member in enumerate(members):
            self._pairs[member.index] = pairs.ctypes.data + (16 if name == "float64" else 8) * (
                k if kind == EACH else 0
            )
        row = [0] * len(Column)
        row[Column.FUNCTION] = kernels.clips_address(self.shop.target(members[0].index), kind, name)
        row[Column.NUMBERS], row[Column.LENGTH] = numbers.ctypes.data, len(covered)
        row[Column.VARIABLE] = sums.ctypes.data + (8 * first if kind == EACH else 0)
        row[Column.GRADIENT], row[Column.VELOCITY] = counts.ctypes.data, pairs.ctypes.data
        self._rows.append(row)

    def _add_scatters(self) -> None:
        """Append the phase that copies stand-ins back into strided variables."""
        for i, stand_in in self.shop.stand_ins.items():
            variable = self.shop.variables.arrays[i]
            if not variable.size:
                continue
            shape = words_of([variable.ndim, *variable.shape, *variable.strides])
            self._kept.append(shape)
            row = [0] * len(Column)
            row[Column.FUNCTION] = kernels.scatter_address(variable.dtype.name)
            row[Column.LENGTH], row[Column.VARIABLE] = variable.size, variable.ctypes.data
            row[Column.GRADIENT], row[Column.VELOCITY] = stand_in.ctypes.data, shape.ctypes.data
            self._rows.append(row)
        self._ends.append(len(self._rows))

    def _seal(self, counter: Words) -> None:
        """Turn the collected rows into the tables that compiled code reads."""
        shop = self.shop
        self.rows = table_of(program.numbered(self._rows), len(Column))
        self.ends, self.state = words_of(self._ends), np.zeros(STATE_WORDS, np.int64)
        starts, ends = shop.written()
        places, patches = self._gradients()
        self.accepted = places[:, Place.ACCEPTED]
        self.attention = np.zeros(len(self.present), np.uint64)
        tables: dict[Desk, Any] = {
            Desk.PLACES: places,
            Desk.COUNT: len(self.present),
            Desk.PATCHES: patches,
            Desk.ATTENTION: self.attention,
            Desk.STARTS: words_of([*starts, -1]),
            Desk.ENDS: words_of(ends),
            Desk.EXTENTS: len(starts),
        }
        desk = [t.ctypes.data if isinstance(t, np.ndarray) else int(t) for t in tables.values()]
        self.desk = words_of(desk)
        self._kept.append(tables)
        self._drive = program.driver()
        self._look: Callable[[int, int, int], int] = inspection.looker()
        self._set_calls(counter)

    def _gradients(self) -> tuple[Words, Words]:
        """Return the table of `Place`, and where in the program each gradient's address belongs."""
        shop, places, patches = self.shop, list[list[int]](), list[list[int]]()
        for i, array in enumerate(shop.variables.arrays):
            axes = words_of([*array.shape, *array.strides])
            self._kept.append(axes)
            place = place_of(array, order_of(array), axes.ctypes.data, self.present[i])
            place[Place.GIVEN] = id(shop.variables.given[i])
            place[Place.FIRST_PATCH] = len(patches)
            for row, offset in self._patches[i]:
                word = row * len(Column) + Column.GRADIENT
                patches.append([self.rows.ctypes.data + 8 * word, offset])
            place[Place.LAST_PATCH] = len(patches)
            places.append(list(place.values()))
        return table_of(places, len(Place)), table_of(patches, 2)

    def _set_calls(self, counter: Words) -> None:
        """Prepare the arguments of the compiled calls."""
        arrays = [a for items in self.phases for item in items for a in item.arrays.values()]
        touched = sum(a.nbytes for a in arrays)
        flush = FLUSH if self.shop.row.flushes_subnormals and HARDWARE_FLUSH else 0
        self.many = touched >= PARALLEL_BYTES and len(self._rows) > 1
        words = {
            Order.TABLE: self.rows.ctypes.data,
            Order.WIDTH: self.rows.strides[0],
            Order.STATE: self.state.ctypes.data,
            Order.ENDS: self.ends.ctypes.data,
            Order.PHASES: len(self._ends),
            Order.COUNTER: counter.ctypes.data,
            Order.MODE: flush,
        }
        self.give_orders(list(words.values()))
        self.address = self.desk.ctypes.data

    def give_orders(self, words: list[int]) -> None:
        """Set what the compiled calls are to run (`program.Order`)."""
        self.order = words_of([*words[: Order.MODE], words[Order.MODE] | ALONE])
        shared = words_of(words)
        # With what a late worker still looks at; not the plan, which would keep itself alive.
        kept, address = (shared, self.rows, self.state), shared.ctypes.data
        self._job = (program.helper(), (address,), kept) if self.many else None
        self._alone, self._shared = self.order.ctypes.data, address

    def put(self, index: int, gradient: "Array | Rows") -> None:
        """Set the gradient of a variable, as elements in the variable's order or as rows."""
        if isinstance(gradient, Rows):
            self._put_rows(index, gradient)
            return
        self.accepted[index] = 0  # first: an interrupt below must not leave rows half changed
        for row, offset in self._patches[index]:
            self.rows[row, Column.GRADIENT] = gradient.ctypes.data + offset
        self._loose[index] = gradient

    def _put_rows(self, index: int, rows: Rows) -> None:
        """Set the rows of a table that have gradients."""
        indices, sums = rows.indices, rows.sums.ctypes.data
        self._slates[index][: Slate.AXES] = indices.size, indices.ctypes.data, sums, 0
        if index in self._norms:
            self._norms[index][0] = rows.total
        self._loose[index] = rows

    def look(self, gradients: list[Any], given: list[Any] | None) -> int:
        """Check all arrays of a step; see `inspection.make_look`."""
        return self._look(id(gradients), 0 if given is None else id(given), self.address)

    def run(self) -> None:
        """Carry out the program; everything has been checked before."""
        for i, stand_in in self.shop.stand_ins.items():
            variable = self.shop.variables.arrays[i]
            np.copyto(stand_in.reshape(variable.shape), variable)
        for item, slate in self._tables:
            slate[Slate.SOURCES] = prepare(self.shop, item, self._loose)
        if self._job is not None and pool.count > 1:
            pool.offer(self._job)
            self._drive(self._shared)
        else:
            self._drive(self._alone)
        if self._loose:
            self._loose.clear()
