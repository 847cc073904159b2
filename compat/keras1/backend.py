"""The backend functions (`K`) of Keras 1.0.3 to 1.2.2."""

from typing import Any

from ..engine.surface import missing, namespace
from ..graph.surfaces import KERAS_1

globals().update(namespace(KERAS_1))


def __getattr__(name: str) -> Any:
    raise missing(__name__, name)
