"""Keras 1.0.3 to 1.2.2, without a framework: the same module names, the same numbers."""

from ..nets.surface import install

MODULES = install(__name__)
