"""The backend functions of Keras 2.0: `from fastrms.compat.keras20 import backend as K`."""

from ..engine.surface import install
from ..graph.surfaces import KERAS_2

__getattr__ = install(globals(), KERAS_2)
