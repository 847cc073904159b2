"""`tf.keras.mixed_precision.experimental` of TensorFlow 2.1 to 2.3: `loss_scale=` as it was."""

from ...eager import scaling as _scaling

LossScaleOptimizer = _scaling.from_loss_scale
