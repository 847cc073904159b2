"""The optimizers of this generation: `Optimizer`, RMSprop, SGD, Adam, and what finds them."""

from ..graph.classes import install
from ..graph.generations import KERAS_1
from . import backend

__getattr__ = install(globals(), KERAS_1, backend)
