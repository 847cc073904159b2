"""Look at the arrays of a step in compiled code: a thousand checks in a few microseconds.

Where the words of an object lie is said, and proved, in `layout`.
"""

from enum import IntEnum

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from fastrms import compiling
from fastrms.layout import (
    ALIGNED,
    DATA,
    DESCR,
    FLAGS,
    ITEMS,
    NDIM,
    SHAPE,
    STRIDES,
    TYPE,
    WATCHED,
    Fact,
)
from fastrms.program import Column, words
from fastrms.rule import Function

_GRADIENT = int(Column.GRADIENT)
_WIDTH = len(Column)


class Desk(IntEnum):
    """Where `look` finds its tables, each an address or a count."""

    COUNT = 0
    FACTS = 1
    FACT_WIDTH = 2
    EXPECTED = 3
    ACCEPTED = 4
    ATTENTION = 5
    PATCHES = 6
    PATCH_ROWS = 7
    PATCH_OFFSETS = 8
    ROWS = 9
    STARTS = 10
    ENDS = 11
    EXTENTS = 12
    NONE = 13
    ARRAY_TYPE = 14
    GIVEN = 15


_COUNT = int(Desk.COUNT)
_FACTS = int(Desk.FACTS)
_FACT_WIDTH = int(Desk.FACT_WIDTH)
_EXPECTED = int(Desk.EXPECTED)
_ACCEPTED = int(Desk.ACCEPTED)
_ATTENTION = int(Desk.ATTENTION)
_PATCHES = int(Desk.PATCHES)
_PATCH_ROWS = int(Desk.PATCH_ROWS)
_PATCH_OFFSETS = int(Desk.PATCH_OFFSETS)
_ROWS = int(Desk.ROWS)
_STARTS = int(Desk.STARTS)
_ENDS = int(Desk.ENDS)
_EXTENTS = int(Desk.EXTENTS)
_NONE = int(Desk.NONE)
_ARRAY_TYPE = int(Desk.ARRAY_TYPE)
_GIVEN = int(Desk.GIVEN)


@intrinsic
def _field(typingctx, instance, offset):  # type: ignore[no-untyped-def]
    """Read a word of a Python object."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        word = ir.IntType(64)
        return builder.load(builder.inttoptr(builder.add(*args), word.as_pointer()))

    return types.uint64(types.uint64, types.int64), codegen


_FIRST = int(Fact.FIRST)
# Constants of their type: each conversion in compiled code is a call to be resolved.
_LOW, _SEEN, _ALIGNED = np.uint64(0xFFFFFFFF), np.uint64(WATCHED), np.uint64(ALIGNED)
_WAS_TYPE = int(Fact.TYPE)
_WAS_DATA = int(Fact.DATA)
_WAS_NDIM = int(Fact.NDIM)
_WAS_DESCR = int(Fact.DESCR)
_WAS_FLAGS = int(Fact.FLAGS)
_WAS_ORDER = int(Fact.ORDER)
_WAS_OWNER = int(Fact.OWNER)
_WAS_OWNER_DATA = int(Fact.OWNER_DATA)
_WAS_OWNER_SIZE = int(Fact.OWNER_SIZE)


@njit(**compiling.INNER)
def _unchanged(instance, facts, first):  # type: ignore[no-untyped-def]
    """Tell whether a variable still is the array that was recorded."""
    ndim = _field(instance, NDIM) & _LOW
    same = _field(instance, TYPE) == facts[first + _WAS_TYPE] and ndim == facts[first + _WAS_NDIM]
    same = same and _field(instance, DATA) == facts[first + _WAS_DATA]
    same = same and _field(instance, DESCR) == facts[first + _WAS_DESCR]
    if not same or (_field(instance, FLAGS) & _SEEN) != facts[first + _WAS_FLAGS]:
        return False
    owner = facts[first + _WAS_OWNER]
    if owner != 0:
        lengths, size = words(_field(owner, SHAPE)), np.uint64(1)
        for k in range(np.int64(_field(owner, NDIM) & _LOW)):
            size *= lengths[k]
        if (
            _field(owner, DATA) != facts[first + _WAS_OWNER_DATA]
            or size != facts[first + _WAS_OWNER_SIZE]
        ):
            return False
    lengths, strides = words(_field(instance, SHAPE)), words(_field(instance, STRIDES))
    for k in range(np.int64(ndim)):
        if (
            lengths[k] != facts[first + _FIRST + k]
            or strides[k] != facts[first + _FIRST + ndim + k]
        ):
            return False
    return True


@njit(**compiling.INNER)
def _matches(instance, array_type, facts, first):  # type: ignore[no-untyped-def]
    """Tell whether a gradient can be read as it lies: dtype, shape and order of its variable."""
    if _field(instance, TYPE) != array_type or _field(instance, DESCR) != facts[first + _WAS_DESCR]:
        return False
    flags = _field(instance, FLAGS)
    if flags & _ALIGNED == 0 or flags & facts[first + _WAS_ORDER] == 0:
        return False
    ndim = _field(instance, NDIM) & _LOW
    if ndim != facts[first + _WAS_NDIM]:
        return False
    lengths = words(_field(instance, SHAPE))
    same = True
    for k in range(np.int64(ndim)):
        same = same and lengths[k] == facts[first + _FIRST + k]
    return same


@njit(**compiling.INNER)
def _apart(data, instance, ndim, facts, first, desk):  # type: ignore[no-untyped-def]
    """Tell whether a gradient's memory lies outside everything that the step writes."""
    strides, size = words(_field(instance, STRIDES)), np.uint64(8)
    for k in range(np.int64(ndim)):
        if facts[first + _FIRST + k] == 0:
            return True
        size += strides[k] * (facts[first + _FIRST + k] - np.uint64(1))
    starts, ends = words(desk[_STARTS]), words(desk[_ENDS])
    low, high = np.int64(0), np.int64(desk[_EXTENTS])
    while low < high:
        middle = (low + high) // 2
        if ends[middle] <= data:
            low = middle + 1
        else:
            high = middle
    return low == np.int64(desk[_EXTENTS]) or starts[low] >= data + size


def make_look(stamp: str) -> Function:
    """Write the check of all the arrays of a step."""

    def look(gradients, variables, tables):  # type: ignore[no-untyped-def]
        """Check every variable, accept every gradient that needs no work, list the others.

        Returns how many gradients need attention, or -1 - i for a variable i that has changed.
        """
        if stamp == "":
            return 0
        desk = words(tables)
        facts, expected = words(desk[_FACTS]), words(desk[_EXPECTED])
        accepted = words(desk[_ACCEPTED])
        attention, rows = words(desk[_ATTENTION]), words(desk[_ROWS])
        known = words(desk[_GIVEN])
        patches, places, offsets = (
            words(desk[_PATCHES]),
            words(desk[_PATCH_ROWS]),
            words(desk[_PATCH_OFFSETS]),
        )
        given = words(_field(gradients, ITEMS))
        count = 0
        for i in range(np.int64(desk[_COUNT])):
            first = i * np.int64(desk[_FACT_WIDTH])
            if not _unchanged(facts[first], facts, first):
                return -1 - i
            if variables != 0:
                # By its array, or by what the user passed for it.
                passed = words(_field(variables, ITEMS))[i]
                if passed != facts[first] and passed != known[i]:
                    return -1 - i
            instance = given[i]
            if instance == desk[_NONE] and expected[i] == 0:
                continue
            if expected[i] == 1 and _matches(instance, desk[_ARRAY_TYPE], facts, first):
                data = _field(instance, DATA)
                if data == accepted[i]:
                    continue
                if _apart(data, instance, facts[first + _WAS_NDIM], facts, first, desk):
                    accepted[i] = data
                    for k in range(np.int64(patches[i]), np.int64(patches[i + 1])):
                        rows[np.int64(places[k]) * _WIDTH + _GRADIENT] = data + offsets[k]
                    continue
            attention[count] = np.uint64(i)
            count += 1
        return count

    return look


def looker() -> Function:
    """Compile the check of all the arrays of a step."""
    word = types.uint64
    # With the interpreter's lock: no thread may change the objects while they are looked at.
    return compiling.function(make_look, types.int64(word, word, word), nogil=False)
