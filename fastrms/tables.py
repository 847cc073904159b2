"""The walk through a table of which some rows have gradients.

The loops of `kernels` do all arithmetic; the walk only says where they begin and end.
"""

import functools
from enum import IntEnum

import numpy as np

from fastrms import compiling
from fastrms.elements import address_of, scratch
from fastrms.kernels import signature
from fastrms.program import Column, invoke, words
from fastrms.rule import Function


class Slate(IntEnum):
    """What a walk through a table reads: the rows with gradients, and the loops to run."""

    COUNT = 0
    INDICES = 1
    SUMS = 2
    SOURCES = 3
    # What a copy reads (`kernels.make_scatter`): one axis, its length, its stride.
    AXES = 4
    ROW = 5
    SIZE = 6
    TOUCHED = 7
    REST = 8
    COPY = 9


_COUNT, _INDICES, _SUMS, _SOURCES, _AXES = (int(word) for word in tuple(Slate)[:5])
_ROW, _SIZE, _TOUCHED, _REST, _COPY = (int(word) for word in tuple(Slate)[5:])
_WIDTH, _NUMBERS, _LENGTH = len(Column), int(Column.NUMBERS), int(Column.LENGTH)
_VARIABLE, _GRADIENT, _AVERAGE = int(Column.VARIABLE), int(Column.GRADIENT), int(Column.AVERAGE)
_VELOCITY, _TABLE, _FIRST = int(Column.VELOCITY), int(Column.TABLE), int(Column.FIRST)


def make_table(stamp: str) -> Function:
    """Write the walk through some rows of a table: those with a gradient, and what is between.

    `Slate` names the words at which a row of the program points; the loops that it names do all
    arithmetic, on a row of the program made for them here.
    """

    def table(row, numbers, like):  # type: ignore[no-untyped-def]
        if stamp == "":
            return
        slate, part = words(row[_TABLE]), scratch(row)
        for k in range(_WIDTH):
            part[k] = row[k]
        width, size, indices = slate[_ROW], slate[_SIZE], words(slate[_INDICES])
        first, n, place = row[_FIRST], row[_LENGTH], np.uint64(0)
        low, high = np.uint64(0), slate[_COUNT]
        while low < high:
            middle = (low + high) >> np.uint64(1)
            if indices[middle] < first:
                low = middle + np.uint64(1)
            else:
                high = middle
        while place < n:
            start = n
            if low < slate[_COUNT]:
                start = min(n, (indices[low] - first) * width)
            if start > place:
                part[_LENGTH] = start - place
                for k in range(_VARIABLE, _AVERAGE + 1):
                    part[k] = row[k] + place * size
                if slate[_REST] != 0:
                    invoke(address_of(part), row[_NUMBERS], slate[_REST])
            if start < n:
                part[_LENGTH] = width
                source = words(slate[_SOURCES])[low] if slate[_SOURCES] != 0 else np.uint64(0)
                for k in range(_VARIABLE, _AVERAGE + 1):
                    part[k] = row[k] + start * size
                    # What NumPy has made of a row given several times is only copied.
                    if source != 0 and k != _GRADIENT and row[k] != 0:
                        part[_VARIABLE], part[_GRADIENT] = row[k] + start * size, source
                        part[_VELOCITY] = row[_TABLE] + np.uint64(8 * _AXES)
                        invoke(address_of(part), row[_NUMBERS], slate[_COPY])
                        source += width * size
                part[_GRADIENT] = slate[_SUMS] + low * width * size
                if source == 0:
                    invoke(address_of(part), row[_NUMBERS], slate[_TOUCHED])
                low += np.uint64(1)
            place = start + width

    return table


@functools.cache
def address() -> int:
    """Compile the walk through the rows of a table; it touches no number itself."""
    return compiling.address(make_table(compiling.stamp()), signature("float32"))
