"""From expressions to a flat list of NumPy calls on memory that is set out beforehand."""

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import numpy as np

from .binding import Array, Plan, zeros
from .expressions import Expression
from .operations import OPERATIONS, bind
from .variables import Variable

_OWN = ("constant", "placeholder", "variable", "random")  # equal to none but themselves


def shared(order: list[Expression], fed: Container[int]) -> dict[int, Expression]:
    """Map each node to the first that computes the same: an equal operation on equal inputs."""
    first: dict[Any, Expression] = {}
    chosen: dict[int, Expression] = {}
    for node in order:
        key: Any = id(node)
        if node.operation == "constant" and not node.shape:
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
        self._fixed: dict[int, Array] = {}  # by id, arrays that hold the same at every run
        self._waiting: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self._plan = Plan(zeros, self._call, self._known)
        chosen = shared(order, feeds)
        self.arrays = dict(feeds)
        for node in order:
            if id(node) not in feeds:
                known = self.arrays.get(id(chosen[id(node)]))
                self.arrays[id(node)] = self._bind(node) if known is None else known

    def _bind(self, node: Expression) -> Array:
        """Return the array of a node; what never changes is computed here and now."""
        if isinstance(node, Variable):
            return node.array
        if node.operation == "constant":
            return self._fix(node.given["value"])
        arrays = [self.arrays[id(x)] for x in node.inputs]
        self._waiting = []
        result = bind(node.operation, self._plan, arrays, node.given, node.dtype)
        fixed = all(id(a) in self._fixed for a in arrays) and node.operation != "random"
        if not fixed and not OPERATIONS[node.operation].shapes_only:
            self.calls += self._waiting
            return result
        for function, arguments in self._waiting:
            function(*arguments)
        return self._fix(result)

    def _fix(self, array: Array) -> Array:
        self._fixed[id(array)] = array
        return array

    def _call(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._waiting.append((function, arguments))

    def _known(self, array: Array) -> Any:
        if id(array) not in self._fixed:
            raise ValueError(
                "a shape depends on values that are only known when the function runs; valid: "
                "integers, K.shape(x) and what is computed from it"
            )
        return array

    def owned(self, array: Array, others: Sequence[Array]) -> Array:
        """Return an array, or a copy made at each run if it looks into memory of others."""
        if not any(np.may_share_memory(array, other) for other in others):
            return array
        copy = zeros(array.shape, array.dtype)
        self.calls.append((np.copyto, (copy, array)))
        return copy

    def run(self) -> None:
        """Carry out all calls."""
        for function, arguments in self.calls:
            function(*arguments)
