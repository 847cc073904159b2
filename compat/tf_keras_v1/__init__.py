"""`tf.keras` of TensorFlow 1.4 to 1.13, without a framework: the same names, the same numbers."""

from ..nets.surface import install

MODULES = install(__name__)
