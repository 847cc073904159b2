"""Learning rates that change with the step: the schedules of Keras 3, evaluated by NumPy.

A schedule is called with the number of steps made so far and computes in the dtype of its learning
rate: float32 for Python's numbers, as in Keras. It may stand for any `learning_rate`::

    rate = fastrms.schedules.CosineDecay(0.01, decay_steps=1000)
    optimizer = fastrms.RMSprop(learning_rate=rate)
"""

from fastrms.schedules.base import LearningRateSchedule as LearningRateSchedule
from fastrms.schedules.cosine import CosineDecay as CosineDecay
from fastrms.schedules.cosine import CosineDecayRestarts as CosineDecayRestarts
from fastrms.schedules.decays import ExponentialDecay as ExponentialDecay
from fastrms.schedules.decays import InverseTimeDecay as InverseTimeDecay
from fastrms.schedules.decays import PolynomialDecay as PolynomialDecay
from fastrms.schedules.forms import deserialize as deserialize
from fastrms.schedules.forms import serialize as serialize
from fastrms.schedules.pieces import PiecewiseConstantDecay as PiecewiseConstantDecay
