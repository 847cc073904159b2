"""Keras 2.3, without a framework: the same module names, the same numbers."""
