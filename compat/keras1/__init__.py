"""Keras 1.0.3 to 1.2.2, without a framework: the same module names, the same numbers."""

from ..nets.generations import KERAS_1
from ..nets.surface import install

MODULES = install(__name__, KERAS_1)
