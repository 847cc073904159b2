"""`tf.keras.optimizers.legacy`: the classes of TensorFlow 2.0 to 2.10."""

from ...eager.legacy import SGD as SGD
from ...eager.legacy import Adam as Adam
from ...eager.legacy import RMSprop as RMSprop
