"""The optimizers of this generation: `Optimizer`, RMSprop, SGD, Adam, and what finds them."""

from typing import Any

from ..graph.classes import absent, family
from ..graph.generations import TF_CONTRIB
from . import backend

globals().update(family(TF_CONTRIB, __name__, backend))


def __getattr__(name: str) -> Any:
    raise absent(TF_CONTRIB, __name__, name)
