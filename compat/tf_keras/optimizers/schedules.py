"""`tf.keras.optimizers.schedules`."""

from ...eager.schedules import *  # noqa: F403
