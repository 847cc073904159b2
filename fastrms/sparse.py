"""Gradients that are rows of a table, as of an embedding."""

from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from fastrms.variables import describe

Array = NDArray[Any]
# What a variable has in a step: no gradient, one of its own shape, or rows.
ABSENT, DENSE, ROWS = 0, 1, 2


@final
class IndexedSlices:
    """A gradient of some rows of a variable, as lookups in a table give it.

    Row ``indices[k]`` of the variable has the gradient ``values[k]``; rows not named have none.
    A row may be named several times, in any order. What then happens, to it and to the other
    rows, is each dialect's recorded rule: see ``docs/sparse.md``. Source: tf.IndexedSlices.

    Parameters
    ----------
    values : array_like
        Gradients of shape ``(n, *variable.shape[1:])``, float16, float32 or float64.
    indices : array_like
        `n` integers from 0 to ``len(variable) - 1``.
    dense_shape : sequence of int, optional
        The variable's shape; checked where given.

    Notes
    -----
    The arrays are kept, not copied, and read when a step is made, which checks them all before
    it changes anything.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrms import RMSprop, IndexedSlices
    >>> table = np.zeros((3, 2), np.float32)
    >>> gradient = IndexedSlices(np.ones((2, 2), np.float32), [2, 0])
    >>> RMSprop(learning_rate=0.1).apply([gradient], [table])
    >>> table[:, 0]
    array([-0.3162276,  0.       , -0.3162276], dtype=float32)
    """

    __slots__ = ("dense_shape", "indices", "values")

    def __init__(self, values: Any, indices: Any, dense_shape: Any = None) -> None:
        self.values, self.indices, self.dense_shape = values, indices, dense_shape

    def __repr__(self) -> str:
        shown = [describe(part) for part in (self.values, self.indices)]
        return f"IndexedSlices({shown[0]}, indices: {shown[1]}, dense_shape={self.dense_shape})"


class Repeated(NamedTuple):
    """Some of the rows given several times in a gradient, those given most often first.

    `values` has the first value of each row, then the second of each that has two, and so on:
    `turns` says where each of these begins and ends. `owners` names the row of each value.
    """

    places: NDArray[np.intp]
    values: Array
    owners: NDArray[np.intp]
    turns: list[slice]

    def added(self, values: Array) -> Array:
        """Add up the values of each row in the order given."""
        sums = values[self.turns[0]].copy()
        for turn in self.turns[1:]:
            sums[: turn.stop - turn.start] += values[turn]
        return sums


class Rows(NamedTuple):
    """The rows of one gradient as a step reads them: each once, in order.

    Where the values of a row are not summed, `sums` has its first; `repeated` has them all, in
    pieces of some rows each.
    """

    indices: NDArray[np.uint64]
    sums: Array
    repeated: list[Repeated]
    total: float
    finite: bool


def kinds_of(gradients: list[Any], whole: bool) -> tuple[int, ...]:
    """Tell what each variable has in a step, by its gradient; `whole`: rows become arrays."""
    sliced, rows = (IndexedSlices, Rows), DENSE if whole else ROWS
    return tuple(
        ABSENT if g is None else rows if g.__class__ in sliced else DENSE for g in gradients
    )
