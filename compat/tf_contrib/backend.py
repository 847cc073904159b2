"""The backend functions (`K`) of `tf.contrib.keras`."""

from ..engine.surface import install
from ..graph.surfaces import KERAS_2

__getattr__ = install(globals(), KERAS_2)
