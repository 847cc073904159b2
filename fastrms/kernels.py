"""The rule compiled for the CPU, and the loops around it that the rows of a program name.

Each loop is a C function `(row, numbers, like)`: addresses and a length (`program.Column`), the
numbers of the step (`rule.Hyper`), and a null pointer whose type says how elements are stored.
Numba compiles the walk over the elements; the rule in it is written as instructions (`emitting`).
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
from fastrms.emitting import advance, average, code, condition
from fastrms.program import Column, words
from fastrms.rule import CONDITIONING, EACH, Function, Hyper, Variant, make_rule, moves

_INLINE: dict[str, Any] = {**compiling.INNER, "forceinline": True}

# For callers in compiled code of their own, and for what branches on a number.
_typed = make_rule(math.sqrt, fit, smaller, njit(**_INLINE))
update, clip_pair = _typed.advance, _typed.clip

_LENGTH, _VARIABLE, _GRADIENT = int(Column.LENGTH), int(Column.VARIABLE), int(Column.GRADIENT)
_VELOCITY, _MOMENTUM = int(Column.VELOCITY), int(Column.MOMENTUM)
_AVERAGE_GRADIENT, _AVERAGE = int(Column.AVERAGE_GRADIENT), int(Column.AVERAGE)
_ACCUMULATOR, _CLIP = int(Column.ACCUMULATOR), int(Column.CLIP)
_GUARD, _UNDIVIDED = int(Column.GUARD), 1 << 62
_BOUND, _INVERSE, _ONE = (
    Hyper._fields.index(name) for name in ("clipnorm", "inverse_clipnorm", "one")
)


def make_loop(variant: Variant, stamp: str) -> Function:
    """Write the loop over one row of a program (`program.Column` names its members)."""
    updates, accumulate, accumulated = variant.update, variant.accumulate, variant.accumulated
    centered, has_momentum, ema = variant.centered, variant.momentum, variant.ema
    clips, conditions = variant.factor or variant.divisor, any(tuple(variant)[CONDITIONING])
    loads = (updates or accumulate) and not variant.absent
    stores, partly = moves(variant), accumulate or accumulated
    # With three arrays hints gain 3 %, with more they cost as much; in-cache work sees neither.
    hints = updates and loads and not (partly or centered or has_momentum or ema)
    block, choices = BLOCK if hints else _UNDIVIDED, code(variant)

    def loop(row, numbers, like):  # type: ignore[no-untyped-def]
        n, hyper = np.int64(row[_LENGTH]) if stamp != "" else 0, hyper_of(numbers)
        variables, gradients = pointer(like, row[_VARIABLE]), pointer(like, row[_GRADIENT])
        velocities, momenta = pointer(like, row[_VELOCITY]), pointer(like, row[_MOMENTUM])
        average_gradients = pointer(like, row[_AVERAGE_GRADIENT])
        averages, accumulators = pointer(like, row[_AVERAGE]), pointer(like, row[_ACCUMULATOR])
        pair, zero = pointer(numbers, row[_CLIP]), hyper.one - hyper.one
        clip = (pair[0], pair[1]) if clips else (hyper.one, hyper.one)
        for start in range(0, n, block):
            if hints:
                soon((variables, gradients, velocities), start)
            for i in range(start, start + block if start + block < n else n):
                # Loads before stores: one that waits behind a store a page away costs a tenth.
                variable = widen(variables[i])
                mean = widen(averages[i]) if ema else variable
                gradient = widen(gradients[i]) if loads else zero
                if conditions:
                    partial = widen(accumulators[i]) if partly else gradient
                    gradient = condition(gradient, partial, clip, hyper, choices)
                if partly:
                    accumulators[i] = narrow(accumulators[i], gradient if accumulate else zero)
                if updates:
                    momentum = widen(momenta[i]) if has_momentum else gradient
                    center = widen(average_gradients[i]) if centered else gradient
                    slots = (widen(velocities[i]), momentum, center)
                    weight = (variable, gradient)
                    variable, velocity, momentum, center = advance(weight, slots, hyper, choices)
                    velocities[i] = narrow(velocities[i], velocity)
                    if has_momentum:
                        momenta[i] = narrow(momenta[i], momentum)
                    if centered:
                        average_gradients[i] = narrow(average_gradients[i], center)
                    if stores:
                        variables[i] = narrow(variables[i], variable)
                if ema:
                    averages[i] = narrow(averages[i], average(mean, variable, hyper, choices))
        if ema and hyper.overwrite != 0:
            for i in range(n):
                variables[i] = averages[i]

    return loop


@njit(**_INLINE)
def odd(values, n):  # type: ignore[no-untyped-def]
    """Tell whether a NaN or an infinity is among stored numbers."""
    found = np.uint32(0)
    for k in range(n):
        value = widen(values[k])
        found |= np.uint32(value - value != 0)
    return found != 0


def make_guard(stamp: str) -> Function:
    """Write the check of one row's gradient that stops a program before it changes anything."""

    def guard(row, numbers, like):  # type: ignore[no-untyped-def]
        if stamp == "":
            return
        if odd(pointer(like, row[_GRADIENT]), np.int64(row[_LENGTH])):
            words(row[_GUARD])[0] = 1

    return guard


def make_squares(variant: Variant, guarded: bool, stamp: str) -> Function:
    """Write the sum of squares of one row's gradient, as it is when its norm is taken."""
    conditions = any(tuple(variant)[CONDITIONING])
    accumulated, choices = variant.accumulated, code(variant)

    def squares(row, numbers, like):  # type: ignore[no-untyped-def]
        if stamp == "":
            return
        n, hyper = np.int64(row[_LENGTH]), hyper_of(numbers)
        no_clip = (hyper.one, hyper.one)
        gradients, accumulators = pointer(like, row[_GRADIENT]), pointer(like, row[_ACCUMULATOR])
        if guarded and odd(gradients, n):
            words(row[_GUARD])[0] = 1
        lanes = scratch(doubles(row[_VARIABLE]))
        for k in range(LANES):
            lanes[k] = 0.0
        if conditions:
            tile = scratch(like)
            for start in range(0, n, TILE):
                size = min(TILE, n - start)
                for k in range(size):
                    gradient = widen(gradients[start + k])
                    partial = widen(accumulators[start + k]) if accumulated else gradient
                    gradient = condition(gradient, partial, no_clip, hyper, choices)
                    tile[k] = narrow(gradients[0], gradient)
                add_squares(lanes, tile, size)
        else:
            add_squares(lanes, gradients, n)
        width = LANES
        while width > 1:
            width //= 2
            for k in range(width):
                lanes[k] += lanes[k + width]
        doubles(row[_VARIABLE])[0] = lanes[0]

    return squares


def make_clips(variant: Variant, kind: int, stamp: str) -> Function:
    """Write how sums of squares become each variable's factor and divisor."""
    spans_all = kind != EACH

    def clips(row, numbers, like):  # type: ignore[no-untyped-def]
        if stamp == "":
            return
        sums, counts = doubles(row[_VARIABLE]), words(row[_GRADIENT])
        pairs = pointer(numbers, row[_VELOCITY])
        one, bound, inverse = numbers[_ONE], numbers[_BOUND], numbers[_INVERSE]
        first, total = 0, 0.0
        for variable in range(np.int64(row[_LENGTH])):
            last = first + np.int64(counts[variable])
            if not spans_all:
                total = 0.0
            for k in range(first, last):
                total += sums[k]
            first = last
            if not spans_all:
                norm = fit(round_to(one, math.sqrt(total)), variant)
                pair = clip_pair(norm, bound, inverse, one, kind, variant)
                pairs[2 * variable], pairs[2 * variable + 1] = pair
        if spans_all:
            norm = fit(round_to(one, math.sqrt(total)), variant)
            pairs[0], pairs[1] = clip_pair(norm, bound, inverse, one, kind, variant)

    return clips


def make_scatter(stamp: str) -> Function:
    """Write the copy of a contiguous stand-in back into its strided variable."""

    def scatter(row, numbers, like):  # type: ignore[no-untyped-def]
        if stamp == "":
            return
        source, shape = pointer(like, row[_GRADIENT]), words(row[_VELOCITY])
        ndim = np.int64(shape[0])
        inner, stride = np.int64(shape[ndim]), shape[2 * ndim]
        for line in range(np.int64(row[_LENGTH]) // inner):
            target, rest = row[_VARIABLE], line
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


def signature(dtype: str) -> Any:
    """Return the C signature of a loop over elements of a dtype."""
    numbers, stored = _STORED[dtype]
    pointers = (types.CPointer(kind) for kind in (types.uint64, numbers, stored))
    return types.void(*pointers)


@functools.cache
def loop_address(variant: Variant, dtype: str) -> int:
    """Compile the update loop of a variant."""
    return compiling.address(make_loop(variant, compiling.stamp()), signature(dtype))


@functools.cache
def squares_address(variant: Variant, guarded: bool, dtype: str) -> int:
    """Compile the sum of squares under a variant's conditioning."""
    made = make_squares(variant, guarded, compiling.stamp())
    return compiling.address(made, signature(dtype))


@functools.cache
def guard_address(dtype: str) -> int:
    """Compile the check of a gradient for numbers that are not finite."""
    return compiling.address(make_guard(compiling.stamp()), signature(dtype))


@functools.cache
def clips_address(variant: Variant, kind: int, dtype: str) -> int:
    """Compile how norms become factors."""
    return compiling.address(make_clips(variant, kind, compiling.stamp()), signature(dtype))


@functools.cache
def scatter_address(dtype: str) -> int:
    """Compile the copy into strided variables."""
    return compiling.address(make_scatter(compiling.stamp()), signature(dtype))
