"""The kernels: rows of a table, each a piece of one variable, and what is done with them.

A row's first word says which of the kernel's parts it is for. A kernel is composed for the parts
that a step has, so that a step over any mixture of them is one launch. Sums of squares have the
CPU's order: a warp's threads are the 32 lanes, added as a tree, and the sums of chunks are added
one after the other.
"""

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from fastrms.cuda.columns import GRADIENT, LENGTH, VARIABLE, VELOCITY
from fastrms.cuda.elements import SIZES, computed
from fastrms.cuda.parts import Part, make_guard, make_lane, make_rows
from fastrms.cuda.tables import Total, make
from fastrms.cuda.target import (
    LANES,
    THREADS,
    WARPS,
    cuda,
    double_at,
    fit,
    inline,
    memory,
    rule,
    set_double,
    word,
)
from fastrms.program import Column
from fastrms.rule import EACH, Function

COLUMNS, _BLOCK = len(Column), WARPS * LANES
_ROW_BYTES, _LANES, _THREADS, _WARPS, _ONE, _ZERO = (
    np.uint64(n) for n in (8 * COLUMNS, LANES, THREADS, WARPS, 1, 0)
)


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


def _add_up(sums, count, first):  # type: ignore[no-untyped-def]
    """Add numbers one after the other; the first thread gets the sum."""
    shared = cuda.shared.array(THREADS, np.float64)
    begin, total = _ZERO, 0.0
    while begin < count:
        if begin + first < count:
            shared[first] = double_at(sums, begin + first)
        cuda.syncthreads()
        if first == _ZERO:
            k = _ZERO
            while k < _THREADS and begin + k < count:
                total += shared[k]
                k += _ONE
        cuda.syncthreads()
        begin += _THREADS
    return total


add_up = inline(_add_up)


def _make_total(part: Total) -> Function:
    """Write how the sums of a row's chunks become one."""

    def total(row, first, hyper):  # type: ignore[no-untyped-def]
        found = add_up(word(row, GRADIENT), word(row, LENGTH), first)
        if first == _ZERO:
            set_double(word(row, VARIABLE), found)

    return inline(total)


def _make_clips(part: Part, kind: int) -> Function:
    """Write how the sums of chunks become the factor and the divisor of each variable."""
    variant, spans_all, clip_pair = part.variant, kind != EACH, rule.clip
    fit_norm, one_number = fit, np.float64 if computed(part) == "float64" else np.float32
    _, fetch, put = memory(computed(part), 1)
    size = np.uint64(SIZES[computed(part)])

    def write_pair(place, total, hyper):  # type: ignore[no-untyped-def]
        norm = fit_norm(one_number(math.sqrt(total)), variant)
        factor, divisor = clip_pair(norm, hyper.clipnorm, hyper.one, kind, variant)
        local = fetch(place)
        local[0] = factor
        put(place, local)
        local[0] = divisor
        put(place + size, local)

    write = inline(write_pair)

    def clips(row, first, hyper):  # type: ignore[no-untyped-def]
        members, sums = word(row, LENGTH), word(row, VARIABLE)
        starts, pairs = word(row, GRADIENT), word(row, VELOCITY)
        if spans_all:
            total = add_up(sums, word(starts, members), first)
            if first == _ZERO:
                write(pairs, total, hyper)
        else:
            i = first
            while i < members:
                total, k = 0.0, word(starts, i)
                while k < word(starts, i + _ONE):
                    total += double_at(sums, k)
                    k += _ONE
                write(pairs + (i + i) * size, total, hyper)
                i += _THREADS

    return inline(clips)


def _chain(functions: list[Function], places: tuple[int, ...]) -> Function:
    """Write the choice of a part by its number, with the numbers of its dtype."""
    head, place, number = functions[0], places[0], np.uint64(len(functions))
    if len(functions) == 1:

        def only(which, row, first, hypers):  # type: ignore[no-untyped-def]
            return head(row, first, hypers[place])

        return inline(only)
    rest = _chain(functions[1:], places[1:])

    def chosen(which, row, first, hypers):  # type: ignore[no-untyped-def]
        if which == number:
            return head(row, first, hypers[place])
        return rest(which, row, first, hypers)

    return inline(chosen)


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
    choose = _chain([made(part) for part in shape.parts], shape.places)

    def kernel(table, rows, hypers):  # type: ignore[no-untyped-def]
        row = table + np.uint64(cuda.blockIdx.x) * _ROW_BYTES
        choose(word(row, _ZERO), row, np.uint64(cuda.threadIdx.x), hypers)

    return kernel


def _make_squares(shape: Shape) -> Function:
    """Write the kernel whose warps take a row each and sum squares as the CPU does."""
    choose = _chain([make_lane(part) for part in shape.parts], shape.places)

    def kernel(table, rows, hypers):  # type: ignore[no-untyped-def]
        shared = cuda.shared.array(_BLOCK, np.float64)
        thread = np.uint64(cuda.threadIdx.x)
        index, lane = np.uint64(cuda.blockIdx.x) * _WARPS + thread // _LANES, thread % _LANES
        row, total = table + index * _ROW_BYTES, 0.0
        if index < rows:
            total = choose(word(row, _ZERO), row, lane, hypers)
        shared[thread] = total
        cuda.syncthreads()
        width = _LANES >> _ONE
        while width > _ZERO:
            if lane < width:
                shared[thread] += shared[thread + width]
            cuda.syncthreads()
            width = width >> _ONE
        if lane == _ZERO and index < rows:
            set_double(word(row, VARIABLE), shared[thread])

    return kernel


@functools.cache
def kernel(shape: Shape) -> Function:
    """Write a kernel."""
    return _make_squares(shape) if shape.kind == "squares" else _make_plain(shape)


def blocks(kind: str, rows: int) -> tuple[int, int]:
    """Return how many blocks a kernel needs for so many rows, and the threads of each."""
    return (-(-rows // WARPS), WARPS * LANES) if kind == "squares" else (rows, THREADS)
