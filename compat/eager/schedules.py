"""`tf.keras.optimizers.schedules`: the schedules of `fastrms`, written down as tf.keras did."""

from typing import Any

from fastrms.rates import written
from fastrms.schedules import CosineDecay as CosineDecay
from fastrms.schedules import CosineDecayRestarts as CosineDecayRestarts
from fastrms.schedules import ExponentialDecay as ExponentialDecay
from fastrms.schedules import InverseTimeDecay as InverseTimeDecay
from fastrms.schedules import LearningRateSchedule as LearningRateSchedule
from fastrms.schedules import PiecewiseConstantDecay as PiecewiseConstantDecay
from fastrms.schedules import PolynomialDecay as PolynomialDecay
from fastrms.schedules import deserialize as deserialize

from .rows import V2

__all__ = ["CosineDecay", "CosineDecayRestarts", "ExponentialDecay", "InverseTimeDecay"]
__all__ += ["LearningRateSchedule", "PiecewiseConstantDecay", "PolynomialDecay", "deserialize"]
__all__ += ["serialize"]


def serialize(learning_rate_schedule: LearningRateSchedule) -> dict[str, Any]:
    """Return a schedule as a dictionary with ``class_name`` and ``config``, as tf.keras wrote it.

    Parameters
    ----------
    learning_rate_schedule : LearningRateSchedule
        With a `get_config`.
    """
    return written(V2, learning_rate_schedule)
