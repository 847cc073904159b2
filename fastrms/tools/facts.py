"""What `inspect` and `diff` say of a checkpoint, as plain data."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.checkpoint.document import Checkpoint
from fastrms.checkpoint.ordering import paired

Array = NDArray[Any]
_MOST_NAMED = 8


def _finite(value: float) -> float | str:
    """Return a number, or its name where JSON has none."""
    return value if math.isfinite(value) else str(value)


def statistics(array: Array) -> dict[str, Any]:
    """Return a slot's least, mean and greatest value, and how many are not finite or zero.

    Examples
    --------
    >>> statistics(np.array([0.0, 2.0]))
    {'min': 0.0, 'mean': 1.0, 'max': 2.0, 'zeros': 1, 'not_finite': 0}
    """
    if not array.size:
        return {"min": None, "mean": None, "max": None, "zeros": 0, "not_finite": 0}
    with np.errstate(all="ignore"):
        mean = float(array.mean(dtype=np.float64))
    return {
        "min": _finite(float(array.min())),
        "mean": _finite(mean),
        "max": _finite(float(array.max())),
        "zeros": int(array.size - np.count_nonzero(array)),
        "not_finite": int(array.size - np.count_nonzero(np.isfinite(array))),
    }


def inspected(path: str, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return all that `inspect` shows.

    Parameters
    ----------
    path : str
        The file's name.
    checkpoint : Checkpoint
        Its content.
    """
    variables = []
    for i, (name, shape, dtype) in enumerate(checkpoint.variables):
        slots = {
            slot: None if (array := column[i]) is None else statistics(array)
            for slot, column in checkpoint.slots.items()
        }
        variables.append({"name": name, "shape": list(shape), "dtype": dtype, "slots": slots})
    return {
        "path": path,
        "format": checkpoint.format,
        "writer": checkpoint.writer._asdict(),
        "rule": checkpoint.rule,
        "dialect": checkpoint.dialect,
        "iterations": checkpoint.iterations,
        "config": checkpoint.config,
        "loss_scale": checkpoint.loss_scale,
        "variables": variables,
        "weights": [
            {"name": name, "shape": list(array.shape), "dtype": array.dtype.name}
            for name, array in checkpoint.weights.items()
        ],
        "notes": list(checkpoint.notes),
    }


def _array_differences(what: str, one: Array | None, other: Array | None) -> list[str]:
    """Say how two arrays differ, bit for bit."""
    if one is None or other is None:
        return [] if one is other else [f"{what}: only in {'B' if one is None else 'A'}"]
    if one.shape != other.shape:
        return [f"{what}: shape {one.shape}, {other.shape}"]
    if one.dtype != other.dtype:
        return [f"{what}: dtype {one.dtype}, {other.dtype}"]
    bits = np.ascontiguousarray(one), np.ascontiguousarray(other)
    if bits[0].tobytes() == bits[1].tobytes():
        return []
    octets = [a.reshape(-1).view(np.uint8).reshape(one.size, -1) for a in bits]
    count = int(np.count_nonzero((octets[0] != octets[1]).any(axis=1)))
    with np.errstate(all="ignore"):
        gap = np.abs(one.astype(np.float64) - other.astype(np.float64)).max()
    return [f"{what}: {count} of {one.size} values differ, by up to {gap:.6g}"]


def differences(one: Checkpoint, other: Checkpoint, moved: bool = False) -> list[str]:
    """Say where two checkpoints differ; arrays are compared bit for bit.

    Parameters
    ----------
    one, other : Checkpoint
        A and B.
    moved : bool
        Whether B is A in another container: what merely names and describes it is not compared.
    """
    found = []
    plain = ("rule", "iterations", "dialect")
    for name in plain:
        values = getattr(one, name), getattr(other, name)
        if moved and name == "iterations" and values == (None, 0):
            continue  # a format that must have one begins it
        if values[0] != values[1] and not (moved and values[1] is None and name == "dialect"):
            found.append(f"{name}: {values[0]!r}, {values[1]!r}")
    if not moved:
        keys = sorted({*one.config, *other.config})
        gone = object()
        for key in keys:
            pair = one.config.get(key, gone), other.config.get(key, gone)
            if pair[0] is gone or pair[1] is gone:
                found.append(f"config {key}: only in {'A' if pair[1] is gone else 'B'}")
            elif pair[0] != pair[1]:
                found.append(f"config {key}: {pair[0]!r}, {pair[1]!r}")
    scales = [checkpoint.loss_scale or {} for checkpoint in (one, other)]
    found += [
        f"loss_scale {key}: {scales[0].get(key)!r}, {scales[1].get(key)!r}"
        for key in ("scale", "counter")
        if scales[0].get(key) != scales[1].get(key) and not (moved and scales[0].get(key) is None)
    ]
    return found + _state_differences(one, other, moved)


def _plain(name: str) -> str:
    """Return a name without the `:0` that TensorFlow puts behind it in some files."""
    return name.removesuffix(":0")


def _state_differences(one: Checkpoint, other: Checkpoint, moved: bool) -> list[str]:
    """Compare variables, slots and weights."""
    names = [[_plain(v.name) for v in checkpoint.variables] for checkpoint in (one, other)]
    order = list(range(len(names[0])))
    if len(names[0]) == len(names[1]) and (moved or set(names[0]) == set(names[1])):
        places = paired(one, other, "the other file")
        order = sorted(order, key=places.__getitem__)
    else:
        listed = [sorted(set(a) - set(b))[:_MOST_NAMED] for a, b in (names, names[::-1])]
        return [f"variables: only in A {listed[0]}, only in B {listed[1]}"]
    found = []
    for slot in dict.fromkeys([*one.slots, *other.slots]):
        if slot not in one.slots or slot not in other.slots:
            found.append(f"slot {slot}: only in {'A' if slot in one.slots else 'B'}")
            continue
        for i, k in enumerate(order):
            what = f"{slot} of {names[0][i]}"
            found += _array_differences(what, one.slots[slot][i], other.slots[slot][k])
    weights = [{_plain(n): a for n, a in c.weights.items()} for c in (one, other)]
    for name in dict.fromkeys([*weights[0], *weights[1]]):
        pair = weights[0].get(name), weights[1].get(name)
        if not moved or (pair[0] is not None and pair[1] is not None):
            found += _array_differences(f"weight {name}", *pair)
    return found
