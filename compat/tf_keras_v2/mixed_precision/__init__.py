"""`tf.keras.mixed_precision` of TensorFlow 2.4 to 2.10: its optimizer."""

from ...eager.scaling import LossScaleOptimizer as LossScaleOptimizer
from . import experimental as experimental
