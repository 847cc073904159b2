"""What kernels do with rows of a table that have gradients: sum them, and move them out and in.

The rows are taken out to lie together, updated by the kernels of whole variables, and put back; the
rest of the table is updated between. A slate holds what all rows of a kernel's table share.
"""

from enum import IntEnum
from typing import Any, NamedTuple

from fastrms.cuda.elements import computed
from fastrms.cuda.target import THREADS, gpu
from fastrms.program import Column
from fastrms.rule import Function, Hyper, Variant


class Slate(IntEnum):
    """The words that the rows of one gradient share."""

    WIDTH = 0
    INDICES = 1
    STARTS = 2
    ORDER = 3
    VALUES = 4
    SUMS = 5
    SQUARES = 6


# What the two kernels read of a row, and the one that sums of a slate.
_SUMMED = (Column.LENGTH, Column.FIRST, Column.TABLE, Column.CLIP)
_MOVED = (*_SUMMED[:3], Column.VARIABLE, Column.VELOCITY)
_SLATE = [k for k in Slate if k != Slate.INDICES]


class Sums(NamedTuple):
    """Rows given several times are conditioned, perhaps again, and summed, perhaps squared too."""

    before: Variant
    after: Variant
    squares: bool
    dtype: str
    summed: str  # the dtype of the sums


class Move(NamedTuple):
    """Rows of a table are taken out, perhaps as wider numbers, or put back."""

    back: bool
    dtype: str
    apart: str  # their dtype where they lie together


class Total(NamedTuple):
    """The sums of squares of a gradient's chunks become one."""

    dtype: str


def _make_sums(part: Sums) -> Function:
    """Write the sums of the values that belong to one row, in the order given."""
    before, after, condition = part.before, part.after, gpu.rule.condition
    clips, fit = after.factor or after.divisor, gpu.fit
    fetch, put = gpu.memory(part.dtype, 1).fetch, gpu.memory(part.summed, 1).put
    fetch_pair = gpu.memory(computed(part), 1).fetch

    def value_at(values: Any, place: Any, clip: Any, hyper: Hyper) -> Any:
        value = fetch(values, place)[0]
        value = condition(value, value, (hyper.one, hyper.one), hyper, before)
        return condition(value, value, clip, hyper, after)

    def sums(grid: Any, row: Any, first: Any, hyper: Hyper) -> None:
        length, begin, slate, pair = (gpu.word(row, column) for column in _SUMMED)
        width, starts, order, values, totals, squares = (gpu.word(slate, k) for k in _SLATE)
        clip = (fetch_pair(pair, 0)[0], fetch_pair(pair, 1)[0]) if clips else (hyper.one,) * 2
        for i in gpu.spread(first, length, THREADS):
            place = begin + i
            which = place // width
            column = place - which * width
            k, end = gpu.word(starts, which), gpu.word(starts, which + 1)
            value = value_at(values, gpu.word(order, k) * width + column, clip, hyper)
            total, square = grid.cell(value), grid.cell(fit(value * value, after))
            for again in gpu.spread(k + 1, end, 1):
                value = value_at(values, gpu.word(order, again) * width + column, clip, hyper)
                total[0] = fit(total[0] + value, after)
                square[0] = fit(square[0] + fit(value * value, after), after)
            put(totals, place, [total[0]])
            if part.squares:
                put(squares, place, [square[0]])

    return sums


def _make_move(part: Move) -> Function:
    """Write the way of some rows of a table to where they lie together, or back."""
    whole, apart = gpu.memory(part.dtype, 1), gpu.memory(part.apart, 1)

    def move(grid: Any, row: Any, first: Any, hyper: Hyper) -> None:
        length, begin, slate, table, together = (gpu.word(row, column) for column in _MOVED)
        width, indices = gpu.word(slate, Slate.WIDTH), gpu.word(slate, Slate.INDICES)
        for i in gpu.spread(first, length, THREADS):
            place = begin + i
            which = place // width
            there = gpu.word(indices, which) * width + place - which * width
            if part.back:
                whole.put(table, there, apart.fetch(together, place))
            else:
                apart.put(together, place, whole.fetch(table, there))

    return move


def make(part: Sums | Move) -> Function:
    """Write what a kernel does with a row for a part."""
    return _make_sums(part) if isinstance(part, Sums) else _make_move(part)
