"""Keras 2.0, without a framework: the same module names, the same numbers."""

from ..nets.generations import KERAS_20
from ..nets.surface import install

MODULES = install(__name__, KERAS_20)
