"""The kernels: rows of a table, each a piece of one variable, and what is done with them.

A row holds the words that `program.Column` names; its first says which of the kernel's parts
(variant and dtype) it is for. A kernel is composed for the parts that a step has, so that a step
over any mixture of them is one launch. Sums of squares have the CPU's order: a warp's threads are
the 32 lanes, added as a tree, and the sums of chunks are added one after the other.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

from fastrms.cuda.elements import BYTES, SIZES
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
from fastrms.rule import CONDITIONING, EACH, Function, Slots, Variant

COLUMNS, _BLOCK = len(Column), WARPS * LANES
_ROW_BYTES, _LANES, _THREADS, _WARPS, _ONE, _ZERO = (
    np.uint64(n) for n in (8 * COLUMNS, LANES, THREADS, WARPS, 1, 0)
)
_ALIGNED = np.uint64(BYTES - 1)
_LENGTH, _VARIABLE, _GRADIENT, _VELOCITY, _ACCUMULATOR, _CLIP = (
    np.uint64(column)
    for column in (
        Column.LENGTH,
        Column.VARIABLE,
        Column.GRADIENT,
        Column.VELOCITY,
        Column.ACCUMULATOR,
        Column.CLIP,
    )
)
_MEMBERS = tuple(np.uint64(c) for c in range(Column.VARIABLE, Column.ACCUMULATOR + 1))


class Part(NamedTuple):
    """What a kernel does with some rows: a variant, on variables and slots of these dtypes."""

    variant: Variant
    dtype: str
    slots: str

    @property
    def computed(self) -> str:
        """The dtype in which the numbers of a step are passed."""
        return "float64" if self.dtype == "float64" else "float32"


class Shape(NamedTuple):
    """All that a kernel is made from: its kind, its parts, where each finds its numbers."""

    kind: str
    parts: tuple[Part, ...]
    places: tuple[int, ...]
    norm: int = 0

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes of the numbers, in the order of the kernel's parameters."""
        found = dict(zip(self.places, (part.computed for part in self.parts), strict=True))
        return tuple(found[k] for k in sorted(found))


def _make_element(part: Part) -> Function:
    """Write what happens to one element of vectors that have been loaded."""
    variant = part.variant
    updates, accumulate, accumulated = variant.update, variant.accumulate, variant.accumulated
    centered, has_momentum, ema = variant.centered, variant.momentum, variant.ema
    conditions, partials = any(tuple(variant)[CONDITIONING]), accumulate or accumulated
    condition, update, average = rule.condition, rule.update, rule.average

    def element(vectors, k, hyper, clip):  # type: ignore[no-untyped-def]
        variables, gradients, velocities, momenta, average_gradients, averages, sums = vectors
        variable, gradient = variables[k], gradients[k]
        if conditions:
            partial = sums[k] if partials else gradient
            gradient = condition(gradient, partial, clip, hyper, variant)
        if accumulate:
            sums[k] = gradient
        if accumulated:
            sums[k] = hyper.one - hyper.one
        if updates:
            slots = Slots(
                velocities[k],
                momenta[k] if has_momentum else gradient,
                average_gradients[k] if centered else gradient,
            )
            variable, slots = update(variable, gradient, slots, hyper, variant)
            velocities[k] = slots.velocity
            if has_momentum:
                momenta[k] = slots.momentum
            if centered:
                average_gradients[k] = slots.average_gradient
        if ema:
            averages[k] = average(averages[k], variable, hyper, variant)
            if hyper.overwrite != 0:
                variable = averages[k]
        variables[k] = variable

    return inline(element)


def _repeated(element: Function, width: int) -> Function:
    """Write out the repetitions: what a compiler leaves as a loop keeps vectors in local memory."""
    if width == 1:
        return element
    half, distance = _repeated(element, width // 2), width // 2

    def both(vectors, k, hyper, clip):  # type: ignore[no-untyped-def]
        half(vectors, k, hyper, clip)
        half(vectors, k + distance, hyper, clip)

    return inline(both)


def _make_span(part: Part, width: int) -> Function:
    """Write the update of `width` neighbours; members that the variant lacks are not touched."""
    variant, elements = part.variant, _repeated(_make_element(part), width)
    updates, partials = variant.update, variant.accumulate or variant.accumulated
    centered, has_momentum, ema = variant.centered, variant.momentum, variant.ema
    has_gradient = updates or variant.accumulate
    _, fetch, put = memory(part.dtype, width)
    _, fetch_slot, put_slot = memory(part.slots, width)
    size, slot_size = np.uint64(SIZES[part.dtype]), np.uint64(SIZES[part.slots])

    def span(members, first, hyper, clip):  # type: ignore[no-untyped-def]
        at, slot_at = first * size, first * slot_size
        variables = fetch(members[0] + at)
        gradients = fetch(members[1] + at) if has_gradient else variables
        velocities = fetch_slot(members[2] + slot_at) if updates else variables
        momenta = fetch_slot(members[3] + slot_at) if has_momentum else variables
        average_gradients = fetch_slot(members[4] + slot_at) if centered else variables
        averages = fetch_slot(members[5] + slot_at) if ema else variables
        sums = fetch_slot(members[6] + slot_at) if partials else variables
        vectors = (variables, gradients, velocities, momenta, average_gradients, averages, sums)
        elements(vectors, 0, hyper, clip)
        if updates or ema:
            put(members[0] + at, variables)
        if updates:
            put_slot(members[2] + slot_at, velocities)
        if has_momentum:
            put_slot(members[3] + slot_at, momenta)
        if centered:
            put_slot(members[4] + slot_at, average_gradients)
        if ema:
            put_slot(members[5] + slot_at, averages)
        if partials:
            put_slot(members[6] + slot_at, sums)

    return inline(span)


def _make_rows(part: Part) -> Function:
    """Write the update of one row by a block: 16 bytes at a time, the rest one by one."""
    count = BYTES // SIZES[part.dtype]
    wide, single, width = _make_span(part, count), _make_span(part, 1), np.uint64(count)
    clips = part.variant.factor or part.variant.divisor
    fetch, size = memory(part.computed, 1).fetch, np.uint64(SIZES[part.computed])
    a, b, c, d, e, f, g = _MEMBERS

    def rows(row, first, hyper):  # type: ignore[no-untyped-def]
        members = (
            word(row, a), word(row, b), word(row, c), word(row, d), word(row, e), word(row, f),
            word(row, g),
        )  # fmt: skip
        length, pair = word(row, _LENGTH), word(row, _CLIP)
        clip = (fetch(pair)[0], fetch(pair + size)[0]) if clips else (hyper.one, hyper.one)
        mixed = members[0] | members[1] | members[2] | members[3] | members[4] | members[5]
        vectors = length // width if (mixed | members[6]) & _ALIGNED == _ZERO else _ZERO
        i = first
        while i < vectors:
            wide(members, i * width, hyper, clip)
            i += _THREADS
        i = vectors * width + first
        while i < length:
            single(members, i, hyper, clip)
            i += _THREADS

    return inline(rows)


def _make_lane(part: Part) -> Function:
    """Write one lane's share of the sum of squares of a row's gradient."""
    variant, accumulated = part.variant, part.variant.accumulated
    conditions, condition = any(tuple(variant)[CONDITIONING]), rule.condition
    fetch, fetch_slot = memory(part.dtype, 1).fetch, memory(part.slots, 1).fetch
    size, slot_size = np.uint64(SIZES[part.dtype]), np.uint64(SIZES[part.slots])

    def lane(row, first, hyper):  # type: ignore[no-untyped-def]
        length, gradients = word(row, _LENGTH), word(row, _GRADIENT)
        accumulators, total, i = word(row, _ACCUMULATOR), 0.0, first
        while i < length:
            gradient = fetch(gradients + i * size)[0]
            if conditions:
                partial = fetch_slot(accumulators + i * slot_size)[0] if accumulated else gradient
                gradient = condition(gradient, partial, (hyper.one, hyper.one), hyper, variant)
            wide = np.float64(gradient)
            total += wide * wide
            i += _LANES
        return total

    return inline(lane)


def _make_clips(part: Part, kind: int) -> Function:
    """Write how the sums of chunks become the factor and the divisor of each variable."""
    variant, spans_all, clip_pair = part.variant, kind != EACH, rule.clip
    fit_norm, one_number = fit, np.float64 if part.computed == "float64" else np.float32
    _, fetch, put = memory(part.computed, 1)
    size = np.uint64(SIZES[part.computed])

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
        shared = cuda.shared.array(THREADS, np.float64)
        members, sums = word(row, _LENGTH), word(row, _VARIABLE)
        starts, pairs = word(row, _GRADIENT), word(row, _VELOCITY)
        if spans_all:
            count, begin, total = word(starts, members), _ZERO, 0.0
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
    make = _make_rows if shape.kind == "update" else functools.partial(_make_clips, kind=shape.norm)
    choose = _chain([make(part) for part in shape.parts], shape.places)

    def kernel(table, rows, hypers):  # type: ignore[no-untyped-def]
        row = table + np.uint64(cuda.blockIdx.x) * _ROW_BYTES
        choose(word(row, _ZERO), row, np.uint64(cuda.threadIdx.x), hypers)

    return kernel


def _make_squares(shape: Shape) -> Function:
    """Write the kernel whose warps take a row each and sum squares as the CPU does."""
    choose = _chain([_make_lane(part) for part in shape.parts], shape.places)

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
            set_double(word(row, _VARIABLE), shared[thread])

    return kernel


@functools.cache
def kernel(shape: Shape) -> Function:
    """Write a kernel."""
    return _make_squares(shape) if shape.kind == "squares" else _make_plain(shape)


def blocks(kind: str, rows: int) -> tuple[int, int]:
    """Return how many blocks a kernel needs for so many rows, and the threads of each."""
    return (-(-rows // WARPS), WARPS * LANES) if kind == "squares" else (rows, THREADS)
