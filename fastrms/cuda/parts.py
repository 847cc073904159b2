"""What kernels do with a row: the update, the search for odd numbers, a lane of a sum of squares.

A row holds the words that `program.Column` names; a `Part` says which variant of the rule, on
variables and slots of which dtypes, it is for.
"""

import functools
import operator
from typing import Any, NamedTuple

from fastrms.cuda.elements import BYTES, SIZES, computed
from fastrms.cuda.target import LANES, THREADS, gpu
from fastrms.program import Column
from fastrms.rule import CONDITIONING, Function, Hyper, Slots, Variant, moves

MEMBERS = [Column(k) for k in range(Column.VARIABLE, Column.ACCUMULATOR + 1)]


class Part(NamedTuple):
    """What a kernel does with some rows: a variant, on variables and slots of these dtypes."""

    variant: Variant
    dtype: str
    slots: str


def _make_element(part: Part) -> Function:
    """Write what happens to one element of vectors that have been loaded."""
    variant, rule = part.variant, gpu.rule
    conditions, partials = (
        any(tuple(variant)[CONDITIONING]),
        variant.accumulate or variant.accumulated,
    )

    def element(vectors: Any, k: int, hyper: Hyper, clip: Any) -> None:
        variables, gradients, velocities, momenta, average_gradients, averages, sums = vectors
        stored = variable = variables[k]
        gradient = hyper.one - hyper.one if variant.absent else gradients[k]
        if conditions:
            partial = sums[k] if partials else gradient
            gradient = rule.condition(gradient, partial, clip, hyper, variant)
        if variant.accumulate:
            sums[k] = gradient
        if variant.accumulated:
            sums[k] = hyper.one - hyper.one
        if variant.update:
            slots = Slots(
                velocities[k],
                momenta[k] if variant.momentum else gradient,
                average_gradients[k] if variant.centered else gradient,
            )
            variable, slots = rule.advance(variable, gradient, slots, hyper, variant)
            velocities[k] = slots.velocity
            if variant.momentum:
                momenta[k] = slots.momentum
            if variant.centered:
                average_gradients[k] = slots.average_gradient
        if variant.ema:
            averages[k] = rule.average(averages[k], variable, hyper, variant)
        if not moves(variant):
            variable = stored
        if variant.ema:
            variable = gpu.choose(hyper.overwrite != 0, averages[k], variable)
        variables[k] = variable

    return element


def make_span(part: Part, width: int, element: Function) -> Function:
    """Write the update of `width` neighbours; members that the variant lacks are not touched."""
    variant = part.variant
    updates, partials = variant.update, variant.accumulate or variant.accumulated
    plain, slots = gpu.memory(part.dtype, width), gpu.memory(part.slots, width)
    # In the order of the members: how each is stored, whether it is read, whether it is written.
    used = (
        (plain, True, moves(variant) or variant.ema),
        (plain, (updates or variant.accumulate) and not variant.absent, False),
        (slots, updates, updates),
        (slots, variant.momentum, variant.momentum),
        (slots, variant.centered, variant.centered),
        (slots, variant.ema, variant.ema),
        (slots, partials, partials),
    )

    def span(members: Any, first: Any, hyper: Hyper, clip: Any) -> None:
        vectors: list[Any] = []
        for base, (form, reads, _) in zip(members, used, strict=True):
            # What the variant lacks is never looked at.
            vectors.append(form.fetch(base, first) if reads else vectors[0])
        for k in range(width):
            element(vectors, k, hyper, clip)
        for base, values, (form, _, writes) in zip(members, vectors, used, strict=True):
            if writes:
                form.put(base, first, values)

    return span


def make_rows(part: Part) -> Function:
    """Write the update of one row by a block: 16 bytes at a time, the rest one by one."""
    width, variant = BYTES // SIZES[part.dtype], part.variant
    wide, single = (make_span(part, count, _make_element(part)) for count in (width, 1))
    clips, fetch = variant.factor or variant.divisor, gpu.memory(computed(part), 1).fetch

    def rows(grid: Any, row: Any, first: Any, hyper: Hyper) -> None:
        members = [gpu.word(row, member) for member in MEMBERS]
        length, pair = gpu.word(row, Column.LENGTH), gpu.word(row, Column.CLIP)
        clip = (fetch(pair, 0)[0], fetch(pair, 1)[0]) if clips else (hyper.one, hyper.one)
        aligned = functools.reduce(operator.or_, members) % BYTES == 0
        vectors = gpu.choose(aligned, length // width, 0)
        for i in gpu.spread(first, vectors, THREADS):
            wide(members, i * width, hyper, clip)
        for i in gpu.spread(vectors * width + first, length, THREADS):
            single(members, i, hyper, clip)

    return rows


def make_guard(part: Part) -> Function:
    """Write the search of a row's gradient for a number that is not finite; who finds one says so.

    Every thread would write the same, so that the order does not matter.
    """
    fetch, put = gpu.memory(part.dtype, 1).fetch, gpu.memory("float64", 1).put

    def guard(grid: Any, row: Any, first: Any, hyper: Hyper) -> None:
        length, gradients = gpu.word(row, Column.LENGTH), gpu.word(row, Column.GRADIENT)
        for i in gpu.spread(first, length, THREADS):
            gradient = fetch(gradients, i)[0]
            for _ in gpu.when(gradient - gradient != 0):
                put(gpu.word(row, Column.VARIABLE), 0, [gpu.cast(hyper.one, "float64")])

    return guard


def make_lane(part: Part) -> Function:
    """Write one lane's share of the sum of squares of a row's gradient."""
    variant, conditions = part.variant, any(tuple(part.variant)[CONDITIONING])
    fetch, fetch_slot = gpu.memory(part.dtype, 1).fetch, gpu.memory(part.slots, 1).fetch

    def lane(grid: Any, row: Any, first: Any, hyper: Hyper, total: Any) -> None:
        length, gradients = gpu.word(row, Column.LENGTH), gpu.word(row, Column.GRADIENT)
        accumulators = gpu.word(row, Column.ACCUMULATOR)
        for i in gpu.spread(first, length, LANES):
            gradient = fetch(gradients, i)[0]
            if conditions:
                partial = fetch_slot(accumulators, i)[0] if variant.accumulated else gradient
                clip = (hyper.one, hyper.one)
                gradient = gpu.rule.condition(gradient, partial, clip, hyper, variant)
            wide = gpu.cast(gradient, "float64")
            total[0] = total[0] + wide * wide

    return lane
