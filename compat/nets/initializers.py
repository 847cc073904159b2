"""Initialisers: the very numbers that the old systems drew after `np.random.seed`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..engine import backend as K  # noqa: N812 (the name scripts use)
from ..engine.samplers import operation_seed
from .generations import Generation
from .naming import adapted
from .pieces import getter

_OPERATIONS = 10e6  # the bound of an operation's seed, in every generation


class Initializer:
    """Gives the first value of a weight; `seed=None` draws one from NumPy's global generator."""

    generation: Generation
    seed: int | None = None

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Return the value of a weight of a shape."""
        raise NotImplementedError(f"{type(self).__name__} must say in __call__ what it returns.")

    def next_seed(self) -> int:
        """Return the seed of this draw."""
        if self.seed is None:
            return operation_seed(_OPERATIONS)
        found = self.seed
        self.seed += self.generation.seeds_advance
        return found

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make the same initialiser again."""
        return {k: v for k, v in vars(self).items() if not k.startswith("_")}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Initializer":
        """Make an initialiser from its arguments."""
        return cls(**config)


class Constant(Initializer):
    """One value everywhere."""

    def __init__(self, value: float = 0) -> None:
        self.value = value

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Return the value everywhere."""
        return np.full(shape, self.value, dtype or K.floatx())


class Zeros(Constant):
    """Zeros."""

    value = 0

    def __init__(self) -> None:
        pass


class Ones(Zeros):
    """Ones."""

    value = 1


class RandomUniform(Initializer):
    """Numbers between two bounds, those of the generation by default."""

    def __init__(
        self, minval: float | None = None, maxval: float | None = None, seed: int | None = None
    ) -> None:
        low, high = self.generation.bounds
        self.minval = low if minval is None else minval
        self.maxval = high if maxval is None else maxval
        self.seed = seed

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Return new numbers."""
        return K.eval(K.random_uniform(shape, self.minval, self.maxval, dtype, self.next_seed()))


class RandomNormal(Initializer):
    """Normally distributed numbers, of the generation's deviation by default."""

    def __init__(
        self, mean: float = 0.0, stddev: float | None = None, seed: int | None = None
    ) -> None:
        self.mean, self.seed = mean, seed
        self.stddev = self.generation.deviation if stddev is None else stddev

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Return new numbers."""
        return K.eval(K.random_normal(shape, self.mean, self.stddev, dtype, self.next_seed()))


class TruncatedNormal(RandomNormal):
    """Normally distributed numbers within two deviations."""

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Return new numbers."""
        return K.eval(K.truncated_normal(shape, self.mean, self.stddev, dtype, self.next_seed()))


class VarianceScaling(Initializer):
    """Numbers whose variance is `scale` over the number of inputs, outputs or their mean."""

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "normal",
        seed: int | None = None,
    ) -> None:
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(f"mode={mode!r} is not valid; valid: fan_in, fan_out, fan_avg.")
        if distribution not in ("normal", "uniform"):
            raise ValueError(f"distribution={distribution!r} is not valid; valid: normal, uniform.")
        self.scale, self.mode, self.distribution, self.seed = scale, mode, distribution, seed

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Return new numbers."""
        first, last = fans(shape)
        fan = {"fan_in": first, "fan_out": last, "fan_avg": (first + last) / 2}[self.mode]
        scale = self.scale / max(1.0, float(fan))
        if self.distribution == "normal":
            deviation = np.sqrt(scale) / self.generation.truncation
            return K.eval(K.truncated_normal(shape, 0.0, deviation, dtype, self.next_seed()))
        limit = np.sqrt(3.0 * scale)
        return K.eval(K.random_uniform(shape, -limit, limit, dtype, self.next_seed()))


class Orthogonal(Initializer):
    """An orthogonal matrix, from NumPy's own normal numbers or, by `qr`, from TensorFlow's."""

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        self.gain, self.seed = gain, seed

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Return a new matrix."""
        if self.generation.qr is not None:
            return self._by_qr(int(np.prod(shape[:-1])), shape[-1]).reshape(shape)
        if self.seed is not None and not self.generation.seeds_advance:
            np.random.seed(self.seed)
        own = self.seed is not None and self.generation.seeds_advance
        generator: Any = np.random.RandomState(self.next_seed()) if own else np.random
        return orthogonal(shape, self.gain, generator)

    def _by_qr(self, rows: int, columns: int) -> Any:
        """Return a matrix as tensorflow 1.3.0 and 1.13.2 ops/init_ops.py, Orthogonal, make it."""
        wide, turned = rows < columns, self.generation.qr == "turned"
        sizes = (columns, rows) if wide and turned else (rows, columns)
        found, upper = np.linalg.qr(K.eval(K.random_normal(sizes, seed=self.next_seed())))
        found = self.gain * found * np.sign(np.diagonal(upper))
        if wide:
            return found.T if turned else np.pad(found, ((0, 0), (0, columns - rows)))
        return found


class Identity(Initializer):
    """The identity matrix times a gain."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Return the matrix."""
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ValueError(f"an identity needs a square shape, got {tuple(shape)}.")
        return self.gain * np.identity(shape[0])


def fans(shape: Any) -> tuple[float, float]:
    """Return the numbers of inputs and outputs of a weight."""
    if len(shape) == 2:
        return shape[0], shape[1]
    side = float(np.sqrt(np.prod(shape)))
    return side, side


def orthogonal(shape: Any, gain: float, generator: Any) -> Any:
    """Return an orthogonal matrix times a gain."""
    flat = (int(np.prod(shape[:-1])), shape[-1])
    left, _, right = np.linalg.svd(generator.normal(0.0, 1.0, flat), full_matrices=False)
    found = left if left.shape == flat else right
    return gain * found.reshape(shape)


# Keras 2's functions of a seed: scale, mode, distribution.
SCALED = {
    "lecun_uniform": (1.0, "fan_in", "uniform"),
    "lecun_normal": (1.0, "fan_in", "normal"),
    "glorot_uniform": (1.0, "fan_avg", "uniform"),
    "glorot_normal": (1.0, "fan_avg", "normal"),
    "he_uniform": (2.0, "fan_in", "uniform"),
    "he_normal": (2.0, "fan_in", "normal"),
}
_SHORT = {
    "zero": Zeros, "zeros": Zeros, "one": Ones, "ones": Ones, "constant": Constant,
    "uniform": RandomUniform, "random_uniform": RandomUniform, "normal": RandomNormal,
    "random_normal": RandomNormal, "truncated_normal": TruncatedNormal, "identity": Identity,
    "orthogonal": Orthogonal,
}  # fmt: skip
CLASSES = (
    Initializer,
    VarianceScaling,
    *{kind.__name__: kind for kind in _SHORT.values()}.values(),
)


def keras_2(generation: Generation) -> dict[str, Any]:
    """Return the module `initializers` of a generation of Keras 2."""
    found: dict[str, Any] = {kind.__name__: adapted(kind, generation) for kind in CLASSES}
    found["Initializer"] = type("Initializer", (Initializer,), {"generation": generation})
    found |= {name: found[kind.__name__] for name, kind in _SHORT.items()}
    variance = found["VarianceScaling"]

    def scaled(row: tuple[float, str, str]) -> Callable[..., Initializer]:
        return lambda seed=None: variance(*row, seed)

    found |= {name: scaled(row) for name, row in SCALED.items()}
    return found


def keras_1() -> dict[str, Any]:
    """Return the module `initializations` of Keras 1: functions of a shape that make variables."""

    def uniform(shape: Any, scale: float = 0.05, name: str | None = None) -> Any:
        return K.random_uniform_variable(shape, -scale, scale, name=name)

    def normal(shape: Any, scale: float = 0.05, name: str | None = None) -> Any:
        return K.random_normal_variable(shape, 0.0, scale, name=name)

    def matrix(shape: Any, scale: float = 1.1, name: str | None = None) -> Any:
        return K.variable(orthogonal(shape, scale, np.random), name=name)

    def identity(shape: Any, scale: float = 1, name: str | None = None) -> Any:
        return K.variable(Identity(scale)(shape), name=name)

    def scaled(factor: float, mode: str, distribution: str) -> Callable[..., Any]:
        def make(shape: Any, name: str | None = None) -> Any:
            first, last = fans(shape)
            over = first if mode == "fan_in" else (first + last) / 2
            if distribution == "uniform":
                return uniform(shape, np.sqrt(3.0 * factor / over), name)
            return normal(shape, np.sqrt(factor / over), name)

        return make

    found: dict[str, Any] = {"uniform": uniform, "normal": normal, "orthogonal": matrix}
    found |= {"identity": identity, "zero": K.zeros, "one": K.ones}
    return found | {n: scaled(*row) for n, row in SCALED.items() if n != "lecun_normal"}


def module(generation: Generation) -> dict[str, Any]:
    """Return the initialisers of a generation, with `get`."""
    found = keras_1() if generation.plain_normals else keras_2(generation)
    # Keras 2's classes and functions of a seed make an initialiser, Keras 1's functions are one.
    return {**found, "get": getter("initializer", found, makes=not generation.plain_normals)}
