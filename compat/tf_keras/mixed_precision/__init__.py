"""`tf.keras.mixed_precision` of TensorFlow 2.11 to 2.15: its optimizer."""

from ...eager.scaling import LossScaleOptimizer as LossScaleOptimizer
