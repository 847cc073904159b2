"""`tf.keras.backend`, as far as callbacks use it on an optimizer: reading and setting values."""

from ..eager.backend import __getattr__ as __getattr__
from ..eager.backend import batch_get_value as batch_get_value
from ..eager.backend import batch_set_value as batch_set_value
from ..eager.backend import get_value as get_value
from ..eager.backend import set_value as set_value
