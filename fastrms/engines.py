"""The NumPy engine: carries out a step with the reference rule."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms import reference
from fastrms.rule import EACH, Slots
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
        gradient = reference.condition(
            item.arrays["gradient"],
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
        pairs[item.index] = reference.clip_pair(norm, hyper.clipnorm, hyper.one, kind, item.variant)
    return pairs


def results_of(shop: Workshop, item: Item, clip: tuple[Any, Any]) -> list[tuple[Array, Array]]:
    """Return every array that an item changes, with its new value."""
    arrays, variant = item.arrays, item.variant
    hyper = shop.numbers[arrays["variable"].dtype].hyper
    variable, partial = arrays["variable"], arrays.get("gradient_accumulator")
    results: list[tuple[Array, Any]] = []
    if variant.update or variant.accumulate:
        gradient = reference.condition(arrays["gradient"], partial, clip, hyper, variant)
    if partial is not None and (variant.accumulate or variant.accumulated):
        results.append((partial, gradient if variant.accumulate else np.zeros_like(partial)))
    if variant.update:
        names = ("velocity", "momentum", "average_gradient")
        slots = Slots(*(arrays.get(name, gradient) for name in names))
        variable, slots = reference.update(variable, gradient, slots, hyper, variant)
        changed = zip(names, slots, strict=True)
        results += [(arrays[name], value) for name, value in changed if name in arrays]
    if variant.ema:
        average = reference.average(arrays["average"], variable, hyper, variant)
        results.append((arrays["average"], average))
        variable = average if hyper.overwrite else variable
    return [*results, (arrays["variable"], variable)]


class ReferencePlan:
    """One kind of step, carried out by NumPy; the compiled counterpart is `plan.Plan`."""

    def __init__(
        self, shop: Workshop, phases: list[list[Item]], present: tuple[bool, ...], counter: Any
    ) -> None:
        self.shop, self.phases, self.present, self.counter = shop, phases, present, counter
        self.attention = np.zeros(0, np.uint64)

    def look(self, gradients: list[Any], given: list[Any] | None) -> int:
        """Send every array the slow way: nothing here is compiled."""
        return -1

    def put(self, index: int, gradient: Array) -> None:
        """Set the gradient of a variable."""
        for items in self.phases:
            for item in items:
                if item.index == index:
                    item.arrays["gradient"] = gradient

    def run(self) -> None:
        """Carry out the step phase by phase; a phase is computed before it is written."""
        shop = self.shop
        for i, stand_in in shop.stand_ins.items():
            np.copyto(stand_in.reshape(shop.variables.arrays[i].shape), shop.variables.arrays[i])
        with reference.flushing(shop.row.flushes_subnormals), np.errstate(all="ignore"):
            pairs = pairs_of(shop, [item for item in self.phases[0] if item.variant.update])
            for items in self.phases:
                results = []
                for item in items:
                    one = shop.numbers[item.arrays["variable"].dtype].hyper.one
                    results += results_of(shop, item, pairs.get(item.index, (one, one)))
                for target, value in results:
                    target[...] = value
        for i, stand_in in shop.stand_ins.items():
            np.copyto(shop.variables.arrays[i], stand_in.reshape(shop.variables.arrays[i].shape))
        self.counter[0] += self.counter[1]
        self.counter[2] += 1
