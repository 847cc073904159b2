"""`tf.keras` of TensorFlow 2.11 to 2.15: its optimizers, on NumPy arrays."""

from ..nets.naming import lacking as _lacking
from . import backend as backend
from . import mixed_precision as mixed_precision
from . import optimizers as optimizers

__getattr__ = _lacking(__name__, ("backend", "mixed_precision", "optimizers"))
