"""One launch: rows of a table in the device's memory, and the parts of a kernel that they need."""

from typing import Any

import numpy as np

from fastrms.cuda import kernels, target
from fastrms.cuda.kernels import Shape
from fastrms.cuda.memory import Place
from fastrms.errors import DeviceError
from fastrms.program import Column
from fastrms.reference import CHUNK

# Blocks of one launch: gridDim.x, from compute capability 3.0 on (CUDA Programming Guide).
MOST_ROWS = 2**31 - 1


def chunks(size: int) -> int:
    """Return how many rows a variable has."""
    return -(-size // CHUNK)


class Pass:
    """The rows of one launch."""

    def __init__(self, kind: str, norm: int = 0) -> None:
        self.kind, self.norm = kind, norm
        self.rows: list[list[int]] = []
        self.parts: dict[tuple[Any, np.dtype[Any]], list[int]] = {}

    def add(self, part: Any, dtype: np.dtype[Any], row: list[int]) -> int:
        """Append a row; return its place."""
        self.parts.setdefault((part, dtype), []).append(len(self.rows))
        self.rows.append(row)
        return len(self.rows) - 1

    def sealed(self) -> tuple[Shape, list[np.dtype[Any]]]:
        """Number the parts in the rows; return the kernel's shape and its dtypes in order."""
        dtypes = list(dict.fromkeys(dtype for _, dtype in self.parts))
        for k, places in enumerate(self.parts.values()):
            for place in places:
                self.rows[place][Column.FUNCTION] = kernels.number_of(k, len(self.parts))
        parts = tuple(part for part, _ in self.parts)
        numbers = tuple(dtypes.index(dtype) for _, dtype in self.parts)
        return Shape(self.kind, parts, numbers, self.norm), dtypes


class Launch:
    """A kernel, its grid and its arguments."""

    def __init__(self, one: Pass, address: int, place: Place, numbers: dict[Any, Any]) -> None:
        if len(one.rows) > MOST_ROWS:
            raise DeviceError(
                f"a step needs {len(one.rows)} pieces of {CHUNK} elements or fewer in one launch; "
                f"valid: at most {MOST_ROWS}. Nothing was changed. Use several optimizers."
            )
        shape, dtypes = one.sealed()
        self.kernel = target.loaded(place.ordinal, kernels.kernel(shape), shape.dtypes)
        given = [numbers[dtype].array for dtype in dtypes]
        self.arguments = target.Arguments(address, len(one.rows), given)
        self.grid = kernels.blocks(one.kind, len(one.rows))

    def start(self, place: Place) -> None:
        """Queue it in the order of a place."""
        place.machine.launch(self.kernel, self.grid, self.arguments.pointers, place.stream)
