"""Random numbers: each sampler fills an array at each evaluation of its node.

The one place of the engine that draws numbers. `operation_seed` draws an operation's seed as the
mirrored system did: from NumPy's global generator, when the node is made.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Sampler = Callable[[NDArray[Any]], None]


def operation_seed(bound: float) -> int:
    """Return the next operation's seed below a bound (10e8 in Keras 1, 10e6 in Keras 2)."""
    return int(np.random.randint(int(bound)))


def uniform(low: float, high: float, seed: int) -> Sampler:
    """Return a sampler of numbers in [low, high)."""
    generator = np.random.Generator(np.random.Philox(seed))

    def fill(out: NDArray[Any]) -> None:
        out[...] = generator.uniform(low, high, out.shape)

    return fill


def normal(mean: float, deviation: float, seed: int) -> Sampler:
    """Return a sampler of normally distributed numbers."""
    generator = np.random.Generator(np.random.Philox(seed))

    def fill(out: NDArray[Any]) -> None:
        out[...] = generator.normal(mean, deviation, out.shape)

    return fill


def truncated_normal(mean: float, deviation: float, seed: int) -> Sampler:
    """Return a sampler of normal numbers, drawn again beyond two standard deviations."""
    generator = np.random.Generator(np.random.Philox(seed))

    def fill(out: NDArray[Any]) -> None:
        values = generator.normal(0, 1, out.shape)
        while (far := np.abs(values) > 2).any():
            values[far] = generator.normal(0, 1, int(far.sum()))
        out[...] = mean + deviation * values

    return fill
