"""`tf.keras.optimizers.experimental` of TensorFlow 2.10."""

from ...eager.experimental import SGD as SGD
from ...eager.experimental import Adam as Adam
from ...eager.experimental import Optimizer as Optimizer
from ...eager.experimental import RMSprop as RMSprop
