"""Schedules that fall by powers, along polynomials, or in inverse proportion.

Source: keras 3.15.1 optimizers/schedules/learning_rate_schedule.py.
"""

from typing import Any

import numpy as np

from fastrms.schedules.base import (
    LearningRateSchedule,
    dtype_of,
    number_of,
    require_number,
    require_positive,
    rounded,
    silent,
)


class ExponentialDecay(LearningRateSchedule):
    """A rate that is multiplied by a factor every so many steps.

    It is ``initial_learning_rate * decay_rate ** (step / decay_steps)``.

    Parameters
    ----------
    initial_learning_rate : float
        The rate at step 0.
    decay_steps : int
        How many steps multiply the rate by `decay_rate` once.
    decay_rate : float
        The factor.
    staircase : bool
        Whether the rate changes only every `decay_steps` steps.
    name : str
        Kept in the configuration; without effect.

    Raises
    ------
    ArgumentError
        An argument is not a finite number, or `decay_steps` is not positive.

    Examples
    --------
    >>> schedule = ExponentialDecay(0.5, decay_steps=10, decay_rate=0.5)
    >>> [float(schedule(step)) for step in (0, 10, 20)]
    [0.5, 0.25, 0.125]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str | None = "ExponentialDecay",
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = name
        require_number("initial_learning_rate", initial_learning_rate)
        require_number("decay_rate", decay_rate)
        require_positive("decay_steps", decay_steps)

    @silent
    def __call__(self, step: Any) -> Any:
        """Return the rate at a step, or an array of rates at an array of steps."""
        dtype = dtype_of(self.initial_learning_rate)
        done = number_of(step).astype(dtype) / dtype.type(self.decay_steps)
        if self.staircase:
            done = np.floor(done)
        factor = rounded(np.power, dtype, dtype.type(self.decay_rate), done)
        return dtype.type(self.initial_learning_rate) * factor

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments by name."""
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "decay_rate": self.decay_rate,
            "staircase": self.staircase,
            "name": self.name,
        }


class InverseTimeDecay(LearningRateSchedule):
    """A rate in inverse proportion to time, as `decay` gave it in Keras 1 and 2.

    It is ``initial_learning_rate / (1 + decay_rate * step / decay_steps)``.

    Parameters
    ----------
    initial_learning_rate : float
        The rate at step 0.
    decay_steps : int
        How many steps add `decay_rate` to the divisor.
    decay_rate : float
        What is added.
    staircase : bool
        Whether the rate changes only every `decay_steps` steps.
    name : str
        Kept in the configuration; without effect.

    Raises
    ------
    ArgumentError
        An argument is not a finite number, or `decay_steps` is not positive.

    Examples
    --------
    >>> schedule = InverseTimeDecay(0.5, decay_steps=1, decay_rate=1.0)
    >>> [float(schedule(step)) for step in (0, 1, 3)]
    [0.5, 0.25, 0.125]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str | None = "InverseTimeDecay",
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = name
        require_number("initial_learning_rate", initial_learning_rate)
        require_number("decay_rate", decay_rate)
        require_positive("decay_steps", decay_steps)

    @silent
    def __call__(self, step: Any) -> Any:
        """Return the rate at a step, or an array of rates at an array of steps."""
        dtype = dtype_of(self.initial_learning_rate)
        done = number_of(step).astype(dtype) / dtype.type(self.decay_steps)
        if self.staircase:
            done = np.floor(done)
        divisor = dtype.type(1) + dtype.type(self.decay_rate) * done
        return dtype.type(self.initial_learning_rate) / divisor

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments by name."""
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "decay_rate": self.decay_rate,
            "staircase": self.staircase,
            "name": self.name,
        }


class PolynomialDecay(LearningRateSchedule):
    """A rate that falls to an end along a polynomial, once or in cycles.

    It is ``(initial - end) * (1 - step / decay_steps) ** power + end``, and `end` after that.

    Parameters
    ----------
    initial_learning_rate : float
        The rate at step 0.
    decay_steps : int
        How many steps lead to the end.
    end_learning_rate : float
        The rate at the end.
    power : float
        The exponent; 1 falls in a straight line.
    cycle : bool
        Whether `decay_steps` is extended to its first multiple that is not below the step.
    name : str
        Kept in the configuration; without effect.

    Raises
    ------
    ArgumentError
        An argument is not a finite number, or `decay_steps` is not positive.

    Examples
    --------
    >>> schedule = PolynomialDecay(1.0, decay_steps=4, end_learning_rate=0.5)
    >>> [float(schedule(step)) for step in (0, 2, 4, 6)]
    [1.0, 0.75, 0.5, 0.5]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str | None = "PolynomialDecay",
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.end_learning_rate = end_learning_rate
        self.power = power
        self.cycle = cycle
        self.name = name
        for key in ("initial_learning_rate", "end_learning_rate", "power"):
            require_number(key, getattr(self, key))
        require_positive("decay_steps", decay_steps)

    @silent
    def __call__(self, step: Any) -> Any:
        """Return the rate at a step, or an array of rates at an array of steps."""
        dtype = dtype_of(self.initial_learning_rate)
        first, end = dtype.type(self.initial_learning_rate), dtype.type(self.end_learning_rate)
        one, steps = dtype.type(1), dtype.type(self.decay_steps)
        now = number_of(step).astype(dtype)
        if self.cycle:
            steps = steps * np.where(now == 0, one, np.ceil(now / steps))
        else:
            now = np.minimum(now, steps)
        left = rounded(np.power, dtype, one - now / steps, dtype.type(self.power))
        return (first - end) * left + end

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments by name."""
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "end_learning_rate": self.end_learning_rate,
            "power": self.power,
            "cycle": self.cycle,
            "name": self.name,
        }
