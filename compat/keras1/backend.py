"""The backend functions (`K`) of Keras 1.0.3 to 1.2.2."""

from ..engine.surface import install
from ..graph.surfaces import KERAS_1

__getattr__ = install(globals(), KERAS_1)
