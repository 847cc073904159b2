"""The optimizers of this generation: `Optimizer`, RMSprop, SGD, Adam, and what finds them."""

from typing import Any

from ..graph.classes import absent, family
from ..graph.generations import KERAS_2_2
from . import backend

globals().update(family(KERAS_2_2, __name__, backend))


def __getattr__(name: str) -> Any:
    raise absent(KERAS_2_2, __name__, name)
