"""What a learning rate may be besides a number, and what it is at a step."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from fastrms.dialects.fields import Dialect
from fastrms.errors import ArgumentError
from fastrms.schedules import LearningRateSchedule, deserialize, serialize
from fastrms.schedules.forms import KNOWN

# What `RMSprop(learning_rate=...)` takes; a mapping is a schedule's serialized form.
Rate: TypeAlias = float | LearningRateSchedule | Mapping[str, Any] | Callable[[], float]


class OfStep(LearningRateSchedule):
    """A callable of the step as a schedule, for systems that take any such callable."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, step: Any) -> Any:
        """Return the rate at a step."""
        return self.function(step)


def takes_no_argument(function: Callable[..., Any]) -> bool:
    """Tell whether a learning-rate callable can be called without arguments."""
    try:
        inspect.signature(function).bind()
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def owner(row: Dialect, value: Any) -> Any:
    """Return what gives the rate, from a schedule, its serialized form, or a callable."""
    if isinstance(value, Mapping):
        value = deserialize(value)
    if isinstance(value, LearningRateSchedule):
        _require_schedule(row, value)
        return value
    if takes_no_argument(value):
        return checked_rate(value()) if row.calls_rate_once else value
    if row.schedules is not None and row.schedules.functions:
        return OfStep(value)
    raise ArgumentError(
        f"learning_rate={value!r} needs arguments; valid: a number, a callable without arguments, "
        "or a fastrms.schedules.LearningRateSchedule (subclass it, or pass the serialized form of "
        "a Keras schedule)."
    )


def _require_schedule(row: Dialect, schedule: LearningRateSchedule) -> None:
    """Raise unless the dialect's system had schedules, and such as this."""
    kind = type(schedule).__name__
    if row.schedules is None:
        raise ArgumentError(
            f"the dialect {row.name!r} ({row.systems}) has no schedules (received learning_rate="
            f"{kind}(...)); valid: a number, or a callable without arguments. Set "
            "optimizer.learning_rate = schedule(step) before each step instead."
        )
    if KNOWN.get(kind) is type(schedule):
        for name in row.schedules.lacks:
            if getattr(schedule, name, None):
                raise ArgumentError(
                    f"{kind} has no argument {name!r} in the dialect {row.name!r} ({row.systems}); "
                    f"received {name}={getattr(schedule, name)!r}. Leave it out, or subclass "
                    "LearningRateSchedule."
                )


def checked_rate(value: Any) -> float:
    """Return what a learning-rate callable gave, if it is a finite number."""
    try:
        number = float("nan" if isinstance(value, np.ndarray) and value.ndim else value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ArgumentError(
            f"the learning-rate callable returned {value!r}; valid: a finite number. "
            "Nothing was changed by this step."
        )
    return number


def called(rate: Any) -> Any:
    """Return what a callable without arguments gives; a schedule stays, for the step to ask."""
    if isinstance(rate, LearningRateSchedule) or not callable(rate):
        return rate
    return checked_rate(rate())


def scheduled(
    row: Dialect, schedule: LearningRateSchedule, calls: int, dtype: "np.dtype[Any]"
) -> float:
    """Return a schedule's rate after some calls; a float64 of NumPy stays one, to be kept exact."""
    exact = row.schedules is None or row.schedules.step == "integer"
    value = schedule(calls if exact else dtype.type(calls))
    rate = checked_rate(value)
    wide = isinstance(value, np.ndarray | np.generic) and value.dtype == np.float64
    return np.float64(rate) if wide else rate


def shown(row: Dialect, schedule: LearningRateSchedule, calls: int, last: float | None) -> float:
    """Return the rate that an optimizer shows: the next step's, or the last one used."""
    if row.schedules is not None and row.schedules.shows == "last":
        if last is not None:
            return last
        calls = 0  # TensorFlow evaluated it when the optimizer was made
    return scheduled(row, schedule, calls, np.dtype(np.float32))


def written(row: Dialect, schedule: LearningRateSchedule) -> dict[str, Any]:
    """Return a schedule's serialized form as the dialect's system writes it."""
    full = serialize(schedule)
    if row.schedules is None or row.schedules.config == "module and class":
        return full
    config = {key: v for key, v in full["config"].items() if key not in row.schedules.lacks}
    if full["registered_name"] is None:
        default = inspect.signature(type(schedule)).parameters["name"].default
        config["name"] = None if config["name"] == default else config["name"]
    return {"class_name": full["class_name"], "config": config}
