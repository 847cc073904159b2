"""Random numbers: each sampler fills an array at each evaluation of its node.

The one place of the engine that draws numbers. `operation_seed` draws an operation's seed as the
mirrored system did: from NumPy's global generator, when the node is made. The numbers are those
that TensorFlow drew for that seed, call after call; for float64 they are the float32 ones, widened.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from ..philox import Floats, Stream
from .binding import Array

Sampler = Callable[[Array], None]


def operation_seed(bound: float) -> int:
    """Return the next operation's seed below a bound (10e8 for variables, 10e6 for operations)."""
    return int(np.random.randint(int(bound)))


def _filling(draw: Callable[[int], Floats], scale: Any, shift: Any) -> Sampler:
    """Return a sampler of `draw() * scale + shift` in float32."""
    factor, summand = np.float32(scale), np.float32(shift)

    def fill(out: Array) -> None:
        out[...] = (draw(out.size) * factor + summand).reshape(out.shape)

    return fill


def uniform(low: float, high: float, seed: int) -> Sampler:
    """Return a sampler of numbers in [low, high)."""
    return _filling(Stream(seed).uniform, np.float32(high) - np.float32(low), low)


def normal(mean: float, deviation: float, seed: int) -> Sampler:
    """Return a sampler of normally distributed numbers."""
    return _filling(Stream(seed).normal, deviation, mean)


def truncated_normal(mean: float, deviation: float, seed: int) -> Sampler:
    """Return a sampler of normal numbers, drawn again beyond two standard deviations."""
    return _filling(Stream(seed).truncated_normal, deviation, mean)


_FIRST_VALUES = 10e8  # the bound of a variable's seed, in every generation


def _from_theano() -> bool:
    """Tell whether the script was written for Keras on Theano, as it told Keras itself."""
    return os.environ.get("KERAS_BACKEND") == "theano"


def _first(make: Callable[..., Sampler], shape: Any, one: float, two: float, seed: Any) -> Any:
    """Return the first values of a variable."""
    values = np.empty(shape, np.float32)
    make(one, two, operation_seed(_FIRST_VALUES) if seed is None else int(seed))(values)
    return values


def first_uniform(shape: tuple[int, ...], low: float, high: float, seed: int | None) -> Any:
    """Return the first values of a uniform variable: TensorFlow's, or NumPy's as on Theano."""
    if _from_theano():
        return np.random.uniform(low, high, shape)
    return _first(uniform, shape, low, high, seed)


def first_normal(shape: tuple[int, ...], mean: float, scale: float, seed: int | None) -> Any:
    """Return the first values of a normal variable: TensorFlow's, or NumPy's as on Theano."""
    if _from_theano():
        return np.random.normal(mean, scale, shape)
    return _first(normal, shape, mean, scale, seed)
