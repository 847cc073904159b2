"""Optimizer state in and out of files: `load`, `save`, and the format-neutral `Checkpoint`."""
