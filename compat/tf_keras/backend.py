"""`tf.keras.backend`, as far as callbacks use it on an optimizer: reading and setting values."""

from ..eager.backend import *  # noqa: F403
from ..eager.backend import __getattr__ as __getattr__
