"""`tf.keras.optimizers.experimental` of TensorFlow 2.11 to 2.15: the same classes."""

from ...eager.late import Optimizer as Optimizer
from ...eager.modern import SGD as SGD
from ...eager.modern import Adam as Adam
from ...eager.modern import RMSprop as RMSprop
