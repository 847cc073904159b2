"""Clip gradients as a step does, without a step."""

import dataclasses
from typing import Any

import numpy as np

from fastrms import reference
from fastrms.arguments import Settings
from fastrms.dialects.fields import Dialect
from fastrms.engines import pairs_of
from fastrms.state import State
from fastrms.variables import Variables
from fastrms.work import UPDATE, Item, Workshop


def clipped(row: Dialect, settings: Settings, gradients: list[Any]) -> list[Any]:
    """Return gradients clipped as a step clips them, and nothing else done to them; None stays."""
    off: Any = dict.fromkeys(("loss_scale_factor", "gradient_accumulation_steps", "weight_decay"))
    alone = dataclasses.replace(settings, use_ema=False, **off)
    given = [(i, np.asarray(g)) for i, g in enumerate(gradients) if g is not None]
    arrays = [g.astype(g.dtype if g.dtype.kind == "f" else np.float32).ravel() for _, g in given]
    variables = Variables(arrays, [str(i) for i, _ in given], named=False)
    shop = Workshop(row, alone, variables, State(variables, 0.0), frozenset())
    items = [
        Item(k, shop.variant(k, UPDATE), {"variable": array, "gradient": array})
        for k, array in enumerate(arrays)
    ]
    result: list[Any] = [None] * len(gradients)
    with reference.flushing(row.flushes_subnormals), np.errstate(all="ignore"):
        pairs = pairs_of(shop, items)
        for item, (place, gradient) in zip(items, given, strict=True):
            hyper = shop.numbers[item.arrays["gradient"].dtype].hyper
            pair = pairs.get(item.index, (hyper.one, hyper.one))
            value = reference.condition(item.arrays["gradient"], None, pair, hyper, item.variant)
            result[place] = value.reshape(gradient.shape)
    return result
