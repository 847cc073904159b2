"""The backend functions (`K`) of `tf.keras` of TensorFlow 1.4 to 1.13."""

from typing import Any

from ..engine.surface import missing, namespace
from ..graph.surfaces import KERAS_2

globals().update(namespace(KERAS_2))


def __getattr__(name: str) -> Any:
    raise missing(__name__, name)
