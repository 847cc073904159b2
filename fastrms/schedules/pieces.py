"""The schedule that is constant between boundaries.

Source: keras 3.15.1 optimizers/schedules/learning_rate_schedule.py.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fastrms.errors import ArgumentError
from fastrms.schedules.base import (
    LearningRateSchedule,
    dtype_of,
    number_of,
    require_number,
    silent,
)


class PiecewiseConstantDecay(LearningRateSchedule):
    """A rate that stays the same between boundaries.

    It is ``values[0]`` up to and including step ``boundaries[0]``, then ``values[1]``, and so on.
    Boundaries take the step's dtype: for integer steps, 2.5 means 2.

    Parameters
    ----------
    boundaries : sequence of numbers
        The last step of every piece but the last, in rising order.
    values : sequence of float
        The rates, one more than boundaries.
    name : str
        Kept in the configuration; without effect.

    Raises
    ------
    ArgumentError
        The numbers of boundaries and values do not fit, or boundaries fall.

    Examples
    --------
    >>> schedule = PiecewiseConstantDecay([10, 20], [0.5, 0.25, 0.125])
    >>> [float(schedule(step)) for step in (10, 11, 21)]
    [0.5, 0.25, 0.125]
    """

    def __init__(
        self,
        boundaries: Sequence[float],
        values: Sequence[float],
        name: str | None = "PiecewiseConstant",
    ) -> None:
        self.boundaries = boundaries
        self.values = values
        self.name = name
        _require_pieces(boundaries, values)

    @silent
    def __call__(self, step: Any) -> Any:
        """Return the rate at a step, or an array of rates at an array of steps."""
        now = number_of(step)
        rates = np.array([*self.values], dtype_of(self.values[0]))
        edges = [number_of(edge).astype(now.dtype) for edge in self.boundaries]
        return rates[np.searchsorted(np.array(edges, now.dtype), now)]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments by name."""
        return {"boundaries": self.boundaries, "values": self.values, "name": self.name}


def _require_pieces(boundaries: Any, values: Any) -> None:
    """Raise unless boundaries rise and there is one value more than boundaries."""
    received = f"Received: boundaries={boundaries!r}, values={values!r}"
    lists = (list, tuple, np.ndarray)
    if not isinstance(boundaries, lists) or not isinstance(values, lists):
        raise ArgumentError(f"boundaries and values must be lists of numbers. {received}.")
    if len(boundaries) != len(values) - 1 or not len(boundaries):
        raise ArgumentError(
            "The length of boundaries should be 1 less than the length of values, and at least 1. "
            f"{received}. Give one value for each piece."
        )
    for edge in boundaries:
        require_number("boundaries", edge)
    for value in values:
        require_number("values", value)
    if any(low > high for low, high in pairwise(boundaries)):
        raise ArgumentError(f"boundaries must rise. {received}. Sort the pieces by their steps.")
