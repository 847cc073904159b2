"""Losses and random numbers of the backend."""

from typing import Any

from . import samplers
from .expressions import Expression, build, sized
from .mathematics import (
    abs,
    cast,
    clip,
    flatten,
    log,
    of,
    one_hot,
    relu,
    shape,
    softmax,
    softplus,
    sum,
    switch,
)
from .session import SESSION, number_kind
from .settings import learning_phase
from .variables import Variable

Node = Expression


def categorical_crossentropy(
    target: Any, output: Any, from_logits: bool = False, axis: int = -1
) -> Node:
    """Return -sum(target * log(output)), the output normalised and kept off 0 and 1."""
    chances = softmax(output, axis) if from_logits else of(output) / sum(output, axis, True)
    bounded = clip(chances, SESSION.epsilon, 1.0 - SESSION.epsilon)
    return -sum(of(target) * log(bounded), axis)


def sparse_categorical_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Node:
    """Return the cross-entropy for class numbers instead of vectors."""
    classes = of(output).shape
    if not classes or classes[-1] is None:
        raise ValueError("the number of classes is not known; give the placeholder a shape.")
    numbers = cast(flatten(target), "int64")
    return categorical_crossentropy(one_hot(numbers, classes[-1]), output, from_logits)


def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Node:
    """Return the cross-entropy of each element, through logits as on TensorFlow."""
    logits = of(output)
    if not from_logits:
        bounded = clip(output, SESSION.epsilon, 1.0 - SESSION.epsilon)
        logits = log(bounded / (1.0 - bounded))
    found: Node = relu(logits) - logits * target + softplus(-abs(logits))
    return found


def _random(shape: Any, dtype: Any, sampler: Any) -> Node:
    fixed, rest = sized(shape)
    kind = number_kind("a random K operation", dtype or SESSION.floatx)
    return build("random", *rest, shape=fixed, sampler=sampler, dtype=kind)


def _seed(seed: int | None) -> int:
    return samplers.operation_seed(10e6) if seed is None else int(seed)


def random_uniform(
    shape: Any, minval: float = 0.0, maxval: float = 1.0, dtype: Any = None, seed: int | None = None
) -> Node:
    """Return numbers in [minval, maxval), new ones at each evaluation."""
    return _random(shape, dtype, samplers.uniform(minval, maxval, _seed(seed)))


def random_uniform_variable(
    shape: Any,
    low: float,
    high: float,
    dtype: Any = None,
    name: str | None = None,
    seed: int | None = None,
) -> Variable:
    """Return a variable of numbers in [low, high)."""
    start = samplers.first_uniform(tuple(shape), low, high, seed)
    return Variable(start, dtype, name)


def random_normal_variable(
    shape: Any,
    mean: float,
    scale: float,
    dtype: Any = None,
    name: str | None = None,
    seed: int | None = None,
) -> Variable:
    """Return a variable of normally distributed numbers."""
    return Variable(samplers.first_normal(tuple(shape), mean, scale, seed), dtype, name)


def random_normal(
    shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: int | None = None
) -> Node:
    """Return normally distributed numbers, new ones at each evaluation."""
    return _random(shape, dtype, samplers.normal(mean, stddev, _seed(seed)))


def truncated_normal(
    shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: int | None = None
) -> Node:
    """Return normal numbers within two standard deviations, new ones at each evaluation."""
    return _random(shape, dtype, samplers.truncated_normal(mean, stddev, _seed(seed)))


def random_binomial(shape: Any, p: float = 0.0, dtype: Any = None, seed: int | None = None) -> Node:
    """Return ones with probability p and zeros, new ones at each evaluation."""
    chance = random_uniform(shape, dtype=dtype, seed=seed)
    return cast(chance <= p, dtype or SESSION.floatx)


def dropout(x: Any, level: float, noise_shape: Any = None, seed: int | None = None) -> Node:
    """Return x with a share of its elements set to 0 and the others scaled up."""
    node = of(x)
    wanted = shape(node) if noise_shape is None else noise_shape
    chance = random_uniform(wanted, dtype=node.dtype, seed=_seed(seed))
    return _thinned(node, chance, level)


def _thinned(node: Node, chance: Node, level: float) -> Node:
    found = node / (1.0 - level) * cast(chance >= level, node.dtype)
    found.shape = node.shape
    return found


def training_dropout(x: Node, level: float, noise_shape: Any, seed: int | None) -> Node:
    """Return x thinned in training; numbers are drawn in training only, as in a branch of TF."""
    phase = learning_phase()
    if not isinstance(phase, Expression):
        return dropout(x, level, noise_shape, seed) if phase else x
    fixed, rest = sized(shape(x) if noise_shape is None else noise_shape)
    given = {
        "shape": fixed,
        "sampler": samplers.uniform(0.0, 1.0, _seed(seed)),
        "in_training": True,
    }
    chance = build("random", *rest, phase, dtype=x.dtype, **given)
    found: Node = switch(phase, _thinned(x, chance, level), x)
    found.shape = x.shape
    return found


def in_train_phase(x: Any, alt: Any, training: Any = None) -> Any:
    """Return x in training and alt otherwise."""
    phase = learning_phase() if training is None else training
    if not isinstance(phase, Expression):
        chosen = x if phase in (1, True) else alt
        return chosen() if callable(chosen) else chosen
    return switch(phase, x, alt)
