"""`K.function`: outputs first, then every update from old values, assigned together."""

import threading
from collections import Counter
from typing import Any

import numpy as np

from fastrms.reference import flushing

from .binding import Array, fits
from .derivatives import ordered
from .expressions import ABOVE, Expression, numbers
from .planning import Bound
from .variables import Update

_MOST_PLANS = 32


def checked_updates(updates: Any) -> list[Update]:
    """Return updates as pairs, whatever form the script wrote them in."""
    listed = isinstance(updates, list | tuple | None)
    for entry in updates or [] if listed else [updates]:
        if not listed or not isinstance(entry, tuple | list) or len(entry) != 2:
            raise TypeError(
                f"updates hold {entry!r:.80}; valid: a list of (variable, new_value), or of what "
                "K.update, K.update_add and K.update_sub return. Concatenate lists with +."
            )
    return [entry if isinstance(entry, Update) else Update(*entry) for entry in updates or []]


def fused(entries: list[Update]) -> tuple[list[Any], list[Update]]:
    """Split updates into whole fused ones, each a handle, and those evaluated one by one.

    A handle runs only if every entry it made is there, unchanged and once, and nothing else in
    the function updates its variables.
    """
    targets = Counter(id(variable) for variable, _ in entries)
    present = {id(entry) for entry in entries}
    offered = {id(entry.handle): entry.handle for entry in entries if entry.handle is not None}
    handles = [
        handle
        for handle in offered.values()
        if handle.usable(present) and all(targets[id(own[0])] == 1 for own in handle.entries)
    ]
    done = {id(entry) for handle in handles for entry in handle.entries}
    done -= {id(entry) for handle in handles for entry in handle.plain}
    return handles, [entry for entry in entries if id(entry) not in done]


class Plans:
    """One function bound for inputs of one combination of shapes."""

    def __init__(self, function: "Function", feeds: list[Array]) -> None:
        self.feeds = feeds
        by_id = {id(x): a for x, a in zip(function.inputs, feeds, strict=True)}
        targets = {id(u[0]) for u in function.updates}
        for node in function.order:
            if id(node) not in by_id and "unfed" in node.given:
                by_id[id(node)] = np.asarray(node.given["unfed"](targets), node.dtype)
        self.bound = Bound(function.order, by_id)
        arrays = self.bound.arrays
        written = [u[0].array for u in function.updates]
        written += [v.array for handle in function.handles for v in handle.written]
        self.outputs = [arrays[id(x)] for x in function.outputs]
        self.updates = [
            (u[0].array, self.bound.owned(u[0].holding(arrays[id(u[1])]), written))
            for u in function.updates
        ]
        self.handles = []
        for handle in function.handles:
            taken = [self.bound.owned(arrays[id(x)], written) for x in handle.inputs]
            handle.fits(taken)
            self.handles.append((handle, taken))

    def run(self) -> list[Any]:
        """Compute everything; then write."""
        self.bound.run()
        results = [array.copy()[()] for array in self.outputs]
        for handle, taken in self.handles:
            handle.check(taken)
        for handle, taken in self.handles:
            handle.run(taken)
        for target, value in self.updates:
            np.copyto(target, value, "unsafe")
        return results


class Function:
    """A compiled function of placeholders: call it with a list of their values."""

    def __init__(self, inputs: Any, outputs: Any, updates: Any = ()) -> None:
        outputs = [] if outputs is None else outputs
        self.bare = isinstance(outputs, Expression)
        self.inputs = _nodes("inputs", inputs)
        self.outputs = _nodes("outputs", [outputs] if self.bare else outputs)
        self.handles, self.updates = fused(checked_updates(updates))
        needed = [*self.outputs, *[u[1] for u in self.updates]]
        needed += [x for handle in self.handles for x in handle.inputs]
        fed = {id(x) for x in self.inputs}
        self.order = ordered(needed, fed)
        for node in self.order:
            known = id(node) in fed or "unfed" in node.given
            if node.operation == "placeholder" and not known:
                raise ValueError(
                    f"placeholder {node.name!r} (shape {node.shape}, {node.dtype}) is used "
                    "by the outputs or updates but is not among the inputs; add it to "
                    "K.function([...], ...)."
                )
        # As with control dependencies of TensorFlow: to read such a node is to make its assignment.
        self.updates += [x.given["assigns"] for x in self.order if "assigns" in x.given]
        self._plans: dict[tuple[tuple[int, ...], ...], Plans] = {}
        self._lock = threading.RLock()  # the memory of a plan serves one call at a time

    def __call__(self, values: Any = ()) -> Any:
        """Return the outputs (bare if they were given bare), then apply the updates."""
        if not isinstance(values, list | tuple) or len(values) != len(self.inputs):
            count = len(values) if isinstance(values, list | tuple) else repr(values)[:60]
            raise ValueError(
                f"the function has {len(self.inputs)} inputs "
                f"({', '.join(x.name for x in self.inputs)}) and received {count}; call it with "
                "one list: f([x, y])."
            )
        arrays = [_fed(x, v) for x, v in zip(self.inputs, values, strict=True)]
        key = tuple([array.shape for array in arrays])
        with self._lock, flushing(True), np.errstate(all="ignore"):
            plan = self._plans.get(key) or self._planned(key)
            for buffer, array in zip(plan.feeds, arrays, strict=False):
                np.copyto(buffer, array, "unsafe")
            results = plan.run()
        return results[0] if self.bare else results

    def _planned(self, key: tuple[tuple[int, ...], ...]) -> Plans:
        """Bind the function for inputs of shapes they may have; the oldest plan makes room."""
        for x, shape in zip(self.inputs, key, strict=True):
            if not fits(x.shape, shape):
                raise ValueError(
                    f"input {x.name!r} received an array of shape {shape}; expected "
                    f"{x.shape}. Nothing was changed."
                )
        while len(self._plans) >= _MOST_PLANS:
            del self._plans[next(iter(self._plans))]
        feeds = [np.zeros(shape, x.dtype) for shape, x in zip(key, self.inputs, strict=True)]
        self._plans[key] = Plans(self, feeds)
        return self._plans[key]


def _fed(x: Expression, value: Any) -> Array:
    """Return a value for an input as an array of numbers that its dtype can hold."""
    array = numbers(value, x)
    if array.dtype.kind == "f" and x.dtype.startswith("int") and (array % 1).any():
        raise TypeError(f"{x} received {value!r:.80}; valid: numbers that {x.dtype} can hold.")
    return array


def _nodes(what: str, given: Any) -> list[Expression]:
    """Return the inputs or the outputs of a function, if they are a list of expressions."""
    listed = isinstance(given, list | tuple)
    if listed and all(isinstance(x, Expression) for x in given):
        return list(given)
    raise TypeError(
        f"the {what} of K.function are {given!r:.80}; valid: a list of placeholders (inputs) or "
        "expressions (outputs). Numbers are given when the function is called"
    )


def function(inputs: Any, outputs: Any, updates: Any = (), name: str | None = None) -> Function:
    """Return a function that computes outputs and applies updates."""
    return Function(inputs, outputs, updates)


def evaluate(x: Expression, feeds: dict[Expression, Any]) -> Any:
    """Return the value of one expression."""
    return Function(list(feeds), x)(list(feeds.values()))


ABOVE["evaluate"] = evaluate
