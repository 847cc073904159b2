"""Schedules that fall along a cosine, after a warm-up or with restarts.

Source: keras 3.15.1 optimizers/schedules/learning_rate_schedule.py.
"""

import math
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


def _wave(fraction: Any, dtype: "np.dtype[Any]") -> Any:
    """Return 1 + cos(pi * fraction), which falls from 2 to 0."""
    return dtype.type(1) + rounded(np.cos, dtype, dtype.type(math.pi) * fraction)


class CosineDecay(LearningRateSchedule):
    """A rate that may rise in a straight line first, then falls along half a cosine wave.

    Without `warmup_target` it is ``rate * ((1 - alpha) * (1 + cos(pi * step / decay_steps)) / 2 +
    alpha)``, and ``rate * alpha`` after `decay_steps`. With it, it rises from
    `initial_learning_rate` to `warmup_target` in `warmup_steps`, and falls from there.

    Parameters
    ----------
    initial_learning_rate : float
        The rate at step 0.
    decay_steps : int
        How many steps the fall takes.
    alpha : float
        The share of the rate that is left at the end.
    name : str
        Kept in the configuration; without effect.
    warmup_target : float, optional
        The rate after the warm-up; None for no warm-up. Only Keras 3 has it.
    warmup_steps : int
        How many steps the warm-up takes.

    Raises
    ------
    ArgumentError
        An argument is not a finite number, or `decay_steps` is not positive.

    Examples
    --------
    >>> schedule = CosineDecay(0.0, decay_steps=10, warmup_target=1.0, warmup_steps=4)
    >>> [float(schedule(step)) for step in (0, 1, 4, 14)]
    [0.0, 0.25, 1.0, 0.0]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        name: str | None = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: float = 0,
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.alpha = alpha
        self.name = name
        self.warmup_steps = warmup_steps
        self.warmup_target = warmup_target
        for key in ("initial_learning_rate", "alpha", "warmup_steps"):
            require_number(key, getattr(self, key))
        if warmup_target is not None:
            require_number("warmup_target", warmup_target)
        require_positive("decay_steps", decay_steps)

    @silent
    def __call__(self, step: Any) -> Any:
        """Return the rate at a step, or an array of rates at an array of steps."""
        dtype = dtype_of(self.initial_learning_rate)
        first, steps = dtype.type(self.initial_learning_rate), dtype.type(self.decay_steps)
        now = number_of(step).astype(dtype)
        if self.warmup_target is None:
            return first * self._share(np.minimum(now, steps) / steps, dtype)
        target, warmup = dtype.type(self.warmup_target), dtype.type(self.warmup_steps)
        now = np.minimum(now, steps + warmup)
        rising = (target - first) * (now / warmup) + first
        falling = target * self._share((now - warmup) / steps, dtype)
        return np.where(now < warmup, rising, falling)[()]

    def _share(self, fraction: Any, dtype: "np.dtype[Any]") -> Any:
        """Return the share of the rate that is left after a fraction of the fall."""
        half, alpha = dtype.type(0.5), dtype.type(self.alpha)
        return dtype.type(1 - self.alpha) * (half * _wave(fraction, dtype)) + alpha

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments by name."""
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "alpha": self.alpha,
            "name": self.name,
            "warmup_target": self.warmup_target,
            "warmup_steps": self.warmup_steps,
        }


class CosineDecayRestarts(LearningRateSchedule):
    """A rate that falls along half a cosine wave, again and again (SGDR).

    Parameters
    ----------
    initial_learning_rate : float
        The rate at step 0.
    first_decay_steps : int
        How many steps the first fall takes.
    t_mul : float
        How many times longer each fall is than the one before.
    m_mul : float
        Which share of the last start each fall starts from.
    alpha : float
        The share of the rate that is left at the end of a fall.
    name : str
        Kept in the configuration; without effect.

    Raises
    ------
    ArgumentError
        An argument is not a finite number, or `first_decay_steps` is not positive.

    Examples
    --------
    >>> schedule = CosineDecayRestarts(1.0, first_decay_steps=2, m_mul=0.5)
    >>> [float(schedule(step)) for step in (0, 2, 6)]
    [1.0, 0.5, 0.25]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: float,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str | None = "SGDRDecay",
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.first_decay_steps = first_decay_steps
        self._t_mul = t_mul
        self._m_mul = m_mul
        self.alpha = alpha
        self.name = name
        for key, value in self.get_config().items():
            if key not in ("first_decay_steps", "name"):
                require_number(key, value)
        require_positive("first_decay_steps", first_decay_steps)

    @silent
    def __call__(self, step: Any) -> Any:
        """Return the rate at a step, or an array of rates at an array of steps."""
        dtype = dtype_of(self.initial_learning_rate)
        alpha, one, half = dtype.type(self.alpha), dtype.type(1), dtype.type(0.5)
        done = number_of(step).astype(dtype) / dtype.type(self.first_decay_steps)
        restarts, fraction = self._fall(done, dtype)
        start = rounded(np.power, dtype, dtype.type(self._m_mul), restarts)
        share = half * start * _wave(fraction, dtype)
        return dtype.type(self.initial_learning_rate) * ((one - alpha) * share + alpha)

    def _fall(self, done: Any, dtype: "np.dtype[Any]") -> tuple[Any, Any]:
        """Return how many falls have ended, and which fraction of the present one is done."""
        one, longer = dtype.type(1), dtype.type(self._t_mul)
        if longer == 1:
            restarts = np.floor(done)
            return restarts, done - restarts
        grown = rounded(np.log, dtype, one - done * (one - longer))
        restarts = np.floor(grown / rounded(np.log, dtype, longer))
        length = rounded(np.power, dtype, longer, restarts)
        return restarts, (done - (one - length) / (one - longer)) / length

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments by name."""
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "first_decay_steps": self.first_decay_steps,
            "t_mul": self._t_mul,
            "m_mul": self._m_mul,
            "alpha": self.alpha,
            "name": self.name,
        }
