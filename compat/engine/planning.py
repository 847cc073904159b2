"""From expressions to a flat list of NumPy calls on memory that is set out beforehand."""

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.state import aligned

from .expressions import Expression
from .operations import OPERATIONS
from .session import SESSION
from .variables import Variable

Array = NDArray[Any]
_OWN = ("constant", "placeholder", "variable", "random")  # equal to none but themselves
LEARNING_PHASE_TEST = np.zeros((), np.int32)


def shared(order: list[Expression], fed: Container[int]) -> dict[int, Expression]:
    """Map each node to the first that computes the same: an equal operation on equal inputs."""
    first: dict[Any, Expression] = {}
    chosen: dict[int, Expression] = {}
    for node in order:
        key: Any = id(node)
        if node.operation == "constant" and not node.static_shape:
            key = ("constant", node.dtype, node.given["value"].tobytes())
        elif node.operation not in _OWN and id(node) not in fed:
            inputs = tuple(id(chosen[id(x)]) for x in node.inputs)
            key = (node.operation, node.dtype, inputs, repr(sorted(node.given.items())))
        chosen[id(node)] = first.setdefault(key, node)
    return chosen


class Bound:
    """The calls of a graph for inputs of given shapes, and the memory they use."""

    def __init__(self, order: list[Expression], feeds: Mapping[int, Array]) -> None:
        self.calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self._fixed: set[int] = set()
        self._kept: list[Array] = []
        self._waiting: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        chosen = shared(order, feeds)
        self.arrays: dict[int, Array] = {}
        for node in order:
            if id(node) in feeds:
                self.arrays[id(node)] = feeds[id(node)]
            elif chosen[id(node)] is not node:
                self.arrays[id(node)] = self.arrays[id(chosen[id(node)])]
            else:
                self.arrays[id(node)] = self._bind(node)

    def _bind(self, node: Expression) -> Array:
        """Return the array of a node; what never changes is computed here and now."""
        if isinstance(node, Variable):
            return node.array
        if node.operation == "constant":
            value: Array = node.given["value"]
            self._fix(value)
            return value
        if node is SESSION.phase_expression:
            self._fix(LEARNING_PHASE_TEST)
            return LEARNING_PHASE_TEST
        if node.operation == "placeholder":
            raise ValueError(
                f"placeholder {node.name!r} (shape {node.static_shape}, {node.dtype}) has no "
                "value; put it among the inputs of K.function, in the order of the call."
            )
        row = OPERATIONS[node.operation]
        arrays = [self.arrays[id(x)] for x in node.inputs]
        self._waiting = []
        result = row.bind(self, arrays, node.given, node.dtype)
        fixed = all(id(a) in self._fixed for a in arrays) and node.operation != "random"
        if fixed or row.shapes_only:
            self._fix(result)
            for function, arguments in self._waiting:
                function(*arguments)
        else:
            self.calls += self._waiting
        return result

    def _fix(self, array: Array) -> None:
        """Remember that an array holds the same at every run."""
        self._kept.append(array)
        self._fixed.add(id(array))

    def new(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an array that lives as long as the plan."""
        kind = np.dtype(dtype)
        size = int(np.prod(shape, dtype=np.int64))
        return aligned(size, kind).reshape(shape)

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Carry out a call whenever the plan runs."""
        self._waiting.append((function, arguments))

    def known(self, array: Array) -> Any:
        """Return what an array holds at every run, or raise."""
        if id(array) not in self._fixed:
            raise ValueError(
                "a shape depends on values that are only known when the function runs; valid: "
                "integers, K.shape(x) and what is computed from it."
            )
        return array

    def owned(self, array: Array, others: Sequence[Array]) -> Array:
        """Return an array, or a copy made at each run if it looks into memory of others."""
        if not any(np.may_share_memory(array, other) for other in others):
            return array
        copy = self.new(array.shape, array.dtype)
        self.calls.append((np.copyto, (copy, array)))
        return copy

    def run(self) -> None:
        """Carry out all calls."""
        for function, arguments in self.calls:
            function(*arguments)
