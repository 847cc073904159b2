"""`tf.contrib.keras` of TensorFlow 1.x, without a framework: the same names, the same numbers."""

from ..nets.surface import install

MODULES = install(__name__)
