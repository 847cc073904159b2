"""Keras 2.0, without a framework: the same module names, the same numbers."""

from ..nets.surface import install

MODULES = install(__name__)
