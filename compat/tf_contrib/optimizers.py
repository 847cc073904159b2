"""The optimizers of this generation: `Optimizer`, RMSprop, SGD, Adam, and what finds them."""

from ..graph.classes import install
from ..graph.generations import TF_CONTRIB
from . import backend

__getattr__ = install(globals(), TF_CONTRIB, backend)
