"""The backend functions (`K`) of `tf.contrib.keras`."""

from typing import Any

from ..engine.surface import missing, namespace
from ..graph.surfaces import KERAS_2

globals().update(namespace(KERAS_2))


def __getattr__(name: str) -> Any:
    raise missing(__name__, name)
