"""The rule compiled for the CPU, and the loops around it that the rows of a program name.

Each loop is a C function `(row, numbers, like)`: addresses and a length (`program.Column`), the
numbers of the step (`rule.Hyper`), and a null pointer whose type says how elements are stored.
Every loop closes over `stamp`, a digest of the compiled sources: Numba's disk cache does not see
edits in other files. Absent arrays are never touched.
"""

import functools
import math
from typing import Any

import numpy as np
from numba import njit, types

from fastrms import compiling
from fastrms.elements import (
    BLOCK,
    LANES,
    TILE,
    add_squares,
    doubles,
    fit,
    hyper_of,
    narrow,
    pointer,
    round_to,
    scratch,
    smaller,
    soon,
    widen,
)
from fastrms.program import words
from fastrms.rule import CONDITIONING, Function, Slots, Variant, make_rule

_INLINE: dict[str, Any] = {**compiling.INNER, "forceinline": True}

rule = make_rule(math.sqrt, fit, smaller, njit(**_INLINE))
condition, update, average, clip_pair = rule


def make_loop(variant: Variant, stamp: str) -> Function:
    """Write the loop over one row of a program (`program.Column` names its members)."""
    updates, accumulate, accumulated = variant.update, variant.accumulate, variant.accumulated
    centered, has_momentum, ema = variant.centered, variant.momentum, variant.ema
    clips, conditions = variant.factor or variant.divisor, any(tuple(variant)[CONDITIONING])
    # With three arrays hints gain 3 %, with more they cost as much; in-cache work sees neither.
    hints = updates and not (accumulate or accumulated or centered or has_momentum or ema)

    def loop(row, numbers, like):  # type: ignore[no-untyped-def]
        n, hyper = np.int64(row[2]) if stamp else 0, hyper_of(numbers)
        variables, gradients = pointer(like, row[3]), pointer(like, row[4])
        velocities, momenta = pointer(like, row[5]), pointer(like, row[6])
        average_gradients, averages = pointer(like, row[7]), pointer(like, row[8])
        accumulators = pointer(like, row[9])
        pair = pointer(numbers, row[10])
        clip = (pair[0], pair[1]) if clips else (hyper.one, hyper.one)
        for start in range(0, n, BLOCK if hints else max(n, 1)):
            if hints:
                soon((variables, gradients, velocities), start)
            for i in range(start, min(start + BLOCK, n) if hints else n):
                # Loads before stores: one that waits behind a store a page away costs a tenth.
                variable = widen(variables[i])
                mean = widen(averages[i]) if ema else variable
                gradient = widen(gradients[i]) if updates or accumulate else variable
                if conditions:
                    partial = widen(accumulators[i]) if accumulate or accumulated else gradient
                    gradient = condition(gradient, partial, clip, hyper, variant)
                if accumulate:
                    accumulators[i] = narrow(accumulators[i], gradient)
                if accumulated:
                    accumulators[i] = narrow(accumulators[i], hyper.one - hyper.one)
                if updates:
                    slots = Slots(
                        widen(velocities[i]),
                        widen(momenta[i]) if has_momentum else gradient,
                        widen(average_gradients[i]) if centered else gradient,
                    )
                    variable, slots = update(variable, gradient, slots, hyper, variant)
                    velocities[i] = narrow(velocities[i], slots.velocity)
                    if has_momentum:
                        momenta[i] = narrow(momenta[i], slots.momentum)
                    if centered:
                        average_gradients[i] = narrow(average_gradients[i], slots.average_gradient)
                    variables[i] = narrow(variables[i], variable)
                if ema:
                    averages[i] = narrow(averages[i], average(mean, variable, hyper, variant))
        if ema and hyper.overwrite != 0:
            for i in range(n):
                variables[i] = averages[i]

    return loop


def make_squares(variant: Variant, stamp: str) -> Function:
    """Write the sum of squares of one row's gradient, as it is when its norm is taken."""
    conditions = any(tuple(variant)[CONDITIONING])
    accumulated = variant.accumulated

    def squares(row, numbers, like):  # type: ignore[no-untyped-def]
        if stamp == "":
            return
        n, hyper, no_clip = np.int64(row[2]), hyper_of(numbers), (numbers[12], numbers[12])
        gradients, accumulators = pointer(like, row[4]), pointer(like, row[9])
        lanes = scratch(doubles(row[3]))
        for k in range(LANES):
            lanes[k] = 0.0
        if conditions:
            tile = scratch(like)
            for start in range(0, n, TILE):
                size = min(TILE, n - start)
                for k in range(size):
                    gradient = widen(gradients[start + k])
                    partial = widen(accumulators[start + k]) if accumulated else gradient
                    gradient = condition(gradient, partial, no_clip, hyper, variant)
                    tile[k] = narrow(gradients[0], gradient)
                add_squares(lanes, tile, size)
        else:
            add_squares(lanes, gradients, n)
        width = LANES
        while width > 1:
            width //= 2
            for k in range(width):
                lanes[k] += lanes[k + width]
        doubles(row[3])[0] = lanes[0]

    return squares


def make_clips(variant: Variant, kind: int, stamp: str) -> Function:
    """Write how sums of squares become each variable's factor and divisor."""
    spans_all = kind != 1

    def clips(row, numbers, like):  # type: ignore[no-untyped-def]
        if stamp == "":
            return
        sums, counts, pairs = doubles(row[3]), words(row[4]), pointer(numbers, row[5])
        one, bound, first, total = numbers[12], numbers[11], 0, 0.0
        for variable in range(np.int64(row[2])):
            last = first + np.int64(counts[variable])
            if not spans_all:
                total = 0.0
            for k in range(first, last):
                total += sums[k]
            first = last
            if not spans_all:
                norm = fit(round_to(one, math.sqrt(total)), variant)
                pair = clip_pair(norm, bound, one, kind, variant)
                pairs[2 * variable], pairs[2 * variable + 1] = pair
        if spans_all:
            norm = fit(round_to(one, math.sqrt(total)), variant)
            pairs[0], pairs[1] = clip_pair(norm, bound, one, kind, variant)

    return clips


def make_scatter(stamp: str) -> Function:
    """Write the copy of a contiguous stand-in back into its strided variable."""

    def scatter(row, numbers, like):  # type: ignore[no-untyped-def]
        if stamp == "":
            return
        source, shape = pointer(like, row[4]), words(row[5])
        ndim = np.int64(shape[0])
        inner, stride = np.int64(shape[ndim]), shape[2 * ndim]
        for line in range(np.int64(row[2]) // inner):
            target, rest = row[3], line
            for axis in range(ndim - 1, 0, -1):
                length = np.int64(shape[axis])
                target += np.uint64(rest % length) * shape[ndim + axis]
                rest //= length
            for k in range(inner):
                pointer(like, target)[0] = source[line * inner + k]
                target += stride

    return scatter


_STORED = {
    "float16": (types.float32, types.uint16),
    "float32": (types.float32, types.float32),
    "float64": (types.float64, types.float64),
}


def _signature(dtype: str) -> Any:
    """Return the C signature of a loop over elements of a dtype."""
    numbers, stored = _STORED[dtype]
    pointers = (types.CPointer(kind) for kind in (types.uint64, numbers, stored))
    return types.void(*pointers)


@functools.cache
def loop_address(variant: Variant, dtype: str) -> int:
    """Compile the update loop of a variant."""
    return compiling.address(make_loop(variant, compiling.stamp()), _signature(dtype))


@functools.cache
def squares_address(variant: Variant, dtype: str) -> int:
    """Compile the sum of squares under a variant's conditioning."""
    return compiling.address(make_squares(variant, compiling.stamp()), _signature(dtype))


@functools.cache
def clips_address(variant: Variant, kind: int, dtype: str) -> int:
    """Compile how norms become factors."""
    return compiling.address(make_clips(variant, kind, compiling.stamp()), _signature(dtype))


@functools.cache
def scatter_address(dtype: str) -> int:
    """Compile the copy into strided variables."""
    return compiling.address(make_scatter(compiling.stamp()), _signature(dtype))
