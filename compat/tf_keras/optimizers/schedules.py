"""`tf.keras.optimizers.schedules`: the schedules of `fastrms`, written down as tf.keras did."""

from fastrms.schedules import CosineDecay as CosineDecay
from fastrms.schedules import CosineDecayRestarts as CosineDecayRestarts
from fastrms.schedules import ExponentialDecay as ExponentialDecay
from fastrms.schedules import InverseTimeDecay as InverseTimeDecay
from fastrms.schedules import LearningRateSchedule as LearningRateSchedule
from fastrms.schedules import PiecewiseConstantDecay as PiecewiseConstantDecay
from fastrms.schedules import PolynomialDecay as PolynomialDecay
from fastrms.schedules import deserialize as deserialize

from ...eager import rows as _rows

serialize = _rows.serialized_schedule
