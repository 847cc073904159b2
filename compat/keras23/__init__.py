"""Keras 2.3, without a framework: the same module names, the same numbers."""

from ..nets.generations import KERAS_23
from ..nets.surface import install

MODULES = install(__name__, KERAS_23)
