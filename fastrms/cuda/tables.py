"""What kernels do with rows of a table that have gradients: sum them, and move them out and in.

The rows are taken out to lie together, updated by the kernels of whole variables, and put back; the
rest of the table is updated between. A slate holds what all rows of a kernel's table share.
"""

from enum import IntEnum
from typing import Any, NamedTuple

from fastrms.cuda.elements import computed
from fastrms.cuda.parts import MEMBERS, Part, make_span
from fastrms.cuda.target import THREADS, gpu
from fastrms.program import Column
from fastrms.rule import Function, Hyper, Slots, Variant


class Slate(IntEnum):
    """The words that the rows of one gradient share."""

    WIDTH = 0
    INDICES = 1
    STARTS = 2
    ORDER = 3
    VALUES = 4
    SUMS = 5


# What the two kernels read of a row, and the one that sums of a slate.
_SUMMED = (Column.LENGTH, Column.FIRST, Column.TABLE, Column.CLIP)
_MOVED = (*_SUMMED[:3], Column.VARIABLE, Column.VELOCITY)
_SLATE = [k for k in Slate if k != Slate.INDICES]
_ORDERED = (Slate.WIDTH, Slate.STARTS, Slate.SUMS)


class Sums(NamedTuple):
    """Rows given several times are conditioned, perhaps again, and summed, or put in order."""

    before: Variant
    after: Variant
    apart: bool  # whether each value stays by itself
    dtype: str
    summed: str  # the dtype of the sums


class Turns(NamedTuple):
    """Rows that lie together are updated, each value of a row making its step by itself."""

    variant: Variant
    dtype: str


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
        width, starts, order, values, totals = (gpu.word(slate, k) for k in _SLATE)
        clip = (fetch_pair(pair, 0)[0], fetch_pair(pair, 1)[0]) if clips else (hyper.one,) * 2
        for i in gpu.spread(first, length, THREADS):
            place = begin + i
            which = place // width
            column = place - which * width
            k = which if part.apart else gpu.word(starts, which)
            end = k + 1 if part.apart else gpu.word(starts, which + 1)
            value = value_at(values, gpu.word(order, k) * width + column, clip, hyper)
            total = grid.cell(value)
            for again in gpu.spread(k + 1, end, 1):
                value = value_at(values, gpu.word(order, again) * width + column, clip, hyper)
                total[0] = fit(total[0] + value, after)
            put(totals, place, [total[0]])

    return sums


def _make_turn(part: Turns) -> Function:
    """Write the update of one element of a row by the values that the row was given."""
    variant, rule, fetch = part.variant, gpu.rule, gpu.memory(part.dtype, 1).fetch

    def turn(vectors: Any, k: int, hyper: Hyper, given: Any) -> None:
        variables, _, velocities, momenta, average_gradients, averages, _ = vectors
        grid, values, first, end, stride = given
        value = fetch(values, first)[0]
        square, sample = map(grid.cell, rule.shares(value, hyper, variant))
        for place in gpu.spread(first + stride, end, stride):
            more = rule.shares(fetch(values, place)[0], hyper, variant)
            square[0] = gpu.fit(square[0] + more[0], variant)
            sample[0] = gpu.fit(sample[0] + more[1], variant)
        slots = Slots(velocities[k], momenta[k], average_gradients[k])
        variable, shares = gpu.fit(variables[k], variant), (square[0], sample[0])
        variable, slots, spread = rule.settle(variable, shares, slots, hyper, variant)
        moved, change = map(grid.cell, (variable, rule.step(value, spread, hyper, variant)))
        for place in gpu.spread(first + stride, end, stride):
            following = rule.step(fetch(values, place)[0], spread, hyper, variant)
            if variant.momentum:
                following = gpu.fit(change[0] + following, variant)
            else:
                moved[0] = rule.move(moved[0], change[0], value, hyper, variant)[0]
            change[0] = following
        variable, momentum = rule.move(moved[0], change[0], slots.momentum, hyper, variant)
        velocities[k] = slots.velocity
        if variant.momentum:
            momenta[k] = momentum
        if variant.centered:
            average_gradients[k] = slots.average_gradient
        if variant.ema:
            averages[k] = rule.average(averages[k], variable, hyper, variant)
            variable = gpu.choose(hyper.overwrite != 0, averages[k], variable)
        variables[k] = variable

    return turn


def _make_turns(part: Turns) -> Function:
    """Write the update of rows that lie together, each value of a row making its own step."""
    held = Part(part.variant._replace(absent=True), part.dtype, part.dtype)
    span = make_span(held, 1, _make_turn(part))

    def turns(grid: Any, row: Any, first: Any, hyper: Hyper) -> None:
        length, begin, slate = (gpu.word(row, column) for column in _SUMMED[:3])
        width, starts, values = (gpu.word(slate, k) for k in _ORDERED)
        members = [gpu.word(row, member) for member in MEMBERS]
        for i in gpu.spread(first, length, THREADS):
            place = begin + i
            which = place // width
            start, end = (gpu.word(starts, k) * width for k in (which, which + 1))
            given = grid, values, start + place - which * width, end, width
            span(members, place, hyper, given)

    return turns


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


def make(part: Sums | Turns | Move) -> Function:
    """Write what a kernel does with a row for a part."""
    if isinstance(part, Turns):
        return _make_turns(part)
    return _make_sums(part) if isinstance(part, Sums) else _make_move(part)
