"""The backend functions of Keras 2.0: `from fastrms.compat.keras20 import backend as K`."""

from typing import Any

from ..engine.surface import missing, namespace
from ..graph.surfaces import KERAS_2

globals().update(namespace(KERAS_2))


def __getattr__(name: str) -> Any:
    raise missing(__name__, name)
