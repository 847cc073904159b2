"""The functions that scripts call on `K`, as far as old scripts were seen to call them."""

import builtins
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import samplers
from .derivatives import gradients as gradients
from .expressions import Expression, build, lifted, reduce, reshape, sized
from .expressions import constant as _constant
from .functions import evaluate
from .functions import function as function
from .session import FLOATS, SESSION
from .variables import Update, Variable, placeholder
from .variables import update as update
from .variables import variable as _variable

Node = Expression


def _of(x: Any) -> Node:
    return lifted(x, SESSION.floatx)


# Settings


def backend() -> str:
    """Return the name of what computes: "fastrms"."""
    return "fastrms"


def floatx() -> str:
    """Return the dtype of new variables."""
    return SESSION.floatx


def set_floatx(floatx: str) -> None:
    """Set the dtype of new variables: "float16", "float32" or "float64"."""
    if floatx not in FLOATS:
        raise ValueError(f"floatx={floatx!r} is not valid; valid: {', '.join(FLOATS)}.")
    SESSION.floatx = str(floatx)


def epsilon() -> float:
    """Return the small number that losses and optimizers add: 1e-7 unless set."""
    return SESSION.epsilon


def set_epsilon(value: float) -> None:
    """Set the small number that losses and optimizers add."""
    SESSION.epsilon = float(value)


def image_data_format() -> str:
    """Return "channels_last" unless set otherwise."""
    return SESSION.image_format


def set_image_data_format(data_format: str) -> None:
    """Keep the setting; no operation here depends on it."""
    SESSION.image_format = str(data_format)


def learning_phase() -> Any:
    """Return the learning phase: an input that is 0 (test) where a function is not given it."""
    if SESSION.learning_phase is not None:
        return SESSION.learning_phase
    if SESSION.phase_expression is None:
        SESSION.phase_expression = placeholder((), dtype="int32", name="keras_learning_phase")
    return SESSION.phase_expression


def set_learning_phase(value: int) -> None:
    """Fix the learning phase for graphs made from now on: 0 (test) or 1 (training)."""
    if value not in (0, 1):
        raise ValueError(f"learning phase {value!r} is not valid; valid: 0 (test), 1 (training).")
    SESSION.learning_phase = int(value)


def clear_session() -> None:
    """Forget names and the learning phase; old graphs go on working."""
    SESSION.counts.clear()
    SESSION.learning_phase = SESSION.phase_expression = None


def set_session(session: Any) -> None:
    """Do nothing: there is no session."""


@contextmanager
def name_scope(name: str) -> Iterator[str]:
    """Do nothing but name a block."""
    yield name


def symbolic(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function itself: everything is symbolic."""
    return func


def get_uid(prefix: str = "") -> int:
    """Return how often a prefix was asked for, counted from 1."""
    SESSION.uids[prefix] = SESSION.uids.get(prefix, 0) + 1
    return SESSION.uids[prefix]


# Leaves and values


def variable(
    value: Any, dtype: Any = None, name: str | None = None, constraint: Any = None
) -> Variable:
    """Return a variable; its value is copied."""
    return _variable(value, dtype, name, constraint)


def constant(value: Any, dtype: Any = None, shape: Any = None, name: str | None = None) -> Node:
    """Return a node with a fixed value."""
    filled = value if shape is None else np.broadcast_to(np.asarray(value), shape)
    return _constant(filled, str(np.dtype(dtype or SESSION.floatx)), name)


def zeros(shape: Any, dtype: Any = None, name: str | None = None) -> Variable:
    """Return a variable of zeros."""
    return _variable(np.zeros(shape, np.int8), dtype, name)


def ones(shape: Any, dtype: Any = None, name: str | None = None) -> Variable:
    """Return a variable of ones."""
    return _variable(np.ones(shape, np.int8), dtype, name)


def zeros_like(x: Any, dtype: Any = None, name: str | None = None) -> Node:
    """Return zeros of the shape of x."""
    return build("fill_like", _of(x), value=0, dtype=str(np.dtype(dtype or _of(x).dtype)))


def ones_like(x: Any, dtype: Any = None, name: str | None = None) -> Node:
    """Return ones of the shape of x."""
    return build("fill_like", _of(x), value=1, dtype=str(np.dtype(dtype or _of(x).dtype)))


def get_value(x: Any) -> Any:
    """Return the value of a variable (or of an expression without inputs)."""
    return x.get_value() if isinstance(x, Variable) else evaluate(_of(x), {})


def set_value(x: Variable, value: Any) -> None:
    """Replace the value of a variable."""
    if not isinstance(x, Variable):
        raise TypeError(f"K.set_value received {x!r}; valid: a variable and its new value.")
    x.set_value(value)


def batch_get_value(ops: Sequence[Any]) -> list[Any]:
    """Return the values of several variables."""
    return [get_value(x) for x in ops]


def batch_set_value(tuples: Sequence[tuple[Variable, Any]]) -> None:
    """Replace the values of several variables."""
    for x, value in tuples:
        set_value(x, value)


def eval(x: Any) -> Any:
    """Return the value of an expression without inputs."""
    return get_value(x)


def update_add(x: Variable, increment: Any) -> Update:
    """Return the update that adds to a variable."""
    return update(x, x + increment)


def update_sub(x: Variable, decrement: Any) -> Update:
    """Return the update that subtracts from a variable."""
    return update(x, x - decrement)


# Facts


def dtype(x: Node) -> str:
    """Return the dtype as a string."""
    return x.dtype


def ndim(x: Node) -> int | None:
    """Return the number of dimensions."""
    return x.ndim


def int_shape(x: Any) -> Any:
    """Return the shape as a tuple, None where only a call makes a size known."""
    return getattr(x, "_keras_shape", None) or _of(x).static_shape


def get_variable_shape(x: Node) -> Any:
    """Return the shape of a variable (Keras 1's name of int_shape)."""
    return int_shape(x)


def shape(x: Node) -> Node:
    """Return the shape as an expression."""
    return build("shape", x, dtype="int32")


# Element by element


def abs(x: Any) -> Node:
    """Return absolute values."""
    return build("absolute", x)


def square(x: Any) -> Node:
    """Return squares."""
    return build("square", x)


def sqrt(x: Any) -> Node:
    """Return square roots, of 0 for negative numbers."""
    return build("sqrt", build("maximum", x, 0.0))


def exp(x: Any) -> Node:
    """Return exponentials."""
    return build("exp", x)


def log(x: Any) -> Node:
    """Return natural logarithms."""
    return build("log", x)


def tanh(x: Any) -> Node:
    """Return hyperbolic tangents."""
    return build("tanh", x)


def sigmoid(x: Any) -> Node:
    """Return 1 / (1 + exp(-x))."""
    return build("sigmoid", x)


def hard_sigmoid(x: Any) -> Node:
    """Return 0.2 * x + 0.5, clipped to [0, 1]."""
    return clip(0.2 * _of(x) + 0.5, 0.0, 1.0)


def softplus(x: Any) -> Node:
    """Return log(1 + exp(x))."""
    return build("softplus", x)


def relu(x: Any, alpha: Any = 0.0, max_value: Any = None) -> Node:
    """Return max(x, 0), with a slope below 0 and a bound above where given."""
    found = build("relu", x)
    if max_value is not None:
        found = build("minimum", found, max_value)
    return (
        found
        if isinstance(alpha, float | int) and alpha == 0
        else found - alpha * build("relu", -x)
    )


def elu(x: Any, alpha: float = 1.0) -> Node:
    """Return x, or alpha * (exp(x) - 1) below 0."""
    return switch(_of(x) > 0, x, alpha * (exp(build("minimum", x, 0.0)) - 1.0))


def softmax(x: Any, axis: int = -1) -> Node:
    """Return exponentials divided by their sum."""
    return build("softmax", x, axis=axis)


def sign(x: Any) -> Node:
    """Return -1, 0 or 1."""
    return build("sign", x)


def round(x: Any) -> Node:
    """Return the nearest integers, halves to even."""
    return build("round", x)


def pow(x: Any, a: Any) -> Node:
    """Return powers."""
    return build("power", x, a)


def clip(x: Any, min_value: Any, max_value: Any) -> Node:
    """Return x bounded from below and above."""
    if isinstance(min_value, float | int) and isinstance(max_value, float | int):
        max_value = max_value if max_value >= min_value else min_value
    return build("maximum", build("minimum", x, max_value), min_value)


def maximum(x: Any, y: Any) -> Node:
    """Return the larger of two."""
    return build("maximum", x, y)


def minimum(x: Any, y: Any) -> Node:
    """Return the smaller of two."""
    return build("minimum", x, y)


def equal(x: Any, y: Any) -> Node:
    """Tell where two are equal."""
    return build("equal", x, y)


def not_equal(x: Any, y: Any) -> Node:
    """Tell where two differ."""
    return build("not_equal", x, y)


def greater(x: Any, y: Any) -> Node:
    """Tell where x is greater."""
    return build("greater", x, y)


def greater_equal(x: Any, y: Any) -> Node:
    """Tell where x is greater or equal."""
    return build("greater_equal", x, y)


def less(x: Any, y: Any) -> Node:
    """Tell where x is less."""
    return build("less", x, y)


def less_equal(x: Any, y: Any) -> Node:
    """Tell where x is less or equal."""
    return build("less_equal", x, y)


def cast(x: Any, dtype: Any) -> Node:
    """Return x in another dtype."""
    kind = str(np.dtype(dtype))
    return _of(x) if _of(x).dtype == kind else build("cast", x, dtype=kind)


def stop_gradient(variables: Any) -> Any:
    """Return x (or each of a list), constant for derivatives."""
    if isinstance(variables, list | tuple):
        return [stop_gradient(x) for x in variables]
    return build("stop_gradient", variables)


def identity(x: Any, name: str | None = None) -> Node:
    """Return a node of the same value."""
    return build("identity", x)


def switch(condition: Any, then_expression: Any, else_expression: Any) -> Node:
    """Return one of two expressions (or functions that return them), element by element."""
    yes = then_expression() if callable(then_expression) else then_expression
    no = else_expression() if callable(else_expression) else else_expression
    chosen = lifted(condition, "bool")
    rank = builtins.max(x.ndim or 0 for x in (_of(yes), _of(no)))
    while chosen.ndim and chosen.ndim < rank:
        chosen = expand_dims(chosen, -1)
    return build("where", chosen, yes, no)


def in_train_phase(x: Any, alt: Any, training: Any = None) -> Any:
    """Return x in training and alt otherwise."""
    phase = learning_phase() if training is None else training
    if not isinstance(phase, Expression):
        chosen = x if phase in (1, True) else alt
        return chosen() if callable(chosen) else chosen
    return switch(phase, x, alt)


def in_test_phase(x: Any, alt: Any, training: Any = None) -> Any:
    """Return alt in training and x otherwise."""
    return in_train_phase(alt, x, training)


# Reductions


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """Return the sum."""
    node = _of(x)
    return reduce(
        "sum", cast(node, SESSION.floatx) if node.dtype == "bool" else node, axis, keepdims
    )


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """Return the mean."""
    return reduce("mean", _of(x), axis, keepdims)


def max(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """Return the largest element."""
    return reduce("max", _of(x), axis, keepdims)


def min(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """Return the smallest element."""
    return reduce("min", _of(x), axis, keepdims)


def prod(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """Return the product."""
    return reduce("prod", _of(x), axis, keepdims)


def var(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """Return the variance."""
    return mean(square(_of(x) - mean(x, axis, True)), axis, keepdims)


def std(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """Return the standard deviation."""
    return sqrt(var(x, axis, keepdims))


def any(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """Tell whether any element is true."""
    return reduce("any", cast(x, "bool"), axis, keepdims)


def all(x: Any, axis: Any = None, keepdims: bool = False) -> Node:
    """Tell whether all elements are true."""
    return reduce("all", cast(x, "bool"), axis, keepdims)


def argmax(x: Any, axis: int = -1) -> Node:
    """Return where the largest element is."""
    return build("argmax", x, axis=axis, keepdims=False, dtype="int64")


def argmin(x: Any, axis: int = -1) -> Node:
    """Return where the smallest element is."""
    return build("argmin", x, axis=axis, keepdims=False, dtype="int64")


# Shapes and products


def dot(x: Any, y: Any) -> Node:
    """Return a product with a matrix (or the inner product with a vector)."""
    right = _of(y)
    return sum(_of(x) * right, axis=-1) if right.ndim == 1 else build("dot", x, right)


def batch_dot(x: Node, y: Node, axes: Any = None) -> Node:
    """Return one product per row: over axes[0] of x and axes[1] of y."""
    if not x.ndim or not y.ndim:
        raise ValueError("K.batch_dot needs inputs of known rank; give the placeholder a shape.")
    first, second = (axes, axes) if isinstance(axes, int) else axes or (x.ndim - 1, y.ndim - 2)
    if x.ndim == y.ndim == 2:
        return sum(x * y, axis=1, keepdims=True)
    left = expand_dims(x, 1) if x.ndim == 2 else x
    left = permute_dimensions(left, (0, 2, 1)) if x.ndim == 3 and first % 3 == 1 else left
    right = expand_dims(y, 2) if y.ndim == 2 else y
    right = permute_dimensions(right, (0, 2, 1)) if y.ndim == 3 and second % 3 == 2 else right
    found = build("matmul", left, right)
    return squeeze(found, 1 if x.ndim == 2 else 2) if 2 in (x.ndim, y.ndim) else found


def transpose(x: Any) -> Node:
    """Return the dimensions in reversed order."""
    return build("transpose", x, axes=None)


def permute_dimensions(x: Any, pattern: Any) -> Node:
    """Return the dimensions in another order."""
    return build("transpose", x, axes=tuple(int(p) for p in pattern))


def flatten(x: Any) -> Node:
    """Return the elements as a vector."""
    return reshape(_of(x), (-1,))


def batch_flatten(x: Node) -> Node:
    """Return each row's elements as a vector."""
    rest = (x.static_shape or (None,))[1:]
    if None not in rest and x.static_shape is not None:
        return reshape(x, (-1, math.prod(size or 0 for size in rest)))
    return reshape(x, (shape(x)[0], -1))


def expand_dims(x: Any, axis: int = -1) -> Node:
    """Return x with a new dimension of size 1."""
    return build("expand_dims", x, axis=int(axis))


def squeeze(x: Any, axis: int) -> Node:
    """Return x without a dimension of size 1."""
    return build("squeeze", x, axis=axis)


def concatenate(tensors: Sequence[Any], axis: int = -1) -> Node:
    """Return arrays joined along a dimension."""
    return build("concatenate", *tensors, axis=int(axis))


def stack(x: Sequence[Any], axis: int = 0) -> Node:
    """Return arrays joined along a new dimension."""
    return concatenate([expand_dims(part, axis) for part in x], axis)


def repeat_elements(x: Any, rep: int, axis: int) -> Node:
    """Return x with every element along a dimension repeated."""
    return build("repeat", x, times=int(rep), axis=int(axis))


def gather(reference: Any, indices: Any) -> Node:
    """Return rows by their numbers."""
    return build("gather", reference, lifted(indices, "int64"))


def one_hot(indices: Any, num_classes: int) -> Node:
    """Return vectors that are 1 at an index and 0 elsewhere."""
    return build(
        "one_hot", lifted(indices, "int64"), classes=int(num_classes), dtype=SESSION.floatx
    )


def l2_normalize(x: Any, axis: Any = None) -> Node:
    """Return x divided by its norm along an axis."""
    node = _of(x)
    return node / sqrt(maximum(sum(square(node), axis, True), 1e-12))


# Losses


def categorical_crossentropy(
    target: Any, output: Any, from_logits: bool = False, axis: int = -1
) -> Node:
    """Return -sum(target * log(output)), the output normalised and kept off 0 and 1."""
    chances = softmax(output, axis) if from_logits else _of(output) / sum(output, axis, True)
    bounded = clip(chances, SESSION.epsilon, 1.0 - SESSION.epsilon)
    return -sum(_of(target) * log(bounded), axis)


def sparse_categorical_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Node:
    """Return the cross-entropy for class numbers instead of vectors."""
    classes = _of(output).static_shape
    if not classes or classes[-1] is None:
        raise ValueError("the number of classes is not known; give the placeholder a shape.")
    numbers = cast(flatten(target), "int64")
    return categorical_crossentropy(one_hot(numbers, classes[-1]), output, from_logits)


def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Node:
    """Return the cross-entropy of each element, through logits as on TensorFlow."""
    logits = _of(output)
    if not from_logits:
        bounded = clip(output, SESSION.epsilon, 1.0 - SESSION.epsilon)
        logits = log(bounded / (1.0 - bounded))
    found: Node = relu(logits) - logits * target + softplus(-abs(logits))
    return found


# Randomness


def _random(shape: Any, dtype: Any, sampler: Any) -> Node:
    fixed, rest = sized(shape)
    kind = str(np.dtype(dtype or SESSION.floatx))
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
    return _variable(start, dtype, name)


def random_normal_variable(
    shape: Any,
    mean: float,
    scale: float,
    dtype: Any = None,
    name: str | None = None,
    seed: int | None = None,
) -> Variable:
    """Return a variable of normally distributed numbers."""
    return _variable(samplers.first_normal(tuple(shape), mean, scale, seed), dtype, name)


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
    node = _of(x)
    wanted = shape(node) if noise_shape is None else noise_shape
    chance = random_uniform(wanted, dtype=node.dtype, seed=_seed(seed))
    return _thinned(node, chance, level)


def _thinned(node: Node, chance: Node, level: float) -> Node:
    found = node / (1.0 - level) * cast(chance >= level, node.dtype)
    found.static_shape = node.static_shape
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
    found.static_shape = x.static_shape
    return found
