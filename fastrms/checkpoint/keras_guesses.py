"""Which slots a file holds that does not say it, by number, shapes and values."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastrms.checkpoint.keras_entries import Entry, Found
from fastrms.checkpoint.registry import Source

Array = NDArray[Any]
_RARE = {"average", "gradient_accumulator"}


def guessed(
    found: Found, groups: tuple[tuple[str, ...], ...], source: Source
) -> tuple[tuple[str, ...], ...]:
    """Guess which slots a file without hyperparameters has, from their number and values."""
    shapes = [entry.array.shape for entry in found.entries]
    if source.variables is not None:
        counts = [len(source.variables)]
    else:
        counts = [len(guess) for guess in found.trained]
        counts += range(len(shapes), 0, -1)
    names = [name for group in groups for name in group]
    readings: list[tuple[int, tuple[str, ...]]] = []
    for count in filter(None, counts):
        if found.optimizer is None and names and _repeat(shapes, count, 1):
            blocks = len(shapes) // count
            readings += _likely(found, names, count, blocks)
            if not readings and (count == 1 or source.variables is not None):
                return tuple((name,) for name in _numbered(blocks))
        elif not readings:
            for k in range(len(groups), 0, -1):
                if _tiled(shapes, groups[:k], count):
                    return groups[:k]
            if found.optimizer is not None and _repeat(shapes, count, 1):
                found.notes.append(
                    "this optimizer's slots are not known by name: they are numbered."
                )
                return tuple((name,) for name in _numbered(len(shapes) // count))
        if readings and found.trained:
            break  # the weights tell how many variables there are
    if not readings:
        return groups
    _note(found, readings)
    return tuple((name,) for name in readings[0][1])


def _note(found: Found, readings: list[tuple[int, tuple[str, ...]]]) -> None:
    """Say what stays open: which slots there are, and even of how many variables."""
    if len(readings) > 1:
        said = [f"{', '.join(choice)} of {count} variables" for count, choice in readings]
        found.notes.append(
            f"the file does not tell which slots it holds: {said[0]} is one reading, "
            f"{' or '.join(said[1:])} another. Pass variables=... to load, and the run's "
            "hyperparameters to optimizer()."
        )


def _numbered(blocks: int) -> list[str]:
    """Return names for slots that are not known by name."""
    return [f"slot_{i}" for i in range(blocks)]


def _repeat(shapes: list[Any], count: int, width: int) -> bool:
    """Tell whether shapes are blocks of so many, each shape `width` times in a row."""
    block = [shape for shape in shapes[: count * width : width] for _ in range(width)]
    # Adam of Keras 2 writes zeros of shape (1,) where AMSGrad would have its maxima.
    return not len(shapes) % (count * width) and all(
        shape in (block[i % len(block)], (1,)) for i, shape in enumerate(shapes)
    )


def _tiled(shapes: list[Any], groups: tuple[tuple[str, ...], ...], count: int) -> bool:
    """Tell whether shapes are those of groups of slots over so many variables."""
    if len(shapes) != count * sum(len(group) for group in groups):
        return False
    first = 0
    for group in groups:
        block = shapes[first : first + count * len(group)]
        if not _repeat(block, count, len(group)):
            return False
        first += len(block)
    return True


def _likely(
    found: Found, names: list[str], count: int, blocks: int
) -> list[tuple[int, tuple[str, ...]]]:
    """Return the choices of slot names that blocks of arrays can be, rare slots last."""
    parts = [found.entries[i * count : (i + 1) * count] for i in range(blocks)]
    choices = sorted(combinations(names, blocks), key=lambda names: len(_RARE & set(names)))
    possible = (c for c in choices if "velocity" in c)
    return [(count, c) for c in possible if _possible(dict(zip(c, parts, strict=True)), found)]


def _possible(slots: Mapping[str, Sequence[Entry]], found: Found) -> bool:
    """Tell whether values can be those of these slots."""
    if any((entry.array < 0).any() for entry in slots["velocity"]):
        return False
    means = slots.get("average_gradient", [])
    for entry, mean in zip(slots["velocity"], means, strict=bool(means)):
        # Weighted means with weights below 1 in sum: (sum w g)^2 <= sum w g^2.
        slack = entry.array.astype(np.float64) * (1 + 1e-5) + 1e-30
        if (mean.array.astype(np.float64) ** 2 > slack).any():
            return False
    if "average" not in slots or not found.trained:
        return True
    trained = [np.ravel(e.array).astype(np.float64) for e in found.trained[0]]
    weights = np.concatenate([*trained, []])
    average = np.concatenate([np.ravel(e.array).astype(np.float64) for e in slots["average"]])
    if weights.shape != average.shape:
        return False
    return bool(np.linalg.norm(weights - average) < 0.7 * np.linalg.norm(weights))
