"""What kernels do with a row: the update, the search for odd numbers, a lane of a sum of squares.

A row holds the words that `program.Column` names; a `Part` says which variant of the rule, on
variables and slots of which dtypes, it is for.
"""

from typing import NamedTuple

import numpy as np

from fastrms.cuda.columns import ACCUMULATOR, CLIP, GRADIENT, LENGTH, MEMBERS, VARIABLE
from fastrms.cuda.elements import BYTES, SIZES, computed
from fastrms.cuda.target import LANES, THREADS, inline, memory, rule, set_double, word
from fastrms.rule import CONDITIONING, Function, Slots, Variant, moves

_LANES, _THREADS, _ZERO = np.uint64(LANES), np.uint64(THREADS), np.uint64(0)
_ALIGNED = np.uint64(BYTES - 1)


class Part(NamedTuple):
    """What a kernel does with some rows: a variant, on variables and slots of these dtypes."""

    variant: Variant
    dtype: str
    slots: str


def _make_element(part: Part) -> Function:
    """Write what happens to one element of vectors that have been loaded."""
    variant = part.variant
    updates, accumulate, accumulated = variant.update, variant.accumulate, variant.accumulated
    centered, has_momentum, ema = variant.centered, variant.momentum, variant.ema
    conditions, partials = any(tuple(variant)[CONDITIONING]), accumulate or accumulated
    absent, squares_given, stores = variant.absent, variant.squares_given, moves(variant)
    condition, advance, average = rule.condition, rule.advance, rule.average

    def element(vectors, k, hyper, clip):  # type: ignore[no-untyped-def]
        variables, gradients, velocities, momenta, average_gradients, averages, sums = vectors
        stored = variable = variables[k]
        gradient = hyper.one - hyper.one if absent else gradients[k]
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
            square = sums[k] if squares_given else gradient
            variable, slots = advance(variable, gradient, square, slots, hyper, variant)
            velocities[k] = slots.velocity
            if has_momentum:
                momenta[k] = slots.momentum
            if centered:
                average_gradients[k] = slots.average_gradient
        if ema:
            averages[k] = average(averages[k], variable, hyper, variant)
        if not stores:
            variable = stored
        if ema and hyper.overwrite != 0:
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
    has_gradient, stores = (updates or variant.accumulate) and not variant.absent, moves(variant)
    has_sums = partials or variant.squares_given
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
        sums = fetch_slot(members[6] + slot_at) if has_sums else variables
        vectors = (variables, gradients, velocities, momenta, average_gradients, averages, sums)
        elements(vectors, 0, hyper, clip)
        if stores or ema:
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


def make_rows(part: Part) -> Function:
    """Write the update of one row by a block: 16 bytes at a time, the rest one by one."""
    count = BYTES // SIZES[part.dtype]
    wide, single, width = _make_span(part, count), _make_span(part, 1), np.uint64(count)
    clips = part.variant.factor or part.variant.divisor
    fetch, size = memory(computed(part), 1).fetch, np.uint64(SIZES[computed(part)])
    a, b, c, d, e, f, g = MEMBERS

    def rows(row, first, hyper):  # type: ignore[no-untyped-def]
        members = (
            word(row, a), word(row, b), word(row, c), word(row, d), word(row, e), word(row, f),
            word(row, g),
        )  # fmt: skip
        length, pair = word(row, LENGTH), word(row, CLIP)
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


def make_guard(part: Part) -> Function:
    """Write the search of a row's gradient for a number that is not finite; who finds one says so.

    Every thread would write the same, so that the order does not matter.
    """
    fetch, size = memory(part.dtype, 1).fetch, np.uint64(SIZES[part.dtype])

    def guard(row, first, hyper):  # type: ignore[no-untyped-def]
        length, gradients, i = word(row, LENGTH), word(row, GRADIENT), first
        while i < length:
            gradient = fetch(gradients + i * size)[0]
            if gradient - gradient != hyper.one - hyper.one:
                set_double(word(row, VARIABLE), 1.0)
            i += _THREADS

    return inline(guard)


def make_lane(part: Part) -> Function:
    """Write one lane's share of the sum of squares of a row's gradient."""
    variant, accumulated = part.variant, part.variant.accumulated
    conditions, condition = any(tuple(variant)[CONDITIONING]), rule.condition
    fetch, fetch_slot = memory(part.dtype, 1).fetch, memory(part.slots, 1).fetch
    size, slot_size = np.uint64(SIZES[part.dtype]), np.uint64(SIZES[part.slots])

    def lane(row, first, hyper):  # type: ignore[no-untyped-def]
        length, gradients = word(row, LENGTH), word(row, GRADIENT)
        accumulators, total, i = word(row, ACCUMULATOR), 0.0, first
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
