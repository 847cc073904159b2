"""`tf.keras` of TensorFlow 2.0 to 2.10: its optimizers, on NumPy arrays."""

from . import backend as backend
from . import mixed_precision as mixed_precision
from . import optimizers as optimizers
