"""The NumPy engine: carries out a step with the reference rule."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms import reference
from fastrms.layout import Count
from fastrms.results import results_of
from fastrms.rule import EACH
from fastrms.sparse import Rows
from fastrms.work import Item, Workshop

Array = NDArray[Any]


def pairs_of(shop: Workshop, items: list[Item]) -> dict[int, tuple[Any, Any]]:
    """Return the factor and divisor by which each variable's gradient is clipped."""
    kind = shop.norm_kind
    if kind is None:
        return {}
    sums: dict[int, float] = {}
    total = 0.0
    for item in items:
        hyper = shop.numbers[item.arrays["variable"].dtype].hyper
        clip = (hyper.one, hyper.one)
        rows = item.arrays["gradient"]
        if isinstance(rows, Rows):
            total = rows.total + (0.0 if kind == EACH else total)
            sums[item.index] = total
            continue
        gradient = reference.condition(
            item.arrays["gradient"].astype(hyper.one.dtype, copy=False),
            item.arrays.get("gradient_accumulator"),
            clip,
            hyper,
            shop.before_norm(item.index),
        )
        if kind == EACH:
            total = 0.0
        for part in reference.chunk_sums(gradient):
            total += part
        sums[item.index] = total
    pairs = {}
    for item in items:
        hyper = shop.numbers[item.arrays["variable"].dtype].hyper
        norm = type(hyper.one)(np.sqrt(sums[item.index] if kind == EACH else total))
        numbers = hyper.clipnorm, hyper.inverse_clipnorm, hyper.one
        pairs[item.index] = reference.clip_pair(norm, *numbers, kind, item.variant)
    return pairs


class ReferencePlan:
    """One kind of step, carried out by NumPy; the compiled counterpart is `plan.Plan`."""

    def __init__(
        self, shop: Workshop, phases: list[list[Item]], present: tuple[int, ...], counter: Any
    ) -> None:
        self.shop, self.phases, self.present, self.counter = shop, phases, present, counter
        self.attention = np.zeros(0, np.uint64)
        self._items: dict[int, list[Item]] = {}
        for item in (item for items in phases for item in items):
            self._items.setdefault(item.index, []).append(item)

    def look(self, gradients: list[Any], given: list[Any] | None) -> int:
        """Send every array the slow way: nothing here is compiled."""
        return -1

    def put(self, index: int, gradient: Any) -> None:
        """Set the gradient of a variable, flat elements or rows."""
        for item in self._items.get(index, ()):
            item.arrays["gradient"] = gradient

    def run(self) -> None:
        """Carry out the step phase by phase; a phase is computed before it is written."""
        shop = self.shop
        for i, stand_in in shop.stand_ins.items():
            np.copyto(stand_in.reshape(shop.variables.arrays[i].shape), shop.variables.arrays[i])
        self.counter[Count.ENDED] += 1
        if shop.guarded and not self._finite():
            self.counter[Count.STOP] = 1
        if self.counter[Count.STOP]:
            return
        with reference.flushing(shop.row.flushes_subnormals), np.errstate(all="ignore"):
            pairs = pairs_of(shop, [item for item in self.phases[0] if item.variant.factor])
            for items in self.phases:
                results = []
                for item in items:
                    one = shop.numbers[item.arrays["variable"].dtype].hyper.one
                    found = results_of(shop, item, pairs.get(item.index, (one, one)))
                    results += [(item.arrays[name], value) for name, value in found.items()]
                for target, value in results:
                    target[...] = value
        for i, stand_in in shop.stand_ins.items():
            np.copyto(shop.variables.arrays[i], stand_in.reshape(shop.variables.arrays[i].shape))
        self.counter[Count.CALLS] += self.counter[Count.ADDED]

    def _finite(self) -> bool:
        """Tell whether all gradients are finite."""
        given = [item.arrays["gradient"] for item in self.phases[0] if "gradient" in item.arrays]
        return all(g.finite if isinstance(g, Rows) else np.isfinite(g).all() for g in given)


def kind_of_plan(on_device: bool, compiled: bool) -> Any:
    """Return the class of the engine; what compiles is imported when it is needed."""
    if on_device:
        from fastrms.cuda.plan import DevicePlan

        return DevicePlan
    if compiled:
        from fastrms.plan import Plan

        return Plan
    return ReferencePlan
