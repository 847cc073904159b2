"""NumPy arrays in the making, while a pickle is read, and their completion within a budget."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastrms.errors import CheckpointError

Array = NDArray[Any]
_MOST_NODES, _DEEPEST = 1_000_000, 32


class Name(NamedTuple):
    """A global that a pickle mentions; never looked up."""

    module: str
    name: str


@dataclass
class Kind:
    """A NumPy dtype in the making."""

    code: str
    order: str = "="

    def dtype(self) -> np.dtype[Any]:
        """Return the dtype, if it is one of plain numbers or objects."""
        if self.code not in _CODES or self.order not in ("<", ">", "=", "|"):
            raise CheckpointError(
                f"an array has dtype {self.code[:20]!r}; readable: {', '.join(sorted(_CODES))}."
            )
        return np.dtype(self.code if self.order == "|" else self.order + self.code)


@dataclass
class Pending:
    """A NumPy array in the making."""

    shape: tuple[int, ...] = ()
    kind: Kind | None = None
    fortran: bool = False
    data: Any = b""


_CODES = {f"{k}{n}" for k, sizes in (("f", "248"), ("i", "1248"), ("u", "1248")) for n in sizes}
_CODES |= {"b1", "O8", "O4", "O"}


def listed(value: Any) -> list[Any]:
    """Return a list or tuple as a list."""
    if not isinstance(value, list | tuple):
        raise CheckpointError(f"a pickle has {type(value).__name__} in the place of a list.")
    return list(value)


class Settled:
    """Turns pending objects into arrays, within a budget of objects and bytes."""

    def __init__(self, most_bytes: int) -> None:
        self.nodes, self.bytes = _MOST_NODES, most_bytes

    def __call__(self, value: Any, depth: int = 0) -> Any:
        """Return a value with every array finished."""
        self.nodes -= 1
        if self.nodes < 0 or depth > _DEEPEST:
            raise CheckpointError(
                f"the pickle holds more than {_MOST_NODES} objects or is nested more than "
                f"{_DEEPEST} levels deep."
            )
        if isinstance(value, Pending):
            try:
                return self._array(value, depth)
            except (ValueError, TypeError, LookupError, OverflowError, AttributeError) as error:
                if isinstance(error, CheckpointError):
                    raise
                raise CheckpointError(
                    f"an array of the pickle is damaged ({type(error).__name__}: {error})."
                ) from error
        if isinstance(value, list | tuple):
            return [self(part, depth + 1) for part in value]
        if isinstance(value, dict):
            return {key: self(part, depth + 1) for key, part in value.items()}
        if isinstance(value, Name | Kind):
            raise CheckpointError(f"the pickle holds {value}, which is not data.")
        if hasattr(value, "settled"):
            return self.counted(value.settled())
        return value

    def counted(self, array: Array) -> Array:
        """Count an array's bytes."""
        self.bytes -= array.nbytes
        if self.bytes < 0:
            raise CheckpointError("the arrays are larger than the file that holds them; refused.")
        return array

    def _array(self, value: Pending, depth: int) -> Any:
        """Finish one array; those of objects become lists."""
        if value.kind is None or not all(isinstance(n, int) and n >= 0 for n in value.shape):
            raise CheckpointError("an array in the pickle has no dtype or shape; it is damaged.")
        dtype = value.kind.dtype()
        if dtype.hasobject:
            return self(listed(value.data), depth + 1)
        data = value.data.encode("latin-1") if isinstance(value.data, str) else value.data
        if not isinstance(data, bytes) or len(data) != math.prod(value.shape) * dtype.itemsize:
            raise CheckpointError(
                f"an array of shape {value.shape[:8]} and {dtype} does not have its bytes; the "
                "pickle is damaged."
            )
        flat = np.frombuffer(data, dtype).astype(dtype.newbyteorder("="), copy=False)
        return self.counted(flat.reshape(value.shape, order="F" if value.fortran else "C"))
