"""What kernels do with rows of a table that have gradients: sum them, and move them out and in.

The rows are taken out to lie together, updated by the kernels of whole variables, and put back; the
rest of the table is updated between. A slate holds what all rows of a kernel's table share.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from fastrms.cuda.columns import CLIP, FIRST, LENGTH, TABLE, VARIABLE, VELOCITY
from fastrms.cuda.elements import SIZES, computed
from fastrms.cuda.target import THREADS, fit, inline, memory, rule, word
from fastrms.rule import Function, Variant


class Slate(IntEnum):
    """The words that the rows of one gradient share."""

    WIDTH = 0
    INDICES = 1
    STARTS = 2
    ORDER = 3
    VALUES = 4
    SUMS = 5
    SQUARES = 6


_THREADS, _ONE, _ZERO = np.uint64(THREADS), np.uint64(1), np.uint64(0)
_WIDTH, _INDICES, _STARTS, _ORDER, _VALUES, _SUMS, _SQUARES = (np.uint64(n) for n in Slate)


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
    before, after, squares = part.before, part.after, part.squares
    clips, condition, fitted = after.factor or after.divisor, rule.condition, fit
    fetch, put = memory(part.dtype, 1).fetch, memory(part.summed, 1).put
    fetch_pair, size = memory(computed(part), 1).fetch, np.uint64(SIZES[part.dtype])
    pair_size, step = np.uint64(SIZES[computed(part)]), np.uint64(SIZES[part.summed])

    def value_at(place, clip, hyper):  # type: ignore[no-untyped-def]
        value = fetch(place)[0]
        value = condition(value, value, (hyper.one, hyper.one), hyper, before)
        return condition(value, value, clip, hyper, after)

    value_of = inline(value_at)

    def sums(row, first, hyper):  # type: ignore[no-untyped-def]
        length, begin, slate = word(row, LENGTH), word(row, FIRST), word(row, TABLE)
        pair, width, starts = word(row, CLIP), word(slate, _WIDTH), word(slate, _STARTS)
        order, values = word(slate, _ORDER), word(slate, _VALUES)
        clip = (hyper.one, hyper.one)
        if clips:
            clip = (fetch_pair(pair)[0], fetch_pair(pair + pair_size)[0])
        i = first
        while i < length:
            place = begin + i
            which = place // width
            column, k, end = place - which * width, word(starts, which), word(starts, which + _ONE)
            total = value_of(values + (word(order, k) * width + column) * size, clip, hyper)
            square = fitted(total * total, after)
            k += _ONE
            while k < end:
                value = value_of(values + (word(order, k) * width + column) * size, clip, hyper)
                total = fitted(total + value, after)
                square = fitted(square + fitted(value * value, after), after)
                k += _ONE
            local = fetch(values)
            local[0] = total
            put(word(slate, _SUMS) + place * step, local)
            if squares:
                local[0] = square
                put(word(slate, _SQUARES) + place * step, local)
            i += _THREADS

    return inline(sums)


def _make_move(part: Move) -> Function:
    """Write the way of some rows of a table to where they lie together, or back."""
    back, size, step = part.back, np.uint64(SIZES[part.dtype]), np.uint64(SIZES[part.apart])
    _, fetch, put = memory(part.dtype, 1)
    _, fetch_apart, put_apart = memory(part.apart, 1)

    def move(row, first, hyper):  # type: ignore[no-untyped-def]
        length, begin, slate = word(row, LENGTH), word(row, FIRST), word(row, TABLE)
        width, indices = word(slate, _WIDTH), word(slate, _INDICES)
        table, apart, i = word(row, VARIABLE), word(row, VELOCITY), first
        while i < length:
            place = begin + i
            which = place // width
            there = table + (word(indices, which) * width + place - which * width) * size
            here = apart + place * step
            if back:
                put(there, fetch_apart(here))
            else:
                put_apart(here, fetch(there))
            i += _THREADS

    return inline(move)


def make(part: Sums | Move) -> Function:
    """Write what a kernel does with a row for a part."""
    return _make_sums(part) if isinstance(part, Sums) else _make_move(part)
