"""The optimizers of this generation: `Optimizer`, RMSprop, SGD, Adam, and what finds them."""

from ..graph.classes import install
from ..graph.generations import TF_KERAS_V1
from . import backend

__getattr__ = install(globals(), TF_KERAS_V1, backend)
