"""One kernel call for all variables of an update list that a script left as it was made."""

import math
import threading
from collections.abc import Sequence
from typing import Any

from fastrms.arguments import Settings
from fastrms.dialects.fields import Dialect
from fastrms.errors import ArgumentError, GradientError
from fastrms.stepper import Stepper
from fastrms.variables import collect

from ..engine.binding import Array
from ..engine.expressions import Expression
from ..engine.variables import Update, Variable


class FusedStep:
    """What an RMSprop update list stands for as a whole.

    `entries` are the updates it answers for; `plain` those that a function evaluates anyway (the
    counter). `inputs` are the gradients before clipping, the rate and rho; `after` constrains what
    the kernel wrote. A function uses it only if every entry is there, unchanged.
    """

    def __init__(
        self,
        row: Dialect,
        settings: Settings,
        params: Sequence[Variable],
        velocities: Sequence[Variable],
        inputs: Sequence[Expression],
    ) -> None:
        self.row, self.settings = row, settings
        self.params, self.velocities, self.inputs = list(params), list(velocities), list(inputs)
        self.written = [*self.params, *self.velocities]
        self.entries: list[Update] = []
        self.plain: list[Update] = []
        self.after: Any = None
        self._stepper: Stepper | None = None
        self._rho: float | None = None
        self._lock = threading.Lock()

    def usable(self, present: set[int]) -> bool:
        """Tell whether every entry is among the updates of a function."""
        return bool(self.entries) and all(id(entry) in present for entry in self.entries)

    def fits(self, taken: Sequence[Array]) -> None:
        """Raise if the step cannot be carried out on arrays of such shapes."""
        *gradients, rate, _ = taken
        for param, gradient in zip(self.params, gradients, strict=True):
            if gradient.shape != param.array.shape:
                raise GradientError(
                    f"the gradient of {param.name!r} has shape {gradient.shape}; expected "
                    f"{param.array.shape}, the variable's. Nothing was changed."
                )
        if rate.shape:
            raise ArgumentError(
                f"the learning rate has shape {rate.shape}; valid: one number. Nothing was changed."
            )

    def check(self, taken: Sequence[Array]) -> None:
        """Raise, before anything is written, if the rate or rho is no number."""
        rate, rho = map(float, taken[-2:])
        if not (math.isfinite(rate) and math.isfinite(rho)):
            raise ArgumentError(
                f"the learning rate is {rate!r} and rho is {rho!r}; valid: finite numbers. "
                "Nothing was changed."
            )

    def run(self, taken: Sequence[Array]) -> None:
        """Carry out the step on the variables' memory."""
        gradients, (rate, rho) = list(taken[:-2]), map(float, taken[-2:])
        with self._lock:
            if self._stepper is None or self._rho != rho:
                self._stepper = self._made(rho)
            self._stepper.step(gradients, None, rate)
        if self.after is not None:
            self.after()

    def _made(self, rho: float) -> Stepper:
        """Return what carries out steps, with the velocities of the graph as its slots."""
        settings = Settings(**{**vars(self.settings), "rho": rho})
        variables = collect([p.array for p in self.params])
        stepper = Stepper(self.row, settings, variables, frozenset())
        for index, velocity in enumerate(self.velocities):
            stepper.state.slots["velocity", index] = velocity.array.reshape(-1)
        self._rho = rho
        return stepper
