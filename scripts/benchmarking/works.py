"""What is timed: sizes of arrays, options of the optimizer, and our optimizers made from them."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "momentum+centered": {"momentum": 0.9, "centered": True},
    "EMA": {"use_ema": True},
    "everything on": {
        "momentum": 0.9,
        "centered": True,
        "weight_decay": 0.01,
        "clipvalue": 0.5,
        "use_ema": True,
    },
    "clipnorm": {"clipnorm": 1.0},
    "global_clipnorm": {"global_clipnorm": 1.0},
    "momentum": {"momentum": 0.9},
}


class Case(NamedTuple):
    """One work: which arrays, which options of `OPTIONS`, and which way it is timed."""

    sizes: str
    options: str = "plain"
    kind: str = "step"

    @property
    def label(self) -> str:
        """Name the work in tables."""
        return f"{self.sizes}, {self.options}"


def sizes_of(name: str, quick: bool) -> list[int]:
    """Return the numbers of elements behind a name of `Case.sizes`; few and small if quick."""
    if name == "300 tensors of 64..65536":
        spread = np.random.default_rng(0).uniform(np.log(64), np.log(65537), 300)
        mixed = [int(size) for size in np.exp(spread)]
        return mixed[:30] if quick else mixed
    if name == "300 tensors of 64":
        return [64] * 300
    if name == "6 tensors of at most 1k":
        return [1000, 10, 640, 64, 1000, 1]
    millions = int(name.removesuffix("M"))
    return [millions << (12 if quick else 20)]


def fill(size: int, seed: int) -> Array:
    """Return float32 numbers in (-0.5, 0.5); the same for the same seed."""
    numbers = np.random.default_rng(seed).random(size, dtype=np.float32)
    numbers -= np.float32(0.5)
    return numbers


def plan_of(optimizer: Any) -> Any:
    """Return the program of an optimizer's one kind of step."""
    return next(iter(optimizer._core.stepper._plans.values()))


class Ours:
    """One of our optimizers after its first step, with its variables and gradients."""

    def __init__(self, sizes: list[int], options: dict[str, Any]) -> None:
        import fastrms

        self.variables = [fill(size, 2 * i) for i, size in enumerate(sizes)]
        self.gradients = [fill(size, 2 * i + 1) for i, size in enumerate(sizes)]
        self.optimizer = fastrms.RMSprop(**options)
        self.optimizer.build(self.variables)
        self.step()

    def step(self) -> None:
        """Make one whole step, as a user does."""
        self.optimizer.apply(self.gradients)

    @property
    def plan(self) -> Any:
        """Return the program of the step just made."""
        return plan_of(self.optimizer)

    def slots(self, name: str) -> list[Array]:
        """Return the arrays of one slot."""
        stepper = self.optimizer._core.stepper
        assert stepper is not None
        return [array for (slot, _), array in stepper.state.slots.items() if slot == name]
