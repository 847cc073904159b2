"""The members of a row (`program.Column`) as the unsigned numbers that compiled code indexes by."""

import numpy as np

from fastrms.program import Column

LENGTH, VARIABLE, GRADIENT, VELOCITY, ACCUMULATOR, CLIP, FIRST, TABLE = (
    np.uint64(column)
    for column in (
        Column.LENGTH,
        Column.VARIABLE,
        Column.GRADIENT,
        Column.VELOCITY,
        Column.ACCUMULATOR,
        Column.CLIP,
        Column.FIRST,
        Column.TABLE,
    )
)
MEMBERS = tuple(np.uint64(c) for c in range(Column.VARIABLE, Column.ACCUMULATOR + 1))
