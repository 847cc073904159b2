"""What a step makes of a variable and its slots, by the NumPy form of the rule.

The values of a row of a table that is given several times add up their shares of the running means,
and each makes its step by the same root; with momentum the sum of the steps moves the variable.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms import reference
from fastrms.rule import Slots, moves
from fastrms.sparse import Repeated, Rows
from fastrms.work import Item, Workshop

Array = NDArray[Any]
# The arrays of a table in the order of the columns of a program's row.
_COPIED = ("variable", *Slots._fields, "average")


def results_of(shop: Workshop, item: Item, clip: Any, advance: Any = None) -> dict[str, Array]:
    """Return the new value of every array that an item changes."""
    arrays, variant = item.arrays, item.variant
    if item.row_size:
        return _row_results(shop, item, clip) if arrays["variable"].size else {}
    hyper = shop.numbers[arrays["variable"].dtype].hyper
    partial_sum, wide = arrays.get("gradient_accumulator"), hyper.one.dtype
    variable: Any = arrays["variable"].astype(wide, copy=False)
    results: dict[str, Any] = {}
    if variant.update or variant.accumulate:
        given = np.zeros_like(variable) if variant.absent else arrays["gradient"]
        given = given.astype(wide, copy=False)
        gradient = reference.condition(given, partial_sum, clip, hyper, variant)
    if partial_sum is not None and (variant.accumulate or variant.accumulated):
        results["gradient_accumulator"] = gradient if variant.accumulate else 0
    if variant.update:
        slots = Slots(*(arrays.get(name, gradient) for name in Slots._fields))
        variable, slots = (advance or reference.advance)(variable, gradient, slots, hyper, variant)
        results |= {n: value for n, value in slots._asdict().items() if n in arrays}
    if variant.ema:
        results["average"] = reference.average(arrays["average"], variable, hyper, variant)
    overwritten = variant.ema and hyper.overwrite
    if overwritten or moves(variant):
        results["variable"] = results["average"] if overwritten else variable
    return results


def _in_turn(rows: Repeated, variable: Any, values: Any, slots: Any, *how: Any) -> Any:
    """Carry out the rule on rows given several times, as Keras 3 does on TensorFlow."""
    centered, has_momentum = how[-1].centered, how[-1].momentum
    shares = [rows.added(share) for share in reference.shares(values, *how)[: 1 + centered]]
    variable, slots, spread = reference.settle(variable, shares, slots, *how)
    steps = reference.step(values, spread[rows.owners], *how)
    variable, momentum = np.array(variable), slots.momentum
    for change in [rows.added(steps)] if has_momentum else map(steps.__getitem__, rows.turns):
        given = slice(len(change))
        variable[given], momentum = reference.move(variable[given], change, momentum[given], *how)
    return variable, slots._replace(momentum=momentum)


def _part_results(shop: Workshop, item: Item, places: Any, gradient: Any, *how: Any) -> Any:
    """Return what becomes of some rows of a table."""
    tables = {n: a.reshape(-1, item.row_size) for n, a in item.arrays.items() if n != "gradient"}
    arrays = {name: table[places] for name, table in tables.items()} | {"gradient": gradient}
    return results_of(shop, replace(item, arrays=arrays, row_size=0), *how)


def _results_apart(shop: Workshop, item: Item, rows: Rows, some: Repeated) -> Any:
    """Return where rows lie whose values make steps of their own, and what becomes of them."""
    places, advance = rows.indices[some.places].astype(np.intp), partial(_in_turn, some)
    return places, _part_results(shop, item, places, some.values, (1, 1), advance)


def prepare(shop: Workshop, item: Item, given: dict[int, Any]) -> int:
    """Return where a walk finds what rows given several times become, or 0; `given` keeps it."""
    rows = given.get(item.index)
    if rows is None or not rows.repeated or not item.arrays["variable"].size:
        return 0
    kept = given[~item.index] = [np.zeros(rows.indices.size, np.uint64)]
    with reference.flushing(shop.row.flushes_subnormals), np.errstate(all="ignore"):
        for some in rows.repeated:
            _, found = _results_apart(shop, item, rows, some)
            new = np.stack([found[name] for name in _COPIED if name in found], axis=1)
            kept[0][some.places] = new.ctypes.data + np.arange(len(new)) * new[0].nbytes
            kept.append(new)
    return int(kept[0].ctypes.data)


def _row_results(shop: Workshop, item: Item, clip: Any) -> dict[str, Array]:
    """Return what an item whose gradient is rows of a table changes."""
    rows: Any = item.arrays["gradient"]
    whole, places = slice(None), rows.indices.astype(np.intp)
    parts = [(places, _part_results(shop, item, places, rows.sums, clip))]
    if item.rest is not None:
        rest = replace(item, variant=item.rest)
        parts.insert(0, (whole, _part_results(shop, rest, whole, rows.sums, clip)))
    parts += [_results_apart(shop, item, rows, some) for some in rows.repeated]
    results = {name: np.array(item.arrays[name]) for name in parts[-1][1]}
    for chosen, found in parts:
        for name, value in found.items():
            results[name].reshape(-1, item.row_size)[chosen] = value
    return results
