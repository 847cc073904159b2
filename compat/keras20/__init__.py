"""Keras 2.0, without a framework: the same module names, the same numbers."""
