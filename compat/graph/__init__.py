"""The graph-mode generations: one optimizer implementation, one table row per generation."""
