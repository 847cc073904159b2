"""The backend functions (`K`) of `tf.keras` of TensorFlow 1.4 to 1.13."""

from ..engine.surface import install
from ..graph.surfaces import KERAS_2

__getattr__ = install(globals(), KERAS_2)
