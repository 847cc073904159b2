"""The small nets that old scripts build: initialisers, layers, models, losses, callbacks.

One implementation; `generations` holds what each Keras called its arguments and drew at random,
and `surface.install` makes the module names of a generation (`layers`, `models`, ...).
"""
