"""The kernels: rows of a table, each a piece of one variable, and what is done with them.

A row's first word says which of the kernel's parts it is for. A kernel is composed for the parts
that a step has, so that a step over any mixture of them is one launch. Sums of squares have the
CPU's order: a warp's threads are the 32 lanes, added as a tree, and the sums of chunks are added
one after the other.
"""

import functools
from typing import Any, NamedTuple

from fastrms.cuda.elements import computed
from fastrms.cuda.parts import Part, make_guard, make_lane, make_rows
from fastrms.cuda.tables import Total, make
from fastrms.cuda.target import LANES, THREADS, WARPS, gpu
from fastrms.program import Column
from fastrms.rule import EACH, Function, Hyper

COLUMNS, _BLOCK = len(Column), WARPS * LANES
_DOUBLES = gpu.memory("float64", 1)


class Shape(NamedTuple):
    """All that a kernel is made from: its kind, its parts, where each finds its numbers."""

    kind: str
    parts: tuple[Any, ...]
    places: tuple[int, ...]
    norm: int = 0

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes of the numbers, in the order of the kernel's parameters."""
        found = dict(zip(self.places, (computed(part) for part in self.parts), strict=True))
        return tuple(found[k] for k in sorted(found))


def _add_up(grid: Any, sums: Any, count: Any, first: Any) -> Any:
    """Add numbers one after the other; the first thread gets the sum."""
    shared, total = grid.shared(THREADS), grid.cell(0.0)
    for begin in gpu.spread(0, count, THREADS):
        for _ in gpu.when(begin + first < count):
            shared[first] = _DOUBLES.fetch(sums, begin + first)[0]
        grid.barrier()
        for _ in gpu.when(first == 0):
            rest = count - begin
            for k in gpu.spread(0, gpu.choose(rest < THREADS, rest, THREADS), 1):
                total[0] = total[0] + shared[k]
        grid.barrier()
    return total[0]


def _make_total(part: Total) -> Function:
    """Write how the sums of a row's chunks become one."""

    def total(grid: Any, row: Any, first: Any, hyper: Hyper) -> None:
        found = _add_up(grid, gpu.word(row, Column.GRADIENT), gpu.word(row, Column.LENGTH), first)
        for _ in gpu.when(first == 0):
            _DOUBLES.put(gpu.word(row, Column.VARIABLE), 0, [found])

    return total


def _make_clips(part: Part, kind: int) -> Function:
    """Write how the sums of chunks become the factor and the divisor of each variable."""
    variant, dtype = part.variant, computed(part)
    put = gpu.memory(dtype, 1).put

    def write(pairs: Any, index: Any, total: Any, hyper: Hyper) -> None:
        norm = gpu.fit(gpu.cast(gpu.sqrt(total), dtype), variant)
        numbers = hyper.clipnorm, hyper.inverse_clipnorm, hyper.one
        factor, divisor = gpu.clip_pair(norm, *numbers, kind, variant)
        put(pairs, index + index, [factor])
        put(pairs, index + index + 1, [divisor])

    def clips(grid: Any, row: Any, first: Any, hyper: Hyper) -> None:
        members, sums = gpu.word(row, Column.LENGTH), gpu.word(row, Column.VARIABLE)
        starts, pairs = gpu.word(row, Column.GRADIENT), gpu.word(row, Column.VELOCITY)
        if kind != EACH:
            total = _add_up(grid, sums, gpu.word(starts, members), first)
            for _ in gpu.when(first == 0):
                write(pairs, 0, total, hyper)
            return
        for i in gpu.spread(first, members, THREADS):
            each = grid.cell(0.0)
            for k in gpu.spread(gpu.word(starts, i), gpu.word(starts, i + 1), 1):
                each[0] = each[0] + _DOUBLES.fetch(sums, k)[0]
            write(pairs, i, each[0], hyper)

    return clips


def _chain(functions: list[Function], places: tuple[int, ...]) -> Function:
    """Write the choice of a part by its number, with the numbers of its dtype."""
    several = len(functions) > 1

    def chosen(grid: Any, row: Any, first: Any, hypers: Any, *more: Any) -> None:
        which = gpu.word(row, 0)
        for k, (function, place) in enumerate(zip(functions, places, strict=True)):
            mine = which == number_of(k, len(functions))
            for _ in gpu.when(mine) if several else [None]:
                function(grid, row, first, hypers[place], *more)

    return chosen


def number_of(part: int, parts: int) -> int:
    """Return the number by which a row names its part."""
    return parts - part


def _make_plain(shape: Shape) -> Function:
    """Write the kernel whose blocks take a row each: updates, or norms to factors."""
    makers: dict[str, Function] = {
        "update": make_rows,
        "guard": make_guard,
        "clips": functools.partial(_make_clips, kind=shape.norm),
        "table": make,
        "totals": _make_total,
    }
    made = makers[shape.kind]
    chosen = _chain([made(part) for part in shape.parts], shape.places)

    def kernel(grid: Any, table: Any, rows: Any, hypers: Any) -> None:
        chosen(grid, table + grid.block * (8 * COLUMNS), grid.thread, hypers)

    return kernel


def _make_squares(shape: Shape) -> Function:
    """Write the kernel whose warps take a row each and sum squares as the CPU does."""
    chosen = _chain([make_lane(part) for part in shape.parts], shape.places)
    widths = [LANES >> k for k in range(1, LANES.bit_length())]

    def kernel(grid: Any, table: Any, rows: Any, hypers: Any) -> None:
        shared, thread, total = grid.shared(_BLOCK), grid.thread, grid.cell(0.0)
        index, lane = grid.block * WARPS + thread // LANES, thread % LANES
        row = table + index * (8 * COLUMNS)
        for _ in gpu.when(index < rows):
            chosen(grid, row, lane, hypers, total)
        shared[thread] = total[0]
        grid.barrier()
        for width in widths:
            for _ in gpu.when(lane < width):
                shared[thread] = shared[thread] + shared[thread + width]
            grid.barrier()
        for _ in gpu.when((lane == 0) & (index < rows)):
            _DOUBLES.put(gpu.word(row, Column.VARIABLE), 0, [shared[thread]])

    return kernel


@functools.cache
def kernel(shape: Shape) -> Function:
    """Write a kernel."""
    made = _make_squares(shape) if shape.kind == "squares" else _make_plain(shape)
    made.__name__ = f"fastrms_{shape.kind}"
    return made


def blocks(kind: str, rows: int) -> tuple[int, int]:
    """Return how many blocks a kernel needs for so many rows, and the threads of each."""
    return (-(-rows // WARPS), WARPS * LANES) if kind == "squares" else (rows, THREADS)
